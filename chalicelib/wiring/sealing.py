"""The ledger's seals, and who hears that it was tampered with."""

from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.accounts import find_operator_account
from chalicelib.wiring.system import aws_client, bind_tables, clock, ids, settings, start_transaction

if TYPE_CHECKING:
    from chalicelib.billing.sealing import SealPorts
    from chalicelib.billing.tampering import TamperingPorts

#: In whose trail it stands before there is an operator.
_NOBODY = "platform"


def _connect_s3() -> Any:
    return aws_client("s3")


@cache
def seal_ports() -> "SealPorts":
    from chalicelib.billing.seal_store import DynamoSealStore
    from chalicelib.billing.sealing import SealPorts
    from chalicelib.billing.vault_gateway import S3Vault

    bind_tables()
    vault = S3Vault(_connect_s3, settings().seals_bucket)
    return SealPorts(DynamoSealStore(), vault, start_transaction, clock())


def tampering_ports() -> "TamperingPorts":
    from chalicelib.billing.seal_store import DynamoSealStore
    from chalicelib.billing.tampering import TamperingPorts
    from chalicelib.compliance.store import DynamoAuditTrail

    bind_tables()
    account_id = find_operator_account() or _NOBODY
    return TamperingPorts(
        DynamoSealStore(), DynamoAuditTrail(), start_transaction, clock(), ids(), account_id
    )

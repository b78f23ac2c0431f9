"""What is personal: the vault that seals it."""

from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.system import aws_client, bind_tables, clock, settings

if TYPE_CHECKING:
    from chalicelib.core.ports import PersonVault


def _connect_kms() -> Any:
    return aws_client("kms")


@cache
def person_vault() -> "PersonVault":
    from chalicelib.privacy.cipher_gateway import AesGcm
    from chalicelib.privacy.key_store import DynamoPersonKeys
    from chalicelib.privacy.kms_gateway import KmsKeyService
    from chalicelib.privacy.vault import Vault

    bind_tables()
    service = KmsKeyService(_connect_kms, settings().person_key_id)
    return Vault(DynamoPersonKeys(), service, AesGcm(), clock())

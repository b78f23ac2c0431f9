"""Organisations: who belongs to which, and may do what there."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.accounts import account_ports, rotation_ports
from chalicelib.wiring.identity import find_verified_address, mailer
from chalicelib.wiring.system import bind_tables, clock, public_url, settings

if TYPE_CHECKING:
    from chalicelib.organisations.ports import OrganisationPorts
    from chalicelib.privacy.requests import Reason


@cache
def organisation_ports() -> "OrganisationPorts":
    from chalicelib.billing.wallet_store import DynamoWalletStore
    from chalicelib.organisations.ports import OrganisationPorts
    from chalicelib.organisations.store import DynamoOrganisationStore
    from chalicelib.storage.bucket_store import DynamoBucketStore
    from chalicelib.storage.connection import bind

    return OrganisationPorts(
        DynamoOrganisationStore(),
        account_ports(),
        rotation_ports().idempotency,
        mailer(),
        DynamoBucketStore(bind(settings().table_prefix, settings().aws_region)),
        find_verified_address,
        list_reasons,
        DynamoWalletStore().require_nothing_held,
        public_url,
    )


def list_reasons(account_id: str) -> "tuple[Reason, ...]":
    """What an account has under way: of closing and of erasure the same list."""
    from chalicelib.privacy.record_store import DynamoRecords

    bind_tables()
    return DynamoRecords().list_reasons(account_id, clock().now_ms())

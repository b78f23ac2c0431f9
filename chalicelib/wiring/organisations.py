"""Organisations: who belongs to which, and may do what there."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.accounts import account_ports, rotation_ports
from chalicelib.wiring.identity import find_verified_address, mailer
from chalicelib.wiring.rentals import rental_ports
from chalicelib.wiring.system import public_url

if TYPE_CHECKING:
    from chalicelib.organisations.ports import OrganisationPorts


@cache
def organisation_ports() -> "OrganisationPorts":
    from chalicelib.organisations.ports import OrganisationPorts
    from chalicelib.organisations.store import DynamoOrganisationStore

    return OrganisationPorts(
        DynamoOrganisationStore(),
        account_ports(),
        rotation_ports().idempotency,
        mailer(),
        find_verified_address,
        is_idle,
        public_url,
    )


def is_idle(account_id: str) -> bool:
    """Say whether an account has no GPU."""
    return rental_ports().scheduling.get_quota(account_id).used_gpus == 0

"""Accounts: who calls, in whose name the platform acts by itself, and who did what."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.core.principal import Principal
from chalicelib.wiring.system import bind_tables, clock, ids, read_pepper, start_transaction

if TYPE_CHECKING:
    from chalicelib.accounts.rotating import RotationPorts
    from chalicelib.accounts.service import AccountPorts
    from chalicelib.accounts.standing import Standings
    from chalicelib.compliance.service import AuditReader


@cache
def account_ports() -> "AccountPorts":
    from chalicelib.accounts.service import AccountPorts
    from chalicelib.accounts.store import DynamoAccountStore
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.organisations.store import DynamoOrganisationStore

    bind_tables()
    return AccountPorts(
        DynamoAccountStore(),
        DynamoAuditTrail(),
        start_transaction,
        clock(),
        ids(),
        read_pepper,
        DynamoOrganisationStore(),
    )


@cache
def standings() -> "Standings":
    from chalicelib.accounts.standing import Standings

    return Standings(account_ports().store, clock().now_ms)


@cache
def rotation_ports() -> "RotationPorts":
    from chalicelib.accounts.rotating import RotationPorts
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    return RotationPorts(account_ports(), DynamoIdempotencyStore())


def audit_reader() -> "AuditReader":
    from chalicelib.compliance.store import DynamoAuditTrail

    bind_tables()
    return DynamoAuditTrail()


def authenticate_key(token: str) -> Principal:
    from chalicelib.accounts.service import authenticate as check
    from chalicelib.accounts.standing import hold_to_standing

    return hold_to_standing(standings(), check(account_ports(), token))


def account_exists(account_id: str) -> bool:
    return account_ports().store.get_account(account_id) is not None


def find_operator_account() -> str | None:
    """The account whose audit trail tells what the platform does by itself; ``None`` before the bootstrap."""
    installation = account_ports().store.get_installation()
    return None if installation is None else installation.account_id

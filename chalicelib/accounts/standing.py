"""Whether an account may do more than read, pay and end what runs.

Every request asks. What was read, consistently, is kept for three seconds in the process: a suspension holds
everywhere within that time, and a busy process reads each account once in three seconds. What starts
something does not rely on that: its transaction requires the account's standing.
"""

from collections.abc import Callable
from dataclasses import replace

from chalicelib.accounts.model import WHILE_SUSPENDED, Account
from chalicelib.accounts.service import AccountPorts, AccountStore
from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal

KEPT_MS = 3_000
MAX_KEPT = 10_000


class Standings:
    """What is known of accounts, for `KEPT_MS`."""

    def __init__(self, store: AccountStore, now_ms: Callable[[], int]) -> None:
        self._store, self._now_ms = store, now_ms
        self._kept: dict[str, tuple[int, bool]] = {}

    def is_barred(self, account_id: str) -> bool:
        """Say whether an account is suspended or closed, or not there."""
        now_ms = self._now_ms()
        kept = self._kept.get(account_id)
        if kept is not None and 0 <= now_ms - kept[0] < KEPT_MS:
            return kept[1]
        account = self._store.get_account(account_id)
        barred = account is None or account.is_barred
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[account_id] = (now_ms, barred)
        return barred

    def require(self, tx: Transaction, account_id: str) -> None:
        """Let ``tx`` fail with AccountSuspended, whatever was known before."""
        self._store.require_standing(tx, account_id)


def hold_to_standing(standings: Standings, principal: Principal) -> Principal:
    """Return the caller with what their account may do now. Operators and hosts have no such bound."""
    if principal.is_operator or principal.role == "host" or not standings.is_barred(principal.account_id):
        return principal
    left = principal.permissions & WHILE_SUSPENDED
    return replace(principal, permissions=left, withheld=principal.permissions - left)


def suspend_account(ports: AccountPorts, principal: Principal, account_id: str, reason: str) -> Account:
    """Leave an account to read, to pay and to end what runs; until somebody does, that is paid for.

    Raises:
        NotFound: no such account.
        Conflict: ``operator_account``; ``already_suspended``.
    """
    account = _find(ports, account_id)
    if account.suspended_at_ms is not None:
        raise Conflict("The account is suspended already.", code="already_suspended")
    suspended = replace(account, suspended_at_ms=ports.clock.now_ms(), suspended_reason=reason)
    return _replace(ports, principal, account, suspended, "account.suspended", reason)


def unsuspend_account(ports: AccountPorts, principal: Principal, account_id: str, reason: str) -> Account:
    """Lift a suspension, and open again what its owner closed.

    Raises:
        NotFound: no such account.
        Conflict: ``operator_account``; ``not_suspended``.
    """
    account = _find(ports, account_id)
    if not account.is_barred:
        raise Conflict("The account is not suspended.", code="not_suspended")
    opened = replace(account, suspended_at_ms=None, suspended_reason=None, closed_at_ms=None)
    return _replace(ports, principal, account, opened, "account.unsuspended", reason)


def _find(ports: AccountPorts, account_id: str) -> Account:
    account = ports.store.get_account(account_id)
    if account is None:
        raise NotFound("There is no such account.")
    installation = ports.store.get_installation()
    if installation is not None and installation.account_id == account_id:
        raise Conflict("The operator's own account is never suspended.", code="operator_account")
    return account


def _replace(
    ports: AccountPorts, principal: Principal, old: Account, new: Account, action: str, reason: str
) -> Account:
    tx = ports.transactions()
    ports.store.replace_account(tx, old, new)
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        old.account_id,
        principal.actor_id,
        action,
        old.account_id,
        ports.clock.now_ms(),
        {"reason": reason},
    )
    ports.audit.add_entry(tx, entry)
    tx.commit()
    return new

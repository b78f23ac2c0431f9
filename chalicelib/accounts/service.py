"""Use cases of accounts: bootstrap, accounts, keys, authentication."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from chalicelib.accounts.limits import settle_limits
from chalicelib.accounts.model import (
    MAX_LIVE_KEYS,
    OWN_KEYS_ONLY,
    Account,
    ApiKey,
    Installation,
    build_principal,
    build_token,
    compute_digest,
    is_same_digest,
    parse_token,
    start_day,
)
from chalicelib.core.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import NO_LIMITS, KeyLimits, Principal, Role, is_operator

BOOTSTRAP_ACTOR = "bootstrap"
#: Keys that are over and are taken off their issuer's list with the next one that is issued.
FORGOTTEN_AT_ONCE = 50


class AccountStore(Protocol):
    def get_installation(self) -> Installation | None: ...
    def get_account(self, account_id: str) -> Account | None: ...
    def get_key(self, key_id: str) -> ApiKey | None: ...
    def list_keys(self, account_id: str, limit: int, start: str | None) -> Page[ApiKey]: ...
    def add_installation(self, tx: Transaction, installation: Installation) -> None:
        """Fails with Conflict when there is one."""

    def replace_operator_key(self, tx: Transaction, installation: Installation, key_id: str) -> None:
        """Fails with Conflict when the installation's key is no longer the one in ``installation``."""

    def add_account(self, tx: Transaction, account: Account) -> None: ...
    def require_standing(self, tx: Transaction, account_id: str) -> None:
        """Fails with AccountSuspended when it is suspended or closed."""

    def replace_account(self, tx: Transaction, old: Account, new: Account) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def add_key(self, tx: Transaction, key: ApiKey) -> None: ...
    def list_issued_keys(self, account_id: str, issuer_id: str) -> list[ApiKey]:
        """Keys of an account that ``issuer_id`` issued, each that is live among them, read consistently."""
        ...

    def forget_issued(self, tx: Transaction, key: ApiKey) -> None:
        """Take a key that is over out of `list_issued_keys`."""

    def revoke_key(self, tx: Transaction, key_id: str, at_ms: int) -> None: ...
    def revoke_leaked_key(self, tx: Transaction, key_id: str, at_ms: int) -> None:
        """Fails with Conflict when it is revoked already."""

    def retire_key(self, tx: Transaction, key_id: str, successor_id: str, expires_at_ms: int) -> None:
        """Name a key's successor and end. Fails with Conflict when it has one, or is revoked."""

    def note_use(self, key_id: str, day_start_ms: int, now_ms: int) -> None:
        """Write down a use unless one is written since ``day_start_ms``.

        Raises:
            Unavailable: it could not be written.
        """


class Issuers(Protocol):
    """Who belongs to an account and issues its keys."""

    def read_issued_count(self, account_id: str, issuer_id: str) -> int: ...
    def count_issued_key(self, tx: Transaction, account_id: str, issuer_id: str, issued: int) -> None:
        """Fails with Forbidden: they no longer belong to it; with Unavailable: they issued another since."""


@dataclass(frozen=True, slots=True)
class AccountPorts:
    store: AccountStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    read_pepper: Callable[[], bytes]
    issuers: Issuers | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key at the only moment when its text exists."""

    key: ApiKey
    token: str


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    account_id: str
    #: ``None`` when the installation was there already: the text of a key cannot be shown twice.
    operator_key: str | None


def bootstrap_installation(ports: AccountPorts, *, currency: str, rotate: bool) -> Bootstrapped:
    """Create the operator's account and key once; with ``rotate`` replace the key. Safe to repeat.

    Raises:
        Conflict: another bootstrap ran at the same time.
    """
    now_ms = ports.clock.now_ms()
    installation = ports.store.get_installation()
    if installation is not None and not rotate:
        return Bootstrapped(installation.account_id, None)
    tx = ports.transactions()
    if installation is None:
        account = Account(ports.ids.new_id("acc"), "operator", currency, now_ms)
        issued = build_key(ports, account.account_id, "operator", "bootstrap")
        ports.store.add_account(tx, account)
        ports.store.add_installation(tx, Installation(account.account_id, issued.key.key_id))
        account_id, action = account.account_id, "installation.bootstrapped"
    else:
        account_id, action = installation.account_id, "installation.key_rotated"
        issued = build_key(ports, account_id, "operator", "rotated")
        ports.store.replace_operator_key(tx, installation, issued.key.key_id)
        ports.store.revoke_key(tx, installation.operator_key_id, now_ms)
    ports.store.add_key(tx, issued.key)
    add_audit(ports, tx, account_id, BOOTSTRAP_ACTOR, action, issued.key.key_id)
    tx.commit()
    return Bootstrapped(account_id, issued.token)


def create_account(ports: AccountPorts, principal: Principal, *, name: str, currency: str) -> Account:
    account = Account(ports.ids.new_id("acc"), name, currency, ports.clock.now_ms())
    tx = ports.transactions()
    ports.store.add_account(tx, account)
    add_audit(ports, tx, account.account_id, principal.actor_id, "account.created", account.account_id)
    tx.commit()
    return account


def create_key(
    ports: AccountPorts, principal: Principal, account_id: str, *, label: str, limits: KeyLimits = NO_LIMITS
) -> IssuedKey:
    """Create a renter's key for ``account_id``; where no limit is given, the calling key's own holds.

    Raises:
        NotFound: no such account, or not the caller's.
        InvalidInput, Forbidden: as `settle_limits`.
        Conflict: ``too_many_live_keys``: whoever issues it has `MAX_LIVE_KEYS`.
        Unavailable: they issue another at the same time; try again.
    """
    if principal.account_id != account_id and not principal.is_operator:
        raise NotFound("There is no such account.")
    if ports.store.get_account(account_id) is None:
        raise NotFound("There is no such account.")
    if principal.is_operator and principal.account_id == account_id:
        raise Forbidden("The operator's own account has one key; rotate it with the bootstrap command.")
    settled = settle_limits(principal, "renter", limits, ports.clock.now_ms())
    issued_by = find_issuer(ports, principal)
    issued = build_key(ports, account_id, "renter", label, limits=settled, issued_by=issued_by)
    tx = ports.transactions()
    add_issued_key(ports, tx, issued.key, at_most=MAX_LIVE_KEYS)
    add_audit(ports, tx, account_id, principal.actor_id, "key.created", issued.key.key_id)
    tx.commit()
    return issued


def revoke_key(ports: AccountPorts, principal: Principal, key_id: str) -> None:
    """Revoke a key of the caller's account; an operator may revoke any. Revoking twice changes nothing.

    Raises:
        NotFound: no such key, or not the caller's.
        Conflict: it is the operator's own key, which only the bootstrap command replaces.
    """
    key = find_key(ports, principal, key_id)
    if key.revoked_at_ms is not None:
        return
    tx = ports.transactions()
    ports.store.revoke_key(tx, key_id, ports.clock.now_ms())
    if key.issued_by is not None:
        ports.store.forget_issued(tx, key)
    add_audit(ports, tx, key.account_id, principal.actor_id, "key.revoked", key_id)
    tx.commit()


def authenticate(ports: AccountPorts, token: str) -> Principal:
    """Return who holds ``token``, with one read; a malformed one costs none.

    A key's first use of a day is written down; that this fails costs its owner a date and the caller nothing.

    Raises:
        Unauthenticated: as `find_valid_key`.
    """
    now_ms = ports.clock.now_ms()
    key = find_valid_key(ports, token, now_ms)
    if key.is_used_first_today(now_ms):
        with suppress(Unavailable):
            ports.store.note_use(key.key_id, start_day(now_ms), now_ms)
    return build_principal(key)


def find_valid_key(ports: AccountPorts, token: str, now_ms: int) -> ApiKey:
    """Return the key whose text this is.

    Raises:
        Unauthenticated: malformed, unknown, wrong or revoked; the answer is the same for the last three.
            ``key_expired``: it was right until it expired.
    """
    key_id = parse_token(token, "live")
    key = ports.store.get_key(key_id)
    if key is None or not is_same_digest(key.digest, compute_digest(token, ports.read_pepper())):
        raise Unauthenticated("The key is not valid.")
    if key.revoked_at_ms is not None:
        raise Unauthenticated("The key is not valid.")
    if key.is_expired(now_ms):
        raise Unauthenticated("The key has expired.", code="key_expired")
    return key


def find_key(ports: AccountPorts, principal: Principal, key_id: str) -> ApiKey:
    """Return a key that the caller may deal with: of the own account, or any for an operator.

    Raises:
        NotFound: no such key, or not the caller's.
        Forbidden: ``key_of_another``: the caller's role deals with the own ones alone.
        Conflict: ``operator_key``: only the bootstrap command replaces it.
    """
    key = ports.store.get_key(key_id)
    if key is None or (not principal.is_operator and key.account_id != principal.account_id):
        raise NotFound("There is no such key.")
    if principal.role in OWN_KEYS_ONLY and key.issued_by != find_issuer(ports, principal):
        raise Forbidden("This key was issued by another; ask an owner or admin.", code="key_of_another")
    if is_operator(key.role):
        raise Conflict("The operator's key is replaced with the bootstrap command.", code="operator_key")
    return key


def find_issuer(ports: AccountPorts, principal: Principal) -> str | None:
    """Return the person or service account whom a key issued by ``principal`` ends with; see `ApiKey`."""
    if principal.is_operator:
        return None
    if principal.user_id is not None:
        return principal.user_id
    if not principal.actor_id.startswith("key_"):
        return principal.actor_id
    key = ports.store.get_key(principal.actor_id)
    return None if key is None else key.issued_by


def add_issued_key(
    ports: AccountPorts, tx: Transaction, key: ApiKey, *, at_most: int, ended: ApiKey | None = None
) -> None:
    """Store a key, unless whoever issued it has gone meanwhile (Forbidden); ``ended``: ends with it.

    What they issued and is over is taken off their list, so that it stays as short as the bound.

    Raises:
        Conflict: ``too_many_live_keys``: they have ``at_most``. Two at once are not both let in by that.
    """
    ports.store.add_key(tx, key)
    if ended is not None and ended.issued_by is not None:
        ports.store.forget_issued(tx, ended)
    if key.issued_by is None or ports.issuers is None:
        return
    now_ms = ports.clock.now_ms()
    # Read before the list: whatever is issued after this lets the transaction fail.
    issued = ports.issuers.read_issued_count(key.account_id, key.issued_by)
    listed = ports.store.list_issued_keys(key.account_id, key.issued_by)
    others = [each for each in listed if ended is None or each.key_id != ended.key_id]
    if sum(each.is_live(now_ms) for each in others) >= at_most:
        raise Conflict(
            f"Whoever issues this key has {at_most} that work; revoke one first.",
            code="too_many_live_keys",
            extra={"max": at_most},
        )
    for each in [each for each in others if not each.is_live(now_ms)][:FORGOTTEN_AT_ONCE]:
        ports.store.forget_issued(tx, each)
    ports.issuers.count_issued_key(tx, key.account_id, key.issued_by, issued)


def build_key(
    ports: AccountPorts,
    account_id: str,
    role: Role,
    label: str,
    host_id: str | None = None,
    *,
    limits: KeyLimits = NO_LIMITS,
    issued_by: str | None = None,
) -> IssuedKey:
    """Make a key; the caller stores it in its own transaction."""
    key_id = ports.ids.new_id("key")
    token = build_token("live", key_id, ports.ids.new_secret())
    digest = compute_digest(token, ports.read_pepper())
    now_ms = ports.clock.now_ms()
    key = ApiKey(key_id, account_id, role, label, digest, now_ms, host_id, limits=limits, issued_by=issued_by)
    return IssuedKey(key, token)


def add_audit(
    ports: AccountPorts, tx: Transaction, account_id: str, actor: str, action: str, subject: str
) -> None:
    now_ms = ports.clock.now_ms()
    entry = AuditEntry(ports.ids.new_id("aud"), account_id, actor, action, subject, now_ms)
    ports.audit.add_entry(tx, entry)

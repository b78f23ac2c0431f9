"""What the use cases of organisations need, and what they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from chalicelib.accounts.model import MAX_LIVE_KEYS_IN_OVERLAP, PERMISSIONS, Account, select_permissions
from chalicelib.accounts.service import AccountPorts
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Mailer, Transaction
from chalicelib.core.principal import MEMBER_ROLES, OPERATOR_ROLES, Principal, Role
from chalicelib.core.throttling import Grant, RateQuota
from chalicelib.organisations.model import Invitation, Membership, Project, ServiceAccount

#: Keys that one act ends at most, which is as many as somebody may have.
MAX_ENDED_KEYS = MAX_LIVE_KEYS_IN_OVERLAP
#: Of the hundred items of a transaction, for keys and the notes of who issued them.
ITEMS_FOR_KEYS = 90


class OrganisationStore(Protocol):
    """``get_*`` and ``list_*`` read consistently unless they say otherwise; pages go by id."""

    def get_membership(self, account_id: str, user_id: str) -> Membership | None: ...
    def list_members(self, account_id: str, limit: int, start: str | None) -> Page[Membership]: ...
    def list_memberships_of(self, user_id: str) -> list[Membership]:
        """From an index: to choose by, never to authorise."""
        ...

    def add_membership(self, tx: Transaction, membership: Membership) -> None:
        """Fails with Conflict (``already_member``)."""

    def replace_membership(self, tx: Transaction, old: Membership, new: Membership) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def remove_membership(self, tx: Transaction, old: Membership) -> None:
        """Fails as `replace_membership`."""

    def require_membership(self, tx: Transaction, account_id: str, user_id: str, role: Role) -> None:
        """Fails with Forbidden (``membership_changed``) unless the person still has this role."""

    def count_owner(
        self, tx: Transaction, account_id: str, change: int, *, may_be_none: bool = False
    ) -> None:
        """``change``: 1 or -1. Fails with Conflict (``last_owner``) when none would be left and has to be."""

    def read_issued_count(self, account_id: str, issuer_id: str) -> int:
        """How many keys somebody issued so far; 0: they are not there."""
        ...

    def count_issued_key(self, tx: Transaction, account_id: str, issuer_id: str, issued: int) -> None:
        """Fails with Forbidden (``issuer_gone``): who issues it is no member, or disabled; with Unavailable:
        there are no longer ``issued``.
        """

    def get_invitation(self, account_id: str, invitation_id: str) -> Invitation | None: ...
    def list_invitations(self, account_id: str, limit: int, start: str | None) -> Page[Invitation]: ...
    def put_invitation(self, tx: Transaction, invitation: Invitation) -> None:
        """In place of whatever was there for the same address."""

    def remove_invitation(self, tx: Transaction, invitation: Invitation) -> None:
        """Fails with NotFound when it is another by now, or gone."""

    def note_mailed(self, invitation: Invitation, at_ms: int) -> None:
        """Nothing happens when it is another by now, or gone."""

    def get_project(self, account_id: str, project_id: str) -> Project | None: ...
    def list_projects(self, account_id: str, limit: int, start: str | None) -> Page[Project]: ...
    def add_project(self, tx: Transaction, project: Project) -> None: ...
    def replace_project(self, tx: Transaction, old: Project, new: Project) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def get_service_account(self, service_account_id: str) -> ServiceAccount | None: ...
    def list_service_accounts(self, account_id: str, limit: int, start: str | None) -> Page[ServiceAccount]:
        """From an index."""
        ...

    def add_service_account(self, tx: Transaction, account: ServiceAccount) -> None: ...
    def replace_service_account(self, tx: Transaction, old: ServiceAccount, new: ServiceAccount) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""


class Buckets(Protocol):
    """Token buckets that all processes share, see `core.throttling`."""

    def take(self, bucket: str, quota: RateQuota, most: int, now_us: int, full_at_us: int) -> Grant:
        """Take ``most`` tokens or those that there are. Raises Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class OrganisationPorts:
    """``find_verified_address`` returns a person's normalised address once they proved that it is theirs.

    ``list_reasons`` names what an account has under way, as an erasure waits for it (`privacy.requests`).
    ``require_nothing_held`` lets a transaction fail with Unavailable when something was started meanwhile.
    """

    store: OrganisationStore
    accounts: AccountPorts
    idempotency: IdempotencyStore
    mailer: Mailer
    buckets: Buckets
    find_verified_address: Callable[[str], str | None]
    list_reasons: Callable[[str], Sequence[str]]
    require_nothing_held: Callable[[Transaction, str], None]
    public_url: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Once:
    """``render`` gives the answer's bytes, stored for replays."""

    idempotency_key: str
    fingerprint: str
    render: Callable[[Any], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Created:
    status: int
    body: str
    replayed: bool


def find_organisation(ports: OrganisationPorts, principal: Principal, account_id: str) -> Account:
    """Return the caller's organisation; for an operator any.

    Raises:
        NotFound: there is no such organisation, or it is not the caller's.
    """
    own = principal.account_id == account_id
    account = ports.accounts.store.get_account(account_id) if own or principal.is_operator else None
    if account is None:
        raise NotFound("There is no such organisation.")
    return account


def find_replay(ports: OrganisationPorts, owner_id: str, once: Once) -> Created | None:
    """Raises IdempotencyMismatch: the key was used for another request."""
    now_ms = ports.accounts.clock.now_ms()
    found = ports.idempotency.find(owner_id, once.idempotency_key, now_ms)
    return None if found is None else _replay(found, once)


def commit_once(
    ports: OrganisationPorts, tx: Transaction, owner_id: str, once: Once, made: object
) -> Created:
    """Commit together with the answer; what another request with the key did meanwhile is answered instead.

    Raises:
        IdempotencyMismatch: the key was used for another request.
    """
    body, now_ms = once.render(made), ports.accounts.clock.now_ms()
    record = IdempotencyRecord(
        owner_id, once.idempotency_key, once.fingerprint, HTTPStatus.CREATED.value, body, now_ms + LIFETIME_MS
    )
    ports.idempotency.add(tx, record, now_ms)
    try:
        tx.commit()
    except AlreadyAnswered as answered:
        return _replay(answered.record, once)
    return Created(HTTPStatus.CREATED.value, body, replayed=False)


def _replay(record: IdempotencyRecord, once: Once) -> Created:
    stored = check_replay(record, once.fingerprint)
    return Created(stored.status, stored.body, replayed=True)


def require_grantable(principal: Principal, role: Role) -> None:
    """Raises Forbidden (``role_exceeds_own``): the role may do more than the caller."""
    if principal.role != "operator" and not PERMISSIONS[role] <= principal.permissions:
        raise Forbidden("Nobody gives or takes a role higher than their own.", code="role_exceeds_own")


def require_fitting(ports: OrganisationPorts, account_id: str, role: Role) -> None:
    """Raises InvalidInput (``role_not_of_account``): operators' roles are the installation's account's."""
    installation = ports.accounts.store.get_installation()
    runs_it = installation is not None and installation.account_id == account_id
    if role not in (OPERATOR_ROLES if runs_it else MEMBER_ROLES):
        raise InvalidInput(f"Nobody is {role} in this account.", code="role_not_of_account")


def require_actor(ports: OrganisationPorts, tx: Transaction, principal: Principal, account_id: str) -> None:
    """Let the transaction fail unless the person who acts still has the role that they act with."""
    if principal.user_id is not None and principal.account_id == account_id:
        ports.store.require_membership(tx, account_id, principal.user_id, principal.role)


def end_keys(
    ports: OrganisationPorts, tx: Transaction, account_id: str, issuer_id: str, left: frozenset[str]
) -> int:
    """Revoke what an issuer's keys may do beyond ``left``, and say how many ended.

    Raises:
        Conflict: ``too_many_keys``.
    """
    now_ms = ports.accounts.clock.now_ms()
    ended = [
        key
        for key in ports.accounts.store.list_issued_keys(account_id, issuer_id)
        if key.is_live(now_ms) and not select_permissions(key.role, key.limits) <= left
    ]
    if len(ended) > MAX_ENDED_KEYS:
        raise Conflict(
            "They issued too many keys to end with one act; revoke some first.", code="too_many_keys"
        )
    for key in ended:
        ports.accounts.store.revoke_key(tx, key.key_id, now_ms)
    # Notes that do not fit go with the next key that is issued, if ever one is.
    for key in ended[: ITEMS_FOR_KEYS - len(ended)]:
        ports.accounts.store.forget_issued(tx, key)
    return len(ended)


def add_audit(
    ports: OrganisationPorts,
    tx: Transaction,
    principal: Principal,
    account_id: str,
    action: str,
    subject: str,
    details: dict[str, object] | None = None,
) -> None:
    accounts = ports.accounts
    entry = AuditEntry(
        accounts.ids.new_id("aud"),
        account_id,
        principal.actor_id,
        action,
        subject,
        accounts.clock.now_ms(),
        details or {},
    )
    accounts.audit.add_entry(tx, entry)

"""Members who go: out of one organisation, or out of all of them because the person is erased."""

from collections.abc import Iterator

from chalicelib.accounts.model import ApiKey
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.organisations.model import Membership
from chalicelib.organisations.ports import OrganisationPorts, end_keys

MEMBERS_PER_PAGE = 100
#: Keys that one transaction ends, with an entry for all of them.
KEYS_PER_ACT = 40
#: Ownerships that one transaction ends: of each a membership, a count and an entry of audit.
OWNED_PER_ACT = 20


def add_removal(
    ports: OrganisationPorts, tx: Transaction, old: Membership, actor_id: str, *, may_be_none: bool = False
) -> None:
    """Add to ``tx`` that a member goes, with all keys that they issued. ``may_be_none``: also the last owner.

    Raises:
        Conflict: ``too_many_keys``; at the commit ``last_owner``.
    """
    ports.store.remove_membership(tx, old)
    if old.role == "owner":
        ports.store.count_owner(tx, old.account_id, -1, may_be_none=may_be_none)
    ended = end_keys(ports, tx, old.account_id, old.user_id, frozenset())
    details: dict[str, object] = {"role": old.role, "keys_revoked": ended}
    _add_entry(ports, tx, old, actor_id, "member.removed", details)


def add_ownerships(ports: OrganisationPorts, tx: Transaction, user_id: str, actor_id: str) -> None:
    """Add to ``tx`` that a person goes out of every organisation that must not be left without an owner.

    Found by an index, and each read again. `prepare_departure` has let no more of them than fit.

    Raises:
        Conflict: ``too_many_keys``; at the commit ``last_owner``.
    """
    for member in _list_ownerships(ports, user_id)[:OWNED_PER_ACT]:
        add_removal(ports, tx, member, actor_id)


def prepare_departure(ports: OrganisationPorts, user_id: str, actor_id: str) -> None:
    """End all keys that a person issued, and ownerships beyond those that one transaction takes.

    Raises:
        Conflict: ``last_owner``.
    """
    revoke_issued_keys(ports, user_id, actor_id)
    for member in _list_ownerships(ports, user_id)[OWNED_PER_ACT:]:
        tx = ports.accounts.transactions()
        add_removal(ports, tx, member, actor_id)
        tx.commit()


def depart(ports: OrganisationPorts, user_id: str, actor_id: str, deadline_ms: int) -> bool:
    """Take a person out of every organisation, each in a transaction of its own; ``False``: time ran out.

    One at least is done. Of one that is closed also the last owner goes; who joins in this second is found
    the next time.

    Raises:
        Conflict: ``last_owner``.
    """
    revoke_issued_keys(ports, user_id, actor_id)
    for member in _list_memberships(ports, user_id):
        tx = ports.accounts.transactions()
        account = ports.accounts.store.get_account(member.account_id)
        closed = account is None or account.closed_at_ms is not None
        if account is not None and closed and member.role == "owner":
            # Whoever opens it again in this moment is first, or finds it without an owner.
            ports.accounts.store.replace_account(tx, account, account)
        add_removal(ports, tx, member, actor_id, may_be_none=closed)
        tx.commit()
        if ports.accounts.clock.now_ms() >= deadline_ms:
            return False
    return True


def list_kept_from_leaving(ports: OrganisationPorts, user_id: str) -> list[str]:
    """Return the organisations that are not closed and would have no owner without the person."""
    return [
        member.account_id
        for member in _list_ownerships(ports, user_id)
        if not any(
            each.role == "owner" and each.user_id != user_id
            for each in list_all_members(ports, member.account_id)
        )
    ]


def list_sole_members(ports: OrganisationPorts, account_id: str) -> Iterator[str]:
    """Yield who is a member of this organisation and of no other."""
    for member in list_all_members(ports, account_id):
        if all(each.account_id == account_id for each in _list_memberships(ports, member.user_id)):
            yield member.user_id


def list_all_members(ports: OrganisationPorts, account_id: str) -> Iterator[Membership]:
    start = None
    while True:
        page = ports.store.list_members(account_id, MEMBERS_PER_PAGE, start)
        yield from page.items
        if page.next_key is None:
            return
        start = page.next_key


def end_membership(ports: OrganisationPorts, member: Membership, actor_id: str) -> None:
    """Remove a member of an organisation that is closed, whatever they are."""
    tx = ports.accounts.transactions()
    add_removal(ports, tx, member, actor_id, may_be_none=True)
    tx.commit()


def revoke_issued_keys(ports: OrganisationPorts, user_id: str, actor_id: str) -> int:
    """End all keys that a person issued, wherever, as many at a time as fit; return how many there were."""
    now_ms, count = ports.accounts.clock.now_ms(), 0
    for member in _list_memberships(ports, user_id):
        keys = ports.accounts.store.list_issued_keys(member.account_id, user_id)
        live = [key for key in keys if key.is_live(now_ms)]
        for start in range(0, len(live), KEYS_PER_ACT):
            _revoke(ports, member, live[start : start + KEYS_PER_ACT], actor_id)
        count += len(live)
    return count


def _revoke(ports: OrganisationPorts, member: Membership, keys: list[ApiKey], actor_id: str) -> None:
    tx = ports.accounts.transactions()
    for key in keys:
        ports.accounts.store.revoke_key(tx, key.key_id, ports.accounts.clock.now_ms())
        ports.accounts.store.forget_issued(tx, key)
    _add_entry(ports, tx, member, actor_id, "member.keys_revoked", {"keys_revoked": len(keys)})
    tx.commit()


def _list_memberships(ports: OrganisationPorts, user_id: str) -> Iterator[Membership]:
    for hint in ports.store.list_memberships_of(user_id):
        member = ports.store.get_membership(hint.account_id, user_id)
        if member is not None:
            yield member


def _list_ownerships(ports: OrganisationPorts, user_id: str) -> list[Membership]:
    """Return memberships of who owns what is not closed."""
    return [
        member
        for member in _list_memberships(ports, user_id)
        if member.role == "owner" and not _is_closed(ports, member.account_id)
    ]


def _is_closed(ports: OrganisationPorts, account_id: str) -> bool:
    account = ports.accounts.store.get_account(account_id)
    return account is None or account.closed_at_ms is not None


def _add_entry(
    ports: OrganisationPorts,
    tx: Transaction,
    member: Membership,
    actor_id: str,
    action: str,
    details: dict[str, object],
) -> None:
    accounts = ports.accounts
    entry = AuditEntry(
        accounts.ids.new_id("aud"),
        member.account_id,
        actor_id,
        action,
        member.user_id,
        accounts.clock.now_ms(),
        details,
    )
    accounts.audit.add_entry(tx, entry)

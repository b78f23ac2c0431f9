"""Use cases of organisations and their members. `inviting`, `projects` and `service_accounts` have theirs."""

from dataclasses import replace

from chalicelib.accounts.model import PERMISSIONS, Account
from chalicelib.core.errors import Conflict, Forbidden, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.principal import Principal, Role
from chalicelib.organisations.leaving import add_removal
from chalicelib.organisations.model import (
    CLOSING_WAITS_FOR,
    Membership,
    Organisation,
    ServiceAccount,
    check_name,
)
from chalicelib.organisations.ports import (
    Created,
    Once,
    OrganisationPorts,
    add_audit,
    commit_once,
    end_keys,
    find_organisation,
    find_replay,
    require_actor,
    require_fitting,
    require_grantable,
)


def get_membership(ports: OrganisationPorts, account_id: str, user_id: str) -> Membership | None:
    """What a person is in an organisation now, read consistently: this authorises."""
    return ports.store.get_membership(account_id, user_id)


def list_memberships_of(ports: OrganisationPorts, user_id: str) -> list[Membership]:
    """A person's organisations, from an index: to choose one, and nothing else."""
    return ports.store.list_memberships_of(user_id)


def get_service_account(ports: OrganisationPorts, service_account_id: str) -> ServiceAccount | None:
    """Read consistently: this authorises. A disabled one is returned as such."""
    return ports.store.get_service_account(service_account_id)


def create_organisation(
    ports: OrganisationPorts, principal: Principal, once: Once, *, name: str, currency: str
) -> Created:
    """Make an account of which the person who asks is the owner.

    Raises:
        Forbidden: ``person_needed``.
        InvalidInput: ``invalid_name``.
        IdempotencyMismatch: the key was used for another request.
    """
    user_id = require_person(principal)
    check_name(name)
    replay = find_replay(ports, user_id, once)
    if replay is not None:
        return replay
    accounts = ports.accounts
    now_ms = accounts.clock.now_ms()
    account = Account(accounts.ids.new_id("acc"), name, currency, now_ms)
    tx = accounts.transactions()
    accounts.store.add_account(tx, account)
    ports.store.add_membership(tx, Membership(account.account_id, user_id, "owner", now_ms))
    ports.store.count_owner(tx, account.account_id, 1)
    add_audit(ports, tx, principal, account.account_id, "organisation.created", account.account_id)
    return commit_once(ports, tx, user_id, once, _describe(account))


def read_organisation(ports: OrganisationPorts, principal: Principal, account_id: str) -> Organisation:
    """Raises NotFound."""
    return _describe(find_organisation(ports, principal, account_id))


def rename_organisation(
    ports: OrganisationPorts, principal: Principal, account_id: str, name: str
) -> Organisation:
    """Raises NotFound, InvalidInput (``invalid_name``), Unavailable: it changed at the same time."""
    account = find_organisation(ports, principal, account_id)
    check_name(name)
    if account.name == name:
        return _describe(account)
    renamed = replace(account, name=name)
    tx = ports.accounts.transactions()
    ports.accounts.store.replace_account(tx, account, renamed)
    add_audit(ports, tx, principal, account_id, "organisation.renamed", account_id)
    tx.commit()
    return _describe(renamed)


def close_organisation(ports: OrganisationPorts, principal: Principal, account_id: str) -> Organisation:
    """Close an organisation that has nothing under way; closing twice changes nothing.

    It can be read and paid for from then on, as one that is suspended; an operator opens it again.

    Raises:
        NotFound: there is no such organisation, or it is not the caller's.
        Conflict: ``organisation_in_use``, with ``reasons``: what of `CLOSING_WAITS_FOR` there is.
        Unavailable: something was started at the same time; try again.
    """
    account = find_organisation(ports, principal, account_id)
    if account.closed_at_ms is not None:
        return _describe(account)
    left = [reason for reason in ports.list_reasons(account_id) if reason in CLOSING_WAITS_FOR]
    if left:
        # It would go on, and cost, in an account that nobody looks at any more.
        raise Conflict(
            f"The organisation still has something under way: {', '.join(left)}. End it first.",
            code="organisation_in_use",
            extra={"reasons": left},
        )
    tx = ports.accounts.transactions()
    require_actor(ports, tx, principal, account_id)
    # A start requires the standing that this takes away, and sets money aside: one of both fails.
    ports.require_nothing_held(tx, account_id)
    closed = replace(account, closed_at_ms=ports.accounts.clock.now_ms())
    ports.accounts.store.replace_account(tx, account, closed)
    add_audit(ports, tx, principal, account_id, "organisation.closed", account_id)
    tx.commit()
    return _describe(closed)


def change_role(
    ports: OrganisationPorts, principal: Principal, account_id: str, user_id: str, role: Role
) -> Membership:
    """Give a member another role; keys of theirs that may do more than it are revoked with it.

    Raises:
        NotFound: no such organisation or member.
        InvalidInput: ``role_not_of_account``.
        Forbidden: ``role_exceeds_own``: the old role or the new one; ``membership_changed``.
        Conflict: ``last_owner``, ``too_many_keys``.
    """
    find_organisation(ports, principal, account_id)
    old = _find_member(ports, account_id, user_id)
    if old.role == role:
        return old
    require_fitting(ports, account_id, role)
    require_grantable(principal, old.role)
    require_grantable(principal, role)
    new = replace(old, role=role)
    tx = ports.accounts.transactions()
    ports.store.replace_membership(tx, old, new)
    if "owner" in (old.role, role):
        ports.store.count_owner(tx, account_id, 1 if role == "owner" else -1)
    if principal.user_id != user_id:
        require_actor(ports, tx, principal, account_id)
    ended = end_keys(ports, tx, account_id, user_id, PERMISSIONS[role])
    details: dict[str, object] = {"from": old.role, "to": role, "keys_revoked": ended}
    add_audit(ports, tx, principal, account_id, "member.role_changed", user_id, details)
    tx.commit()
    return new


def remove_member(ports: OrganisationPorts, principal: Principal, account_id: str, user_id: str) -> None:
    """Remove a member; all keys that they issued are revoked with it.

    Raises:
        NotFound: no such organisation or member.
        Forbidden: ``role_exceeds_own``, ``membership_changed``.
        Conflict: ``last_owner``, ``too_many_keys``.
    """
    find_organisation(ports, principal, account_id)
    old = _find_member(ports, account_id, user_id)
    require_grantable(principal, old.role)
    _remove(ports, principal, old)


def leave_organisation(ports: OrganisationPorts, principal: Principal, account_id: str) -> None:
    """Let a person leave any of their organisations.

    Raises:
        Forbidden: ``person_needed``.
        NotFound: they are no member.
        Conflict: ``last_owner``, ``too_many_keys``.
    """
    user_id = require_person(principal)
    old = ports.store.get_membership(account_id, user_id)
    if old is None:
        raise NotFound("There is no such organisation.")
    _remove(ports, principal, old)


def hand_over(ports: OrganisationPorts, principal: Principal, account_id: str, user_id: str) -> Membership:
    """Make another member an owner in the place of the one who asks, who is an admin from then on.

    Keys of theirs that may do more than an admin, as to have the account erased, end with it.

    Raises:
        NotFound: no such organisation or member.
        Forbidden: ``person_needed``, ``membership_changed``.
        Conflict: ``already_owner``: they are one too, or are the same; ``too_many_keys``.
    """
    own_id = require_person(principal)
    find_organisation(ports, principal, account_id)
    own, other = _find_member(ports, account_id, own_id), _find_member(ports, account_id, user_id)
    if other.role == "owner":
        raise Conflict("They are an owner already.", code="already_owner")
    if own.role != "owner":
        raise Forbidden("Your role has changed meanwhile.", code="membership_changed")
    new = replace(other, role="owner")
    tx = ports.accounts.transactions()
    ports.store.replace_membership(tx, other, new)
    ports.store.replace_membership(tx, own, replace(own, role="admin"))
    ended = end_keys(ports, tx, account_id, own_id, PERMISSIONS["admin"])
    details: dict[str, object] = {"from": own_id, "keys_revoked": ended}
    add_audit(ports, tx, principal, account_id, "ownership.handed_over", user_id, details)
    tx.commit()
    return new


def require_person(principal: Principal) -> str:
    """Return the id of the person who asks. Raises Forbidden (``person_needed``): it is a program."""
    if principal.user_id is None:
        raise Forbidden("This is for a person who signed in.", code="person_needed")
    return principal.user_id


def list_members(
    ports: OrganisationPorts, principal: Principal, account_id: str, limit: int, start: str | None
) -> Page[Membership]:
    """Raises NotFound."""
    find_organisation(ports, principal, account_id)
    return ports.store.list_members(account_id, limit, start)


def _describe(account: Account) -> Organisation:
    return Organisation(
        account.account_id,
        account.name,
        account.currency,
        account.created_at_ms,
        account.suspended_at_ms,
        account.closed_at_ms,
    )


def _remove(ports: OrganisationPorts, principal: Principal, old: Membership) -> None:
    tx = ports.accounts.transactions()
    add_removal(ports, tx, old, principal.actor_id)
    if principal.user_id != old.user_id:
        require_actor(ports, tx, principal, old.account_id)
    tx.commit()


def _find_member(ports: OrganisationPorts, account_id: str, user_id: str) -> Membership:
    member = ports.store.get_membership(account_id, user_id)
    if member is None:
        raise NotFound("There is no such member.")
    return member

"""Service accounts: programs with a role of their own."""

from dataclasses import replace

from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.principal import Principal, Role
from chalicelib.organisations.model import SERVICE_ROLES, ServiceAccount
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
    require_grantable,
)


def create_service_account(
    ports: OrganisationPorts, principal: Principal, account_id: str, name: str, role: Role, once: Once
) -> Created:
    """Raises:
    NotFound: no such organisation.
    InvalidInput: ``role_not_of_account``: not a tenant's role, or an owner's, who is a person.
    Forbidden: ``role_exceeds_own``, ``membership_changed``.
    IdempotencyMismatch: the key was used for another request.
    """
    find_organisation(ports, principal, account_id)
    if role not in SERVICE_ROLES:
        raise InvalidInput(f"No program is {role}.", code="role_not_of_account")
    replay = find_replay(ports, principal.account_id, once)
    if replay is not None:
        return replay
    require_grantable(principal, role)
    accounts = ports.accounts
    made = ServiceAccount(accounts.ids.new_id("sva"), account_id, name, role, accounts.clock.now_ms())
    tx = accounts.transactions()
    require_actor(ports, tx, principal, account_id)
    ports.store.add_service_account(tx, made)
    add_audit(
        ports,
        tx,
        principal,
        account_id,
        "service_account.created",
        made.service_account_id,
        {"role": role},
    )
    return commit_once(ports, tx, principal.account_id, once, made)


def list_service_accounts(
    ports: OrganisationPorts, principal: Principal, account_id: str, limit: int, start: str | None
) -> Page[ServiceAccount]:
    """Raises NotFound."""
    find_organisation(ports, principal, account_id)
    return ports.store.list_service_accounts(account_id, limit, start)


def find_service_account(
    ports: OrganisationPorts, principal: Principal, account_id: str, service_account_id: str
) -> ServiceAccount:
    """Raises NotFound."""
    find_organisation(ports, principal, account_id)
    found = ports.store.get_service_account(service_account_id)
    if found is None or found.account_id != account_id:
        raise NotFound("There is no such service account.")
    return found


def disable_service_account(
    ports: OrganisationPorts, principal: Principal, account_id: str, service_account_id: str
) -> ServiceAccount:
    """End a program's access for ever, together with the keys that it issued. Twice changes nothing.

    Raises:
        NotFound: no such organisation or service account.
        Forbidden: ``role_exceeds_own``, ``membership_changed``.
        Conflict: ``too_many_keys``.
    """
    old = find_service_account(ports, principal, account_id, service_account_id)
    if old.disabled_at_ms is not None:
        return old
    require_grantable(principal, old.role)
    accounts = ports.accounts
    new = replace(old, disabled_at_ms=accounts.clock.now_ms())
    tx = accounts.transactions()
    require_actor(ports, tx, principal, account_id)
    ports.store.replace_service_account(tx, old, new)
    ended = end_keys(ports, tx, account_id, service_account_id, frozenset())
    add_audit(
        ports,
        tx,
        principal,
        account_id,
        "service_account.disabled",
        service_account_id,
        {"keys_revoked": ended},
    )
    tx.commit()
    return new

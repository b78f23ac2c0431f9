"""Organisations on the real table: owners are counted, keys end with people, invitations are good once."""

import threading
import uuid

import pytest

from chalicelib import wiring
from chalicelib.accounts.model import PERMISSIONS
from chalicelib.accounts.service import authenticate, create_key
from chalicelib.core.errors import DomainError, Unauthenticated
from chalicelib.core.principal import Principal, Role
from chalicelib.organisations import projects, service, service_accounts
from chalicelib.organisations.model import Membership
from chalicelib.organisations.ports import Once
from infra.local.cloud import EmbeddedCloud
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for


def sign_in(account_id: str, user_id: str, role: Role) -> Principal:
    return Principal(account_id, role, user_id, PERMISSIONS[role], user_id=user_id)


def found(user_id: str) -> str:
    """Create an organisation, and return its account."""
    once = Once(uuid.uuid4().hex, "f", lambda made: made.account_id)
    person = sign_in("acc_none", user_id, "owner")
    made = service.create_organisation(wiring.organisation_ports(), person, once, name="Lab", currency="USD")
    return str(made.body)


def join(account_id: str, role: Role) -> Principal:
    ports, user_id = wiring.organisation_ports(), f"usr_{uuid.uuid4().hex}"
    tx = ports.accounts.transactions()
    ports.store.add_membership(tx, Membership(account_id, user_id, role, 1))
    if role == "owner":
        ports.store.count_owner(tx, account_id, 1)
    tx.commit()
    return sign_in(account_id, user_id, role)


def test_owners_who_remove_each_other_at_once_leave_one(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        user_id, ports = f"usr_{uuid.uuid4().hex}", wiring.organisation_ports()
        account_id = found(user_id)
        owners = [sign_in(account_id, user_id, "owner"), *(join(account_id, "owner") for _ in range(3))]

        def strike(by: Principal) -> None:
            for other in owners:
                if other is not by:
                    try:
                        service.remove_member(ports, by, account_id, str(other.user_id))
                    except DomainError:
                        continue

        threads = [threading.Thread(target=strike, args=(each,)) for each in owners]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        left = service.list_members(ports, owners[0], account_id, 50, None).items
        assert [each.role for each in left].count("owner") >= 1


def test_keys_projects_and_programs_are_what_is_stored(cloud: EmbeddedCloud) -> None:
    with wire_to(cloud):
        user_id, ports = f"usr_{uuid.uuid4().hex}", wiring.organisation_ports()
        account_id = found(user_id)
        owner, developer = sign_in(account_id, user_id, "owner"), join(account_id, "developer")
        issued = create_key(wiring.account_ports(), developer, account_id, label="ci")
        assert authenticate(wiring.account_ports(), issued.token).account_id == account_id
        service.remove_member(ports, owner, account_id, str(developer.user_id))
        with pytest.raises(Unauthenticated):
            authenticate(wiring.account_ports(), issued.token)
        once = Once("project", "f", lambda made: made.project_id)
        project_id = projects.create_project(ports, owner, account_id, "Training", once).body
        projects.require_project(ports.store, account_id, project_id)
        projects.change_project(ports, owner, account_id, project_id, name=None, archived=True)
        with pytest.raises(DomainError):
            projects.require_project(ports.store, account_id, project_id)
        once = Once("program", "f", lambda made: made.service_account_id)
        program = service_accounts.create_service_account(
            ports, owner, account_id, "ci", "developer", once
        ).body
        listed = wait_for(
            lambda: service_accounts.list_service_accounts(ports, owner, account_id, 10, None).items,
            lambda items: len(items) == 1,
        )
        assert listed[0].service_account_id == program
        service_accounts.disable_service_account(ports, owner, account_id, program)
        memberships = wait_for(
            lambda: service.list_memberships_of(ports, user_id), lambda items: len(items) == 1
        )
        assert memberships[0].role == "owner"

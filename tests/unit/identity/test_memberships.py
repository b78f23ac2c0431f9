"""Roles that ask for a second factor, by the adapter that the deployed functions have."""

from dataclasses import replace
from typing import get_args

import pytest

from chalicelib.core.principal import MEMBER_ROLES, OPERATOR_ROLES, Role
from chalicelib.wiring.identity import OrganisationRoles
from tests.factories import add_person, seed_cloud
from tests.fakes.wiring import rewire

#: Role -> whether a password alone does; one row a role.
STRICT = {
    "operator": True,
    "fleet_operator": True,
    "finance_operator": True,
    "support_operator": True,
    "owner": True,
    "admin": True,
    "billing": True,
    "developer": False,
    "viewer": False,
    "auditor": False,
}


@pytest.fixture
def seeded(monkeypatch):
    found = seed_cloud()
    rewire(monkeypatch, organisation_ports=found.cloud.organisations)
    return found


def needs_second_factor(user_id):
    return OrganisationRoles().needs_second_factor(user_id)


def test_every_role_of_a_person_is_decided():
    assert set(STRICT) == MEMBER_ROLES | OPERATOR_ROLES
    assert set(STRICT) <= set(get_args(Role))


@pytest.mark.parametrize("role", sorted(STRICT))
def test_a_role_that_appoints_pays_or_runs_the_cloud_asks_for_a_second_factor(seeded, role):
    runs_it = role in OPERATOR_ROLES
    account_id = seeded.operator.account_id if runs_it else seeded.renter.account_id
    person = add_person(seeded, role, account_id=account_id)
    assert needs_second_factor(person.user_id) is STRICT[role]


def test_one_strict_role_among_many_is_enough_and_who_has_none_is_asked_for_nothing(seeded):
    person = add_person(seeded, "viewer")
    store, db = seeded.cloud.organisation_store, seeded.cloud.db
    (member,) = store.list_memberships_of(person.user_id)
    tx = db.begin()
    store.add_membership(tx, replace(member, account_id=seeded.operator.account_id, role="support_operator"))
    tx.commit()
    assert needs_second_factor(person.user_id)
    assert not needs_second_factor("usr_nobody")


@pytest.mark.parametrize(("shown", "held"), [("viewer", "owner"), ("owner", "viewer"), ("owner", None)])
def test_the_index_says_where_to_look_and_the_role_is_the_one_that_is_held(seeded, monkeypatch, shown, held):
    person = add_person(seeded, "viewer")
    store, rows = seeded.cloud.organisation_store, seeded.cloud.db.table("members")
    (member,) = store.list_memberships_of(person.user_id)
    key = (member.account_id, member.user_id)
    if held is None:
        del rows[key]
    else:
        rows[key] = replace(member, role=held)
    late = [replace(member, role=shown)]
    monkeypatch.setattr(type(store), "list_memberships_of", lambda *_: late)
    assert needs_second_factor(person.user_id) is (held == "owner")

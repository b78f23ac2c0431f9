"""An access token opens what its subject may do now, and nothing that looks like one opens anything."""

from dataclasses import replace

import pytest

from chalicelib.core.errors import Unauthenticated, Unavailable
from chalicelib.core.principal import OPERATOR_ROLES, STRICT_ROLES
from chalicelib.oauth.admission import authenticate_token
from chalicelib.oauth.granting import (
    end_grant,
    open_grant,
    revoke_service_token,
    sign_for_person,
    sign_for_service,
)
from chalicelib.oauth.model import CLI_CLIENT_ID, Consent
from chalicelib.oauth.service import find_client
from tests.unit.oauth.tokens import Forge, list_signed, list_unsigned


def consent_of(world, **changes):
    consent = Consent(
        world.user_id,
        world.account_id,
        "all",
        3,
        world.clock.now_ms(),
        ("otp", "pwd"),
        world.session.session_id,
    )
    return replace(consent, **changes)


def give_token(world, scope="all", **changes):
    """Store a grant and return it with an access token of it."""
    grant, _ = open_grant(world.ports, world.ids.new_id("ogr"), CLI_CLIENT_ID, consent_of(world, **changes))
    tx = world.db.begin()
    world.store.add(tx, grant)
    tx.commit()
    return grant, sign_for_person(world.ports, grant, scope)


def give_service_token(world, scope="all"):
    return sign_for_service(world.ports, find_client(world.ports, world.service_id), scope)


def test_a_persons_token_says_who_where_and_since_when(world):
    grant, token = give_token(world)
    found = authenticate_token(world.ports, token)
    assert (found.account_id, found.role, found.actor_id) == (world.account_id, "renter", world.user_id)
    assert (found.user_id, found.session_id) == (world.user_id, grant.grant_id)
    assert found.authenticated_at_ms == world.clock.now_ms() // 1000 * 1000
    assert found.permissions == world.ports.permissions["renter"]


def test_a_token_may_do_what_its_role_and_its_scopes_both_allow(world):
    _, token = give_token(world, "rentals:read hosts:read")
    found = authenticate_token(world.ports, token)
    assert found.permissions == found.limits.permissions == {"rentals:read"}
    world.join(world.account_id, "operator")
    assert authenticate_token(world.ports, token).permissions == {"hosts:read"}


def test_admission_reads_three_items_for_a_person_and_two_for_a_program(world):
    _, token = give_token(world)
    program = give_service_token(world)
    world.forget_reads()
    authenticate_token(world.ports, token)
    assert world.count_reads() == 3
    world.forget_reads()
    authenticate_token(world.ports, program)
    assert world.count_reads() == 2


def test_what_ends_a_standing_acts_on_the_next_request(world):
    def suspend():
        world.change_user(status="suspended")

    def change_password():
        world.change_user(epoch=4)

    def erase():
        world.standing.users.clear()

    def leave():
        world.standing.members.clear()

    for act in (suspend, change_password, erase, leave):
        before = dict(world.standing.users), dict(world.standing.members)
        grant, token = give_token(world)
        authenticate_token(world.ports, token)
        act()
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, token)
        world.standing.users, world.standing.members = before
        end_grant(world.ports, grant.grant_id, world.user_id, "revoked")
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, token)


def test_every_role_that_pays_appoints_or_runs_the_cloud_is_strict():
    assert OPERATOR_ROLES | {"owner", "admin", "billing"} == STRICT_ROLES


@pytest.mark.parametrize("role", sorted(STRICT_ROLES))
def test_who_is_promoted_to_a_strict_role_is_nobody_by_what_was_granted_without_a_second_factor(world, role):
    short = [give_token(world, methods=methods)[1] for methods in (("pwd",), ("fed",), ())]
    full = [give_token(world, methods=methods)[1] for methods in (("otp", "pwd"), ("fed", "otp"), ("hwk",))]
    for token in (*short, *full):
        authenticate_token(world.ports, token)
    world.join(world.account_id, role)
    for token in short:
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, token)
    assert {authenticate_token(world.ports, token).role for token in full} == {role}
    world.join(world.account_id, "developer")
    assert {authenticate_token(world.ports, token).role for token in short} == {"developer"}


def test_a_strict_role_asks_no_program_for_a_second_factor(world):
    service = world.standing.services[world.service_id]
    world.standing.services[world.service_id] = replace(service, role="admin")
    assert authenticate_token(world.ports, give_service_token(world)).role == "admin"


def test_a_programs_token_ends_with_its_account_or_by_itself(world):
    token = give_service_token(world)
    assert authenticate_token(world.ports, token).actor_id == world.service_id
    forge = Forge(world, token)
    revoke_service_token(world.ports, world.account_id, forge.claims["jti"], world.clock.now_ms())
    with pytest.raises(Unauthenticated):
        authenticate_token(world.ports, token)
    other = give_service_token(world)
    service = world.standing.services[world.service_id]
    world.standing.services[world.service_id] = replace(service, disabled_at_ms=1)
    with pytest.raises(Unauthenticated):
        authenticate_token(world.ports, other)


def test_a_token_is_good_until_a_minute_after_its_end_and_no_longer(world):
    _, token = give_token(world)
    world.clock.advance_seconds(659)
    authenticate_token(world.ports, token)
    world.clock.advance_seconds(1)
    with pytest.raises(Unauthenticated) as told:
        authenticate_token(world.ports, token)
    assert told.value.code == "token_expired"


def test_whatever_is_not_signed_by_us_is_refused_before_anything_is_read(world):
    _, token = give_token(world)
    authenticate_token(world.ports, token)
    bad = list(list_unsigned(Forge(world, token)))
    assert len(bad) >= 80
    world.forget_reads()
    for name, text in bad:
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, text)
            pytest.fail(name)
    assert world.count_reads() == 0


def test_whatever_else_our_own_key_signed_is_refused(world):
    _, token = give_token(world)
    bad = list(list_signed(Forge(world, token)))
    assert len(bad) >= 40
    for name, text in bad:
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, text)
            pytest.fail(name)


def test_unknown_kids_cost_one_read_a_minute_whatever_comes(world):
    _, token = give_token(world)
    forge = Forge(world, token)
    world.clock.advance_seconds(61)
    world.forget_reads()
    for number in range(50):
        with pytest.raises(Unauthenticated):
            authenticate_token(world.ports, forge.with_header(kid=f"kid_{number:026d}"))
    assert world.count_reads() == 1


def test_a_store_that_does_not_answer_admits_nobody(world, monkeypatch):
    _, token = give_token(world)

    def fail(*_):
        raise Unavailable("no")

    monkeypatch.setattr(world.standing, "get_membership", fail)
    with pytest.raises(Unavailable):
        authenticate_token(world.ports, token)

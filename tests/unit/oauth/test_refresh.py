"""Refresh tokens: who lost an answer gets it again, and who stole a token ends what it was of."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth.admission import authenticate_token
from tests.fakes.oauth import AuthorizationWorld
from tests.unit.oauth.flows import Flow

DAY = 86_400


@pytest.fixture
def flow(world):
    return Flow(world)


def is_good(flow, token):
    try:
        authenticate_token(flow.world.ports, token["access_token"])
    except Unauthenticated:
        return False
    return True


def test_a_refresh_gives_another_of_both_and_the_old_access_token_lives_on(flow):
    first = flow.sign_in()
    status, second = flow.refresh(first["refresh_token"])
    assert status == 200
    assert second["refresh_token"] != first["refresh_token"]
    assert is_good(flow, first)
    assert is_good(flow, second)


def test_a_client_that_lost_the_answer_gets_the_same_successor_for_ten_seconds(flow):
    first = flow.sign_in()
    _, second = flow.refresh(first["refresh_token"])
    flow.world.clock.advance_seconds(10)
    status, again = flow.refresh(first["refresh_token"])
    assert (status, again["refresh_token"]) == (200, second["refresh_token"])
    assert flow.refresh(second["refresh_token"])[0] == 200


def test_after_ten_seconds_a_used_token_is_a_stolen_one_and_ends_all(flow):
    first = flow.sign_in()
    _, second = flow.refresh(first["refresh_token"])
    flow.world.clock.advance_seconds(10.001)
    assert flow.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert not is_good(flow, first)
    assert not is_good(flow, second)
    assert flow.refresh(second["refresh_token"])[1]["error"] == "invalid_grant"
    assert "oauth.ended.refresh_token_reused" in [each.action for each in flow.world.audit.entries]


def test_who_is_promoted_to_a_strict_role_refreshes_nothing_without_a_second_factor(flow):
    world = flow.world
    world.standing.sessions[world.session.session_id] = replace(world.session, methods=frozenset({"pwd"}))
    token, code = flow.sign_in(), flow.get_code()
    world.join(world.account_id, "owner")
    assert not is_good(flow, token)
    assert flow.redeem(code)[1]["error"] == "invalid_grant"
    assert flow.refresh(token["refresh_token"])[1]["error"] == "invalid_grant"
    assert "oauth.ended.standing_lost" in [each.action for each in world.audit.entries]


def test_once_its_successor_was_used_a_retry_is_a_theft(flow):
    first = flow.sign_in()
    _, second = flow.refresh(first["refresh_token"])
    _, third = flow.refresh(second["refresh_token"])
    assert flow.refresh(first["refresh_token"])[1]["error"] == "invalid_grant"
    assert not is_good(flow, third)


def test_a_token_that_never_was_ends_nothing(flow):
    first = flow.sign_in()
    text = first["refresh_token"]
    for forged in (
        text[:-1] + ("0" if text[-1] != "0" else "1"),
        text.replace("prt_", "prx_"),
        text[:40],
        "x",
    ):
        assert flow.refresh(forged)[1]["error"] == "invalid_grant"
    assert is_good(flow, first)
    assert flow.refresh(text)[0] == 200


def test_another_client_can_do_nothing_with_it(flow):
    first = flow.sign_in()
    assert flow.refresh(first["refresh_token"], client_id="nobody")[1]["error"] == "invalid_client"
    assert flow.refresh(first["refresh_token"])[0] == 200


def test_it_is_over_after_a_week_without_use_and_after_thirty_days_with_it(flow):
    idle = flow.sign_in()
    flow.world.clock.advance_seconds(7 * DAY)
    assert flow.refresh(idle["refresh_token"])[1]["error"] == "invalid_grant"
    token = flow.sign_in()
    for _ in range(5):
        flow.world.clock.advance_seconds(5 * DAY)
        status, token = flow.refresh(token["refresh_token"])
        assert status == 200
    flow.world.clock.advance_seconds(5 * DAY)
    assert flow.refresh(token["refresh_token"])[1]["error"] == "invalid_grant"


def test_who_has_no_standing_any_more_gets_nothing(flow):
    for change in ({"epoch": 9}, {"status": "suspended"}):
        token = flow.sign_in()
        before = dict(flow.world.standing.users)
        flow.world.change_user(**change)
        assert flow.refresh(token["refresh_token"])[1]["error"] == "invalid_grant"
        flow.world.standing.users = before


def test_a_refresh_may_ask_for_less_and_never_for_more(flow):
    code = flow.get_code(scope="rentals:read wallet:read")
    _, token = flow.redeem(code)
    status, less = flow.refresh(token["refresh_token"], scope="rentals:read")
    assert (status, less["scope"]) == (200, "rentals:read")
    assert authenticate_token(flow.world.ports, less["access_token"]).permissions == {"rentals:read"}
    assert flow.refresh(less["refresh_token"], scope="rentals:write")[1]["error"] == "invalid_scope"
    assert flow.refresh(less["refresh_token"])[1]["scope"] == "rentals:read wallet:read"


def test_two_requests_at_once_get_the_same_successor(flow):
    first, got = flow.sign_in(), []

    def come_between():
        flow.world.db.interlude = None
        got.append(flow.refresh(first["refresh_token"]))

    flow.world.db.interlude = come_between
    status, token = flow.refresh(first["refresh_token"])
    assert status == 200
    assert got[0][1]["refresh_token"] == token["refresh_token"]


class Theft(RuleBasedStateMachine):
    """An owner whose network and server fail, and a thief who copies tokens now and then.

    The model knows each token's place in the chain, and when the chain moved.
    """

    def __init__(self):
        super().__init__()
        self.flow = Flow(AuthorizationWorld())
        token = self.flow.sign_in()
        self.chain, self.access = [token["refresh_token"]], [token]
        self.owned, self.stolen = 0, None
        self.moved_ms, self.ended = self.flow.world.clock.now_ms(), False

    def present(self, place, how):
        """Ask with a token of the chain; return the place of what came back, if anything did."""
        db, now = self.flow.world.db, self.flow.world.clock.now_ms()
        newest, retried = len(self.chain) - 1, self.is_retry(place)
        db.crash_before = db.commits if how == "before" else None
        db.crash_after = db.commits if how == "after" else None
        answer = self.flow.refresh(self.chain[place])
        db.crash_before = db.crash_after = None
        committed = how != "before"
        if self.ended:
            assert answer[1]["error"] == "invalid_grant"
            return None
        if place == newest:
            if committed:
                self.chain.append(None)
                self.moved_ms = now
        elif not retried:
            # Ending it is a write of its own.
            self.ended = committed
            assert answer is None or answer[1]["error"] == "invalid_grant"
            return None
        if answer is None:
            if committed and place == newest:
                # Nobody knows its text but who asks again.
                self.chain[-1] = self.derive(place)
            return None
        status, token = answer
        assert status == 200, token
        if self.chain[place + 1] is None:
            self.chain[place + 1] = token["refresh_token"]
        assert token["refresh_token"] == self.chain[place + 1]
        self.access.append(token)
        return place + 1

    def is_retry(self, place):
        recent = self.flow.world.clock.now_ms() - self.moved_ms <= 10_000
        return place == len(self.chain) - 2 and recent

    def derive(self, place):
        from chalicelib.oauth.model import build_refresh_token, derive_refresh_secret, parse_refresh_token

        pepper = self.flow.world.ports.read_pepper()
        text = self.chain[place]
        return build_refresh_token(
            parse_refresh_token(text, pepper), derive_refresh_secret(text, pepper), pepper
        )

    @rule(how=st.sampled_from(["well", "well", "before", "after"]), lost=st.booleans())
    def owner_refreshes(self, how, lost):
        got = self.present(self.owned, how)
        if got is not None and not lost:
            self.owned = got

    @rule()
    def thief_copies(self):
        self.stolen = self.owned

    @precondition(lambda self: self.stolen is not None)
    @rule(how=st.sampled_from(["well", "before", "after"]))
    def thief_refreshes(self, how):
        got = self.present(self.stolen, how)
        if got is not None:
            self.stolen = got

    @rule(seconds=st.sampled_from([1, 9, 10, 11, 60]))
    def time_passes(self, seconds):
        self.flow.world.clock.advance_seconds(seconds)

    @invariant()
    def an_ended_grant_opens_nothing(self):
        if self.ended:
            assert not any(is_good(self.flow, token) for token in self.access)

    @invariant()
    def the_chain_has_one_end(self):
        known = [text for text in self.chain if text is not None]
        assert len(set(known)) == len(known)


Theft.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestTheft = Theft.TestCase

"""The device flow: codes that nobody guesses, and a person who sees who asks."""

import re

import pytest

from chalicelib.core.errors import NotFound, Unauthenticated
from chalicelib.oauth.admission import authenticate_token
from chalicelib.oauth.devices import TooManyGuesses, decide_device, enter_code
from chalicelib.oauth.model import DeviceAuthorization
from tests.unit.oauth.flows import Flow
from tests.unit.oauth.test_admission import consent_of


@pytest.fixture
def flow(world):
    return Flow(world)


def enter(flow, code, user_id=None, address="198.51.100.4"):
    return enter_code(flow.world.ports, code, user_id=user_id or flow.world.user_id, address=address)


def decide(flow, begun, *, approved=True):
    device = enter(flow, begun["user_code"])
    decide_device(flow.world.ports, device, consent_of(flow.world), approved=approved)


def test_a_user_code_has_eight_letters_of_twenty_and_is_read_however_it_is_typed(flow):
    begun = flow.begin()
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", begun["user_code"])
    typed = begun["user_code"].lower().replace("-", " ")
    assert enter(flow, f" {typed} ").address == "203.0.113.9"


def test_an_approved_device_gets_tokens_once_and_a_second_time_ends_them(flow):
    begun = flow.begin()
    decide(flow, begun)
    status, token = flow.poll(begun)
    assert status == 200
    authenticate_token(flow.world.ports, token["access_token"])
    assert flow.poll(begun)[0] == 400
    with pytest.raises(Unauthenticated):
        authenticate_token(flow.world.ports, token["access_token"])


def test_a_refused_device_gets_nothing(flow):
    begun = flow.begin()
    decide(flow, begun, approved=False)
    assert flow.poll(begun)[1]["error"] == "access_denied"


def test_both_codes_last_ten_minutes(flow):
    begun = flow.begin()
    flow.world.clock.advance_seconds(600)
    assert flow.poll(begun)[1]["error"] == "expired_token"
    with pytest.raises(NotFound):
        enter(flow, begun["user_code"])


def test_who_polls_too_soon_waits_five_seconds_longer_each_time(flow):
    begun, told = flow.begin(), []
    for wait in (0, 5, 4, 9, 10, 14, 20):
        flow.world.clock.advance_seconds(wait)
        told.append(flow.poll(begun)[1]["error"])
    # Intervals: 5, 5, then 10 after 4, 15 after 9, 20 after 10, 25 after 14, 30 after 20.
    assert told == ["authorization_pending"] * 2 + ["slow_down"] * 5
    flow.world.clock.advance_seconds(30)
    assert flow.poll(begun)[1]["error"] == "authorization_pending"


def test_five_wrong_codes_of_an_address_or_a_person_are_all_for_ten_minutes(flow):
    others = [flow.world.ids.new_id("usr") for _ in range(6)]
    begun = flow.begin()
    for user_id in others[:5]:
        with pytest.raises(NotFound):
            enter(flow, "BCDF-GHJK", user_id)
    with pytest.raises(TooManyGuesses):
        enter(flow, begun["user_code"], others[5])
    for number in range(5):
        with pytest.raises(NotFound):
            enter(flow, "BCDFGHJK", address=f"198.51.100.{100 + number}")
    with pytest.raises(TooManyGuesses):
        enter(flow, begun["user_code"], address="198.51.100.200")
    flow.world.clock.advance_seconds(600)
    with pytest.raises(NotFound):
        enter(flow, begun["user_code"])


def test_right_codes_count_against_nobody_but_themselves(flow):
    for _ in range(12):
        enter(flow, flow.begin()["user_code"])
    begun = flow.begin()
    for _ in range(5):
        enter(flow, begun["user_code"])
    with pytest.raises(NotFound):
        enter(flow, begun["user_code"])


def test_a_code_of_another_client_or_none_is_refused(flow):
    begun = flow.begin()
    status, body = flow.post(
        "token", grant_type="urn:ietf:params:oauth:grant-type:device_code", device_code="x", client_id="cli"
    )
    assert (status, body["error"]) == (400, "invalid_grant")
    assert flow.poll(begun)[1]["error"] == "authorization_pending"


def test_only_clients_of_devices_may_begin(flow):
    status, body = flow.post("device", client_id=flow.world.service_id)
    assert (status, body["error"]) in {(400, "invalid_client"), (401, "invalid_client")}
    status, body = flow.post("device", client_id="cli", scope="nothing:known")
    assert (status, body["error"]) == (400, "invalid_scope")


def test_a_poll_and_a_decision_at_once_lose_neither(flow):
    begun = flow.begin()
    device = enter(flow, begun["user_code"])

    def poll_between():
        flow.world.db.interlude = None
        flow.poll(begun)

    flow.world.db.interlude = poll_between
    decide_device(flow.world.ports, device, consent_of(flow.world), approved=True)
    stored = [row for (kind, _), row in flow.world.db.table("oauth").items() if kind is DeviceAuthorization]
    assert stored[0].state == "approved"
    assert flow.poll(begun)[0] == 200

"""What cannot be taken back asks a person for a sign-in of five minutes; keys and programs are no persons."""

import pytest

from chalicelib.core.principal import STEP_UP_MS
from tests.unit.authorisation.gate import OPERATIONS, Gate
from tests.unit.runtime.contract import CONTRACT

#: Whoever has a key, a secret or an organisation has it for longer than a token that was stolen.
FRESH = {
    "POST /v1/accounts/{account_id}/api-keys",
    "POST /v1/api-keys/{key_id}/rotate",
    "POST /v1/oauth-clients",
    "POST /v1/oauth-clients/{client_id}/secrets",
    "POST /v1/service-accounts/{service_account_id}/secrets",
    "POST /v1/organisations/{account_id}/actions",
    "POST /v1/organisations/{account_id}/ownership",
}
OF_ROUTES = {f"{each.method} {each.path}": each for each in OPERATIONS}
KEYS = "POST /v1/accounts/{account_id}/api-keys"


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


def sign(gate, seconds_ago, name="owner"):
    return gate.callers.sign(gate.people[name], signed_in_seconds_ago=seconds_ago)


def issue(gate, by):
    return gate.knock(OF_ROUTES[KEYS], by, {"account_id": gate.callers.a}, {"label": "x"})


def test_these_routes_ask_for_it_and_the_document_says_so():
    assert {route for route, operation in OF_ROUTES.items() if operation.fresh} == FRESH
    written = {
        f"{method.upper()} {path}"
        for path, methods in CONTRACT["paths"].items()
        for method, operation in methods.items()
        if operation.get("x-sign-in-within-seconds") == STEP_UP_MS // 1000
    }
    assert written == FRESH
    assert "step_up_needed" in CONTRACT["components"]["responses"]["Forbidden"]["x-codes"]


@pytest.mark.parametrize("route", sorted(FRESH))
@pytest.mark.parametrize("name", ["owner", "operator"])
def test_a_token_of_a_sign_in_that_is_older_is_told_to_sign_in_again(gate, route, name):
    operation, before = OF_ROUTES[route], len(gate.cloud.audit.entries)
    status, told = gate.knock(operation, sign(gate, 301, name), None, gate.find_example(operation))
    allowed = operation.permission in gate.people[name].permissions
    assert (status, told["code"]) == (403, "step_up_needed" if allowed else "forbidden")
    assert len(gate.cloud.audit.entries) == before


def test_five_minutes_are_counted_from_the_sign_in_and_not_from_the_token(gate):
    assert issue(gate, sign(gate, 300))[0] == 201
    token = sign(gate, 240)
    assert issue(gate, token)[0] == 201
    gate.cloud.clock.advance_seconds(61)
    assert issue(gate, token)[1]["code"] == "step_up_needed"
    # Another access token of the same grant says the same.
    assert issue(gate, sign(gate, 301))[1]["code"] == "step_up_needed"
    assert issue(gate, "owner")[0] == 201


def test_it_is_asked_after_what_the_role_allows_and_before_anything_of_the_request_is_read(gate):
    assert issue(gate, sign(gate, 301, "viewer"))[1]["code"] == "forbidden"
    status, told = gate.knock(OF_ROUTES[KEYS], sign(gate, 301), None, {"unknown": 1})
    assert (status, told["code"]) == (403, "step_up_needed")


@pytest.mark.parametrize("name", ["renter", "program developer"])
def test_keys_and_programs_are_not_asked(gate, name):
    assert issue(gate, name)[0] == 201


def test_reading_and_what_can_be_taken_back_are_not_asked(gate):
    token = sign(gate, 86_000)
    assert gate.knock(OF_ROUTES["GET /v1/api-keys"], token)[0] == 200
    body = {"name": "x", "command": ["true"]}
    assert gate.knock(OF_ROUTES["POST /v1/templates"], token, None, body)[0] == 201


@pytest.mark.parametrize(("kind", "status"), [("erasure", 403), ("export", 201)])
def test_an_erasure_is_asked_for_by_who_just_signed_in(gate, kind, status):
    route = OF_ROUTES["POST /v1/privacy/requests"]
    answered, told = gate.knock(route, sign(gate, 301), None, {"kind": kind})
    assert answered == status
    assert told.get("code") == ("step_up_needed" if status == 403 else None)
    assert gate.knock(route, sign(gate, 299), None, {"kind": "erasure"})[0] == 201

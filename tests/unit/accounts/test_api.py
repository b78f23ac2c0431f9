"""The routes of keys: what is asked for is what is shown, and what holds at the next request."""

from functools import partial

import pytest

import app
from chalicelib.accounts.service import authenticate, bootstrap_installation, create_key
from chalicelib.core.clock import format_instant
from tests.factories import add_renter
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import build_event, call

KEYS = "/v1/accounts/{account_id}/api-keys"
ROTATE = "/v1/api-keys/{key_id}/rotate"
DAY_MS = 86_400_000


class Desk(Platform):
    """Requests come with real keys, from addresses."""

    def __init__(self, monkeypatch):
        super().__init__(monkeypatch)
        for routes in app.APIS:
            monkeypatch.setattr(routes, "_authenticate", partial(authenticate, self.cloud.accounts))
        renter = self.seeded.renter
        self.token = create_key(self.cloud.accounts, renter, renter.account_id, label="first").token

    def send(self, route, body=None, *, token=None, address="203.0.113.7", key="once", **parameters):
        method, path = route.split(" ")
        headers = {"Authorization": f"Bearer {token or self.token}", "Idempotency-Key": key}
        event = build_event(method, path, body=body, headers=headers, parameters=parameters)
        event["requestContext"]["identity"]["sourceIp"] = address
        status, answer, sent = call(app.app, event)
        self.headers = sent
        return status, answer

    def issue(self, **body):
        account_id = self.seeded.renter.account_id
        return self.send(f"POST {KEYS}", {"label": "ci", **body}, account_id=account_id)

    def list(self):
        return {each["key_id"]: each for each in self.send("GET /v1/api-keys")[1]["items"]}


@pytest.fixture
def desk(monkeypatch):
    return Desk(monkeypatch)


def test_a_key_is_shown_with_its_limits_and_never_its_text(desk):
    now_ms = desk.cloud.clock.now_ms()
    ends_at = format_instant(now_ms + DAY_MS)
    wished = {"permissions": ["rentals:read", "keys:read"], "allowed_networks": ["203.0.113.0/24"]}
    status, made = desk.issue(**wished, expires_at=ends_at)
    assert status == 201
    token = made.pop("key")
    assert desk.list()[made["key_id"]] == made
    assert (made["permissions"], made["allowed_networks"]) == (
        ["keys:read", "rentals:read"],
        ["203.0.113.0/24"],
    )
    assert (made["expires_at"], made["last_used_at"]) == (ends_at, None)
    assert desk.send("GET /v1/rentals", token=token)[0] == 200
    assert desk.list()[made["key_id"]]["last_used_at"] == format_instant(now_ms)


def test_each_limit_refuses_with_a_code_of_its_own(desk):
    ends_at = format_instant(desk.cloud.clock.now_ms() + DAY_MS)
    _, made = desk.issue(
        permissions=["rentals:read"], allowed_networks=["203.0.113.0/24", "2001:db8::/32"], expires_at=ends_at
    )
    token = made["key"]
    told = [
        desk.send("GET /v1/rentals", token=token, address=address)
        for address in ("203.0.113.255", "2001:db8::7", "203.0.114.1")
    ]
    assert [status for status, _ in told] == [200, 200, 403]
    assert told[2][1]["code"] == "address_not_allowed"
    status, answer = desk.send("GET /v1/wallet", token=token)
    assert (status, answer["code"]) == (403, "forbidden")
    desk.cloud.clock.advance_seconds(86_400)
    status, answer = desk.send("GET /v1/rentals", token=token)
    assert (status, answer["code"]) == (401, "key_expired")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"permissions": []}, "invalid_request"),
        ({"permissions": ["accounts:write"]}, "permission_not_of_role"),
        ({"permissions": None, "role": "operator"}, "invalid_request"),
        ({"allowed_networks": ["203.0.113.7/24"]}, "invalid_network"),
        ({"allowed_networks": ["10.0.0.0/8"] * 17}, "invalid_request"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "invalid_expiry"),
        ({"expires_at": "tomorrow"}, "invalid_request"),
        ({"predecessor_id": "key_x"}, "invalid_request"),
    ],
)
def test_a_bad_wish_is_refused(desk, body, code):
    before = len(desk.list())
    status, answer = desk.issue(**body)
    assert (status, answer["code"]) == (400, code)
    assert len(desk.list()) == before


def test_a_key_is_rotated_by_itself_and_a_repeat_shows_the_same(desk):
    _, made = desk.issue()
    route, named = f"POST {ROTATE}", {"key_id": made["key_id"], "token": made["key"]}
    status, rotated = desk.send(route, {"overlap_seconds": 3600}, **named)
    assert (status, rotated["predecessor_id"], "Idempotency-Replayed" in desk.headers) == (
        201,
        made["key_id"],
        False,
    )
    assert desk.send(route, {"overlap_seconds": 3600}, **named) == (201, rotated)
    assert desk.headers["Idempotency-Replayed"] == "true"
    assert desk.send(route, {}, **named)[0] == 422
    old = desk.list()[made["key_id"]]
    assert old["successor_id"] == rotated["key_id"]
    assert old["expires_at"] == format_instant(desk.cloud.clock.now_ms() + 3_600_000)
    desk.cloud.clock.advance_seconds(3600)
    assert desk.send("GET /v1/wallet", token=made["key"])[0] == 401
    assert desk.send("GET /v1/wallet", token=rotated["key"])[0] == 200
    status, answer = desk.send(route, {}, key="again", key_id=made["key_id"])
    assert (status, answer["code"]) == (409, "already_rotated")


@pytest.mark.parametrize(
    "body", [{"overlap_seconds": -1}, {"overlap_seconds": 604_801}, {"overlap_seconds": "1"}]
)
def test_an_overlap_has_bounds(desk, body):
    _, made = desk.issue()
    assert desk.send(f"POST {ROTATE}", body, key_id=made["key_id"])[0] == 400


def test_a_rotation_needs_a_key_to_be_repeated_with(desk):
    _, made = desk.issue()
    status, answer = desk.send(f"POST {ROTATE}", {}, key=" ", key_id=made["key_id"])
    assert (status, answer["code"]) == (400, "idempotency_key_missing")


def test_another_accounts_key_answers_as_a_missing_one_on_every_route(desk):
    other = add_renter(desk.seeded, name="other", credit_micros=0)
    for route, body in ((f"POST {ROTATE}", {}), ("DELETE /v1/api-keys/{key_id}", None)):
        told = [desk.send(route, body, key_id=key_id) for key_id in (other.actor_id, "key_missing")]
        for _, answer in told:
            answer.pop("request_id")
        assert told[0] == told[1]
        assert told[0][0] == 404
    assert other.actor_id not in desk.list()


def test_an_operator_rotates_a_renters_key(desk):
    token = bootstrap_installation(desk.cloud.accounts, currency="USD", rotate=True).operator_key
    _, made = desk.issue(permissions=["rentals:read"])
    status, rotated = desk.send(f"POST {ROTATE}", {}, token=token, key_id=made["key_id"])
    assert (status, rotated["permissions"]) == (201, ["rentals:read"])

"""Every route is authenticated, parsed strictly, and answers a problem document whatever goes wrong."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import pytest
from botocore.exceptions import ConnectTimeoutError
from pydantic import Field
from pynamodb.exceptions import GetError

import app as deployed
from chalicelib.core import errors
from chalicelib.core.principal import KeyLimits
from chalicelib.runtime.bodies import MAX_BODY_BYTES, MAX_DEPTH, RequestBody
from chalicelib.runtime.http import Answer, Api
from tests.unit.runtime.gateway import RENTER, build_api, build_event, call

THINGS = "/v1/things"
OTHERS = ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE")
THING = "/v1/things/{thing_id}"


class ThingRequest(RequestBody):
    count: Annotated[int, Field(ge=1, le=8)]
    tags: Annotated[dict[str, str], Field(default_factory=dict)]


class State:
    """What the views saw, and what they shall raise."""

    def __init__(self):
        self.seen, self.error = [], None


@pytest.fixture
def state():
    return State()


@pytest.fixture
def app(state):
    def declare(api: Api) -> None:
        @api.route("POST", THINGS, permission="things:read", body=ThingRequest)
        def create_thing(request):
            if state.error is not None:
                raise state.error
            state.seen.append(request.read_body(ThingRequest))
            return Answer('{"done": true}', HTTPStatus.CREATED, {"X-Replayed": "true"})

        @api.route("GET", THINGS, permission="things:read", query=frozenset({"limit"}))
        def list_things(request):
            state.seen.append(request.query)
            return Answer('{"items": []}')

        @api.route("GET", THING, permission="things:read")
        def read_thing(request, thing_id):
            state.seen.append(thing_id)
            return Answer("{}")

        @api.route("DELETE", THING, permission="things:write")
        def delete_thing(request, thing_id):
            raise AssertionError("never reached")

        @api.route("GET", "/v1/open", public=True)
        def read_open(request):
            return Answer(request.principal.actor_id)

    return build_api(declare)


def test_a_good_request_reaches_its_view_and_says_who_answered(app, state):
    status, body, headers = call(app, build_event("POST", THINGS, body={"count": 2}))
    assert (status, body) == (201, {"done": True})
    assert state.seen == [ThingRequest(count=2)]
    assert headers["X-Request-Id"] == "request-1"
    assert headers["X-Replayed"] == "true"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_that_the_gateway_sent_as_base64_is_the_same_body(app, state):
    status, _, _ = call(app, build_event("POST", THINGS, raw=b'{"count": 3}'))
    assert (status, state.seen) == (201, [ThingRequest(count=3)])


DEEP = '{"count": 1, "tags": ' + '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1) + "}"
BAD_BODIES = {
    "empty": ("", "invalid_json"),
    "broken": ("{", "invalid_json"),
    "NaN": ('{"count": NaN}', "invalid_json"),
    "twice": ('{"count": 1, "count": 2}', "invalid_json"),
    "bottomless": ("[" * 100_000, "invalid_json"),
    "list": ("[]", "invalid_request"),
    "deep": (DEEP, "invalid_request"),
    "unknown": ('{"count": 1, "extra": 1}', "invalid_request"),
    "text": ('{"count": "1"}', "invalid_request"),
    "truth": ('{"count": true}', "invalid_request"),
    "fraction": ('{"count": 1.5}', "invalid_request"),
    "almost whole": ('{"count": 1.00000000000000000001}', "invalid_request"),
    "exponent beyond all": ('{"count": 1e99999999999999999999}', "invalid_request"),
    "exponent below all": ('{"count": 1e-99999999999999999999}', "invalid_request"),
    "no end of digits": ('{"count": 1e400}', "invalid_request"),
    "whole, and too much": ('{"count": 9.0}', "invalid_request"),
    "large": ('{"count": 1000000000}', "invalid_request"),
    "lone surrogate": ('{"count": 1, "tags": {"a": "\\ud800"}}', "invalid_json"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_a_bad_request_and_reaches_no_view(app, state, name):
    text, code = BAD_BODIES[name]
    status, body, headers = call(app, build_event("POST", THINGS, raw=text))
    assert (status, body["code"]) == (400, code)
    assert headers["Content-Type"] == "application/problem+json"
    assert body["type"] == f"urn:provocative:problem:{code}"
    assert body["request_id"] == "request-1"
    assert state.seen == []


def test_what_is_wrong_is_said_by_field_and_never_repeats_the_input(app):
    _, body, _ = call(app, build_event("POST", THINGS, body={"count": "secret", "more": 1}))
    assert {error["field"] for error in body["errors"]} == {"count", "more"}
    assert "secret" not in str(body)


def test_a_body_above_the_limit_and_another_content_type_have_statuses_of_their_own(app):
    large = '{"count": 1, "tags": {"a": "' + "x" * MAX_BODY_BYTES + '"}}'
    status, body, _ = call(app, build_event("POST", THINGS, raw=large))
    assert (status, body["code"]) == (413, "payload_too_large")
    event = build_event("POST", THINGS, body={"count": 1}, headers={"Content-Type": "text/plain"})
    status, body, _ = call(app, event)
    assert (status, body["code"]) == (415, "unsupported_media_type")


def test_without_the_routes_permission_a_known_key_is_forbidden(app):
    status, body, _ = call(app, build_event("DELETE", THING, parameters={"thing_id": "x"}))
    assert (status, body["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("address", "status"), [("203.0.113.7", 200), ("198.51.100.1", 403), ("", 403), (None, 403)]
)
def test_a_key_held_to_networks_is_good_from_there_alone_whatever_a_header_says(monkeypatch, address, status):
    held = replace(RENTER, limits=KeyLimits(networks=("203.0.113.0/24",)))
    monkeypatch.setattr("tests.unit.runtime.gateway.RENTER", held)

    def declare(api: Api) -> None:
        @api.route("GET", THINGS, permission="things:read")
        def list_things(request):
            return Answer("{}")

    forged = {"X-Forwarded-For": "203.0.113.7", "X-Real-Ip": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    event = build_event("GET", THINGS, headers=forged)
    event["requestContext"]["identity"] = {"sourceIp": address}
    answered, body, _ = call(build_api(declare), event)
    assert (answered, body.get("code")) == (status, None if status == 200 else "address_not_allowed")


@pytest.mark.parametrize(("address", "status"), [("2001:db8:1:2::9", 200), ("2001:db8:1:2::a", 403)])
def test_a_key_is_held_to_the_whole_address_also_of_ipv6(monkeypatch, address, status):
    held = replace(RENTER, limits=KeyLimits(networks=("2001:db8:1:2::9/128",)))
    monkeypatch.setattr("tests.unit.runtime.gateway.RENTER", held)

    def declare(api: Api) -> None:
        @api.route("GET", THINGS, permission="things:read")
        def list_things(request):
            return Answer("{}")

    event = build_event("GET", THINGS)
    event["requestContext"]["identity"] = {"sourceIp": address}
    assert call(build_api(declare), event)[0] == status


def test_what_a_view_counts_by_is_the_part_of_ipv6_that_one_customer_has():
    seen = []

    def declare(api: Api) -> None:
        @api.route("POST", "/v1/open", public=True)
        def count(request):
            seen.append(request.address)
            return Answer("{}")

    tested = build_api(declare)
    for address in ("2001:db8:1:2::9", "2001:db8:1:2:3:4:5:6", "192.0.2.1"):
        event = build_event("POST", "/v1/open")
        event["requestContext"]["identity"] = {"sourceIp": address}
        assert call(tested, event)[0] == 200
    assert seen == ["2001:db8:1:2::/64", "2001:db8:1:2::/64", "192.0.2.1"]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic good", "good", "Bearer bad"])
def test_without_a_good_key_nothing_is_read_or_done(app, state, authorization):
    # A body that would be refused: who may not come in is not told what is wrong with it.
    event = build_event("POST", THINGS, raw="{", headers={"Authorization": authorization})
    status, body, headers = call(app, event)
    assert (status, body["code"]) == (401, "invalid_credentials")
    assert headers["WWW-Authenticate"].startswith("Bearer")
    assert state.seen == []


def test_a_public_route_has_no_principal(app):
    status, body, _ = call(app, build_event("GET", "/v1/open"))
    assert (status, body["code"]) == (401, "invalid_credentials")


@pytest.mark.parametrize(
    ("query", "status"),
    [(None, 200), ({"limit": ["1"]}, 200), ({"limit": ["1", "2"]}, 400), ({"other": ["1"]}, 400)],
)
def test_a_query_has_known_parameters_once_each(app, query, status):
    assert call(app, build_event("GET", THINGS, query=query))[0] == status


@pytest.mark.parametrize("value", ["x" * 129, "a%23b", "a%0Ab", "%00"])
def test_an_identifier_that_cannot_be_one_is_not_found(app, state, value):
    status, body, _ = call(app, build_event("GET", THING, parameters={"thing_id": value}))
    assert (status, body["code"]) == (404, "not_found")
    assert state.seen == []


STATUSES = [
    (errors.InvalidInput("d"), 400, "invalid_request"),
    (errors.Unauthenticated("d"), 401, "invalid_credentials"),
    (errors.InsufficientFunds("d"), 402, "insufficient_funds"),
    (errors.Forbidden("d"), 403, "forbidden"),
    (errors.NotFound("d"), 404, "not_found"),
    (errors.Conflict("d", code="own_code", extra={"why": "x"}), 409, "own_code"),
    (errors.IdempotencyMismatch("d"), 422, "idempotency_key_reused"),
    (errors.Unavailable("d"), 503, "temporarily_unavailable"),
]


@pytest.mark.parametrize(("error", "status", "code"), STATUSES)
def test_each_domain_error_has_its_status(app, state, error, status, code):
    state.error = error
    answered, body, headers = call(app, build_event("POST", THINGS, body={"count": 1}))
    assert (answered, body["code"], body["status"], body["detail"]) == (status, code, status, "d")
    assert body.get("why") == error.extra.get("why")
    assert ("Retry-After" in headers) == (status == 503)


def test_every_domain_error_has_a_status():
    def walk(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from walk(child)

    from chalicelib.runtime.problems import get_status

    for kind in set(walk(errors.DomainError)) - {errors.DomainError}:
        if kind.__module__ == "chalicelib.core.errors":
            assert get_status(kind("d")).value < 500 or kind is errors.Unavailable


def test_a_store_that_does_not_answer_is_temporary(app, state):
    state.error = GetError("down", ConnectTimeoutError(endpoint_url="http://x"))
    status, body, headers = call(app, build_event("POST", THINGS, body={"count": 1}))
    assert (status, body["code"]) == (503, "temporarily_unavailable")
    assert headers["Retry-After"] == "1"


def test_a_bug_tells_nothing_but_the_request_id(app, state):
    state.error = RuntimeError("password=hunter2")
    status, body, headers = call(app, build_event("POST", THINGS, body={"count": 1}))
    assert (status, body["code"], body["request_id"]) == (500, "internal_error", "request-1")
    assert "hunter2" not in str(body) + str(headers)


@pytest.mark.parametrize("options", [{}, {"permission": "x", "public": True}])
def test_a_route_declares_a_permission_or_that_it_is_public(options):
    with pytest.raises(ValueError, match="must declare"):
        Api("x", lambda token: None).route("GET", "/", **options)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "caf\u00e9", "a\tb"])
def test_a_malformed_idempotency_key_is_refused(key):
    from chalicelib.runtime.http import Call

    with pytest.raises(errors.InvalidInput) as caught:
        Call(None, b"", {}, {"idempotency-key": key}, "r").idempotency_key  # noqa: B018
    assert caught.value.code == "idempotency_key_missing"


@pytest.mark.parametrize("method", OTHERS)
def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(app, state, method):
    status, problem, headers = call(app, build_event(method, THINGS))
    assert (status, problem["code"], problem["request_id"]) == (405, "method_not_allowed", "request-1")
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Allow"] == "GET, POST"
    assert (headers["X-Request-Id"], headers["Cache-Control"]) == ("request-1", "no-store")
    assert state.seen == []


def test_the_deployed_application_refuses_a_method_that_a_path_does_not_have():
    status, problem, headers = call(deployed.app, build_event("DELETE", "/v1/wallet"))
    assert (status, problem["code"], headers["Allow"]) == (405, "method_not_allowed", "GET, OPTIONS")


@pytest.mark.parametrize("count", ["8", "8.0", "8e0", "0.8e1", "80e-1", "8.000"])
def test_a_whole_number_is_one_however_it_is_written(app, state, count):
    # To JSON Schema, in which the document speaks, 8.0 is an integer.
    status, _, _ = call(app, build_event("POST", THINGS, raw=f'{{"count": {count}}}'))
    assert status == 201
    assert (state.seen[0].count, type(state.seen[0].count)) == (8, int)

"""What a caller sees of the limits: headers, 429, and nothing that a header could change."""

import json

import pytest

import app as platform
from chalicelib.core.errors import Unauthenticated
from chalicelib.core.principal import Principal
from chalicelib.core.throttling import Policy, RateQuota
from chalicelib.runtime.http import Answer, Api, choose_cost
from chalicelib.runtime.throttling import Limiter, read_address
from tests.fakes.database import FakeClock
from tests.fakes.limits import MemoryBuckets
from tests.unit.runtime.gateway import Context, build_event

THINGS, OPEN, HOOK, SLOW = "/v1/things", "/v1/open", "/v1/hook", "/v1/slow"
POLICIES = {
    cost: Policy(name, {scope: RateQuota(tokens) for scope, tokens in zip(SCOPES, sizes, strict=True)})
    for SCOPES in [("actor", "account", "address")]
    for cost, name, sizes in [
        ("read", "default", (10, 15, 10)),
        ("write", "write", (10, 15, 10)),
        ("expensive", "expensive", (2, 3, 2)),
        ("auth", "auth", (5, 5, 5)),
    ]
}
OPERATIONS = {f"{each.method} {each.path}": each for api in platform.APIS for each in api.operations}


class Door:
    """An API of a few routes behind limits, and how often a key was looked up."""

    def __init__(self):
        self.store, self.clock, self.lookups = MemoryBuckets(), FakeClock(), 0
        self.limiter = Limiter(self.store, self.clock, POLICIES)
        api = Api("tests.door", self.authenticate)
        api.limit_by(lambda: self.limiter)
        api.route("GET", THINGS, permission="things:read")(self.list_things)
        api.route("GET", SLOW, permission="things:read", cost="expensive")(self.export_things)
        api.route("GET", OPEN, public=True)(self.read_open)
        api.route("POST", OPEN, public=True)(self.post_open)
        api.route("POST", HOOK, public=True, cost="exempt")(self.post_hook)
        from chalice.app import Chalice

        self.app = Chalice(app_name="test", configure_logs=False)
        self.app.register_blueprint(api.blueprint)

    def authenticate(self, token):
        self.lookups += 1
        kind, _, number = token.partition("_")
        if kind == "bad":
            raise Unauthenticated("The key is not valid.")
        host_id = "hst_1" if kind == "host" else None
        account_id = "acc_2" if kind == "other" else "acc_1"
        return Principal(
            account_id, "renter", f"key_{kind}{number}", frozenset({"things:read"}), host_id=host_id
        )

    def list_things(self, call):
        return Answer("{}")

    def export_things(self, call):
        return Answer("{}")

    def read_open(self, call):
        return Answer("{}")

    def post_open(self, call):
        return Answer("{}")

    def post_hook(self, call):
        return Answer("{}")

    def ask(self, method=None, path=THINGS, *, key="good_1", address="192.0.2.1", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        event = build_event(method or "GET", path, headers={"Authorization": f"Bearer {key}"} | headers)
        event["requestContext"]["identity"] = {"sourceIp": address}
        answer = self.app(event, Context())
        found = {name: values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
        return answer["statusCode"], json.loads(answer["body"]), found | answer["headers"]

    def exhaust(self, *, limit=50, **asked):
        """Ask until it is refused; return how often it was not, and the refusal."""
        for passed in range(limit):
            status, body, headers = self.ask(**asked)
            if status == 429:
                return passed, body, headers
        raise AssertionError("never refused")


@pytest.fixture
def door():
    return Door()


def test_every_answer_says_what_is_left(door):
    status, _, headers = door.ask()
    assert status == 200
    assert headers["RateLimit-Policy"] == '"default";q=10;w=60'
    assert headers["RateLimit"] == '"default";r=9;t=6'
    assert door.ask()[2]["RateLimit"] == '"default";r=8;t=12'


def test_beyond_the_limit_is_a_problem_that_says_when_to_come_again(door):
    passed, body, headers = door.exhaust()
    assert passed == 10
    assert (body["status"], body["code"]) == (429, "quota_exceeded")
    assert body["type"] == "urn:provocative:problem:quota_exceeded"
    assert (body["policy"], body["quota"], body["window_seconds"]) == ("default", 10, 60)
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["RateLimit-Policy"] == '"default";q=10;w=60'
    wait = int(headers["Retry-After"])
    assert headers["RateLimit"] == f'"default";r=0;t={wait}'
    assert wait == body["retry_after_seconds"] > 0
    door.clock.advance_seconds(wait)
    assert door.ask()[0] == 200


def test_a_refused_request_of_a_warm_process_makes_no_call_at_all(door):
    door.exhaust()
    calls = len(door.store.calls)
    for _ in range(100):
        assert door.ask()[0] == 429
    assert len(door.store.calls) == calls


def test_a_key_and_its_account_have_limits_of_their_own(door):
    assert door.exhaust(key="good_1")[0] == 10
    # Another key of the account has what the account has left, and another account is not touched.
    passed, _, headers = door.exhaust(key="good_2")
    assert passed == 5
    assert headers["RateLimit-Policy"] == '"default";q=15;w=60'
    assert door.exhaust(key="other_1")[0] == 10


def test_cost_classes_do_not_touch_each_other(door):
    assert door.exhaust(path=SLOW)[0] == 2
    assert door.ask()[0] == 200


def test_the_hosts_of_a_site_do_not_share_a_limit(door):
    assert all(door.ask(key=f"host_{number}")[0] == 200 for number in range(40))


def test_bad_keys_from_one_address_are_refused_without_a_look_at_the_keys(door):
    passed, body, _ = door.exhaust(key="bad_1")
    assert (passed, body["code"]) == (5, "quota_exceeded")
    lookups, calls = door.lookups, len(door.store.calls)
    for number in range(100):
        assert door.ask(key=f"bad_{number}")[0] == 429
    assert (door.lookups, len(door.store.calls)) == (lookups, calls)
    assert door.ask(key="good_1", address="192.0.2.2")[0] == 200


def test_good_keys_are_not_counted_against_their_address(door):
    for number in range(30):
        assert door.ask(key=f"other_{number}")[0] == (200 if number < 15 else 429)
    assert not any(bucket.startswith("address") for bucket in door.store.calls)


@pytest.mark.parametrize(("method", "limit"), [("GET", 10), ("POST", 5)])
def test_a_public_route_is_counted_by_address(door, method, limit):
    assert door.exhaust(method=method, path=OPEN)[0] == limit
    assert door.ask(method, OPEN, address="192.0.2.2")[0] == 200
    assert {bucket.partition("#")[0] for bucket in door.store.calls} == {"address"}


@pytest.mark.parametrize(
    "name", ["X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "X-User-Id", "CF-Connecting-IP"]
)
def test_no_header_changes_whom_a_request_is_counted_to(door, name):
    for number in range(10):
        assert door.ask("GET", OPEN, **{name: f"203.0.113.{number}"})[0] == 200
    assert door.ask("GET", OPEN, **{name: "203.0.113.99"})[0] == 429
    assert set(door.store.full_at_us) == {"address#192.0.2.1#read"}


def test_what_is_exempt_is_never_refused_and_costs_no_call(door):
    assert {door.ask("POST", HOOK)[0] for _ in range(200)} == {200}
    assert door.store.calls == []
    assert "RateLimit" not in door.ask("POST", HOOK)[2]


def test_while_the_store_is_down_the_api_answers_and_each_process_keeps_the_limit(door):
    door.store.down = True
    assert door.exhaust()[0] == 10
    assert len(door.store.calls) == 1


def test_errors_carry_the_headers_too(door):
    status, body, headers = door.ask(key="bad_1")
    assert (status, body["code"]) == (401, "invalid_credentials")
    assert headers["RateLimit-Policy"] == '"auth";q=5;w=60'


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        (":nonsense", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_is_the_gateways_and_of_ipv6_the_part_that_one_customer_has(address, counted):
    assert read_address({"requestContext": {"identity": {"sourceIp": address}}}) == counted


def test_an_event_without_a_context_has_an_address_that_is_nobodys():
    assert read_address({}) == "unknown"


@pytest.mark.parametrize(
    ("method", "public", "cost"),
    [("GET", False, "read"), ("GET", True, "read"), ("PUT", False, "write"), ("POST", True, "auth")],
)
def test_a_route_that_says_nothing_costs_by_its_method(method, public, cost):
    assert choose_cost(method, public=public) == cost


def test_one_route_is_exempt_and_whoever_has_no_key_yet_is_counted_as_such():
    assert [name for name, each in OPERATIONS.items() if each.cost == "exempt"] == ["POST /v1/stripe/events"]
    assert OPERATIONS["POST /v1/leaked-keys"].cost == "auth"
    assert OPERATIONS["POST /v1/hosts"].cost == "auth"


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_makes_or_searches_much_is_expensive(name):
    searches = name.endswith(("/csv", "/pdf", "/best-starts"))
    assert (OPERATIONS[name].cost == "expensive") == searches

"""Entity tags, If-Match at the time of the write, cursors bound to who asks for what, announced ends."""

import json
import re
from dataclasses import replace

import pytest

import app
from chalicelib.runtime.api_document import DOCUMENT
from chalicelib.runtime.bodies import ResponseBody
from chalicelib.runtime.conventions import Deprecation, compute_tag, names_tag_strongly
from chalicelib.runtime.http import Answer, Api
from tests.factories import GPU_TYPE, REGION
from tests.unit.platform import Platform
from tests.unit.runtime.gateway import build_api, build_event, call

CONTRACT = json.loads(DOCUMENT.read_text())
OPERATIONS = {f"{each.method} {each.path}": each for api in app.APIS for each in api.operations}


@pytest.fixture
def platform(monkeypatch):
    return Platform(monkeypatch)


def send(role, method, resource, body=None, headers=None, query=None, **parameters):
    event = build_event(
        method,
        resource,
        body=body,
        headers={"Authorization": f"Bearer {role}", "Idempotency-Key": "key", **(headers or {})},
        query=query and {name: [value] for name, value in query.items()},
        parameters=parameters,
    )
    return call(app.app, event)


class Thing:
    """One thing that can be read, changed and removed: how to make it, and a change of it."""

    def __init__(self, role, path, body, method="PATCH", make=None, name=None, reader=None):
        self.role, self.path, self.body, self.method = role, path, body, method
        self.make, self.name, self.reader = make, name, reader or path

    def prepare(self):
        if self.make is None:
            return {}
        status, made, _ = send("renter", *self.make)
        assert status == 201, made
        return {self.name: made[self.name]}


TEMPLATE = {"name": "training", "gpu_type": GPU_TYPE, "gpu_count": 1}
POOL = {"min_hosts": 0, "max_hosts": 1, "warm_gpus": 0, "scale_in_after_seconds": 900, "options": []}
THINGS = {
    "budget": Thing(
        "renter",
        "/v1/budgets/{budget_id}",
        [{"limit_micros": 800_000_000}, {"limit_micros": 900_000_000}],
        make=("POST", "/v1/budgets", {"name": "b", "limit_micros": 500_000_000}),
        name="budget_id",
    ),
    "template": Thing(
        "renter",
        "/v1/templates/{template_id}",
        [{**TEMPLATE, "version": 1, "name": "one"}, {**TEMPLATE, "version": 2, "name": "two"}],
        "PUT",
        make=("POST", "/v1/templates", TEMPLATE),
        name="template_id",
    ),
    "endpoint": Thing(
        "renter",
        "/v1/webhook-endpoints/{endpoint_id}",
        [{"description": "one"}, {"description": "two"}],
        make=(
            "POST",
            "/v1/webhook-endpoints",
            {"url": "https://hooks.example.com/x", "event_types": ["rental.terminated"]},
        ),
        name="endpoint_id",
    ),
    "rental": Thing(
        "renter",
        "/v1/rentals/{rental_id}",
        [{"label": "one"}, {"label": "two"}],
        make=("POST", "/v1/rentals", {"gpu_type": GPU_TYPE, "gpu_count": 1, "command": ["true"]}),
        name="rental_id",
    ),
    "billing details": Thing(
        "renter",
        "/v1/billing-details",
        [
            {"name": "Example Lab", "address_lines": ["Street 1"], "country": "DE"},
            {"name": "Example Lab 2", "address_lines": ["Street 1"], "country": "DE"},
        ],
        "PUT",
    ),
    "removal settings": Thing(
        "renter",
        "/v1/removal-purchases/settings",
        [
            {"enabled": True, "max_micros_per_month": 20_000_000, "beneficiary_name": "Example"},
            {"enabled": True, "max_micros_per_month": 30_000_000, "beneficiary_name": "Example"},
        ],
        "PUT",
    ),
}


@pytest.mark.parametrize("name", THINGS)
def test_a_change_is_made_of_what_the_caller_knows_and_of_nothing_else(platform, name):
    thing = THINGS[name]
    parameters = thing.prepare()
    status, first, headers = send("renter", "GET", thing.path, **parameters)
    tag = headers["ETag"]
    assert (status, bool(re.fullmatch(r'"[0-9a-f]{32}"', tag))) == (200, True)
    assert send("renter", "GET", thing.path, headers={"If-None-Match": tag}, **parameters)[:2] == (304, {})

    change, other = thing.body
    status, changed, headers = send(
        "renter", thing.method, thing.path, change, {"If-Match": f'"other", {tag}'}, **parameters
    )
    assert status == 200, changed
    assert changed != first
    new_tag = headers["ETag"]
    assert send("renter", "GET", thing.path, **parameters)[2]["ETag"] == new_tag != tag

    for stale in (tag, f"W/{new_tag}", "other", ""):
        status, refused, _ = send(
            "renter", thing.method, thing.path, other, {"If-Match": stale}, **parameters
        )
        assert (status, refused["code"]) == (412, "precondition_failed"), stale
    assert send("renter", "GET", thing.path, **parameters)[1] == changed
    status, _, _ = send("renter", thing.method, thing.path, other, **parameters)
    assert status == 200
    if f"DELETE {thing.path}" in OPERATIONS:
        refused = send("renter", "DELETE", thing.path, headers={"If-Match": new_tag}, **parameters)
        assert refused[0] == 412
        known = send("renter", "GET", thing.path, **parameters)[2]["ETag"]
        assert send("renter", "DELETE", thing.path, headers={"If-Match": known}, **parameters)[0] == 204


@pytest.mark.parametrize("name", THINGS)
def test_who_changes_it_between_the_comparison_and_the_write_is_not_overwritten(platform, monkeypatch, name):
    """The other change comes right before the first commit: after everything was read and compared."""
    thing = THINGS[name]
    parameters = thing.prepare()
    tag = send("renter", "GET", thing.path, **parameters)[2]["ETag"]
    change, other = thing.body
    other = {**other, **({"version": 1} if "version" in other else {})}
    transactions = type(platform.cloud.rentals.transactions())
    commit, waiting = transactions.commit, [True]

    def commit_second(tx):
        if waiting:
            waiting.clear()
            status, said, _ = send("renter", thing.method, thing.path, change, **parameters)
            assert status == 200, said
        commit(tx)

    monkeypatch.setattr(transactions, "commit", commit_second)
    status, refused, _ = send("renter", thing.method, thing.path, other, {"If-Match": tag}, **parameters)
    if status == 503:
        # It changed meanwhile: whoever tries again, as it is told, is told why.
        status, refused, _ = send("renter", thing.method, thing.path, other, {"If-Match": tag}, **parameters)
    assert (status, refused["code"]) == (412, "precondition_failed")


@pytest.mark.parametrize(
    ("reader", "path"),
    [
        ("/v1/quotas", "/v1/accounts/{account_id}/quotas"),
        ("/v1/reservations/quota", "/v1/accounts/{account_id}/reservation-quota"),
    ],
)
def test_a_quota_is_set_of_what_the_operator_knows(platform, reader, path):
    account = {"account_id": platform.principals["renter"].account_id}
    tag = send("renter", "GET", reader)[2]["ETag"]
    assert send("operator", "PUT", path, {"max_gpus": 32}, {"If-Match": tag}, **account)[0] == 200
    assert send("operator", "PUT", path, {"max_gpus": 48}, {"If-Match": tag}, **account)[0] == 412
    assert send("operator", "PUT", path, {"max_gpus": 48}, {"If-Match": "*"}, **account)[0] == 200


def test_a_change_that_cannot_be_held_to_a_tag_refuses_to_be(platform):
    status, refused, _ = send(
        "renter", "PUT", "/v1/wallet/spend-limit", {"limit_micros_per_hour": None}, {"If-Match": "*"}
    )
    assert (status, refused["code"]) == (400, "if_match_not_taken")


def test_a_tag_is_of_the_very_bytes_and_a_weak_one_matches_no_change():
    assert compute_tag("a") != compute_tag("b")
    assert names_tag_strongly(' "x" ,"y"', '"y"')
    assert not names_tag_strongly('W/"y"', '"y"')


def test_the_document_says_where_tags_are_given_and_heeded():
    for route, operation in OPERATIONS.items():
        method, _, path = route.partition(" ")
        written = CONTRACT["paths"][path][method.lower()]
        named = {each["name"] for each in written["parameters"]}
        assert ("If-Match" in named) == ("412" in written["responses"]) == operation.conditional
        if operation.tagged:
            assert "If-None-Match" in named
            assert "ETag" in written["responses"]["200"]["headers"]
            assert "304" in written["responses"]


def list_templates(role, **query):
    return send(role, "GET", "/v1/templates", query=query)


@pytest.fixture
def cursor(platform):
    for number in range(3):
        headers = {"Idempotency-Key": str(number)}
        assert send("renter", "POST", "/v1/templates", TEMPLATE, headers)[0] == 201
    return list_templates("renter", limit="1")[1]["next_cursor"]


def test_a_cursor_goes_on_with_any_limit(cursor):
    status, page, _ = list_templates("renter", limit="2", cursor=cursor)
    assert (status, len(page["items"]), page["next_cursor"]) == (200, 2, None)


def test_a_cursor_is_good_for_whom_it_was_given_alone(cursor):
    status, refused, _ = list_templates("operator", cursor=cursor)
    assert (status, refused["code"]) == (400, "invalid_cursor")


def test_a_cursor_is_good_where_it_was_given_alone(cursor):
    for route in ("/v1/rentals", "/v1/api-keys", "/v1/ledger-entries"):
        status, refused, _ = send("renter", "GET", route, query={"cursor": cursor})
        assert (status, refused["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "spoilt", [lambda c: c[:-1], lambda c: "x" + c, lambda c: c.partition(".")[0], str.swapcase]
)
def test_a_cursor_that_was_touched_is_none(cursor, spoilt):
    status, refused, _ = list_templates("renter", cursor=spoilt(cursor))
    assert (status, refused["code"]) == (400, "invalid_cursor")


def test_a_cursor_is_bound_to_the_filter_it_was_given_under(platform):
    prices = {"gpu_type": GPU_TYPE, "region": REGION}
    for micros in (1_000_000, 1_100_000):
        body = {"price_micros_per_gpu_hour": micros}
        put = "/v1/gpu-types/{gpu_type}/prices/{region}"
        platform.cloud.clock.advance_seconds(1)
        assert send("operator", "PUT", put, body, **prices)[0] == 200
    route = "/v1/prices/history"
    found = send("renter", "GET", route, query={**prices, "limit": "1"})[1]["next_cursor"]
    assert send("renter", "GET", route, query={**prices, "cursor": found})[0] == 200
    status, refused, _ = send(
        "renter", "GET", route, query={**prices, "billing_class": "spot", "cursor": found}
    )
    assert (status, refused["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
def test_a_list_is_read_from_either_end_and_to_the_other(platform, sort):
    made = []
    for number in range(3):
        platform.cloud.clock.advance_seconds(1)
        headers = {"Idempotency-Key": str(number)}
        made.append(send("renter", "POST", "/v1/templates", TEMPLATE, headers)[1]["template_id"])
    listed, query = [], {"limit": "2", "sort": sort}
    while True:
        status, page, _ = list_templates("renter", **query)
        assert status == 200
        listed += [each["template_id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
        other = {**query, "sort": "created_at" if sort != "created_at" else "-created_at"}
        assert list_templates("renter", **other)[0] == 400, "a cursor is of its order"
    assert listed == (made if sort == "created_at" else made[::-1])


@pytest.mark.parametrize("route", ["/v1/rentals", "/v1/templates", "/v1/reservations", "/v1/top-ups"])
def test_these_lists_can_be_sorted_by_their_key_and_by_nothing_else(platform, route):
    assert send("renter", "GET", route, query={"sort": "created_at"})[0] == 200
    status, refused, _ = send("renter", "GET", route, query={"sort": "price"})
    assert (status, refused["code"]) == (400, "invalid_request")


def test_every_list_that_is_paged_has_a_limit_of_100():
    limits = [
        each["schema"]["maximum"]
        for path in CONTRACT["paths"].values()
        for operation in path.values()
        for each in operation["parameters"]
        if each["name"] == "limit"
    ]
    assert len(limits) > 10
    assert set(limits) == {100}


class ThingBody(ResponseBody):
    count: int


def test_an_end_is_announced_in_headers_and_in_the_document():
    end = Deprecation(1_764_547_200_000, 1_780_272_000_000, "v2/things")

    def declare(api: Api) -> None:
        @api.route("GET", "/v1/things", permission="things:read", deprecation=end)
        def list_things(request):
            return Answer(ThingBody(count=1))

    status, _, headers = call(build_api(declare), build_event("GET", "/v1/things"))
    assert status == 200
    assert headers["Deprecation"] == "@1764547200"
    assert headers["Sunset"] == "Mon, 01 Jun 2026 00:00:00 GMT"
    assert headers["Link"] == '<v2/things>; rel="successor-version"'


def test_an_operation_with_an_end_is_deprecated_in_the_document():
    from infra.openapi.document import build_document

    end = Deprecation(1_764_547_200_000, 1_780_272_000_000)
    (apis,) = [each for each in app.APIS if each.operations[0].path == "/v1/audit"]
    ended = Api("ended", lambda _token: None)
    ended.operations = [replace(apis.operations[0], deprecation=end)]
    written = build_document([ended])["paths"]["/v1/audit"]["get"]
    assert (written["deprecated"], written["x-sunset"]) == (True, "2026-06-01T00:00:00.000Z")


def test_a_request_id_is_the_gateways_whatever_the_caller_sends(platform):
    status, _, headers = send("renter", "GET", "/v1/wallet", headers={"X-Request-Id": "forged"})
    assert (status, headers["X-Request-Id"]) == (200, "request-1")

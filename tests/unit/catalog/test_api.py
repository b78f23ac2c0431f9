"""The routes of the catalogue, called with gateway events over the fakes."""

import pytest

import app
from chalicelib import wiring
from chalicelib.catalog import api as catalog_api
from chalicelib.catalog import functions
from chalicelib.catalog.model import PriceKey
from chalicelib.catalog.offers import AccountStanding, OfferPorts
from chalicelib.catalog.service import CachedCatalog, Capacity
from tests.factories import GPU_TYPE, PRICE, REGION, seed_cloud
from tests.fakes.events import TICK
from tests.unit.runtime.gateway import build_event, call

#: What EventBridge sends at the schedule's rate.


class Settings:
    currency = "USD"


class Pools:
    def count_free(self, _gpu_type, _region):
        return 0

    def read_capacity(self, _gpu_type, _region):
        return Capacity(0, 0, 8, {"maintenance": 8, "unhealthy": 0})


class Client:
    """Calls as one of the roles; answers (status, body)."""

    def __init__(self, monkeypatch):
        self.seeded = seed_cloud(hosts=0)
        cloud = self.seeded.cloud
        cached = CachedCatalog(cloud.catalog.store.read_catalog, cloud.clock, 60_000)
        self.standing = AccountStanding(None, 10**9)
        ports = OfferPorts(Pools(), lambda _account_id: self.standing, {REGION: 24_710}.get, 180)
        replaced = {
            "catalog_ports": lambda: cloud.catalog,
            "template_ports": lambda: cloud.templates,
            "offer_ports": lambda: ports,
            "capacity_reader": Pools,
            "cached_catalog": lambda: cached,
            "clock": lambda: cloud.clock,
            "settings": Settings,
            "account_exists": lambda account_id: account_id == self.seeded.renter.account_id,
            "known_regions": lambda: frozenset({REGION}),
            "find_operator_account": lambda: self.seeded.operator.account_id,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(wiring, name, value)
        principals = {"operator": self.seeded.operator, "renter": self.seeded.renter}
        monkeypatch.setattr(catalog_api.api, "_authenticate", principals.__getitem__)

    def send(self, role, method, resource, body=None, *, query=None, key=None, **parameters):
        headers = {"Authorization": f"Bearer {role}"} | ({} if key is None else {"Idempotency-Key": key})
        event = build_event(
            method,
            resource,
            body=body,
            headers=headers,
            query=query and {name: [value] for name, value in query.items()},
            parameters=parameters,
        )
        status, answer, sent = call(app.app, event)
        self.headers = sent
        return status, answer

    def put_price(self, **body):
        path = "/v1/gpu-types/{gpu_type}/prices/{region}"
        return self.send("operator", "PUT", path, body, gpu_type=GPU_TYPE, region=REGION)


@pytest.fixture
def client(monkeypatch):
    return Client(monkeypatch)


def test_a_profile_is_put_and_its_parent_is_checked(client):
    body = {
        "architecture": "Hopper",
        "memory_mib": 9_984,
        "power_limit_watts": 100,
        "mig_profile": "1g.10gb+me",
        "parent_gpu_type": GPU_TYPE,
    }
    path = "/v1/gpu-types/{gpu_type}"
    status, answer = client.send("operator", "PUT", path, body, gpu_type="H100-1g")
    assert (status, answer) == (200, {"gpu_type": "H100-1g", "interconnect": "none", **body})
    wrong = {**body, "parent_gpu_type": "none"}
    status, answer = client.send("operator", "PUT", path, wrong, gpu_type="H100-1g")
    assert (status, answer["code"]) == (400, "unknown_parent_gpu_type")
    for name, value in (("mig_profile", "8g.1gb"), ("interconnect", "rope")):
        status, answer = client.send("operator", "PUT", path, {**body, name: value}, gpu_type="x")
        assert (status, answer["code"]) == (400, "invalid_request")


def test_a_price_is_announced_seen_in_the_history_and_in_the_offer(client):
    status, price = client.put_price(
        price_micros_per_gpu_hour=PRICE * 2, effective_from="2027-01-15T10:00:00+01:00"
    )
    assert (status, price["effective_from"], price["effective_until"]) == (
        200,
        "2027-01-15T09:00:00.000Z",
        None,
    )
    assert (price["billing_class"], price["version"]) == ("on_demand", 2)
    (offer,) = client.send("renter", "GET", "/v1/offers")[1]["items"]
    assert offer["price_micros_per_gpu_hour"] == PRICE
    assert offer["next_price"] == {
        "effective_from": "2027-01-15T09:00:00.000Z",
        "price_micros_per_gpu_hour": PRICE * 2,
    }
    query = {"gpu_type": GPU_TYPE, "region": REGION, "limit": "1"}
    _, first = client.send("renter", "GET", "/v1/prices/history", query=query)
    query["cursor"] = first["next_cursor"]
    _, second = client.send("renter", "GET", "/v1/prices/history", query=query)
    assert [page["items"][0]["price_micros_per_gpu_hour"] for page in (first, second)] == [PRICE * 2, PRICE]
    assert second["next_cursor"] is None
    assert (first["currency"], first["billing_class"], first["items"][0]["origin"]) == (
        "USD",
        "on_demand",
        "operator",
    )
    query = {"gpu_type": GPU_TYPE, "region": REGION, "from": "2027-01-15T09:00:00Z"}
    assert len(client.send("renter", "GET", "/v1/prices/history", query=query)[1]["items"]) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"price_micros_per_gpu_hour": 0}, "invalid_request"),
        ({"price_micros_per_gpu_hour": 1, "billing_class": "free"}, "invalid_request"),
        ({"price_micros_per_gpu_hour": 1, "spot_floor_ppm": 1}, "invalid_request"),
        ({"price_micros_per_gpu_hour": 1, "spot_floor_ppm": 2, "spot_cap_ppm": 1}, "invalid_request"),
        (
            {"price_micros_per_gpu_hour": 1, "spot_floor_ppm": 1, "spot_cap_ppm": 2},
            "bounds_without_rule",
        ),
        ({"price_micros_per_gpu_hour": 1, "effective_from": "tomorrow"}, "invalid_request"),
        (
            {"price_micros_per_gpu_hour": 1, "effective_from": "2020-01-01T00:00:00Z"},
            "effective_from_out_of_range",
        ),
    ],
)
def test_a_wrong_price_is_refused(client, body, code):
    status, answer = client.put_price(**body)
    assert (status, answer["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/offers", {"gpu_count": "0"}),
        ("/v1/offers", {"gpu_count": "17"}),
        ("/v1/offers", {"gpu_count": "1.5"}),
        ("/v1/offers", {"min_memory_mib": "-1"}),
        ("/v1/offers", {"max_price_micros_per_gpu_hour": "9" * 30}),
        ("/v1/offers", {"min_reliability_ppm": "1000001"}),
        ("/v1/offers", {"sort": "colour"}),
        ("/v1/offers", {"billing_class": "free"}),
        ("/v1/offers", {"limit": "1"}),
        ("/v1/prices/history", {"gpu_type": GPU_TYPE}),
        ("/v1/prices/history", {"region": REGION}),
        ("/v1/prices/history", {"gpu_type": "a#b", "region": REGION}),
        ("/v1/prices/history", {"gpu_type": GPU_TYPE, "region": REGION, "from": "x"}),
        ("/v1/prices/history", {"gpu_type": GPU_TYPE, "region": REGION, "limit": "0"}),
    ],
)
def test_a_wrong_question_is_refused(client, path, query):
    assert client.send("renter", "GET", path, query=query)[0] == 400


def test_an_offer_that_does_not_fit_says_why_to_whoever_rents(client):
    client.standing = AccountStanding(1, 0)
    query = {"gpu_count": "2", "max_price_micros_per_gpu_hour": "1"}
    (seen,) = client.send("renter", "GET", "/v1/offers", query=query)[1]["items"]
    assert seen["why_not"] == ["no_capacity", "maintenance", "quota", "balance", "price_cap"]
    (seen,) = client.send("operator", "GET", "/v1/offers")[1]["items"]
    assert seen["why_not"] == ["no_capacity", "maintenance"]
    assert (seen["total_gpus"], seen["reliability_ppm"], seen["intensity_mg_per_kwh"]) == (8, None, 24_710)
    assert client.send("renter", "GET", "/v1/offers", query={"max_intensity_mg_per_kwh": "1"})[1] == {
        "items": []
    }


def test_a_far_end_of_time_is_a_time(client):
    for end in ("9999-12-31T23:59:59Z", "2286-11-20T17:46:40Z"):
        query = {"gpu_type": GPU_TYPE, "region": REGION, "to": end}
        assert len(client.send("renter", "GET", "/v1/prices/history", query=query)[1]["items"]) == 1
        query = {"gpu_type": GPU_TYPE, "region": REGION, "from": end}
        assert client.send("renter", "GET", "/v1/prices/history", query=query)[1]["items"] == []


def test_the_life_of_a_template(client):
    one = "/v1/templates/{template_id}"
    body = {"name": "n", "image": "a/b", "gpu_type": GPU_TYPE, "env": {"A": "1"}}
    status, made = client.send("renter", "POST", "/v1/templates", body, key="k")
    assert (status, made["visibility"], made["version"], made["gpu_count"]) == (201, "private", 1, None)
    status, again = client.send("renter", "POST", "/v1/templates", body, key="k")
    assert (status, again, client.headers["Idempotency-Replayed"]) == (201, made, "true")
    template_id = made["template_id"]
    assert client.send("renter", "GET", one, template_id=template_id) == (200, made)
    assert client.send("operator", "GET", one, template_id=template_id)[0] == 404
    change = {**body, "visibility": "public", "version": 1}
    status, changed = client.send("renter", "PUT", one, change, template_id=template_id)
    assert (status, changed["version"], changed["visibility"]) == (200, 2, "public")
    status, answer = client.send("renter", "PUT", one, change, template_id=template_id)
    assert (status, answer["code"]) == (409, "version_mismatch")
    status, answer = client.send("operator", "PUT", one, {**change, "version": 2}, template_id=template_id)
    assert (status, answer["code"]) == (403, "not_owner")
    _, listed = client.send("operator", "GET", "/v1/templates", query={"limit": "1"})
    assert [item["template_id"] for item in listed["items"]] == [template_id]
    assert client.send("renter", "DELETE", one, template_id=template_id)[0] == 204
    assert client.send("renter", "GET", one, template_id=template_id)[0] == 404
    status, answer = client.send("renter", "POST", "/v1/templates", body)
    assert (status, answer["code"]) == (400, "idempotency_key_missing")


def test_a_renter_sets_no_price(client):
    path = "/v1/gpu-types/{gpu_type}/prices/{region}"
    body = {"price_micros_per_gpu_hour": 1}
    assert client.send("renter", "PUT", path, body, gpu_type=GPU_TYPE, region=REGION)[0] == 403


def test_the_schedule_moves_prices_for_the_installation(client, monkeypatch):
    assert client.put_price(price_micros_per_gpu_hour=PRICE // 2, billing_class="spot")[0] == 200
    monkeypatch.setattr(Pools, "read_capacity", lambda *_: Capacity(0, 0, 8, {}))
    functions.move_spot_prices(TICK, None)
    schedule = client.seeded.cloud.catalog.store.read_catalog().find_schedule(
        PriceKey(GPU_TYPE, REGION, "spot")
    )
    assert schedule.version == 2
    monkeypatch.setattr(wiring, "find_operator_account", lambda: None)
    client.seeded.cloud.clock.advance_seconds(300)
    functions.move_spot_prices(TICK, None)
    assert client.seeded.cloud.catalog.store.read_catalog().find_schedule(schedule.key).version == 2

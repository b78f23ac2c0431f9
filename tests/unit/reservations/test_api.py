"""The routes of reservations, through the application, over the stores in memory."""

from types import SimpleNamespace

import pytest

import app
from chalicelib import wiring
from chalicelib.accounts.service import create_key
from chalicelib.core.clock import format_instant
from chalicelib.fleet import api as fleet_api
from chalicelib.reservations import api as reservations_api
from chalicelib.reservations import functions
from chalicelib.reservations.model import SLOT_MS
from tests.factories import GPU_TYPE, PRICES, REGION
from tests.fakes import START_MS
from tests.fakes.events import TICK
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire
from tests.unit.reservations.booking import change_host, pass_slots, read, read_promises, seed_calendars
from tests.unit.runtime.gateway import build_event, call

WINDOW = {"starts_at": format_instant(START_MS + SLOT_MS), "ends_at": format_instant(START_MS + 5 * SLOT_MS)}
PRICE = PRICES["reserved"]
GOOD = {"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": 2, **WINDOW, "label": "night run"}


#: What EventBridge sends at the schedule's rate.


class Client:
    def __init__(self, seeded, monkeypatch):
        self.seeded, cloud = seeded, seeded.cloud
        key = create_key(cloud.accounts, seeded.operator, seeded.renter.account_id, label="api")
        self.token = key.token
        rewire(
            monkeypatch,
            account_ports=cloud.accounts,
            reservation_ports=cloud.reservations,
            cached_catalog=cloud.reservations.cached_catalog,
            clock=cloud.clock,
            settings=SimpleNamespace(currency="USD", stage="test"),
        )

    def send(self, method, resource, *, key="key-1", **sent):
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        return call(app.app, build_event(method, resource, headers=headers, **sent))

    def act(self, reservation_id, **body):
        path = "/v1/reservations/{reservation_id}/actions"
        return self.send("POST", path, body=body, parameters={"reservation_id": reservation_id})


@pytest.fixture
def client(monkeypatch):
    seeded, _ = seed_calendars(8)
    return Client(seeded, monkeypatch)


def test_a_reservation_is_booked_shown_listed_and_cancelled(client):
    status, made, _ = client.send("POST", "/v1/reservations", body=GOOD)
    assert status == 201
    reservation_id = made["reservation_id"]
    assert (made["state"], made["gpu_count"], made["node_count"], made["label"]) == (
        "confirmed",
        2,
        1,
        "night run",
    )
    assert (made["starts_at"], made["ends_at"]) == (WINDOW["starts_at"], WINDOW["ends_at"])
    assert (made["price_micros_per_gpu_hour"], made["currency"]) == (PRICE, "USD")
    assert [(each["gpu_count"], each["used_gpus"]) for each in made["bookings"]] == [(2, 0)]

    again = client.send("POST", "/v1/reservations", body=GOOD)
    assert (again[0], again[1], again[2]["Idempotency-Replayed"]) == (201, made, "true")

    path = "/v1/reservations/{reservation_id}"
    _, shown, _ = client.send("GET", path, parameters={"reservation_id": reservation_id})
    assert shown == made
    pass_slots(client.seeded, 1)
    _, shown, _ = client.send("GET", path, parameters={"reservation_id": reservation_id})
    assert shown["state"] == "active", "whether or not the sweep has come by"
    _, listed, _ = client.send("GET", "/v1/reservations")
    assert listed == {"items": [shown], "next_cursor": None}

    status, cancelled, _ = client.act(reservation_id, action="cancel")
    assert (status, cancelled["state"]) == (200, "cancelled")
    assert cancelled["cancel_fee_micros"] == PRICE * 2 // 2
    assert cancelled["cancelled_at"] == WINDOW["starts_at"]
    assert client.act(reservation_id, action="cancel")[1] == cancelled


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"gpu_count": 9}, 409, "no_capacity"),
        ({"gpu_count": 0}, 400, "invalid_request"),
        ({"gpu_count": "2"}, 400, "invalid_request"),
        ({"node_count": 7}, 400, "invalid_request"),
        ({"starts_at": "2027-01-15T08:20:00Z"}, 400, "off_grid"),
        ({"starts_at": "2027-01-15 later"}, 400, "invalid_request"),
        ({"starts_at": "2027-01-15T08:15:00"}, 400, "invalid_request"),
        ({"ends_at": WINDOW["starts_at"]}, 400, "window_length"),
        ({"region": "any"}, 400, "unknown_region"),
        ({"gpu_type": "unknown"}, 400, "unknown_gpu_type"),
        ({"host_id": "hst_1"}, 400, "invalid_request"),
        ({"label": "a\nb"}, 400, "invalid_request"),
    ],
)
def test_a_wrong_booking_is_a_problem_and_changes_nothing(client, changes, status, code):
    found = client.send("POST", "/v1/reservations", body={**GOOD, **changes})
    assert (found[0], found[1]["code"]) == (status, code)
    assert client.seeded.cloud.db.table("days") == {}
    used = client.seeded.cloud.db.table("idempotency")
    assert (client.seeded.renter.account_id, "key-1") not in used


def test_a_booking_needs_a_key_of_its_own(client):
    status, problem, _ = client.send("POST", "/v1/reservations", key="", body=GOOD)
    assert (status, problem["code"]) == (400, "idempotency_key_missing")
    client.send("POST", "/v1/reservations", body=GOOD)
    status, problem, _ = client.send("POST", "/v1/reservations", body={**GOOD, "gpu_count": 1})
    assert (status, problem["code"]) == (422, "idempotency_key_reused")


def test_what_is_not_there_is_not_found(client):
    missing = {"reservation_id": "rsv_00000000000000000000000000"}
    assert client.send("GET", "/v1/reservations/{reservation_id}", parameters=missing)[0] == 404
    assert client.act(missing["reservation_id"], action="cancel")[0] == 404
    assert client.act(missing["reservation_id"], action="extend")[0] == 400


def test_availability_is_shown_hour_by_hour(client):
    client.send("POST", "/v1/reservations", body=GOOD)
    query = {"gpu_type": [GPU_TYPE], "region": [REGION], "gpu_count": ["7"]}
    query |= {"from": [format_instant(START_MS)], "to": [format_instant(START_MS + 8 * SLOT_MS)]}
    status, found, _ = client.send("GET", "/v1/reservations/availability", query=query)
    assert status == 200
    assert [each["largest_gpus"] for each in found["items"]] == [6, 6]
    assert (found["fits"], found["price_micros_per_gpu_hour"], found["currency"]) == (False, PRICE, "USD")
    for name, value, code in (
        ("from", None, "invalid_request"),
        ("to", "soon", "invalid_instant"),
        ("to", "2027-01-15", "invalid_instant"),
        ("to", format_instant(START_MS - SLOT_MS), "window_length"),
        ("gpu_count", "65", "invalid_request"),
        ("gpu_count", "0", "invalid_request"),
        ("gpu_count", "²", "invalid_request"),
        ("region", None, "invalid_request"),
    ):
        changed = {key: given for key, given in query.items() if key != name}
        if value is not None:
            changed[name] = [value]
        status, problem, _ = client.send("GET", "/v1/reservations/availability", query=changed)
        assert (status, problem["code"]) == (400, code), name


def test_the_schedule_writes_down_what_has_begun_and_ended(client):
    made = client.send("POST", "/v1/reservations", body=GOOD)[1]["reservation_id"]
    for slots, state in ((1, "active"), (4, "ended")):
        pass_slots(client.seeded, slots)
        functions.sweep_reservations(TICK, None)
        assert read(client.seeded, made).state == state
    assert len(read_promises(client.seeded, read(client.seeded, made).bookings[0].host_id)) == 4


def test_the_schedule_sees_that_a_closed_host_keeps_no_window_that_begins_now(client, capsys):
    made = client.send("POST", "/v1/reservations", body=GOOD)[1]
    host_id = made["bookings"][0]["host_id"]
    change_host(client.seeded, host_id, state="draining")
    functions.sweep_reservations(TICK, None)
    assert read_metrics(capsys) == {"reservations_at_risk": 1}
    change_host(client.seeded, host_id, state="lost")
    functions.sweep_reservations(TICK, None)
    assert read_metrics(capsys) == {"reservations_at_risk": 1}
    assert read(client.seeded, made["reservation_id"]).state == "broken"
    functions.sweep_reservations(TICK, None)
    assert read_metrics(capsys) == {"reservations_at_risk": 0}


def test_operators_set_how_many_gpus_an_account_may_reserve(client, monkeypatch):
    path, account_id = "/v1/accounts/{account_id}/reservation-quota", client.seeded.renter.account_id
    monkeypatch.setattr(wiring, "account_exists", lambda found: found == account_id)

    def put(account_id):
        return client.send("PUT", path, body={"max_gpus": 3}, parameters={"account_id": account_id})

    assert put(account_id)[0] == 403
    with monkeypatch.context() as operator:
        operator.setattr(reservations_api.api, "_authenticate", lambda _token: client.seeded.operator)
        assert put(account_id)[:2] == (200, {"max": 3, "used": 0, "available": 3})
        assert put("acc_x")[0] == 404
    client.send("POST", "/v1/reservations", body=GOOD)
    assert client.send("GET", "/v1/reservations/quota")[1] == {"max": 3, "used": 2, "available": 1}
    status, problem, _ = client.send("POST", "/v1/reservations", body=GOOD, key="key-2")
    assert (status, problem["code"]) == (403, "quota")


def test_operators_keep_hosts_and_share_them_again(monkeypatch):
    seeded, (host,) = seed_calendars(8)
    client = Client(seeded, monkeypatch)
    cloud = seeded.cloud
    rewire(monkeypatch, fleet_ports=cloud.fleet, watch_ports=cloud.watch, operation_ports=cloud.operations)
    monkeypatch.setattr(fleet_api.api, "_authenticate", lambda _token: seeded.operator)

    def act(action):
        path = "/v1/hosts/{host_id}/actions"
        return client.send("POST", path, body={"action": action}, parameters={"host_id": host})

    status, shown, _ = act("make_shared")
    assert (status, shown["reservable"]) == (200, False)
    status, shown, _ = act("make_reservable")
    assert (status, shown["reservable"]) == (200, True)

"""The routes of hosts, incidents and maintenance, called with gateway events over the fakes."""

import pytest

import app
from chalicelib.core.clock import format_instant
from chalicelib.fleet import api as fleet_api
from chalicelib.fleet import health_api
from tests.fakes.wiring import rewire
from tests.unit.fleet.watching import Watched
from tests.unit.runtime.gateway import build_event, call

HOUR_MS = 3_600_000


@pytest.fixture
def watched(monkeypatch):
    watched = Watched(hosts=3)
    cloud = watched.cloud
    ports = {
        "fleet_ports": cloud.fleet,
        "watch_ports": watched.ports,
        "operation_ports": cloud.operations,
        "maintenance_ports": cloud.maintenance,
        "cached_catalog": cloud.rentals.cached_catalog,
        "clock": cloud.clock,
        "meter_ports": cloud.meters,
    }
    rewire(monkeypatch, **ports)
    principals = {"operator": watched.seeded.operator, "renter": watched.seeded.renter}
    for routes in (fleet_api.api, health_api.api):
        monkeypatch.setattr(routes, "_authenticate", principals.__getitem__)
    return watched


def ask(method, path, body=None, *, query=None, role="operator", key="key-1", **parameters):
    headers = {"Authorization": f"Bearer {role}", "Idempotency-Key": key}
    many = {name: [value] for name, value in (query or {}).items()}
    event = build_event(method, path, body=body, headers=headers, query=many or None, parameters=parameters)
    status, answer, found = call(app.app, event)
    return status, answer, found


def act(watched, body, number=0):
    host_id = watched.hosts[number]
    return ask("POST", "/v1/hosts/{host_id}/actions", body, host_id=host_id)


def test_an_operator_cordons_uncordons_and_retires_with_a_reason(watched):
    status, host, _ = act(watched, {"action": "cordon", "reason": "smells of smoke"})
    assert (status, host["state"], host["cordoned_reason"]) == (200, "draining", "smells of smoke")
    status, host, _ = act(watched, {"action": "uncordon"})
    assert (status, host["state"], host["cordoned_reason"]) == (200, "active", None)
    status, host, _ = act(watched, {"action": "retire", "reason": "sold"})
    assert (status, host["state"]) == (200, "retired")
    assert act(watched, {"action": "cordon", "reason": "again"})[0] == 409
    status, host, _ = act(watched, {"action": "clear_faults"}, 1)
    assert (status, host["state"]) == (200, "active")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "cordon"},
        {"action": "retire"},
        {"action": "force_release", "gpu_uuids": ["GPU-1"]},
        {"action": "force_release", "reason": "stuck"},
        {"action": "cordon", "reason": "stuck", "gpu_uuids": ["GPU-1"]},
        {"action": "cordon", "reason": ""},
        {"action": "explode", "reason": "stuck"},
    ],
)
def test_an_act_without_what_it_needs_is_refused(watched, body):
    assert act(watched, body)[0] == 422 or act(watched, body)[0] == 400
    assert watched.host(watched.hosts[0]).state == "active"


def test_a_stuck_gpu_is_freed_and_shown(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id, count=1)
    watched.up.discard(host_id)
    watched.run(60)
    (stuck,) = [gpu.gpu.gpu_uuid for gpu in watched.gpus(host_id) if gpu.lease_state == "wiping"]
    body = {"action": "force_release", "gpu_uuids": [stuck], "reason": "machine was shredded"}
    status, host, _ = act(watched, body)
    assert status == 200
    assert (host["state"], host["lost"]["reason"], host["incident_count"]) == ("lost", "silent", 2)
    assert {gpu["lease_state"] for gpu in host["gpus"]} == {"free"}


def test_hosts_show_how_reliable_they_are(watched):
    status, listed, _ = ask("GET", "/v1/hosts")
    assert status == 200
    assert [host["reliability_ppm"] for host in listed["items"]] == [1_000_000] * 3
    assert {(host["lemon_score"], host["maintenance"], host["lost"]) for host in listed["items"]} == {
        (0, None, None)
    }


def test_incidents_are_listed_newest_first_page_by_page_and_by_host(watched):
    for host_id in watched.hosts[:2]:
        watched.up.discard(host_id)
        watched.run(70)
    status, first, _ = ask("GET", "/v1/incidents", query={"limit": "1"})
    assert (status, len(first["items"])) == (200, 1)
    _, second, _ = ask("GET", "/v1/incidents", query={"limit": "1", "cursor": first["next_cursor"]})
    assert second["next_cursor"] is None
    listed = [*first["items"], *second["items"]]
    assert [each["host_id"] for each in listed] == [watched.hosts[1], watched.hosts[0]]
    assert {each["kind"] for each in listed} == {"host_lost"}
    assert listed[0]["at"] > listed[1]["at"]
    _, own, _ = ask("GET", "/v1/incidents", query={"host_id": watched.hosts[0]})
    assert [each["incident_id"] for each in own["items"]] == [listed[1]["incident_id"]]
    assert ask("GET", "/v1/incidents", role="renter")[0] == 403
    assert ask("GET", "/v1/incidents", query={"kind": "blind"})[0] == 400


def plan(watched, number=0, *, hours=48, key="key-1", **facts):
    starts_at_ms = watched.cloud.clock.now_ms() + hours * HOUR_MS
    body = {
        "host_id": watched.hosts[number],
        "category": "network",
        "reason": "new switch",
        "starts_at": format_instant(starts_at_ms),
        "ends_at": format_instant(starts_at_ms + HOUR_MS),
        **facts,
    }
    return ask("POST", "/v1/maintenance-windows", body, key=key)


def test_a_window_is_planned_once_shown_listed_and_cancelled(watched):
    status, window, _ = plan(watched)
    assert (status, window["state"]) == (201, "scheduled")
    assert window["closes_at"] == format_instant(watched.cloud.clock.now_ms() + 24 * HOUR_MS)
    status, again, headers = plan(watched)
    assert (status, again, headers["Idempotency-Replayed"]) == (201, window, "true")
    _, other, _ = plan(watched, 1, hours=30, key="key-2")
    _, listed, _ = ask("GET", "/v1/maintenance-windows", query={"limit": "1"})
    assert [each["window_id"] for each in listed["items"]] == [other["window_id"]]
    _, rest, _ = ask("GET", "/v1/maintenance-windows", query={"cursor": listed["next_cursor"]})
    assert [each["window_id"] for each in rest["items"]] == [window["window_id"]]
    path = "/v1/maintenance-windows/{window_id}"
    assert ask("GET", path, window_id=window["window_id"])[1] == window
    _, host, _ = ask("GET", "/v1/hosts/{host_id}", host_id=watched.hosts[0])
    assert (host["maintenance"]["window_id"], host["maintenance"]["closed"]) == (window["window_id"], False)
    status, cancelled, _ = ask("POST", f"{path}/actions", {"action": "cancel"}, window_id=window["window_id"])
    assert (status, cancelled["state"]) == (200, "cancelled")
    _, own, _ = ask("GET", "/v1/maintenance-windows", query={"host_id": watched.hosts[0]})
    assert [each["state"] for each in own["items"]] == ["cancelled"]
    assert ask("GET", path, window_id="mnt_x")[0] == 404


@pytest.mark.parametrize(
    "facts",
    [
        {"category": "weather"},
        {"starts_at": "tomorrow, at about nine"},
        {"lead_seconds": -1},
        {"lead_seconds": 1.5},
        {"reason": "no\nlines"},
        {"host_id": "HST#x"},
    ],
)
def test_a_window_that_makes_no_sense_is_refused(watched, facts):
    assert plan(watched, **facts)[0] in {400, 422}
    assert watched.cloud.db.table("windows") == {}

"""The routes of rentals and quotas, called with gateway events over the fakes."""

from types import SimpleNamespace

import pytest

import app
from chalicelib import wiring
from chalicelib.catalog import api as catalog_api
from chalicelib.core.clock import format_instant
from chalicelib.rentals import api as rentals_api
from chalicelib.rentals import functions
from chalicelib.rentals.service import set_quota
from tests.factories import GPU_TYPE, REGION, add_host, seed_cloud
from tests.fakes import START_MS
from tests.fakes.events import TICK
from tests.unit.runtime.gateway import build_event, call

GOOD = {"gpu_type": GPU_TYPE, "gpu_count": 2, "region": REGION, "command": ["sleep", "60"]}
HOUR_MS = 3_600_000


class Client:
    """Calls as one of the roles; answers (status, body)."""

    def __init__(self, seeded, monkeypatch):
        self.seeded, cloud = seeded, seeded.cloud
        for name, value in {
            "rental_ports": lambda: cloud.rentals,
            "template_ports": lambda: cloud.templates,
            "account_exists": lambda account_id: account_id == seeded.renter.account_id,
            "reservation_ports": lambda: cloud.reservations,
            "clock": lambda: cloud.clock,
            "settings": lambda: SimpleNamespace(currency="USD", stage="unit"),
            "list_pools": lambda: [(GPU_TYPE, REGION)],
        }.items():
            monkeypatch.setattr(wiring, name, value)
        principals = {"operator": seeded.operator, "renter": seeded.renter}
        for api in (rentals_api.api, catalog_api.api):
            monkeypatch.setattr(api, "_authenticate", principals.__getitem__)

    def send(self, method, resource, body=None, *, role="renter", key=None, **parameters):
        headers = {"Authorization": f"Bearer {role}"} | ({} if key is None else {"Idempotency-Key": key})
        event = build_event(method, resource, body=body, headers=headers, parameters=parameters)
        status, answer, self.headers = call(app.app, event)
        return status, answer

    def rent(self, key, **wishes):
        return self.send("POST", "/v1/rentals", {**GOOD, **wishes}, key=key)

    def look(self, rental_id):
        return self.send("GET", "/v1/rentals/{rental_id}", rental_id=rental_id)[1]

    def change(self, rental_id, **body):
        return self.send("PATCH", "/v1/rentals/{rental_id}", body, rental_id=rental_id)

    def act(self, rental_id, action, **body):
        path = "/v1/rentals/{rental_id}/actions"
        return self.send("POST", path, {"action": action, **body}, rental_id=rental_id)


@pytest.fixture
def client(monkeypatch):
    return Client(seed_cloud(gpus=2), monkeypatch)


def finish(client, rental_id):
    """The host acknowledges the wipe."""
    client.seeded.report(client.seeded.rental(rental_id), "terminated", wiped=True)


def test_without_room_a_start_stands_in_line_and_shows_where(client):
    client.rent("a")
    for position, key in enumerate(("b", "c"), start=1):
        status, made = client.rent(key, priority=7, deadline_at=format_instant(START_MS + HOUR_MS))
        assert (status, made["state"], made["priority"]) == (201, "queued", 7)
        shown = client.look(made["rental_id"])
        assert (shown["line"]["position"], shown["line"]["why"]) == (position, "no_capacity")
        assert shown["deadline_at"] == format_instant(START_MS + HOUR_MS)
    status, refused = client.rent("d", on_no_capacity="fail")
    assert (status, refused["code"]) == (409, "no_capacity")
    status, left = client.act(made["rental_id"], "terminate")
    assert (status, left["state"], left["line"]) == (200, "terminated", None)


def test_a_whole_number_is_one_however_it_is_written(client):
    """To JSON Schema 2.0 is an integer."""
    status, made = client.rent("a", gpu_count=2.0, image="busybox", ports=[{"container_port": 8080.0}])
    assert (status, made["gpu_count"]) == (201, 2)
    template = {"name": "t", "gpu_type": GPU_TYPE, "gpu_count": 1.0, "command": ["true"]}
    template_id = client.send("POST", "/v1/templates", template, key="t")[1]["template_id"]
    body = {"template_id": template_id, "region": REGION, "priority": 1e1}
    status, made = client.send("POST", "/v1/rentals", body, key="b")
    assert (status, made["gpu_count"], made["priority"]) == (201, 1, 10)


def test_a_life_of_stop_resume_and_restart(client):
    rental_id = client.rent("a")[1]["rental_id"]
    client.seeded.report(client.seeded.rental(rental_id), "running")
    assert client.act(rental_id, "stop")[1]["state"] == "stopping"
    status, refused = client.act(rental_id, "resume")
    assert (status, refused["code"]) == (409, "action_in_progress")
    finish(client, rental_id)
    assert client.look(rental_id)["actions"]["resume"] == {"available": True, "reason_code": None}
    assert client.act(rental_id, "resume")[1]["segment"] == 2
    client.seeded.report(client.seeded.rental(rental_id), "running")
    before = client.look(rental_id)["gpus"]
    assert client.act(rental_id, "restart")[1]["state"] == "stopping"
    finish(client, rental_id)
    after = client.look(rental_id)
    assert [gpu["gpu_uuid"] for gpu in after["gpus"]] == [gpu["gpu_uuid"] for gpu in before]
    assert after["gpus"][0]["epoch"] > before[0]["epoch"]


def test_a_lock_and_policies_are_set_and_taken_away(client):
    rental_id = client.rent("a", max_duration_seconds=7200)[1]["rental_id"]
    policy = {"idle_seconds": 600, "max_utilization_percent": 3, "action": "terminate"}
    status, changed = client.change(rental_id, locked=True, idle_policy=policy)
    assert (status, changed["policies"]["idle_policy"]) == (200, policy)
    assert changed["policies"]["max_duration_seconds"] == 7200
    status, refused = client.act(rental_id, "terminate")
    assert (status, refused["code"]) == (409, "locked")
    changed = client.change(rental_id, locked=False, idle_policy=None, max_duration_seconds=None)[1]
    assert (changed["policies"]["idle_policy"], changed["policies"]["max_duration_seconds"]) == (None, None)
    assert client.act(rental_id, "terminate")[0] == 200


def test_a_quota_is_set_by_operators_and_refuses_what_is_above_it(client):
    path, account_id = "/v1/accounts/{account_id}/quotas", client.seeded.renter.account_id
    put = client.send("PUT", path, {"max_gpus": 3}, role="operator", account_id=account_id)
    assert put == (200, {"max": 3, "used": 0, "available": 3, "ramp": None})
    assert client.send("PUT", path, {"max_gpus": 3}, role="operator", account_id="acc_x")[0] == 404
    client.rent("a")
    assert client.send("GET", "/v1/quotas")[1] == {"max": 3, "used": 2, "available": 1, "ramp": None}
    add_host(client.seeded, "more", 2)
    client.seeded.beat(list(client.seeded.cloud.db.table("hosts"))[-1])
    status, refused = client.rent("b")
    assert (status, refused["code"]) == (403, "quota")


def test_a_start_takes_what_it_leaves_out_from_its_template(client):
    content = {"name": "train", "gpu_type": GPU_TYPE, "gpu_count": 1, "command": ["python", "train.py"]}
    template_id = client.send("POST", "/v1/templates", content, key="t")[1]["template_id"]
    body = {"template_id": template_id, "region": REGION}
    status, made = client.send("POST", "/v1/rentals", body, key="a")
    assert (status, made["gpu_type"], made["gpu_count"]) == (201, GPU_TYPE, 1)
    workload = client.seeded.cloud.rentals.store.get_workload(made["rental_id"])
    assert workload.command == ("python", "train.py")
    status, refused = client.send("POST", "/v1/rentals", {**body, "template_id": "tpl_x"}, key="b")
    assert (status, refused["code"]) == (404, "not_found")


def test_a_cluster_is_answered_with_its_nodes(client):
    for name in ("left", "right"):
        add_host(client.seeded, name, 2, fabric_id="fabric")
    for host_id in client.seeded.cloud.db.table("hosts"):
        client.seeded.beat(host_id)
    status, made = client.rent("a", node_count=2)
    assert status == 201
    assert {node["cluster_id"] for node in made["items"]} == {made["cluster_id"]}
    assert len({node["host_id"] for node in made["items"]}) == 2


@pytest.mark.parametrize(
    ("nodes", "gpus", "fits"), [(6, 8, True), (4, 15, True), (6, 9, False), (4, 16, False)]
)
def test_a_cluster_is_no_larger_than_one_transaction(client, nodes, gpus, fits):
    for number in range(nodes):
        add_host(client.seeded, f"node-{number}", gpus, fabric_id="fabric")
    for host_id in client.seeded.cloud.db.table("hosts"):
        client.seeded.beat(host_id)
    set_quota(client.seeded.cloud.rentals, client.seeded.operator, client.seeded.renter.account_id, 100)
    status, told = client.rent("a", node_count=nodes, gpu_count=gpus)
    assert (status == 201) == fits, told
    assert fits or "a cluster of so many nodes" in str(told)


def build_record(host_id, free_gpus, state="active"):
    """A record of the stream of the fleet's table."""
    image = {
        "pk": {"S": f"HOST#{host_id}"},
        "sk": {"S": "HOST"},
        "state": {"S": state},
        "free_gpus": {"N": str(free_gpus)},
        "gpu_type": {"S": GPU_TYPE},
        "region": {"S": REGION},
    }
    return {"eventName": "MODIFY", "dynamodb": {"NewImage": image, "SequenceNumber": "1"}}


def test_the_stream_of_the_fleet_serves_the_line_as_soon_as_a_host_has_room(client):
    first = client.rent("a")[1]
    waiting = client.rent("b")[1]["rental_id"]
    client.act(first["rental_id"], "terminate")
    finish(client, first["rental_id"])
    deliver = functions.on_capacity_changed
    for record in (build_record(first["host_id"], 0), build_record(first["host_id"], 2, "draining")):
        assert deliver({"Records": [record]}, None) == {"batchItemFailures": []}
        assert client.look(waiting)["state"] == "queued"
    deliver({"Records": [build_record(first["host_id"], 2)]}, None)
    assert client.look(waiting)["state"] == "provisioning"


def test_the_minute_serves_every_line_and_does_what_is_due(client):
    first = client.rent("a")[1]["rental_id"]
    waiting = client.rent("b")[1]["rental_id"]
    late = client.rent("c", deadline_at=format_instant(START_MS + 60_000))[1]["rental_id"]
    client.act(first, "terminate")
    finish(client, first)
    client.seeded.cloud.clock.advance_seconds(120)
    client.seeded.beat(client.seeded.rental(first).host_id)
    functions.sweep_lines(TICK, None)
    assert client.look(waiting)["state"] == "provisioning"
    assert (client.look(late)["state"], client.look(late)["reason"]) == ("failed", "deadline_passed")

"""What maintenance, scores and forced releases ask of DynamoDB."""

import pytest

from chalicelib.core.leases import Lease
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.maintenance_store import DynamoMaintenanceStore
from chalicelib.fleet.model import Cordon, Gpu, Host, HostGpu, Loss
from chalicelib.fleet.store import DynamoFleetStore
from chalicelib.fleet.watch import PoolScore
from chalicelib.fleet.watch_store import DynamoWatchStore
from chalicelib.fleet.windows import MaintenanceWindow, PlannedMaintenance
from tests.unit.storage.wire import Wire, fill, list_writes

WINDOW = MaintenanceWindow("mnt_1", "hst_1", "power", "new fuse", 5_000, 9_000, 1_000, 100)
ROW = {
    "pk": {"S": "WINDOW#mnt_1"},
    "sk": {"S": "WINDOW"},
    "window_id": {"S": "mnt_1"},
    "host_id": {"S": "hst_1"},
    "category": {"S": "power"},
    "reason": {"S": "new fuse"},
    "starts_at_ms": {"N": "5000"},
    "ends_at_ms": {"N": "9000"},
    "lead_ms": {"N": "1000"},
    "created_at_ms": {"N": "100"},
    "state": {"S": "scheduled"},
    "open_key": {"S": "OPEN"},
    "due_at_ms": {"N": "4000"},
}


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def test_a_window_is_read_as_it_was_written(wire):
    store = DynamoMaintenanceStore()
    store.add_window(wire.tx, WINDOW, 4_000)
    wire.tx.commit()
    write = list_writes(wire.last)["Put", "maintenance"]
    assert write["Item"] == ROW
    assert "attribute_not_exists" in write["ConditionExpression"]
    wire.answers = [{"Item": ROW}]
    assert store.get_window("mnt_1") == WINDOW
    assert wire.last["ConsistentRead"]
    assert store.get_window("mnt_2") is None


@pytest.mark.parametrize(("state", "wanted"), [("scheduled", "SET state"), ("done", "REMOVE open_key")])
def test_a_window_leaves_the_open_ones_when_it_is_over(wire, state, wanted):
    from dataclasses import replace

    DynamoMaintenanceStore().replace_window(wire.tx, WINDOW, replace(WINDOW, state=state), 9_000)
    wire.tx.commit()
    write = list_writes(wire.last)["Update", "maintenance"]
    assert wanted in fill(write["UpdateExpression"], write)
    assert ("due_at_ms = " in fill(write["UpdateExpression"], write)) == (state == "scheduled")
    assert fill(write["ConditionExpression"], write).startswith("state = ")


def test_windows_are_found_by_their_indexes_and_listed_page_by_page(wire):
    store = DynamoMaintenanceStore()
    wire.answers = [{"Items": [ROW, ROW]}, {"Items": [ROW]}, {"Items": [ROW]}, {"Items": [ROW, ROW]}, {}]
    page = store.list_open_windows(1)
    assert (page.items, page.next_key) == ([WINDOW], "0000000004000#mnt_1")
    assert store.list_open_windows(1, page.next_key).next_key is None
    assert wire.last["ExclusiveStartKey"] == {
        name: ROW[name] for name in ("pk", "sk", "open_key", "due_at_ms")
    }
    assert store.list_due_windows(4_000, 100) == [WINDOW]
    assert wire.last["IndexName"] == "by_open"
    assert store.list_host_windows("hst_1", 1).next_key == "mnt_1"
    assert (wire.last["IndexName"], wire.last["ScanIndexForward"]) == ("by_host", False)
    assert store.list_scheduled("hst_1", 20) == []
    assert "state = " in fill(wire.last["FilterExpression"], wire.last)
    for strange in ("no such cursor", "9" * 40 + "#mnt_1", "5#"):
        store.list_open_windows(1, strange)
        assert "ExclusiveStartKey" not in wire.last


def test_a_gpu_is_freed_by_force_as_it_was_read_and_a_faulty_one_for_nobody(wire):
    fault = GpuFault(79, "D", 1, "k", 1)
    stuck = [
        HostGpu(Gpu("GPU-1", "0", "H100", 1), "wiping", 4, "rnt_1"),
        HostGpu(Gpu("GPU-2", "1", "H100", 1), "wiping", 7, "rnt_1", fault=fault),
    ]
    DynamoFleetStore().force_free(wire.tx, "hst_1", stuck)
    wire.tx.commit()
    writes = [item["Update"] for item in wire.last["TransactItems"]]
    by_key = {write["Key"]["sk"]["S"]: write for write in writes}
    well, faulty, host = by_key["GPU#GPU-1"], by_key["GPU#GPU-2"], by_key["HOST"]
    for write, state, epoch, asked in (
        (well, "free", "5", "attribute_not_exists (faulty)"),
        (faulty, "unhealthy", "8", "attribute_exists (faulty)"),
    ):
        values = str(write["ExpressionAttributeValues"])
        assert state in values
        assert f"'N': '{epoch}'" in values
        assert asked in fill(write["ConditionExpression"], write)
        assert "REMOVE rental_id" in fill(write["UpdateExpression"], write)
    assert "free_leases.GPU-1 = " in fill(host["UpdateExpression"], host)
    assert "GPU-2" not in str(host)
    assert Lease("GPU-1", 4).advance().epoch == 5


def test_what_is_known_of_a_hosts_health_is_read_as_it_was_written(wire):
    from dataclasses import replace

    plain = Host("hst_1", "H100", "eu", "active", 8, 8, "i", "v", 1, "q", "key_1", health_version=3)
    full = replace(
        plain,
        state="draining",
        lost=Loss("silent", 50, 40),
        cordon=Cordon("smoke", 60, automatic=True),
        maintenance=PlannedMaintenance("mnt_1", "power", 5_000, 9_000, 100, closed=True),
        faulty_gpus=2,
        downtime_ms={"2026-11-23": 70},
        hardware_incidents_ms=(1, 2),
        past_maintenance_ms=((3, 4),),
    )
    DynamoFleetStore().replace_health(wire.tx, plain, full, ())
    wire.tx.commit()
    updates = [item["Update"] for item in wire.last["TransactItems"] if "Update" in item]
    (write,) = [each for each in updates if each["Key"]["sk"]["S"] == "HOST"]
    row = {"free_gpus": {"N": "8"}, "pk": write["Key"]["pk"], "sk": write["Key"]["sk"]}
    for name in ("host_id", "gpu_type", "region", "install_id", "agent_version", "commands_queue_url"):
        row[name] = {"S": getattr(full, name)}
    row |= {"gpu_count": {"N": "8"}, "created_at_ms": {"N": "1"}, "api_key_id": {"S": "key_1"}}
    assignments = fill(write["UpdateExpression"], write).removeprefix("SET ").split(" REMOVE ")[0]
    for assignment in assignments.split(", "):
        name, value = assignment.split(" = ")
        row[name] = write["ExpressionAttributeValues"][value]
    wire.answers = [{"Item": row}]
    assert DynamoFleetStore().get_host("hst_1") == replace(full, health_version=4)


def test_a_retired_host_is_in_no_pool_and_watched_by_nobody(wire):
    from dataclasses import replace

    host = Host("hst_1", "H100", "eu", "draining", 8, 8, "i", "v", 1, "q", "key_1")
    DynamoFleetStore().replace_health(wire.tx, host, replace(host, state="retired"), ())
    DynamoWatchStore().drop_watch(wire.tx, "hst_1")
    wire.tx.commit()
    updates = [item["Update"] for item in wire.last["TransactItems"]]
    (write,) = [each for each in updates if each["Key"]["sk"]["S"] == "HOST"]
    assert "REMOVE pool" in fill(write["UpdateExpression"], write)
    heartbeat = list_writes(wire.last)["Update", "liveness"]
    assert "REMOVE watch_key" in fill(heartbeat["UpdateExpression"], heartbeat)
    (totals,) = [each for each in updates if "TOTALS" in str(each)]
    assert {each["N"] for each in totals["ExpressionAttributeValues"].values()} == {"-1", "-8"}


def test_the_score_of_a_pool_is_kept(wire):
    store = DynamoWatchStore()
    store.put_pool_score(PoolScore("H100", "eu", 999_000, 16, 7))
    item = wire.last["Item"]
    wire.answers = [{"Item": item}]
    assert store.get_pool_score("H100", "eu") == PoolScore("H100", "eu", 999_000, 16, 7)
    assert store.get_pool_score("H100", "us") is None

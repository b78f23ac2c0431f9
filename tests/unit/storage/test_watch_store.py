"""What the watch asks of DynamoDB: bounded index queries, conditions on what was read, one write a beat."""

import pytest

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.fleet.detector import RegionWatch, SilentHost, choose_watch, name_lost
from chalicelib.fleet.incident import build_incident
from chalicelib.fleet.model import Host, Liveness, give_up
from chalicelib.fleet.store import DynamoFleetStore
from chalicelib.fleet.watch import HoldsBack, NotLost
from chalicelib.fleet.watch_store import DynamoWatchStore
from tests.unit.storage.wire import Wire, fill, list_writes

HOST = Host("hst_1", "H100", "eu-north-1", "active", 8, 8, "i", "v", 1, "q", "key_1", health_version=3)
BEAT = Liveness(10_000, "b", "v", 8, 0, 0, announced="a", watch_key=choose_watch("eu-north-1", "hst_1"))
NOW = 1_800_000_000_000


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def test_a_heartbeat_that_says_nothing_new_is_one_write_and_leaves_its_watch_as_it_is(wire):
    assert DynamoFleetStore().extend_liveness("hst_1", BEAT) == 0
    ((operation, arguments),) = wire.calls
    assert operation == "UpdateItem"
    assert arguments["TableName"] == "prefix-liveness"
    assert "watch_key" not in str(arguments["ExpressionAttributeNames"])
    assert "suspect_since_ms" not in str(arguments["ExpressionAttributeNames"])


@pytest.mark.parametrize(
    ("before", "wanted"), [(None, "attribute_not_exists (watch_key)"), (BEAT, "watch_key = ")]
)
def test_a_heartbeat_is_stored_only_while_its_host_is_watched_as_it_was_read(wire, before, wanted):
    DynamoFleetStore().record_liveness("hst_1", BEAT, before)
    assert wanted in fill(wire.last["ConditionExpression"], wire.last)
    assert "watch_key = " in fill(wire.last["UpdateExpression"], wire.last)


def test_silence_is_found_by_one_bounded_query_per_shard(wire):
    wire.answers = [{"Items": [{"pk": {"S": "HOST#hst_1"}, "sk": {"S": "H"}, "last_seen_at_ms": {"N": "7"}}]}]
    assert DynamoWatchStore().list_silent("eu", 99) == ([SilentHost("hst_1", 7)], False)
    assert DynamoWatchStore().find_watermark("eu") is None
    assert DynamoWatchStore().list_lost("eu") == []
    assert {operation for operation, _ in wire.calls} == {"Query"}
    assert len(wire.calls) == 12
    assert all(arguments["IndexName"] == "by_silence" for _, arguments in wire.calls)
    assert all(0 < arguments["Limit"] <= 1_000 for _, arguments in wire.calls)
    assert [arguments.get("ScanIndexForward") for _, arguments in wire.calls[4:8]] == [False] * 4


def test_a_full_page_of_silent_hosts_says_that_there_are_more(wire):
    row = {"pk": {"S": "HOST#hst_1"}, "sk": {"S": "H"}, "last_seen_at_ms": {"N": "7"}}
    wire.answers = [{"Items": [row] * 1_000}]
    found, crowded = DynamoWatchStore().list_silent("eu", 99)
    assert (len(found), crowded) == (1_000, True)


def test_a_loss_is_one_transaction_of_host_heartbeat_totals_incident_and_the_regions_sight(wire):
    store = DynamoWatchStore()
    DynamoFleetStore().replace_health(wire.tx, HOST, give_up(HOST, "silent", NOW, 10_000), ())
    store.end_watch(wire.tx, "hst_1", "eu-north-1", 10_000)
    store.require_sight(wire.tx, "eu-north-1")
    wire.tx.commit()
    ((operation, arguments),) = wire.calls
    assert operation == "TransactWriteItems"
    assert len(arguments["TransactItems"]) == 5
    writes = list_writes(arguments)
    assert set(writes) == {
        ("ConditionCheck", "fleet"),
        ("Put", "incidents"),
        ("Update", "fleet"),
        ("Update", "liveness"),
    }
    heartbeat = writes["Update", "liveness"]
    assert name_lost(BEAT.watch_key) in str(heartbeat["ExpressionAttributeValues"])
    assert "if_not_exists (suspect_since_ms" in fill(heartbeat["UpdateExpression"], heartbeat)
    assert fill(heartbeat["ConditionExpression"], heartbeat).startswith("last_seen_at_ms = ")
    (totals,) = [item["Update"] for item in arguments["TransactItems"] if "TOTALS" in str(item)]
    assert fill(totals["UpdateExpression"], totals).startswith("ADD hosts_active")
    values = {each["N"] for each in totals["ExpressionAttributeValues"].values()}
    assert values == {"-1", "-8", "1", "8"}


def test_the_end_of_a_silence_names_what_was_read(wire):
    DynamoFleetStore().end_silence(wire.tx, "hst_1", BEAT, 20_000, BEAT.watch_key)
    wire.tx.commit()
    write = list_writes(wire.last)["Update", "liveness"]
    condition = fill(write["ConditionExpression"], write)
    assert "last_seen_at_ms = " in condition
    assert "watch_key = " in condition
    assert "REMOVE suspect_since_ms" in fill(write["UpdateExpression"], write)


def test_what_only_holds_unless_somebody_was_quicker_is_no_error(wire):
    from botocore.exceptions import ClientError
    from pynamodb.exceptions import UpdateError

    def refuse(code):
        return ClientError({"Error": {"Code": code}}, "UpdateItem")

    store = DynamoWatchStore()
    wire.answers = [refuse("ConditionalCheckFailedException")] * 2
    store.mark_suspect("hst_1", 10_000)
    store.forget_lost(SilentHost("hst_1", 10_000), "eu-north-1")
    assert "last_seen_at_ms = " in fill(wire.last["ConditionExpression"], wire.last)
    wire.answers = [refuse("TransactionConflictException")]
    with pytest.raises(Unavailable):
        store.mark_suspect("hst_1", 10_000)
    wire.answers = [refuse("ValidationException")]
    with pytest.raises(UpdateError):
        store.mark_suspect("hst_1", 10_000)


def test_a_regions_watch_is_replaced_as_it_was_read(wire):
    store = DynamoWatchStore()
    wire.answers = [
        {"Item": {"pk": {"S": "p"}, "sk": {"S": "s"}, "brake_since_ms": {"N": "5"}, "version": {"N": "2"}}}
    ]
    known = store.get_region_watch("eu")
    assert (known, store.get_region_watch("other")) == (
        RegionWatch(brake_since_ms=5, version=2),
        RegionWatch(),
    )
    store.replace_region_watch(wire.tx, "eu", known, RegionWatch())
    wire.tx.commit()
    write = list_writes(wire.last)["Put", "fleet"]
    assert fill(write["ConditionExpression"], write).startswith("version = ")
    assert write["Item"]["version"] == {"N": "3"}


def test_totals_of_a_pool_add_up_its_shards(wire):
    def row(shard, **counts):
        numbers = {name: {"N": str(count)} for name, count in counts.items()}
        return {"pk": {"S": "TOTALS#eu"}, "sk": {"S": f"POOL#H100#{shard}"}} | numbers

    wire.answers = [
        {
            "Items": [
                row(0, hosts_active=2, gpus_active=16),
                row(3, hosts_active=1, hosts_lost=1, closed_unhealthy=8),
            ]
        }
    ]
    totals = DynamoWatchStore().get_pool_totals("H100", "eu")
    assert (totals.hosts["active"], totals.hosts["lost"], totals.gpus["active"]) == (3, 1, 16)
    assert totals.closed == {"maintenance": 0, "unhealthy": 8}
    assert wire.last["ConsistentRead"]
    assert DynamoWatchStore().get_pool_totals("H100", "eu").hosts == {}


def test_incidents_are_listed_month_by_month_newest_first_and_by_host_from_an_index(wire):
    incident = build_incident("blind", "eu", NOW, {"hosts": 3})
    sk = f"{NOW:013d}#{incident.incident_id}"
    row = {
        "pk": {"S": "p"},
        "sk": {"S": sk},
        "incident_id": {"S": incident.incident_id},
        "kind": {"S": "blind"},
        "region": {"S": "eu"},
        "at_ms": {"N": str(NOW)},
        "details": {"S": '{"hosts": 3}'},
        "expires_at": {"N": "1"},
    }
    store = DynamoWatchStore()
    wire.answers = [{"Items": [row]}]
    page = store.list_incidents(None, 10, None, NOW)
    assert (page.items, page.next_key) == ([incident], None)
    months = [arguments["ExpressionAttributeValues"][":0"]["S"] for _, arguments in wire.calls]
    assert (months[0], months[1], len(months)) == ("INCIDENTS#2027-01", "INCIDENTS#2026-12", 14)
    wire.calls.clear()
    wire.answers = [{"Items": [row, row]}]
    assert store.list_incidents("hst_1", 1, None, NOW).next_key == sk
    assert wire.last["IndexName"] == "by_host"
    wire.answers = [{"Items": [row]}]
    assert store.list_incidents("hst_1", 1, sk, NOW).items == []
    wire.calls.clear()
    assert store.list_incidents(None, 1, "0", NOW).items == []
    assert wire.calls == []


def test_an_incident_is_written_once_and_a_host_that_is_back_refuses(wire):
    store = DynamoWatchStore()
    store.add_incident(wire.tx, build_incident("host_lost", "eu", NOW, {}, host_id="hst_1"))
    store.require_lost(wire.tx, "hst_1")
    wire.tx.commit()
    writes = list_writes(wire.last)
    assert "attribute_not_exists" in writes["Put", "incidents"]["ConditionExpression"]
    assert writes["Put", "incidents"]["Item"]["host_id"] == {"S": "hst_1"}
    assert issubclass(NotLost, Conflict)
    assert issubclass(HoldsBack, Conflict)

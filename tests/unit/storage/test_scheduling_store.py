"""Tickets, fabrics and what is kept free, as they are written and read again."""

import pytest

from chalicelib.fleet.candidate_store import DynamoCandidateStore
from chalicelib.fleet.reservable_store import DynamoReservableStore
from chalicelib.rentals.queue import Ticket, build_ticket_key
from chalicelib.rentals.scheduling_store import DynamoSchedulingStore
from tests.unit.storage.wire import Wire, fill, list_writes

POOL = "H100#eu-north-1"
TICKET = Ticket(
    "rnt_1",
    build_ticket_key(150, 7, "rnt_1"),
    ("rnt_1",),
    "acc_1",
    "H100",
    (POOL,),
    2,
    "on_demand",
    350,
    7,
    max_price_micros_per_gpu_hour=9,
    deadline_at_ms=11,
)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


@pytest.mark.parametrize("places", [{}, {"fabric_id": "fab-1"}, {"pinned_host_id": "hst_1"}])
def test_a_ticket_is_read_as_it_was_written(wire, places):
    store = DynamoSchedulingStore()
    written = Ticket(**{name: getattr(TICKET, name) for name in TICKET.__slots__} | places)
    store.add_ticket(wire.tx, written)
    wire.tx.commit()
    puts = [each["Put"]["Item"] for each in wire.last["TransactItems"] if "Put" in each]
    wire.answers = [{"Items": puts}]
    assert store.list_tickets(POOL, 9) == [written]


def test_a_fabric_lists_the_hosts_that_a_class_is_offered(wire):
    def host(host_id, pool):
        return {
            "pk": {"S": f"HOST#{host_id}"},
            "sk": {"S": "HOST"},
            "host_id": {"S": host_id},
            "region": {"S": "eu-north-1"},
            "fabric_id": {"S": "fab-1"},
            "pool": {"S": pool},
            "free_leases": {"M": {"GPU-1": {"N": "4"}}},
            "kept_gpus": {"N": "1"},
            "kept_until_ms": {"N": "7"},
        }

    members = [
        {"pk": {"S": "FABRIC#fab-1"}, "sk": {"S": f"HOST#h{n}"}, "host_id": {"S": f"h{n}"}} for n in "123"
    ]
    hosts = [host("h1", POOL), host("h2", f"RESERVABLE#{POOL}"), host("h3", f"CLOSED#{POOL}")]
    for billing_class, expected in (("on_demand", ["h1"]), ("spot", ["h1", "h2"])):
        wire.answers = [{"Items": members}, {"Responses": {"prefix-fleet": hosts}, "UnprocessedKeys": {}}]
        found = DynamoCandidateStore().list_fabric("fab-1", "H100", "eu-north-1", billing_class)
        assert [(each.host_id, each.fabric_id) for each in found] == [(name, "fab-1") for name in expected]
        assert [each.count_lent(now_ms) for each in found for now_ms in (6, 7)] == [0, 1] * len(found)
        asked = wire.last["RequestItems"]["prefix-fleet"]["Keys"]
        assert sorted(each["pk"]["S"] for each in asked) == ["HOST#h1", "HOST#h2", "HOST#h3"]


def test_gpus_are_kept_free_on_a_host_that_is_there(wire):
    DynamoReservableStore().keep_free(wire.tx, "hst_1", 5, 7)
    wire.tx.commit()
    write = list_writes(wire.last)["Update", "fleet"]
    assert "kept_gpus = " in fill(write["UpdateExpression"], write)
    assert [each["N"] for each in write["ExpressionAttributeValues"].values()] == ["5", "7"]
    assert fill(write["ConditionExpression"], write) == "attribute_exists (pk)"

"""Tickets, fabrics and what is kept free, as they are written and read again."""

import pytest

from chalicelib.core.capacity import Quota
from chalicelib.fleet.candidate_store import DynamoCandidateStore
from chalicelib.fleet.reservable_store import DynamoReservableStore
from chalicelib.rentals.queue import Ticket, build_ticket_key
from chalicelib.rentals.ramp import Allowance
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


ALLOWANCE = Allowance(4, 100, 7)


def test_a_new_account_takes_of_its_quota_what_its_step_allows_in_the_same_write(wire):
    """Sixty of 64 are kept back: of a quota that is there, and of one that is not yet."""
    DynamoSchedulingStore().take_quota(wire.tx, "acc_1", 3, ALLOWANCE)
    wire.tx.commit()
    update = list_writes(wire.last)["Update", "scheduling"]
    condition = fill(update["ConditionExpression"], update)
    assert condition.startswith("(available_gpus >= :")
    assert "attribute_not_exists (available_gpus)" in condition
    assert {"N": "63"} in update["ExpressionAttributeValues"].values()


def test_more_than_the_step_is_refused_whether_or_not_there_is_a_quota_yet(wire):
    DynamoSchedulingStore().take_quota(wire.tx, "acc_1", 5, ALLOWANCE)
    wire.tx.commit()
    update = list_writes(wire.last)["Update", "scheduling"]
    assert fill(update["ConditionExpression"], update).startswith("available_gpus >= :")
    assert "attribute_not_exists" not in update["ConditionExpression"]
    assert {"N": "65"} in update["ExpressionAttributeValues"].values()


@pytest.mark.parametrize(
    ("stored", "is_set"),
    [({}, False), ({"is_set": {"N": "1"}}, True), ({"max_gpus": {"N": "128"}}, True)],
)
def test_a_quota_knows_whether_an_operator_set_it(wire, stored, is_set):
    row = {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "QUOTA"}, "max_gpus": {"N": "64"}}
    wire.answers = [{"Item": row | {"available_gpus": {"N": "60"}} | stored}]
    assert DynamoSchedulingStore().get_quota("acc_1").is_set == is_set


def test_what_an_operator_sets_is_marked_as_set(wire):
    DynamoSchedulingStore().put_quota(wire.tx, "acc_1", Quota(64, 2), 64)
    wire.tx.commit()
    assert list_writes(wire.last)["Put", "scheduling"]["Item"]["is_set"] == {"N": "1"}

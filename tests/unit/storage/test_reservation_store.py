"""What the reservation store sends: inside DynamoDB's limits, and under every condition it promises.

Limits: 100 items a transaction, 4 KB an expression, 300 operators and functions an expression.
Source: Amazon DynamoDB Developer Guide, "Constraints".
"""

import re
from dataclasses import replace

import pytest

from chalicelib.core.capacity import Quota
from chalicelib.fleet.model import Host, ReservableHost
from chalicelib.fleet.reservable_store import DynamoReservableStore
from chalicelib.reservations import model
from chalicelib.reservations.model import DAY_MS, MAX_WRITES, SLOT_MS, Booking, Reservation
from chalicelib.reservations.store import DynamoReservationStore
from chalicelib.storage.transaction import DynamoTransaction, Retry
from tests.fakes import START_MS
from tests.unit.storage import wire as wired

MAX_EXPRESSION_BYTES = 4096
MAX_OPERATORS = 300
#: Assignments are counted too, which is more than the guide asks.
_OPERATORS = re.compile(r"<=|>=|<>|=|<|>| \+ | - |\bAND\b|\bOR\b|\bNOT\b|\b[a-z_]+ ?\(|\bBETWEEN\b")


class Sent:
    """Collects one transaction's writes as they would go out."""

    def __init__(self, bound, monkeypatch):
        self.items = []
        monkeypatch.setattr(bound, "_make_api_call", self.call)
        self.tx = DynamoTransaction(bound, "token-1", Retry(lambda _: None, lambda: 1.0))
        self.store = DynamoReservationStore()

    def call(self, operation, arguments, *_):
        assert operation == "TransactWriteItems"
        self.items = [(kind, body) for each in arguments["TransactItems"] for kind, body in each.items()]
        return {}

    def commit(self):
        self.tx.commit()
        return self.items

    def expressions(self):
        return [
            body[name]
            for _, body in self.items
            for name in ("UpdateExpression", "ConditionExpression")
            if name in body
        ]


@pytest.fixture
def sent(bound, monkeypatch):
    return Sent(bound, monkeypatch)


def build(starts_at_ms, ends_at_ms, nodes=1):
    return Reservation(
        reservation_id="rsv_" + "1" * 26,
        account_id="acc_" + "1" * 26,
        gpu_type="H100-SXM-80GB",
        region="eu-north-1",
        gpu_count=8,
        node_count=nodes,
        bookings=tuple(Booking(f"hst_{number:026d}", 8) for number in range(nodes)),
        starts_at_ms=starts_at_ms,
        ends_at_ms=ends_at_ms,
        price_micros_per_gpu_hour=2_490_000,
        currency="USD",
        created_at_ms=START_MS,
    )


def check_limits(sent):
    expressions = sent.expressions()
    assert max(len(each.encode()) for each in expressions) <= MAX_EXPRESSION_BYTES
    assert max(len(_OPERATORS.findall(each)) for each in expressions) <= MAX_OPERATORS
    keys = [str(body.get("Key") or {k: body["Item"][k] for k in ("pk", "sk")}) for _, body in sent.items]
    assert len(keys) == len(set(keys)), "an item is written once"


def fill(sent, reservation, known):
    """A booking as `reservations.service` writes it; beside it: key, price, audit, host checks."""
    spans = model.list_spans(reservation.starts_at_ms, reservation.ends_at_ms)
    days = frozenset(span.day for span in spans) if known else frozenset()
    for booking in reservation.bookings:
        sent.store.take_slots(sent.tx, booking.host_id, spans, 8, 8, days)
    sent.store.take_quota(sent.tx, reservation.account_id, reservation.total_gpus)
    sent.store.add_reservation(sent.tx, reservation)
    sent.commit()
    return spans


MIDNIGHT = START_MS - START_MS % DAY_MS


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("nodes", "days"), [(1, 60), (2, 39), (6, 10)])
def test_the_largest_booking_fits_into_one_transaction(sent, nodes, days, known):
    reservation = build(MIDNIGHT + SLOT_MS, MIDNIGHT + days * DAY_MS + SLOT_MS, nodes)
    model.check_size(nodes, reservation.starts_at_ms, reservation.ends_at_ms)
    spans = fill(sent, reservation, known)
    assert len(spans) == days + 1
    # Beside these: one check a host, the key, the price, the audit entry, hold and wallet.
    assert len(sent.items) + nodes + 5 <= MAX_WRITES
    assert len(sent.items) + nodes + 5 == nodes * (len(spans) + 3) + 7
    check_limits(sent)


def test_giving_a_whole_window_back_fits_too(sent):
    reservation = build(MIDNIGHT + SLOT_MS, MIDNIGHT + 60 * DAY_MS + SLOT_MS)
    spans = model.list_spans(reservation.starts_at_ms, reservation.ends_at_ms)
    cancelled = model.cancel(reservation, START_MS - DAY_MS, 0)
    sent.store.replace_reservation(sent.tx, reservation, cancelled, unused=True)
    sent.store.give_back_slots(sent.tx, reservation.bookings[0].host_id, spans, 8)
    sent.commit()
    assert len(sent.items) == 61 + 3
    check_limits(sent)


def test_each_slot_is_raised_under_its_own_bound(sent):
    spans = (model.Span("2027-01-15", 90, 94),)
    sent.store.take_slots(sent.tx, "hst_1", spans, 3, 8, frozenset({"2027-01-15"}))
    ((kind, body),) = sent.commit()
    assert (kind, body["Key"]) == ("Update", {"pk": {"S": "CALENDAR#hst_1"}, "sk": {"S": "DAY#2027-01-15"}})
    values = {name: each["N"] for name, each in body["ExpressionAttributeValues"].items()}
    (name,) = (key for key, full in body["ExpressionAttributeNames"].items() if full == "promised")

    def resolve(expression):
        return re.sub(r":\d+", lambda found: values[found[0]], expression.replace(name, "d"))

    assert resolve(body["UpdateExpression"]) == "SET " + ", ".join(
        f"d[{slot}] = d[{slot}] + 3" for slot in range(90, 94)
    )
    condition = resolve(body["ConditionExpression"]).replace("(", "").replace(")", "")
    assert condition == " AND ".join(f"d[{slot}] <= 5" for slot in range(90, 94))


def test_a_full_day_nests_its_conditions_only_a_few_deep(sent):
    spans = (model.Span("2027-01-15", 0, 96),)
    sent.store.take_slots(sent.tx, "hst_1", spans, 1, 8, frozenset({"2027-01-15"}))
    ((_, body),) = sent.commit()
    depth = deepest = 0
    for character in body["ConditionExpression"]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert deepest <= 8
    assert body["ConditionExpression"].count("<=") == 96


def test_a_day_that_is_not_there_is_made_with_the_promise_in_it_and_only_if_it_is_still_not_there(sent):
    spans = (model.Span("2027-01-15", 94, 96),)
    sent.store.take_slots(sent.tx, "hst_1", spans, 3, 8, frozenset())
    ((kind, body),) = sent.commit()
    assert kind == "Put"
    assert [int(each["N"]) for each in body["Item"]["promised"]["L"]] == [0] * 94 + [3, 3]
    assert body["ConditionExpression"].startswith("attribute_not_exists")
    kept_seconds = int(body["Item"]["expires_at"]["N"]) - START_MS // 1000
    assert 90 * 86_400 < kept_seconds < 92 * 86_400


def test_boundaries_are_sparse_and_a_closed_booking_leaves_its_hosts_list(sent):
    reservation = build(START_MS, START_MS + SLOT_MS)
    ended = model.pass_boundary(reservation, START_MS + SLOT_MS)
    sent.store.replace_reservation(sent.tx, reservation, ended)
    updates = {body["Key"]["sk"]["S"][:7]: body for _, body in sent.commit()}
    removed = updates["RESERVA"]["UpdateExpression"].partition("REMOVE")[2]
    names = updates["RESERVA"]["ExpressionAttributeNames"]
    assert {names[each.strip()] for each in removed.split(",")} == {"boundary_at_ms", "boundary_shard"}
    assert "open_host_id" in updates["BOOKING"]["ExpressionAttributeNames"].values()
    assert "ADD" in updates["HEAD"]["UpdateExpression"]
    assert updates["HEAD"]["ExpressionAttributeValues"] == {":0": {"N": "-1"}}


def test_a_redemption_is_one_write_under_state_window_room_and_once_per_rental(sent):
    sent.store.redeem(sent.tx, "rsv_1", "hst_1", "rnt_1", 3, START_MS)
    ((_, body),) = sent.commit()
    names = body["ExpressionAttributeNames"]
    text = body["ConditionExpression"]
    for placeholder, name in sorted(names.items(), reverse=True):
        text = text.replace(placeholder, name)
    for part in ("state =", "starts_at_ms <=", "ends_at_ms >", "unused_gpus >=", "attribute_not_exists"):
        assert part in text
    assert "uses.rnt_1" in text


@pytest.mark.parametrize(
    ("reservable", "state", "pool"),
    [
        (True, "active", "RESERVABLE#H100#eu-north-1"),
        (True, "draining", "CLOSED#H100#eu-north-1"),
        (False, "active", "H100#eu-north-1"),
    ],
)
def test_a_host_moves_between_sub_pools_under_its_health_version(sent, reservable, state, pool):
    host = Host("hst_1", "H100", "eu-north-1", state, 8, 8, "i", "1", START_MS, "q", "k", health_version=7)
    DynamoReservableStore().set_reservable(
        sent.tx, replace(host, reservable=not reservable), reservable=reservable
    )
    ((_, body),) = sent.commit()
    assert {"S": pool} in body["ExpressionAttributeValues"].values()
    assert {"N": "7"} in body["ExpressionAttributeValues"].values()
    assert ("free_gpus" in body["ExpressionAttributeNames"].values()) == reservable


@pytest.mark.parametrize(("faulty", "absent"), [(0, True), (2, False)])
def test_a_host_is_booked_only_with_the_gpus_that_were_seen(sent, faulty, absent):
    host = ReservableHost("hst_1", 8, faulty_gpus=faulty)
    DynamoReservableStore().require_reservable(sent.tx, host)
    ((kind, body),) = sent.commit()
    condition = wired.fill(body["ConditionExpression"], body)
    assert (kind, body["Key"]["pk"]) == ("ConditionCheck", {"S": "HOST#hst_1"})
    for part in ("state = ", "gpu_count = ", "attribute_exists (reservable)", "faulty_gpus = "):
        assert part in condition
    # A host that never had a fault has not the attribute.
    assert ("attribute_not_exists (faulty_gpus)" in condition) == absent
    assert [{"N": "8"}, {"N": str(faulty)}] == list(body["ExpressionAttributeValues"].values())[1:]


def test_impaired_hosts_are_the_open_ones_with_a_fault_and_the_closed_ones_that_are_kept(bound, monkeypatch):
    wire = wired.Wire(bound, monkeypatch)
    wire.answers = [{"Items": [{"host_id": {"S": "hst_1"}}]}, {"Items": [{"host_id": {"S": "hst_2"}}]}]
    assert DynamoReservableStore().list_impaired("H100", "eu-north-1") == ["hst_1", "hst_2"]
    asked = [
        (list(each["ExpressionAttributeValues"].values()), wired.fill(each["FilterExpression"], each))
        for operation, each in wire.calls
        if operation == "Query" and each["IndexName"] == "by_pool"
    ]
    (open_values, faulty), (closed_values, kept) = asked
    assert {"S": "RESERVABLE#H100#eu-north-1"} in open_values
    assert faulty.startswith("faulty_gpus > ")
    assert {"S": "CLOSED#H100#eu-north-1"} in closed_values
    assert kept == "attribute_exists (reservable)"


@pytest.mark.parametrize(("gpus", "unknown_may"), [(64, True), (65, False)])
def test_a_quota_is_taken_under_what_is_left_and_an_unknown_account_has_the_default(sent, gpus, unknown_may):
    sent.store.take_quota(sent.tx, "acc_1", gpus)
    sent.store.give_back_quota(sent.tx, "acc_2", gpus)
    (_, taken), (_, returned) = sent.commit()
    assert taken["Key"] == {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "QUOTA"}}
    condition = wired.fill(taken["ConditionExpression"], taken)
    assert "available_gpus >= " in condition
    assert ("attribute_not_exists (available_gpus)" in condition) == unknown_may
    assert "if_not_exists (available_gpus" in wired.fill(taken["UpdateExpression"], taken)
    update = wired.fill(returned["UpdateExpression"], returned)
    assert "available_gpus = available_gpus + " in update


def test_a_quota_replaces_only_the_one_that_was_read(sent):
    sent.store.put_quota(sent.tx, "acc_1", Quota(64, 10), 20)
    ((kind, body),) = sent.commit()
    assert (kind, body["Item"]["available_gpus"]) == ("Put", {"N": "10"})
    assert {"N": "54"} in body["ExpressionAttributeValues"].values()

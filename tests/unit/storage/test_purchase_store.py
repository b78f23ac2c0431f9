"""What purchases of removals ask of DynamoDB: rows that come back as they went, conditions on what was."""

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.payments.purchase_store import SHARDS, DynamoPurchaseStore
from chalicelib.payments.purchases import Delivery, Purchase, RemovalSettings
from tests.unit.storage.wire import Wire, fill

STORE = DynamoPurchaseStore()
SETTINGS = RemovalSettings("acc_1", True, 20_000_000, "ACME", "2027-01", 1)
DELIVERIES = (Delivery(5, 10_000_000, "Supplier", "IS", None),)
PURCHASE = Purchase(
    "acc_1",
    "2027-01",
    "USD",
    25,
    7,
    "confirmed",
    None,
    30_000_000,
    9_000_000,
    True,
    "climsku_1",
    "Biomass",
    "ACME",
    8,
    2,
    "climorder_1",
    2030,
    "https://climate.example/1",
    DELIVERIES,
)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def put(wire):
    """Commit, and return what was put."""
    wire.tx.commit()
    (written,) = (item["Put"] for item in wire.last["TransactItems"])
    return written


def test_settings_come_back_as_they_went_and_are_listed_while_they_are_on(wire):
    STORE.put_settings(wire.tx, None, SETTINGS)
    written = put(wire)
    assert fill(written["ConditionExpression"], written) == "attribute_not_exists (pk)"
    wire.answers = [{"Item": written["Item"]}, {}]
    assert STORE.get_settings("acc_1") == SETTINGS
    assert STORE.get_settings("acc_2") is None
    shown = {name: written["Item"][name] for name in ("pk", "sk", "order_shard")}
    wire.answers = [{"Items": [shown]}]
    assert list(STORE.list_enabled()) == ["acc_1"]
    assert len([call for call, _ in wire.calls if call == "Query"]) == SHARDS


def test_settings_that_are_off_leave_the_list_and_are_changed_as_they_were_read(bound, monkeypatch):
    wire = Wire(bound, monkeypatch)
    STORE.put_settings(wire.tx, SETTINGS, RemovalSettings("acc_1"))
    written = put(wire)
    assert "order_shard" not in written["Item"]
    assert "version" in fill(written["ConditionExpression"], written)
    assert written["Item"]["version"] == {"N": "2"}


def test_a_purchase_comes_back_as_it_went(wire):
    STORE.add_purchase(wire.tx, PURCHASE)
    row = put(wire)["Item"]
    assert row["sk"] == {"S": "PURCHASE#2027-01"}
    wire.answers = [{"Item": row}, {"Items": [row], "LastEvaluatedKey": row}, {"Items": []}, {}]
    assert STORE.get_purchase("acc_1", "2027-01") == PURCHASE
    page = STORE.list_purchases("acc_1", 1, None)
    assert (list(page.items), page.next_key) == ([PURCHASE], "2027-01")
    assert wire.last["ScanIndexForward"] is False
    assert list(STORE.list_purchases("acc_1", 1, "2027-01").items) == []
    assert wire.last["ExpressionAttributeValues"][":1"] == {"S": "PURCHASE#2027-01"}
    assert STORE.get_purchase("acc_1", "2027-02") is None


@pytest.mark.parametrize(
    ("facts", "shard"),
    [
        (("charged", None), "begun"),
        (("open", "climorder_1"), "ordered"),
        (("delivered", "climorder_1"), None),
        (("skipped", None), None),
    ],
)
def test_a_purchase_is_listed_by_how_far_it_is_until_it_is_final(wire, facts, shard):
    state, order_id = facts
    STORE.replace_purchase(
        wire.tx, PURCHASE, Purchase("acc_1", "2027-01", "USD", 25, 7, state, order_id=order_id)
    )
    row = put(wire)["Item"]
    assert row.get("order_shard", {"S": ""})["S"].partition("#")[0] == (shard or "")
    assert row["version"] == {"N": "1"}
    if shard is not None:
        wire.answers = [{"Items": [{name: row[name] for name in ("pk", "sk", "order_shard")}]}]
        assert list(STORE.list_open(shard)) == [("acc_1", "2027-01")]


def test_a_second_purchase_of_a_month_is_refused(wire):
    reason = {"Code": "ConditionalCheckFailed", "Message": "no"}
    answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [reason]}
    wire.answers = [ClientError(answer, "TransactWriteItems")]
    STORE.add_purchase(wire.tx, PURCHASE)
    with pytest.raises(Unavailable):
        wire.tx.commit()

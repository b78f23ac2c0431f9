"""What the ramp asks of a wallet: a bound on its burn in the hold's own write, and who has paid."""

import pytest

from chalicelib.billing.wallet_store import DynamoWalletStore
from chalicelib.core.money import StayHold
from tests.unit.storage.wire import Wire, fill, list_writes

HOLD = StayHold("rnt_1#0001", 100, 40, "rnt_1", "H100", None)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def read_condition(wire):
    update = list_writes(wire.last)["Update", "balances"]
    return fill(update["ConditionExpression"], update), update["ExpressionAttributeValues"]


def test_the_spending_of_a_new_account_is_bounded_in_the_write_that_adds_to_it(wire):
    DynamoWalletStore().add_holds(wire.tx, "acc_1", [HOLD], 7, 100)
    wire.tx.commit()
    condition, values = read_condition(wire)
    assert "burn_micros_per_hour <= " in condition
    assert {"N": "60"} in values.values()


def test_that_of_an_old_one_is_not(wire):
    DynamoWalletStore().add_holds(wire.tx, "acc_1", [HOLD], 7)
    wire.tx.commit()
    assert "burn_micros_per_hour" not in read_condition(wire)[0]


def build_row(**more):
    numbers = {"posted_micros": 0, "held_micros": 0, "available_micros": 0, "burn_micros_per_hour": 0} | more
    row = {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "BALANCE"}, "currency": {"S": "USD"}}
    row["account_id"] = {"S": "acc_1"}
    return {"Item": row | {name: {"N": str(value)} for name, value in numbers.items()}}


@pytest.mark.parametrize(
    ("row", "since_ms"),
    [
        ({}, None),
        (build_row(), None),
        (build_row(paid_since_ms=7), 7),
        # Paid in before it was written down when.
        (build_row(posted_micros=5), 0),
    ],
)
def test_who_paid_is_read_until_somebody_has_and_then_known(wire, row, since_ms):
    store = DynamoWalletStore()
    wire.answers = [row, row]
    assert store.find_paid_since("acc_1") == since_ms
    assert store.find_paid_since("acc_1") == since_ms
    assert len(wire.calls) == (2 if since_ms is None else 1)


def test_closing_requires_that_nothing_is_set_aside_or_that_there_is_no_wallet(wire):
    DynamoWalletStore().require_nothing_held(wire.tx, "acc_1")
    wire.tx.commit()
    check = list_writes(wire.last)["ConditionCheck", "balances"]
    assert check["Key"] == {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "BALANCE"}}
    condition = fill(check["ConditionExpression"], check)
    assert "attribute_not_exists (pk) OR held_micros = " in condition
    assert {"N": "0"} in check["ExpressionAttributeValues"].values()

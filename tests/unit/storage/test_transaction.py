"""A transaction: the failed write says why, contention is retried with the same token, then given up."""

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from pynamodb.exceptions import TransactWriteError

from chalicelib.core.errors import Conflict, TooMuchAtOnce, Unavailable
from chalicelib.storage.tables.accounts import AccountItem
from chalicelib.storage.tables.ledger import BalanceItem
from chalicelib.storage.tables.rentals import RentalItem
from chalicelib.storage.transaction import MAX_ATTEMPTS, MAX_ITEMS, DynamoTransaction, Retry

ITEM = {"pk": {"S": "p"}, "sk": {"S": "s"}, "name": {"S": "old"}}


class Wire:
    """Answers ``transact_write_items`` calls with what the test lined up, and remembers them."""

    def __init__(self, bound, monkeypatch):
        self.answers, self.calls, self.waits = [], [], []
        monkeypatch.setattr(bound, "_make_api_call", self.call)
        retry = Retry(self.waits.append, lambda: 1.0)
        self.tx = DynamoTransaction(bound, "token-1", retry)

    def call(self, operation, arguments, *_):
        self.calls.append((operation, arguments))
        if self.answers:
            raise self.answers.pop(0)
        return {}


def cancel(*codes, item=None):
    reasons = [{"Code": code} for code in codes]
    if item is not None:
        reasons[-1]["Item"] = item
    response = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
    return wrap(ClientError(response, "TransactWriteItems"))


def wrap(error):
    from pynamodb.exceptions import CancellationReason, VerboseClientError

    if not isinstance(error, ClientError):
        return error
    reasons = [
        CancellationReason(each["Code"], each.get("Message"), each.get("Item"))
        if each["Code"] != "None"
        else None
        for each in error.response.get("CancellationReasons", [])
    ]
    return VerboseClientError(error.response, "TransactWriteItems", {}, cancellation_reasons=reasons)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def name_failure(name):
    return lambda old: Conflict(f"{name}: {None if old is None else getattr(old, 'name', old.pk)}", code=name)


def build(wire):
    """An update, a put and a check: sent as check, put, update, whatever the order they were added in."""
    tx = wire.tx
    tx.update(
        BalanceItem,
        ("p", "s"),
        [BalanceItem.leg_version.set(1)],
        BalanceItem.pk.exists(),
        name_failure("update"),
    )
    tx.put(
        AccountItem("p", "s", name="n", currency="USD", created_at_ms=1),
        AccountItem.pk.does_not_exist(),
        name_failure("put"),
    )
    tx.check(RentalItem, "p", "s", RentalItem.pk.exists(), name_failure("check"))
    return tx


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (("ConditionalCheckFailed", "None", "None"), "check"),
        (("None", "ConditionalCheckFailed", "None"), "put"),
        (("None", "None", "ConditionalCheckFailed"), "update"),
        (("TransactionConflict", "ConditionalCheckFailed", "None"), "put"),
    ],
)
def test_the_write_whose_condition_failed_says_what_to_raise(wire, codes, code):
    wire.answers = [cancel(*codes)]
    with pytest.raises(Conflict) as caught:
        build(wire).commit()
    assert caught.value.code == code
    assert wire.waits == []


def test_what_stood_in_the_way_is_handed_over(wire):
    wire.tx.put(AccountItem("p", "s", name="n", currency="USD", created_at_ms=1), None, name_failure("put"))
    wire.answers = [cancel("ConditionalCheckFailed", item=ITEM)]
    with pytest.raises(Conflict, match="put: old"):
        wire.tx.commit()


@pytest.mark.parametrize(
    "error",
    [
        cancel("TransactionConflict", "None", "None"),
        cancel("None", "ThrottlingError", "TransactionConflict"),
        wrap(ClientError({"Error": {"Code": "ThrottlingException"}}, "TransactWriteItems")),
        wrap(ClientError({"Error": {"Code": "InternalServerError"}}, "TransactWriteItems")),
        ReadTimeoutError(endpoint_url="x"),
    ],
)
def test_contention_and_lost_replies_are_tried_again_with_the_same_token(wire, error):
    wire.answers = [error, error]
    build(wire).commit()
    assert len(wire.calls) == 3
    assert {call["ClientRequestToken"] for _, call in wire.calls} == {"token-1"}
    assert wire.waits == sorted(wire.waits)
    assert len(wire.waits) == 2


def test_it_gives_up_after_a_bounded_time(wire):
    wire.answers = [cancel("TransactionConflict") for _ in range(MAX_ATTEMPTS)]
    with pytest.raises(Unavailable):
        build(wire).commit()
    assert len(wire.calls) == MAX_ATTEMPTS
    assert sum(wire.waits) < 5


def test_what_is_no_contention_is_a_bug_and_is_raised(wire):
    wire.answers = [wrap(ClientError({"Error": {"Code": "ValidationException"}}, "TransactWriteItems"))]
    with pytest.raises(TransactWriteError):
        build(wire).commit()
    assert len(wire.calls) == 1


def test_more_than_dynamodb_takes_is_refused_before_it_is_asked(bound, monkeypatch):
    wire = Wire(bound, monkeypatch)
    for number in range(MAX_ITEMS + 1):
        wire.tx.put(RentalItem(f"RENTAL#{number}", "RENTAL"), None, Unavailable)
    with pytest.raises(TooMuchAtOnce):
        wire.tx.commit()
    assert wire.calls == []

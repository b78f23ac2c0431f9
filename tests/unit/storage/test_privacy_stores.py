"""What privacy asks of DynamoDB: the lock of a subject, what is cleared, how an account's items are found."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.privacy.inventory import ROWS, list_owned
from chalicelib.privacy.record_store import _MODELS, SOURCES, DynamoRecords
from chalicelib.privacy.requests import Consent, PrivacyRequest, Record
from chalicelib.privacy.store import DynamoConsentStore, DynamoRequestStore
from tests.unit.storage.wire import Wire, fill, list_writes

REQUEST = PrivacyRequest(
    "prv_1", "acc_1", "acc_1", "key_1", "export", 5, "running", ("money_held",), 6, None, 3, None, None, 7, 2
)
STORE, CONSENTS, RECORDS = DynamoRequestStore(), DynamoConsentStore(), DynamoRecords()


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def test_a_request_comes_back_as_it_went_and_is_listed_while_it_is_open(wire):
    STORE.add_request(wire.tx, REQUEST, None)
    wire.tx.commit()
    puts = [each["Put"] for each in wire.last["TransactItems"]]
    assert [fill(put["ConditionExpression"], put) for put in puts] == 2 * ["attribute_not_exists (pk)"]
    assert puts[0]["Item"]["open_shard"] == {"S": "OPEN"}
    wire.answers.append({"Item": puts[0]["Item"]})
    assert STORE.get_request("acc_1", "prv_1") == REQUEST
    assert wire.last["ConsistentRead"] is True


def test_what_is_done_with_is_listed_no_more_and_is_replaced_as_it_was_read(wire):
    STORE.replace_request(wire.tx, REQUEST, replace(REQUEST, state="completed"))
    wire.tx.commit()
    put = list_writes(wire.last)["Put", "privacy"]
    assert "open_shard" not in put["Item"]
    assert put["Item"]["version"] == {"N": "3"}
    assert fill(put["ConditionExpression"], put).startswith("version =")


def test_who_was_tried_longest_ago_is_first_and_of_the_untried_the_older(wire):
    tried = {"prv_1": 9, "prv_2": 8, "prv_3": None, "prv_4": None}
    for request_id, tried_at_ms in tried.items():
        STORE.add_request(wire.tx, replace(REQUEST, request_id=request_id, tried_at_ms=tried_at_ms), None)
    wire.tx.commit()
    puts = [each["Put"]["Item"] for each in wire.last["TransactItems"]]
    wire.answers.append({"Items": [each for each in puts if "open_shard" in each]})
    assert [request_id for _, request_id in STORE.list_open()] == ["prv_3", "prv_4", "prv_2", "prv_1"]


def test_the_lock_is_taken_from_whom_it_was_seen_with(wire):
    STORE.add_request(wire.tx, replace(REQUEST, kind="erasure"), ("prv_0", "export"))
    STORE.check_lock(wire.tx, REQUEST)
    wire.tx.commit()
    locks = [
        each
        for item in wire.last["TransactItems"]
        for each in item.values()
        if "request_id =" in fill(each["ConditionExpression"], each)
    ]
    assert len(locks) == 2


def test_a_consent_comes_back_as_it_went_and_is_never_written_over(wire):
    consent = Consent("cns_1", "acc_1", "key_1", "data_sale", given=False, version="1", at_ms=7)
    CONSENTS.add_consent(wire.tx, consent)
    wire.tx.commit()
    put = list_writes(wire.last)["Put", "privacy"]
    assert fill(put["ConditionExpression"], put) == "attribute_not_exists (pk)"
    wire.answers.append({"Items": [put["Item"]]})
    assert CONSENTS.list_consents("acc_1") == [consent]


def test_every_kind_of_item_of_an_account_is_found_and_what_is_erased_can_be_written():
    assert set(SOURCES) == {row.item for row in list_owned()}, (
        "say in privacy/record_store.py how an account's items are found"
    )
    assert set(_MODELS) == {row.item for row in list_owned() if row.on_erasure != "keep"}
    others = {row.item for row in ROWS if row.on_erasure != "keep" and not row.owned and not row.of_person}
    assert others == {"PersonKeyItem"}


def test_clearing_takes_out_what_may_be_absent_and_overwrites_what_may_not(wire):
    RECORDS.clear(Record("ApiKeyItem", "KEY#1", "KEY#1", {}), ["label", "networks"])
    asked = fill(wire.last["UpdateExpression"], wire.last)
    assert "REMOVE networks" in asked
    assert "SET label" in asked
    assert wire.last["ExpressionAttributeValues"] == {":0": {"S": "erased"}}
    assert "attribute_exists" in wire.last["ConditionExpression"]


def test_what_is_gone_is_cleared_and_a_failure_is_none(wire):
    record = Record("ApiKeyItem", "KEY#1", "KEY#1", {})
    gone = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}
    wire.answers.append(ClientError(gone, "UpdateItem"))
    RECORDS.clear(record, ["label"])
    wire.answers.append(ClientError({"Error": {"Code": "InternalServerError"}}, "UpdateItem"))
    with pytest.raises(Unavailable):
        RECORDS.clear(record, ["label"])
    wire.answers.append(ClientError({"Error": {"Code": "InternalServerError"}}, "DeleteItem"))
    with pytest.raises(Unavailable):
        RECORDS.delete(record)


def test_what_is_found_has_the_names_that_it_has_in_the_table(wire):
    item = {
        "pk": {"S": "ACCOUNT#acc_1"},
        "sk": {"S": "ACCOUNT"},
        "name": {"S": "ACME"},
        "currency": {"S": "USD"},
        "created_at_ms": {"N": "5"},
    }
    wire.answers.append({"Item": item})
    (found,) = RECORDS.list_records("acc_1", "AccountItem")
    values = {"name": "ACME", "currency": "USD", "created_at_ms": 5}
    assert found == Record("AccountItem", "ACCOUNT#acc_1", "ACCOUNT", values)
    assert list(RECORDS.list_records("acc_1", "AccountItem")) == []


@pytest.mark.parametrize(
    ("held", "posted", "reasons"),
    [(0, 0, ()), (5, 5, ("money_held",)), (0, -1, ("balance_negative",))],
)
def test_the_balance_is_read_consistently_for_what_stands_in_the_way(wire, held, posted, reasons):
    balance = {
        "pk": {"S": "ACCOUNT#acc_1"},
        "sk": {"S": "BALANCE"},
        "account_id": {"S": "acc_1"},
        "currency": {"S": "USD"},
        "posted_micros": {"N": str(posted)},
        "held_micros": {"N": str(held)},
        "available_micros": {"N": str(posted - held)},
        "burn_micros_per_hour": {"N": "0"},
    }
    wire.answers += [{}, {}, {}, {}, {"Item": balance}]
    assert RECORDS.list_reasons("acc_1", 0) == reasons
    assert wire.last["ConsistentRead"] is True


RENTAL = {
    "pk": {"S": "RENTAL#rnt_1"},
    "sk": {"S": "RENTAL"},
    "rental_id": {"S": "rnt_1"},
    "state": {"S": "terminated"},
    "billing_state": {"S": "closed"},
    "past": {"S": '[{"host_id": "host_1", "segment": 1}, {"host_id": "host_2", "segment": 2}]'},
    "settled_segment": {"N": "2"},
}
MONTH = {"pk": {"S": "ACCOUNT#acc_1"}, "sk": {"S": "2026-01"}, "opening": {"S": "[]"}}
ANSWER = {"pk": {"S": "ACCOUNT#acc_1#key"}, "sk": {"S": "RESPONSE"}, "account_id": {"S": "acc_1"}}
#: What is asked first, where the items of an account are found by others of it.
FIRST = {"EntryItem": MONTH, "UsageItem": MONTH, "IdempotencyItem": ANSWER} | dict.fromkeys(
    ("MeterItem", "EnergyItem", "DuplicatesItem", "LogItem", "WorkloadItem", "CommandItem"),
    RENTAL,
)


@pytest.mark.parametrize("item", sorted(SOURCES))
def test_an_accounts_items_are_asked_for_by_keys_and_never_by_a_scan(wire, item):
    if item in FIRST:
        wire.answers.append({"Items": [FIRST[item]]})
    list(RECORDS.list_records("acc_1", item))
    asked = [operation for operation, _ in wire.calls]
    assert asked
    assert set(asked) <= {"Query", "GetItem"}
    for operation, arguments in wire.calls:
        if operation == "Query":
            named = fill(arguments["KeyConditionExpression"], arguments)
            assert " = " in named
            # An index is read as it is, a table as it stands.
            assert arguments.get("ConsistentRead", False) != ("IndexName" in arguments)
    if item in FIRST:
        # A month has three thirds of lines; a rental was on two hosts.
        assert len(asked) == {"UsageItem": 4, "CommandItem": 3}.get(item, 2)
    assert any("acc_1" in text for _, arguments in wire.calls for text in read_texts(arguments))


def read_texts(arguments):
    """Every text that a call names."""
    for value in arguments.values():
        if isinstance(value, dict):
            yield from read_texts(value)
        elif isinstance(value, str):
            yield value


def test_what_stands_open_is_a_reason(wire):
    running = RENTAL | {"state": {"S": "running"}, "billing_state": {"S": "metering"}}
    unposted = RENTAL | {"settled_segment": {"N": "1"}}
    later = {"placement": {"S": '{"host_id": "host_3", "segment": 3}'}}
    free = RENTAL | {"billing_state": {"S": "not_started"}, "settled_segment": {"N": "0"}}
    for rental, reasons in (
        *((each, ("rental_open",)) for each in (running, unposted, RENTAL | later)),
        *((each, ()) for each in (RENTAL, free, RENTAL | later | {"settled_segment": {"N": "3"}})),
        (RENTAL | {"kept": {"S": '[{"since_ms": 1}]'}}, ("volume_kept",)),
    ):
        wire.answers = [{"Items": [rental]}]
        assert RECORDS.list_reasons("acc_1", 0) == reasons
    paid = {"state": {"S": "succeeded"}, "disputed_micros": {"N": "5"}, "created_at_ms": {"N": "1000"}}
    for now_ms, reasons in ((2_000, ("dispute_open",)), (10**12, ())):
        wire.answers = [{}, {}, {"Items": [paid]}]
        assert RECORDS.list_reasons("acc_1", now_ms) == reasons
    wire.answers = [{}, {"Items": [{"state": {"S": "active"}}]}]
    assert RECORDS.list_reasons("acc_1", 0) == ("reservation_open",)

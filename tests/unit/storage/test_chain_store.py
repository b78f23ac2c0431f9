"""What chains ask of DynamoDB: puts on absence alone, consistent reads, keys and indexes, no scan."""

import pytest

from chalicelib.compliance.anchors import Anchor
from chalicelib.compliance.chain_store import DynamoChainStore
from chalicelib.compliance.linking import CHUNK
from chalicelib.compliance.model import EMPTY, AccountHead, Head, build_links
from chalicelib.compliance.ports import AlreadyAnchored, EntryKey, LinkTaken, Place, Progress
from chalicelib.compliance.service import AuditFilters
from chalicelib.compliance.store import EXAMINED, DynamoAuditTrail, build_item, read_image
from chalicelib.core.ports import AuditEntry
from chalicelib.storage.tables.records import AuditItem
from tests.unit.storage.wire import Wire, fill

AT = 1_800_000_000_000
ENTRIES = [
    AuditEntry(f"aud_{number:026d}", "acc_1", "key_1", "key.issued", "key_2", AT + number, {"n": {"a": [1]}})
    for number in range(CHUNK)
]
LINKS = build_links("acc_1", EMPTY, ENTRIES, AT)


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


@pytest.fixture
def store():
    return DynamoChainStore()


def serialize(entry):
    return build_item(entry).serialize()


def test_links_their_entries_marks_and_the_mark_of_the_chain_are_one_transaction_of_puts(wire, store):
    store.add_links(wire.tx, LINKS)
    wire.tx.commit()
    writes = [(kind, write) for item in wire.last["TransactItems"] for kind, write in item.items()]
    assert len(writes) == 2 * CHUNK + 1 <= 100
    assert {kind for kind, _ in writes} == {"Put"}
    chained = [write for _, write in writes if write["TableName"] == "prefix-chain"]
    assert len(chained) == 2 * CHUNK
    assert {fill(write["ConditionExpression"], write) for write in chained} == {"attribute_not_exists (pk)"}
    (mark,) = (write["Item"] for _, write in writes if write["TableName"] == "prefix-marks")
    assert mark["sk"] == {"S": "ACCOUNT#acc_1"}
    assert mark["sequence"] == {"N": str(CHUNK)}


def test_a_number_that_is_taken_is_told(wire, store):
    store.add_links(wire.tx, LINKS[:1])
    write = wire.tx._puts[0]
    assert isinstance(write.on_failure(None), LinkTaken)
    store.add_anchor(wire.tx, Anchor(1, AT, "", 0, ""))
    store.add_anchored(wire.tx, AccountHead("acc_1", 1, "h"), 1)
    assert all(isinstance(each.on_failure(None), AlreadyAnchored) for each in wire.tx._puts[-2:])


def test_the_head_is_one_consistent_read_of_the_end(wire, store):
    assert store.get_head("acc_1") == EMPTY
    assert wire.last["ConsistentRead"]
    assert (wire.last["Limit"], wire.last["ScanIndexForward"]) == (1, False)
    row = {"pk": {"S": "LINKS#acc_1"}, "sk": {"S": "000000000007"}, "hash": {"S": "h"}}
    wire.answers = [{"Items": [row]}]
    assert store.get_head("acc_1") == Head(7, "h")


def test_what_is_linked_and_the_entries_of_links_are_read_by_key_and_consistently(wire, store):
    found = {"pk": {"S": "ENTRY#aud_1"}, "sk": {"S": "ENTRY"}, "sequence": {"N": "4"}}
    wire.answers = [{"Responses": {"prefix-chain": [found]}, "UnprocessedKeys": {}}]
    assert store.find_linked(["aud_1", "aud_2"]) == {"aud_1": 4}
    assert wire.last["RequestItems"]["prefix-chain"]["ConsistentRead"]
    wire.answers = [{"Responses": {"prefix-audit": [serialize(ENTRIES[0])]}, "UnprocessedKeys": {}}]
    key = EntryKey("acc_1", AT, ENTRIES[0].audit_id)
    assert store.find_entries([key]) == {ENTRIES[0].audit_id: ENTRIES[0]}
    assert wire.last["RequestItems"]["prefix-audit"]["ConsistentRead"]
    count = len(wire.calls)
    assert (store.find_linked([]), store.find_entries([]), store.find_hashes([])) == ({}, {}, {})
    assert len(wire.calls) == count


@pytest.mark.parametrize("field", ["pk", "sk", "account_id", "actor", "indexed_actor", "hour_shard", "at_ms"])
def test_a_row_whose_keys_or_indexes_say_something_beside_its_entry_is_no_entry(wire, store, field):
    row = serialize(ENTRIES[0])
    row[field] = (
        {"N": "1"} if field == "at_ms" else {"S": "key_other" if "actor" in field else "ACCOUNT#other"}
    )
    wire.answers = [{"Responses": {"prefix-audit": [row]}, "UnprocessedKeys": {}}]
    assert store.find_entries([EntryKey("acc_1", AT, ENTRIES[0].audit_id)]) == {}


def test_an_image_of_the_stream_is_the_entry_that_was_written():
    assert read_image(serialize(ENTRIES[3])) == ENTRIES[3]


def test_links_entries_and_anchors_are_queried_and_nothing_is_scanned(wire, store):
    list(store.list_links("acc_1", 3, 9))
    assert list(store.list_links("acc_1", 3, 2)) == []
    list(store.list_entries("acc_1", 0, None))
    list(store.list_hour(AT // 3_600_000))
    store.list_moved(10)
    store.get_last_anchor()
    store.find_anchored("acc_1", from_sequence=3)
    store.find_last_anchored("acc_1", below=5)
    assert {operation for operation, _ in wire.calls} == {"Query"}
    hours = [arguments for _, arguments in wire.calls if arguments.get("IndexName")]
    assert {arguments["IndexName"] for arguments in hours} == {"by_hour"}
    assert len(hours) == 4
    rest = [arguments for _, arguments in wire.calls if not arguments.get("IndexName")]
    assert all(arguments["ConsistentRead"] for arguments in rest)


def test_a_mark_is_taken_away_only_while_it_names_the_head_that_was_anchored(wire, store):
    store.forget_moved(AccountHead("acc_1", 7, "h"))
    assert wire.calls[-1][0] == "DeleteItem"
    assert fill(wire.last["ConditionExpression"], wire.last).startswith("sequence = ")


def read_page(wire, filters, *, limit=2, start=None, rows=()):
    wire.answers = [{"Items": [serialize(entry) for entry in rows]}]
    return DynamoAuditTrail().list_by_account("acc_1", limit, start, filters)


def test_an_accounts_trail_is_its_own_partition_between_two_instants(wire):
    page = read_page(wire, AuditFilters(from_ms=AT, to_ms=AT + 9), rows=ENTRIES[2::-1])
    assert [entry.audit_id for entry in page.items] == [ENTRIES[2].audit_id, ENTRIES[1].audit_id]
    assert page.next_key == f"{AT + 1:013d}#{ENTRIES[1].audit_id}"
    assert "IndexName" not in wire.last
    assert wire.last["ScanIndexForward"] is False
    values = {str(each) for each in wire.last["ExpressionAttributeValues"].values()}
    assert {str({"S": f"{AT:013d}#"}), str({"S": f"{AT + 9:013d}#"})} <= values
    assert str({"S": "ACCOUNT#acc_1"}) in values


def test_a_page_goes_on_behind_its_cursor_and_ends(wire):
    start = f"{AT + 1:013d}#{ENTRIES[1].audit_id}"
    page = read_page(wire, AuditFilters(), start=start, rows=[ENTRIES[1], ENTRIES[0]])
    assert ([entry.audit_id for entry in page.items], page.next_key) == ([ENTRIES[0].audit_id], None)


def test_a_page_looks_at_a_bounded_number_of_rows_whatever_its_filters_leave(wire):
    rows = [
        AuditEntry(f"aud_{n}", "acc_1", "key_1", "key.issued", "key_2", AT + 10_000 - n, {})
        for n in range(EXAMINED + 1)
    ]
    page = read_page(wire, AuditFilters(action="rental."), rows=rows)
    assert page.items == []
    assert page.next_key == f"{rows[EXAMINED - 1].at_ms:013d}#{rows[EXAMINED - 1].audit_id}"


def test_a_period_beyond_the_last_instant_that_keys_tell_apart_is_empty(monkeypatch):
    """DynamoDB refuses bounds that are the wrong way round, as 2246 and 2812 would be."""
    asked = []
    monkeypatch.setattr(AuditItem, "query", lambda *key, **_: asked.append(key[1]) or iter(()))
    far_ms, further_ms = 8_700_000_000_000, 26_600_000_000_000
    assert list(DynamoChainStore().list_entries("acc_1", far_ms, further_ms)) == []
    assert list(DynamoChainStore().list_entries("acc_1", further_ms, further_ms + 1)) == []
    (bounds,) = asked
    first, last = (str(each) for each in bounds.values[1:])
    assert first < last


@pytest.mark.parametrize(
    "progress",
    [
        Progress(4, 3, Place(2, Head(7, "f" * 64)), Place(5), 1_800_000_000_000),
        Progress(1, 0, finished_at_ms=None),
    ],
)
def test_progress_comes_back_as_it_went(wire, store, progress):
    store.put_progress(progress)
    wire.answers.append({"Item": wire.last["Item"]})
    assert store.get_progress() == progress
    assert wire.last["ConsistentRead"] is True

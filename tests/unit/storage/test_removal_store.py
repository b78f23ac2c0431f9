"""What removals ask of DynamoDB: rows that come back as they went, conditions on what was read, the bound."""

import json
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.errors import Unavailable
from chalicelib.metering.model import SiteUse
from chalicelib.metering.store import DynamoMeterStore
from chalicelib.removals.accounting import Component, CountedEnergy, Removal
from chalicelib.removals.certificate_store import DynamoCertificateStore
from chalicelib.removals.certificates import Batch, BatchExhausted, Certificate, cut, take, write
from chalicelib.removals.model import Content, Share, Statement, Window
from chalicelib.removals.plausibility import Finding
from chalicelib.removals.store import DynamoRemovalStore
from tests.unit.storage.wire import Wire, fill, list_writes

WINDOW = Window("hst_1", "dac-1", "2027-01-15")
CONTENT = Content(
    (
        Component("loss", 1, 2, "pipe"),
        Component("activity", 3, 4, "grid", (CountedEnergy("m", "s", "v", "z", True, False, 5, 3),)),
    ),
    Removal(9, 0, 1, 0, 2),
    (Finding("gap", "flag", "long"),),
    (("acc_1", 7), ("platform", 3)),
)
STATEMENT = Statement(WINDOW, 2, CONTENT, 5, 1, "verified", 3, "report", "key_1", 6, None, None, 0)
BATCH = Batch("PC-20270115-0123456789AB", "hst_1", "dac-1", "2027-01-15", 2, "eu", 100, 5, 8)
STATEMENTS, CERTIFICATES = DynamoRemovalStore(), DynamoCertificateStore()


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def keep(wire):
    """Commit, and return the rows that were put."""
    wire.tx.commit()
    return [item["Put"]["Item"] for item in wire.last["TransactItems"] if "Put" in item]


def test_a_statement_comes_back_as_it_went(wire):
    STATEMENTS.add_statement(wire.tx, STATEMENT)
    (row,) = keep(wire)
    wire.answers = [{"Items": [row]}, {"Item": row}, {"Items": [row], "LastEvaluatedKey": row}]
    assert STATEMENTS.get_latest(WINDOW) == STATEMENT
    assert wire.last["ScanIndexForward"] is False
    assert STATEMENTS.get_revision(WINDOW, 2) == STATEMENT
    page = STATEMENTS.list_statements("hst_1", "dac-1", 1, None)
    assert (list(page.items), page.next_key) == ([STATEMENT], "2027-01-15#0002")


def test_a_statement_of_before_the_hours_is_still_read(wire):
    STATEMENTS.add_statement(wire.tx, STATEMENT)
    (row,) = keep(wire)
    content = json.loads(row["content"]["S"])
    for each in content["components"]:
        del each["counted"]
    wire.answers = [{"Item": row | {"content": {"S": json.dumps(content)}}}]
    found = STATEMENTS.get_revision(WINDOW, 2).content.components
    assert [(each.kind, each.mass_mg, each.counted) for each in found] == [
        ("loss", 1, ()),
        ("activity", 3, ()),
    ]


def test_a_share_comes_back_as_it_went(wire):
    share = Share("acc_1", WINDOW, 2, 7, "final", "PC-20270115-0123456789AB-0001")
    STATEMENTS.put_share(wire.tx, share)
    rows = keep(wire)
    wire.answers = [{"Items": rows}]
    assert list(STATEMENTS.list_shares("acc_1", 5, None).items) == [share]


def test_a_batch_its_certificates_and_its_entries_come_back_as_they_went(wire):
    moved, certificate = cut(take(BATCH, "sold", 7), BATCH.serial, "sold", "Buyer", 7, 9)
    moved, entry = write(moved, "sold", certificate.serial, 7, 9, children=["x"])
    retired = replace(certificate, state="retired", beneficiary="Ada", retired_at_ms=10)
    CERTIFICATES.add_batch(wire.tx, moved)
    CERTIFICATES.add_certificate(wire.tx, retired)
    CERTIFICATES.add_entry(wire.tx, entry)
    batch_row, certificate_row, entry_row = keep(wire)
    assert batch_row["free_mg"] == {"N": "88"}
    wire.answers = [{"Item": batch_row}, {"Item": certificate_row}, {"Items": [entry_row]}]
    assert CERTIFICATES.get_batch(BATCH.serial) == moved
    assert CERTIFICATES.get_certificate(certificate.serial) == retired
    assert CERTIFICATES.list_entries(BATCH.serial) == [(entry, entry.hash)]


def test_a_statement_is_replaced_only_as_it_was_read(wire):
    STATEMENTS.replace_statement(wire.tx, STATEMENT, replace(STATEMENT, version=4))
    wire.tx.commit()
    put = list_writes(wire.last)["Put", "removals"]
    assert fill(put["ConditionExpression"], put).startswith("version = ")
    assert {"N": "3"} in put["ExpressionAttributeValues"].values()


def test_a_batch_moves_by_arithmetic_under_its_bound_and_its_last_entry(wire):
    moved, entry = write(take(BATCH, "sold", 7), "sold", "s", 7, 9)
    CERTIFICATES.change_certificate(wire.tx, Certificate(f"{BATCH.serial}-0001", "p", "sold", "h", 7, 1))
    CERTIFICATES.add_entry(wire.tx, entry)
    CERTIFICATES.move_batch(wire.tx, BATCH, moved)
    wire.tx.commit()
    writes = list_writes(wire.last)
    update = writes["Update", "removals"]
    condition = fill(update["ConditionExpression"], update)
    assert "free_mg >= " in condition
    assert "entries = " in condition
    assert "free_mg = free_mg + " in fill(update["UpdateExpression"], update)
    assert {"N": "-7"} in update["ExpressionAttributeValues"].values()
    register = writes["Put", "register"]
    assert "attribute_not_exists" in register["ConditionExpression"]
    assert "state = " in fill(writes["Put", "removals"]["ConditionExpression"], writes["Put", "removals"])


@pytest.mark.parametrize(("free", "raised"), [("6", BatchExhausted), ("95", Unavailable)])
def test_a_batch_that_has_less_free_says_so_and_one_that_moved_is_tried_again(wire, free, raised):
    CERTIFICATES.add_batch(wire.tx, BATCH)
    (row,) = keep(wire)
    moved, _ = write(take(BATCH, "sold", 7), "sold", "s", 7, 9)
    tx = type(wire.tx)(wire.tx.connection, "other", wire.tx.retry)
    CERTIFICATES.move_batch(tx, BATCH, moved)
    reason = {"Code": "ConditionalCheckFailed", "Message": "no", "Item": row | {"free_mg": {"N": free}}}
    answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [reason]}
    wire.answers = [ClientError(answer, "TransactWriteItems")]
    with pytest.raises(raised):
        tx.commit()


def test_a_day_of_a_unit_and_of_its_site_are_one_query_each(wire):
    row = {
        "pk": {"S": "CAPTURE#hst_1#dac-1"},
        "sk": {"S": "0000000000007#FT-1#gas_mass_flow"},
        "value": {"N": "5"},
        "standard_deviation": {"N": "1"},
        "unit": {"S": "milligrams_per_hour"},
        "received_at_ms": {"N": "8"},
    }
    hours = [
        {
            "pk": {"S": "SITE#hst_1"},
            "sk": {"S": hour},
            "eacc_1#rnt_1#1": {"N": "4"},
            "cacc_1#rnt_1#1": {"N": "9"},
            "eplatform##0": {"N": "2"},
        }
        for hour in ("2027-01-15T00", "2027-01-15T01")
    ]
    wire.answers = [{"Items": [row]}, {"Items": hours}]
    (kept,) = DynamoMeterStore().list_datapoints("hst_1", "dac-1", 0, 9)
    assert (kept.datapoint.sensor_id, kept.datapoint.quantity, kept.received_at_ms) == (
        "FT-1",
        "gas_mass_flow",
        8,
    )
    energies = DynamoMeterStore().list_site_energy("hst_1", "2027-01-15T00", "2027-01-15T23")
    assert energies == {"acc_1": 8, "platform": 4}
    assert [operation for operation, _ in wire.calls] == ["Query", "Query"]


def test_a_sites_hour_is_one_addition_for_all_its_tenants(wire):
    DynamoMeterStore().add_site_energy(
        wire.tx,
        "hst_1",
        "2027-01-15T00",
        [SiteUse("acc_1", "rnt_1", 1, 4, 0, 60_000), SiteUse("platform", "", 0, 2, 1, 60_000)],
    )
    wire.tx.commit()
    update = list_writes(wire.last)["Update", "metering"]
    told = fill(update["UpdateExpression"], update)
    for added in ("eacc_1#rnt_1#1", "cacc_1#rnt_1#1", "eplatform##0", "xplatform##0"):
        assert added in told.partition("ADD ")[2]
    assert "xacc_1" not in told, "nothing of it is estimated"
    assert told.startswith("SET day_shard = "), "the day's index"

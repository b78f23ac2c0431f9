"""Whoever changes or removes what stands in the ledger is seen, and told of once."""

from types import SimpleNamespace

import pytest

from chalicelib.billing import functions
from chalicelib.billing.tampering import find_tampering
from tests.factories import seed_cloud
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire

KEY = {"pk": {"S": "LEGS#cust:acc_1"}, "sk": {"S": "000000000001"}}


@pytest.fixture
def cloud(monkeypatch):
    cloud = seed_cloud().cloud
    rewire(monkeypatch, tampering_ports=cloud.tampering, settings=SimpleNamespace(stage="test"))
    return cloud


def build_record(name, number=1, old=100, new=None):
    images = {
        field: {**KEY, "amount_micros": {"N": str(value)}}
        for field, value in (("OldImage", old), ("NewImage", new))
        if value is not None
    }
    return {
        "eventID": f"event-{number}",
        "eventName": name,
        "dynamodb": {"Keys": KEY, "SequenceNumber": str(number), **images},
    }


def tell(*records):
    return functions.on_ledger_tampered({"Records": list(records)}, None)


def list_told(cloud):
    return [entry for entry in cloud.audit.entries if entry.action == "ledger.tampered"]


def test_a_change_and_a_removal_are_recorded_and_call_a_person(cloud, capsys):
    changed, removed = build_record("MODIFY", 1, 100, 200), build_record("REMOVE", 2, 200)
    assert tell(changed, removed) == {"batchItemFailures": []}
    assert read_metrics(capsys) == {"ledger_rows_tampered": 2}
    first, second = list_told(cloud)
    assert first.subject == second.subject == "LEGS#cust:acc_1/000000000001"
    assert (first.details["kind"], second.details["kind"]) == ("MODIFY", "REMOVE")
    assert first.details["old_fingerprint"] != first.details["new_fingerprint"]
    assert first.details["new_fingerprint"] == second.details["old_fingerprint"]
    assert second.details["new_fingerprint"] == ""
    assert first.account_id == "acc_operator"


def test_what_the_stream_tells_twice_is_recorded_once(cloud):
    record = build_record("REMOVE")
    assert tell(record) == tell(record) == {"batchItemFailures": []}
    assert len(list_told(cloud)) == 1


def test_a_posting_is_no_tampering(cloud, capsys):
    assert find_tampering(build_record("INSERT", old=None, new=100)) is None
    assert tell(build_record("INSERT", old=None, new=100)) == {"batchItemFailures": []}
    assert list_told(cloud) == []
    assert read_metrics(capsys) == {}


def test_what_cannot_be_recorded_comes_again_and_the_alarm_does_not_wait_for_it(cloud, capsys, monkeypatch):
    cloud.db.table("audit")["aud_taken"] = None
    fresh = cloud.ids.new_id
    monkeypatch.setattr(cloud.ids, "new_id", lambda prefix: "aud_taken")
    records = [build_record("REMOVE", 1), build_record("REMOVE", 2)]
    assert tell(*records) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    assert read_metrics(capsys) == {"ledger_rows_tampered": 2}
    del cloud.db.table("audit")["aud_taken"]
    monkeypatch.setattr(cloud.ids, "new_id", fresh)
    assert tell(*records) == {"batchItemFailures": []}
    assert len(list_told(cloud)) == 2


def test_the_money_is_left_alone(cloud):
    before = {
        name: dict(rows) for name, rows in cloud.db.tables.items() if name not in ("audit", "tamperings")
    }
    tell(build_record("MODIFY", 1, 100, 200))
    after = {
        name: dict(rows) for name, rows in cloud.db.tables.items() if name not in ("audit", "tamperings")
    }
    assert after == before

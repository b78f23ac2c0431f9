"""What stream and schedules do, and whom they call."""

from types import SimpleNamespace

import pytest

from chalicelib.compliance import functions
from chalicelib.compliance.anchoring import measure_anchor_age_ms
from chalicelib.compliance.anchors import name_anchor
from chalicelib.core.errors import Unavailable
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire
from tests.unit.compliance.trails import ACCOUNT, Trail

SCHEDULED = {
    **dict.fromkeys(("version", "account", "region", "detail-type", "source", "time", "id"), ""),
    "detail": {},
    "resources": [],
}


@pytest.fixture
def trail():
    return Trail()


def serve(trail, monkeypatch):
    rewire(
        monkeypatch,
        chain_ports=trail.ports,
        clock=trail.clock,
        settings=SimpleNamespace(stage="test"),
    )
    monkeypatch.setattr("chalicelib.wiring.read_audit_image", lambda image: trail.entries[image["id"]])


def tell(entries, kind="INSERT"):
    return {
        "Records": [
            {
                "eventID": str(number),
                "eventName": kind,
                "eventSourceARN": "arn:aws:dynamodb:us-east-1:0:table/audit/stream/x",
                "awsRegion": "us-east-1",
                "dynamodb": {
                    "Keys": {"pk": {"S": f"ACCOUNT#{entry.account_id}"}, "sk": {"S": entry.audit_id}},
                    "NewImage": {"id": entry.audit_id},
                    "SequenceNumber": str(100 + number),
                },
            }
            for number, entry in enumerate(entries)
        ]
    }


def test_the_stream_links_and_goes_on_from_the_first_that_failed(trail, monkeypatch):
    serve(trail, monkeypatch)
    mixed = [*trail.act(2), *trail.act(2, "acc_other"), *trail.act(1)]
    assert functions.on_audit_recorded(tell(mixed), None) == {"batchItemFailures": []}
    lengths = [len(trail.list_chain(each)) for each in (ACCOUNT, "acc_other")]
    assert lengths == [3, 2]
    more = [*trail.act(1), *trail.act(2, "acc_other")]
    link = functions.linking.link_entries

    def fail(ports, account_id, entries):
        if account_id == "acc_other":
            raise Unavailable("no")
        return link(ports, account_id, entries)

    monkeypatch.setattr(functions.linking, "link_entries", fail)
    assert functions.on_audit_recorded(tell(more), None) == {"batchItemFailures": [{"itemIdentifier": "101"}]}
    monkeypatch.setattr(functions.linking, "link_entries", link)
    functions.on_audit_recorded(tell(more[1:]), None)
    assert len(trail.list_chain("acc_other")) == 4


@pytest.mark.parametrize("kind", ["MODIFY", "REMOVE"])
def test_a_change_of_what_stands_calls_a_person_and_is_not_linked(trail, monkeypatch, capsys, kind):
    serve(trail, monkeypatch)
    made = trail.write(2)
    functions.on_audit_recorded(tell(made, kind), None)
    assert read_metrics(capsys) == {"audit_rows_tampered": 2}
    assert len(trail.list_chain()) == 2


def test_schedules_sweep_anchor_and_verify_and_say_what_is_wrong(trail, monkeypatch, capsys):
    serve(trail, monkeypatch)
    trail.act(3)
    trail.clock.advance_seconds(3600)
    functions.sweep_audit(SCHEDULED, None)
    assert read_metrics(capsys) == {
        "audit_entries_overdue": 3,
        "audit_anchor_age_minutes": 0,
        "audit_verification_age_minutes": 0,
    }
    functions.anchor_audit(SCHEDULED, None)
    assert read_metrics(capsys) == {"audit_anchor_mismatches": 0}
    functions.verify_audit(SCHEDULED, None)
    assert read_metrics(capsys) == {"audit_problems": 0}
    trail.clock.advance_seconds(4 * 3600)
    assert measure_anchor_age_ms(trail.ports) == 4 * 3_600_000
    del trail.links[ACCOUNT, 3]
    functions.verify_audit(SCHEDULED, None)
    assert read_metrics(capsys)["audit_problems"] > 0
    trail.vault.files[name_anchor(1)] = b"{}"
    functions.anchor_audit(SCHEDULED, None)
    assert read_metrics(capsys) == {"audit_anchor_mismatches": 1}


def test_a_verification_that_does_not_end_is_told_by_the_sweep(trail, monkeypatch, capsys):
    """Lambda ends a run without a word: whoever looks from outside says how long it has been."""
    serve(trail, monkeypatch)
    trail.write(3)
    trail.anchor()
    end = functions.verifying.verify_round

    def tell_age():
        trail.clock.advance_seconds(2 * 3600)
        functions.sweep_audit(SCHEDULED, None)
        return read_metrics(capsys)["audit_verification_age_minutes"]

    assert tell_age() == 120
    functions.verify_audit(SCHEDULED, None)
    assert tell_age() == 120
    monkeypatch.setattr(functions.verifying, "verify_round", refuse)
    for _ in range(2):
        with pytest.raises(Unavailable):
            functions.verify_audit(SCHEDULED, None)
    assert tell_age() == 240
    monkeypatch.setattr(functions.verifying, "verify_round", end)
    functions.verify_audit(SCHEDULED, None)
    assert tell_age() == 120


def refuse(_ports, _deadline_ms):
    raise Unavailable("no")

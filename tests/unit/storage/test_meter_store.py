"""What slowdowns and idleness of GPUs ask of DynamoDB."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from chalicelib.core.leases import Lease
from chalicelib.metering.model import Activity, EnergyShare, HourlyEnergy, Meter
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.store import LOOK_BACK_ROWS, DynamoMeterStore
from tests.unit.storage.wire import Wire, fill, list_writes

HOUR = "2027-01-15T08"
METER = Meter("rnt_1", 1, "acc_1", "hst_1", "eu-north-1", (Lease("GPU-1", 1),), 100, "open", 1_000, 2_000)
USED = HourlyEnergy("GPU-1", 1, HOUR, 10, 0, 1, None, 5, None, "counter")


@pytest.fixture
def wire(bound, monkeypatch):
    return Wire(bound, monkeypatch)


def write_of(wire):
    wire.tx.commit()
    write = list_writes(wire.last)["Update", "metering"]
    return fill(write["UpdateExpression"], write), write


@pytest.mark.parametrize(("heat", "brake"), [(None, None), (7, None), (7, 0)])
def test_an_hour_of_which_no_slowdown_was_told_has_none(wire, heat, brake):
    share = EnergyShare("rnt_1", "GPU-1", 1, HOUR, 10, 0, 1, None, heat, brake)
    DynamoMeterStore().add_energy(wire.tx, share)
    expression, _ = write_of(wire)
    assert ("thermal_slowdown_ms" in expression) == (heat is not None)
    assert ("power_brake_ms" in expression) == (brake is not None)


def test_slowed_hours_are_added_to_a_meter_that_is_there(wire):
    DynamoMeterStore().mark_slowed(wire.tx, METER, frozenset({HOUR}), 5_000)
    expression, write = write_of(wire)
    assert "ADD slowed_hours" in expression
    assert {"SS": [HOUR]} in write["ExpressionAttributeValues"].values()
    assert "attribute_exists (pk)" in fill(write["ConditionExpression"], write)


def test_they_are_forgotten_only_if_nothing_more_was_told(wire):
    meter = replace(METER, slowed_hours=frozenset({HOUR}), slowed_at_ms=5_000)
    DynamoMeterStore().forget_slowed(meter, meter.slowed_hours)
    assert "DELETE slowed_hours" in fill(wire.last["UpdateExpression"], wire.last)
    assert fill(wire.last["ConditionExpression"], wire.last).startswith("slowed_at_ms = ")
    assert {"N": "5000"} in wire.last["ExpressionAttributeValues"].values()


@pytest.mark.parametrize(
    ("credited", "condition"), [(0, "attribute_not_exists (slowdown_micros)"), (3, "slowdown_micros = ")]
)
def test_a_credit_is_noted_at_the_hour_and_at_the_stay_if_both_are_as_they_were(wire, credited, condition):
    meter, used = replace(METER, slowdown_micros=credited), replace(USED, slowdown_micros=credited)
    DynamoMeterStore().record_slowdown(wire.tx, meter, used, 4)
    wire.tx.commit()
    writes = [write["Update"] for write in wire.last["TransactItems"]]
    assert [write["Key"]["sk"]["S"] for write in writes] == ["METER#0001", f"ENERGY#{HOUR}#GPU-1#1"]
    for write in writes:
        assert condition in fill(write["ConditionExpression"], write)
        assert {"N": str(credited + 4)} in write["ExpressionAttributeValues"].values()


def test_an_hour_is_read_as_it_was_written_also_by_an_older_cloud(wire):
    row = {
        "pk": {"S": "RENTAL#rnt_1"},
        "sk": {"S": f"ENERGY#{HOUR}#GPU-1#1"},
        "gpu_uuid": {"S": "GPU-1"},
        "epoch": {"N": "1"},
        "hour": {"S": HOUR},
        "energy_millijoules": {"N": "10"},
        "estimated_millijoules": {"N": "0"},
        "intervals": {"N": "1"},
    }
    told = {"thermal_slowdown_ms": {"N": "5"}, "slowdown_source": {"S": "counter"}}
    wire.answers = [{"Items": [row | told]}, {"Items": [row]}]
    assert DynamoMeterStore().list_hour_energy("rnt_1", HOUR) == [USED]
    assert wire.last["ConsistentRead"]
    older = replace(USED, thermal_slowdown_ms=None, slowdown_source=None)
    assert DynamoMeterStore().list_hour_energy("rnt_1", HOUR) == [older]


@pytest.mark.parametrize(
    ("before", "condition"),
    [(None, "attribute_not_exists (observed_through_ms)"), (Activity(60_000, 5), "observed_through_ms = ")],
)
@pytest.mark.parametrize(
    ("after", "change"),
    [(Activity(120_000, 7), "idle_since_ms = "), (Activity(120_000, None), "REMOVE idle_since_ms")],
)
def test_activity_is_kept_only_if_nothing_more_was_shown(wire, before, condition, after, change):
    assert DynamoMeterStore().keep_activity(replace(METER, activity=before), after)
    assert change in fill(wire.last["UpdateExpression"], wire.last)
    asked = fill(wire.last["ConditionExpression"], wire.last)
    assert "attribute_exists (pk)" in asked
    assert condition in asked
    assert {"N": "120000"} in wire.last["ExpressionAttributeValues"].values()


def test_activity_that_another_record_has_shown_meanwhile_is_told(wire):
    wire.answers = [ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")]
    assert not DynamoMeterStore().keep_activity(METER, Activity(120_000, None))


def test_a_part_is_marked_once_and_only_while_its_record_is_not_there(wire):
    DynamoMeterStore().add_part(wire.tx, TelemetryRecord("hst_1", "boot-1", 7, "{}", 1_000), 2)
    wire.tx.commit()
    check, put = (item for write in wire.last["TransactItems"] for item in write.values())
    assert (check["TableName"], put["TableName"]) == ("prefix-telemetry", "prefix-telemetry")
    assert check["Key"] == {"pk": {"S": "HOST#hst_1#BOOT#boot-1"}, "sk": {"S": f"{7:016d}"}}
    assert put["Item"]["pk"] == {"S": "PARTS#hst_1#BOOT#boot-1"}
    assert put["Item"]["sk"] == {"S": f"{7:016d}#0002"}
    for each in (check, put):
        assert fill(each["ConditionExpression"], each) == "attribute_not_exists (pk)"


def test_who_looks_back_reads_the_newest_first_and_no_more_than_is_asked(wire):
    rows = [
        {
            "pk": {"S": "CAPTURE#hst_1#dac-1"},
            "sk": {"S": f"{at_ms:013d}#ET-1#electricity"},
            "value": {"N": "5"},
            "standard_deviation": {"N": "0"},
            "unit": {"S": "joules"},
            "received_at_ms": {"N": "8"},
        }
        for at_ms in (9, 7)
    ]
    wire.answers = [{"Items": rows, "LastEvaluatedKey": {"pk": rows[1]["pk"], "sk": rows[1]["sk"]}}]
    found = DynamoMeterStore().list_datapoints_before("hst_1", "dac-1", 10)
    assert next(found).datapoint.sampled_at_ms == 9
    assert (wire.last["ScanIndexForward"], wire.last["Limit"]) == (False, LOOK_BACK_ROWS)
    assert fill(wire.last["KeyConditionExpression"], wire.last).startswith("(pk = ")
    assert {"S": f"{10:013d}"} in wire.last["ExpressionAttributeValues"].values()
    assert next(found).datapoint.sampled_at_ms == 7
    assert len(wire.calls) == 1

"""What the consumers make of a message: packed or plain, the same record is stored and counted."""

import json

import msgspec
import pytest

from chalicelib.metering import functions
from chalicelib.metering.model import sum_energy
from chalicelib.runtime.queues import Message, Rejected
from chalicelib.wire import codec, packing, v1
from chalicelib.wire.telemetry import pack_telemetry
from tests.factories import add_host, seed_cloud, start
from tests.fakes import START_MS

KEY = b"key of the host"


class Log:
    def __init__(self):
        self.warnings = []

    def warning(self, text, extra):
        self.warnings.append((text, extra))


@pytest.fixture
def seeded(monkeypatch):
    seeded = seed_cloud()
    monkeypatch.setattr(functions.wiring, "read_signing_key", lambda _: KEY)
    monkeypatch.setattr(functions.wiring, "meter_ports", lambda: seeded.cloud.meters)
    return seeded


@pytest.fixture
def log(monkeypatch):
    log = Log()
    monkeypatch.setattr(functions, "get_logger", lambda: log)
    return log


def build_telemetry(rental, thinned=None):
    lease = rental.leases[0]
    intervals = [
        v1.EnergyInterval(
            lease.gpu_uuid, START_MS, START_MS + 1000, 70, "counter", rental.rental_id, lease.epoch, n
        )
        for n in range(4)
    ]
    return v1.Telemetry([], intervals, thinned=thinned)


def send(rental, telemetry, seq=0):
    body = v1.encode_record(telemetry, host_id=rental.host_id, boot_id="b", seq=seq, signing_key=KEY).decode()
    functions.handle_telemetry(Message("m", body, START_MS))
    return json.loads(body)


def test_a_packed_record_is_stored_as_text_and_counted(seeded, log):
    rental = start(seeded, 1)
    telemetry = build_telemetry(rental)
    assert send(rental, telemetry)["encoding"] == "zlib-base64"
    (stored,) = seeded.cloud.db.table("telemetry").values()
    assert stored.text == msgspec.json.encode(telemetry).decode()
    reading = sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases)
    assert (reading.energy_millijoules, reading.intervals_stored) == (280, 4)
    assert log.warnings == []


def test_what_a_record_tells_of_slowdowns_is_summed_by_the_hour(seeded):
    rental = start(seeded, 1)
    telemetry = build_telemetry(rental)
    for seq, (heat, brake) in enumerate([(None, None), (100, 0), (50, None)]):
        intervals = [
            msgspec.structs.replace(each, thermal_slowdown_ms=heat, power_brake_ms=brake)
            for each in telemetry.intervals
        ]
        send(rental, msgspec.structs.replace(telemetry, intervals=intervals), seq)
        (hour,) = seeded.cloud.meters.store.list_energy(rental.rental_id)
        if not seq:
            assert (hour.thermal_slowdown_ms, hour.power_brake_ms) == (None, None)
    assert (hour.thermal_slowdown_ms, hour.power_brake_ms) == (4 * 150, 0)


def test_the_thinned_form_of_a_record_that_is_stored_changes_nothing_and_a_first_one_is_logged(seeded, log):
    rental = start(seeded, 1)
    thinned = v1.Thinned(8, 8, START_MS, START_MS + 20)
    send(rental, build_telemetry(rental))
    send(rental, build_telemetry(rental, thinned))
    reading = sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases)
    assert (reading.energy_millijoules, reading.intervals_stored) == (280, 4)
    (stored,) = seeded.cloud.db.table("telemetry").values()
    assert '"thinned":null' in stored.text
    send(rental, build_telemetry(rental, thinned), seq=1)
    told = {"host_id": rental.host_id, "samples": 8, "gpus": 8}
    assert log.warnings[-1] == (
        "samples thinned",
        {**told, "first_at_ms": START_MS, "last_at_ms": START_MS + 20},
    )


def test_a_stream_that_is_torn_is_rejected_with_its_reason(seeded):
    rental = start(seeded, 1)
    packed = packing.to_text(pack_telemetry(build_telemetry(rental))[:-3])
    unsigned = v1.Envelope(1, "telemetry", rental.host_id, "b", 0, packed, "", "zlib-base64")
    signed = msgspec.structs.replace(unsigned, signature=codec._sign_envelope(KEY, unsigned))
    with pytest.raises(Rejected, match="bad_encoding"):
        functions.handle_telemetry(Message("m", msgspec.json.encode(signed).decode(), START_MS))


def test_a_heartbeat_tells_the_fleet_that_the_host_drains(seeded):
    rental = start(seeded, 1)
    beat = v1.Heartbeat(START_MS, "0.1.0", [], [], v1.SpoolStatus(0, 0), draining=True)
    body = v1.encode_record(beat, host_id=rental.host_id, boot_id="b", seq=0, signing_key=KEY).decode()
    functions.handle_heartbeat(Message("m", body, seeded.cloud.clock.advance_seconds(1)))
    assert seeded.cloud.fleet_store.get_host(rental.host_id).draining


@pytest.mark.parametrize("kind", ["heartbeat", "telemetry"])
def test_f27_a_host_that_speaks_for_another_is_refused_and_reported(seeded, log, kind):
    rental = start(seeded, 1)
    other = add_host(seeded, "other").host_id
    handle = functions.handle_heartbeat if kind == "heartbeat" else functions.handle_telemetry
    record = v1.Heartbeat(START_MS, "0.1.0", [], [], v1.SpoolStatus(0, 0), draining=True)
    if kind == "telemetry":
        record = build_telemetry(rental)
    # Signed as it should be: whoever has stolen the key still has a session of its own.
    body = v1.encode_record(record, host_id=rental.host_id, boot_id="b", seq=0, signing_key=KEY).decode()
    before = {name: dict(rows) for name, rows in seeded.cloud.db.tables.items()}
    message = Message("m", body, seeded.cloud.clock.advance_seconds(1), f"AROAEXAMPLE:{other}")
    with pytest.raises(Rejected) as refused:
        handle(message)
    assert refused.value.reason == "sender_mismatch"
    assert before == {name: dict(rows) for name, rows in seeded.cloud.db.tables.items()}
    ((text, extra),) = log.warnings
    assert text.startswith("security")
    assert (extra["claimed_host_id"], extra["sender_id"]) == (rental.host_id, message.sender_id)


@pytest.mark.parametrize("sender", ["", "000000000000", "AIDAEXAMPLE", "AROAEXAMPLE:operator", "own"])
def test_f27_a_sender_that_is_no_other_host_is_believed_by_its_signature(seeded, sender):
    rental = start(seeded, 1)
    beat = v1.Heartbeat(START_MS, "0.1.0", [], [], v1.SpoolStatus(0, 0), draining=True)
    body = v1.encode_record(beat, host_id=rental.host_id, boot_id="b", seq=0, signing_key=KEY).decode()
    sender = f"AROAEXAMPLE:{rental.host_id}" if sender == "own" else sender
    functions.handle_heartbeat(Message("m", body, seeded.cloud.clock.advance_seconds(1), sender))
    assert seeded.cloud.fleet_store.get_host(rental.host_id).draining


def test_what_a_capture_unit_showed_is_kept_once_and_never_changed(seeded, log):
    rental = start(seeded, 1)
    shown = v1.CaptureDatapoint("unit-1", "FT-101", "gas_mass_flow", 5, 1, "milligrams_per_hour", START_MS)
    other = msgspec.structs.replace(shown, value=6)
    later = msgspec.structs.replace(shown, sampled_at_ms=START_MS + 1000)
    send(rental, v1.Telemetry([], [], capture=[shown]))
    send(rental, v1.Telemetry([], [], capture=[shown, later]), seq=1)
    assert not log.warnings
    send(rental, v1.Telemetry([], [], capture=[other]), seq=2)
    kept = seeded.cloud.db.table("capture")
    assert sorted(each.value for each in kept.values()) == [5, 5]
    ((text, extra),) = log.warnings
    assert "contradicts" in text
    assert extra["sensor_id"] == "FT-101"

"""An outage costs nothing for three days, then samples, then resolution, and never energy."""

import msgspec
import pytest

from chalicelib.wire.telemetry import seal_telemetry
from chalicelib.wire.v1 import decode_envelope, decode_telemetry, unpack_envelope
from host_agent.outbox import TelemetryOutbox
from host_agent.sender import TelemetrySender
from host_agent.spool import DEFAULT_CAP_BYTES, Spool
from host_agent.transport import BatchOutcome
from tests.unit.host_agent.fakes import Host
from tests.unit.host_agent.spool_records import NoisyHost, build_xid_record, list_frames


def test_the_heartbeat_and_the_cloud_are_told_what_was_thinned(tmp_path):
    host = Host(tmp_path, gpus=8)
    # So much that some samples go, and no record: the first tells what each of eight GPUs can be asked.
    host.spool._segment_bytes, host.spool._cap = 4096, 34 * 1024
    for _ in range(60):
        host.clock.ms += 10_000
        host.agent.sample()
    host.agent.beat()
    told = host.heartbeats.take()[1].spool
    assert told.samples_thinned > 0
    bodies = []

    class Queue:
        def send_batch(self, batch):
            bodies.extend(batch)
            return BatchOutcome(frozenset(range(len(batch))), frozenset())

    sender = TelemetrySender(host.outbox, Queue(), host_id="hst", signing_key=b"key")
    while sender.send_next():
        pass
    records = [decode_telemetry(decode_envelope(body)) for body in bodies]
    assert sum(record.thinned.samples for record in records if record.thinned) == told.samples_thinned
    assert len(bodies) == 60


def test_a_message_is_less_than_a_third_of_what_it_was_unpacked():
    """Of eight GPUs with noisy sensors: 6.1 kB as text, 1.8 kB packed."""
    for frame in list_frames(20)[1:]:
        body = seal_telemetry(frame.record, host_id="hst", boot_id="boot", seq=1, signing_key=b"key")
        text = msgspec.json.encode(unpack_envelope(decode_envelope(body)))
        assert len(body) * 3 < len(text)


def live_through_an_outage(directory, rounds, cap_bytes, segment_bytes):
    """Put ``rounds`` records up as the agent does; return host, outbox and the lease and Xid records."""
    host = NoisyHost(72)
    outbox = TelemetryOutbox(Spool(directory, cap_bytes, segment_bytes), "boot")
    kept = 0
    for number in range(rounds):
        record, state = host.advance()
        if outbox.put(record, msgspec.msgpack.encode(state)):
            host.commit(state)
            kept += 1
        if number % 500 == 100:
            outbox.put(build_xid_record(), msgspec.msgpack.encode(host.meter.state), required=True)
    return host, outbox, kept


def check_energy(host, outbox):
    """Check that the intervals on disk are without a gap and hold every millijoule; return all records."""
    records = [pending.record for pending in outbox.take(100_000)]
    gpus = {}
    for record in records:
        for interval in record.intervals:
            last, total = gpus.get(interval.gpu_uuid, (interval.counter_start_millijoules, 0))
            assert interval.counter_start_millijoules == last
            gained = interval.counter_end_millijoules - last
            assert interval.energy_millijoules == gained
            gpus[interval.gpu_uuid] = (interval.counter_end_millijoules, total + gained)
    for gpu_uuid, (last, total) in gpus.items():
        assert last == host.meter.state.gpus[gpu_uuid].counter_millijoules
        if gpu_uuid in host.rented:
            assert total == last - host.first_counters[gpu_uuid]
    return records


def test_f20_seventy_two_hours_of_eight_gpus_every_ten_seconds_fit_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    rounds = 72 * 360
    host, outbox, kept = live_through_an_outage(tmp_path, rounds, DEFAULT_CAP_BYTES, 256 * 1024)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= DEFAULT_CAP_BYTES
    assert kept == rounds
    described = outbox.describe()
    assert (described.records_lost, described.samples_thinned, described.medium) == (0, 0, "disk")
    records = check_energy(host, outbox)
    assert sum(len(record.samples) for record in records) == 8 * rounds


@pytest.mark.parametrize(("rounds", "refused"), [(1000, False), (2500, True)])
def test_a_longer_outage_costs_samples_then_resolution_and_never_energy(
    tmp_path, monkeypatch, rounds, refused
):
    monkeypatch.setattr("os.fsync", lambda _: None)
    host, outbox, kept = live_through_an_outage(tmp_path, rounds, 2**20, 64 * 1024)
    described = outbox.describe()
    assert described.samples_thinned > 0
    assert (kept < rounds) == refused == bool(described.records_lost)
    records = check_energy(host, outbox)
    assert sum(bool(record.xids) for record in records) == rounds // 500 + (rounds % 500 > 100)
    tombstones = [record.thinned for record in records if record.thinned]
    assert sum(each.samples for each in tombstones) == described.samples_thinned
    assert all(each.gpus == 8 for each in tombstones)
    assert all(record.samples or record.thinned or record.xids for record in records)

"""Faults F20 to F26 of a host, each by its name: what SQS has confirmed is there once, every gap is known."""

import fcntl
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from chalicelib.wire.v1 import (
    Envelope,
    decode_envelope,
    decode_heartbeat,
    decode_telemetry,
    unpack_envelope,
    verify_envelope,
)
from host_agent.__main__ import EX_TEMPFAIL, main
from host_agent.outbox import TelemetryOutbox
from host_agent.sender import HeartbeatSender, TelemetrySender
from host_agent.spool import Spool
from host_agent.transport import BatchOutcome, TransportError
from tests.unit.host_agent.fakes import START_MS, WATTS, Host, build_start, build_stop
from tests.unit.host_agent.test_agent import check_chain, run
from tests.unit.host_agent.test_spool import build_frame

ROOT = Path(__file__).resolve().parents[3]
KEY = b"key"


class FlakyQueue:
    """SQS as seen from a host: stores what it gets, may be away, may lose its answer."""

    def __init__(self):
        self.away = False
        self.bodies = []

    def send(self, body):
        self.send_batch([body])

    def send_batch(self, bodies):
        if self.away:
            raise TransportError("no_route", "unreachable")
        self.bodies += bodies
        return BatchOutcome(frozenset(range(len(bodies))), frozenset())


def open_senders(host, queue):
    telemetry = TelemetrySender(host.outbox, queue, host_id="hst", signing_key=KEY)
    beats = HeartbeatSender(host.agent, host.heartbeats, queue, host_id="hst", boot_id="b", signing_key=KEY)
    return telemetry, beats


def drain(host, sender):
    while host.outbox.describe().depth_records:
        sender.send_next()


def read_telemetry(bodies):
    """Return the records as the cloud keeps them: once per (boot, sequence)."""
    stored = {}
    for body in bodies:
        envelope = decode_envelope(body)
        verify_envelope(envelope, KEY)
        envelope = unpack_envelope(envelope)
        if envelope.kind == "telemetry":
            key = (envelope.boot_id, envelope.seq)
            assert stored.setdefault(key, envelope.record) == envelope.record, "one number, two records"
    return stored


def read_intervals(stored):
    records = (Envelope(1, "telemetry", "h", "b", 0, text, "") for text in stored.values())
    return [each for record in records for each in decode_telemetry(record).intervals]


@pytest.mark.parametrize("seconds", [10, 3600, 72 * 3600])
def test_f20_sqs_is_unreachable_and_comes_back(tmp_path, seconds):
    host, queue = Host(tmp_path), FlakyQueue()
    host.agent.accept(build_start())
    run(host)
    telemetry, beats = open_senders(host, queue)
    queue.away = True
    for _ in range(max(1, seconds // 60)):
        host.clock.ms += 60_000
        host.agent.sample()
        host.agent.beat()
        with pytest.raises(TransportError):
            beats.send_next()
    depth = host.outbox.describe()
    assert depth.depth_bytes <= 64 * 1024 * 1024
    assert depth.records_lost == 0
    queue.away = False
    assert beats.send_next()
    newest = decode_envelope(queue.bodies[0])
    # Each attempt that failed left a number behind: the cloud sees how often it was not reached.
    assert (newest.kind, newest.seq) == ("heartbeat", max(1, seconds // 60))
    assert decode_heartbeat(newest).observed_at_ms == host.clock.ms
    host.agent.accept(build_stop())
    run(host)
    drain(host, telemetry)
    stored = read_telemetry(queue.bodies)
    assert sorted(seq for _, seq in stored) == list(range(len(stored)))
    elapsed_ms = host.clock.ms - START_MS
    assert check_chain(read_intervals(stored), "GPU-0", "rnt_1") == elapsed_ms * WATTS


@pytest.mark.parametrize(("number", "text"), [(28, "No space left"), (30, "Read-only"), (5, "I/O error")])
def test_f21_the_disk_refuses_and_the_heartbeat_says_so(tmp_path, monkeypatch, number, text):
    host, queue = Host(tmp_path), FlakyQueue()
    host.agent.accept(build_start())
    run(host)

    def refuse(*_):
        raise OSError(number, text)

    with monkeypatch.context() as broken:
        broken.setattr("host_agent.spool.os.fsync", refuse)
        for _ in range(3):
            host.clock.ms += 60_000
            host.agent.sample()
        host.agent.beat()
        _, heartbeat = host.heartbeats.take()
        assert heartbeat.spool.medium == "memory"
    host.clock.ms += 60_000
    host.agent.accept(build_stop())
    run(host)
    telemetry, _ = open_senders(host, queue)
    drain(host, telemetry)
    stored = read_telemetry(queue.bodies)
    assert check_chain(read_intervals(stored), "GPU-0", "rnt_1") == 240_000 * WATTS
    # The samples of the time without a disk went out from memory: no number is missing.
    assert sorted(seq for _, seq in stored) == list(range(len(stored)))


def test_f22_a_spool_that_is_torn_anywhere_keeps_its_prefix_and_goes_on(tmp_path):
    whole = Spool(tmp_path / "whole")
    for seq in range(50):
        whole.append(build_frame(seq))
    whole.close()
    (file,) = (tmp_path / "whole").glob("*.spool")
    data = file.read_bytes()
    rng = random.Random(22)
    for length in [*rng.sample(range(len(data)), 60), 0, len(data)]:
        directory = tmp_path / f"torn-{length}"
        directory.mkdir()
        (directory / file.name).write_bytes(data[:length])
        spool = Spool(directory)
        before = [frame.seq for _, frame in spool.peek(100)]
        assert before == list(range(len(before)))
        spool.append(build_frame(1000))
        spool.close()
        assert [frame.seq for _, frame in Spool(directory).peek(100)] == [*before, 1000]


class Server(threading.Thread):
    """Stores batches, then answers; loses every seventh answer."""

    def __init__(self, path):
        super().__init__()
        self.bodies, self.batches = [], 0
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(64)
        self.listener.settimeout(0.2)
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.is_set():
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            with connection, connection.makefile("rb") as file:
                self._take(connection, file)
        self.listener.close()

    def _take(self, connection, file):
        bodies = []
        header = file.read(4)
        for _ in range(struct.unpack("<I", header)[0] if len(header) == 4 else 0):
            size = file.read(4)
            body = file.read(struct.unpack("<I", size)[0]) if len(size) == 4 else b""
            if not body:
                return  # Killed while it was sending: SQS gets no half request.
            bodies.append(body)
        self.bodies += bodies
        self.batches += 1
        if self.batches % 7:
            try:
                connection.sendall(b"+")
            except OSError:
                return


def test_f23_an_agent_that_is_killed_two_hundred_times_loses_nothing_and_doubles_nothing(tmp_path):
    server = Server(str(tmp_path / "sqs"))
    server.start()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.unit.host_agent.killed_agent",
            str(tmp_path),
            str(tmp_path / "sqs"),
            "200",
            "23",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    server.stopped.set()
    server.join()
    assert done.returncode == 0, done.stderr
    stored = read_telemetry(server.bodies)
    assert len(server.bodies) > len(stored), "no answer was ever lost"
    assert len({boot for boot, _ in stored}) > 50
    intervals = read_intervals(stored)
    for gpu_uuid in ("GPU-0", "GPU-1"):
        own = sorted(
            (each for each in intervals if (each.gpu_uuid, each.rental_id) == (gpu_uuid, "rnt_1")),
            key=lambda each: each.interval_index,
        )
        total = check_chain(intervals, gpu_uuid, "rnt_1")
        assert total == (own[-1].ended_at_ms - own[0].started_at_ms) * 400
        assert len(own) > 100


def test_f24_a_second_agent_on_a_host_goes_away_with_its_own_exit_code(tmp_path, capsys):
    config = tmp_path / "agent.toml"
    config.write_text(f'api_url = "http://127.0.0.1:9"\nstate_dir = "{tmp_path}"\n')
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        assert main(["run", "--config", str(config)]) == EX_TEMPFAIL == 75
    finally:
        os.close(lock)
    assert "another agent runs" in capsys.readouterr().err


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000, 600_000, -600_000])
def test_f25_a_clock_that_jumps_bends_times_and_no_energy(tmp_path, jump_ms):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    host.clock.ms += 60_000
    host.agent.sample()
    host.clock.jump(jump_ms)
    host.clock.ms += 60_000
    host.agent.sample()
    host.restart()
    host.clock.ms += 60_000
    host.agent.accept(build_stop())
    run(host)
    intervals = host.intervals()
    assert check_chain(intervals, "GPU-0", "rnt_1") == 180_000 * WATTS
    assert all(each.ended_at_ms >= each.started_at_ms for each in intervals)


def test_f26_what_is_sent_again_is_the_same_record_under_the_same_number(tmp_path):
    host, queue = Host(tmp_path), FlakyQueue()
    host.agent.accept(build_start())
    run(host)
    for _ in range(5):
        host.clock.ms += 60_000
        host.agent.sample()
    telemetry, _ = open_senders(host, queue)
    drain(host, telemetry)
    # The acknowledgements never reached the disk: the next agent sends everything again.
    for ack in (tmp_path / "spool").glob("acked*"):
        ack.unlink()
    host.restart()
    telemetry, _ = open_senders(host, queue)
    drain(host, telemetry)
    assert len(queue.bodies) == 2 * len(read_telemetry(queue.bodies))


def test_a_record_that_memory_had_to_drop_leaves_a_hole_that_everybody_sees(tmp_path, monkeypatch):
    monkeypatch.setattr("host_agent.outbox.RING_RECORDS", 3)
    host = Host(tmp_path)
    monkeypatch.setattr(host.spool, "_write", lambda data: (_ for _ in ()).throw(OSError(30, "read-only")))
    for _ in range(10):
        host.clock.ms += 60_000
        host.agent.sample()
    described = host.outbox.describe()
    assert (described.medium, described.depth_records, described.records_lost) == ("memory", 3, 7)
    assert [pending.seq for pending in host.outbox.take(10)] == [7, 8, 9]
    assert isinstance(host.outbox, TelemetryOutbox)

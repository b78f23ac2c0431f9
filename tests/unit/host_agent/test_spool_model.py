"""The spool against a list, in any order of what may happen to it."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chalicelib.wire.telemetry import unpack_telemetry
from host_agent.frames import encode_frame
from host_agent.spool import Spool, SpoolFull
from tests.unit.host_agent.spool_records import build_frame, build_xid_record, check_kept, list_frames

FRAMES = list_frames(60)


def read_all(spool):
    return [frame for _, frame in spool.peek(100_000)]


CAP_BYTES = 12 * 1024


class SpoolMachine(RuleBasedStateMachine):
    """The spool against a list: whatever is appended, sent, thinned and cut off, in any order."""

    thinned = 0

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.spool = self.open()
        self.appended = {}
        self.sent = set()
        self.state = None
        self.seq = 0
        self.required_bytes = 0

    def open(self):
        return Spool(self.directory, CAP_BYTES, 3 * 1024)

    @rule(which=st.integers(0, 59), kind=st.sampled_from(["round", "round", "round", "lease", "xid"]))
    def append(self, which, kind):
        record = build_xid_record() if kind == "xid" else unpack_telemetry(FRAMES[which].record)
        frame = build_frame(self.seq, record, f"state-{self.seq}".encode(), required=kind != "round")
        self.seq += 1
        try:
            self.spool.append(frame)
        except SpoolFull:
            assert kind == "round"
            return
        self.appended[frame.seq] = frame
        self.state = frame.state
        self.required_bytes += len(encode_frame(frame)) if frame.required else 0

    @rule(data=st.data())
    def send_some(self, data):
        taken = self.spool.peek(10)
        chosen = [each for each in taken if data.draw(st.booleans())]
        self.spool.acknowledge([position for position, _ in chosen])
        self.sent |= {frame.seq for _, frame in chosen}

    @rule()
    def send_all(self):
        taken = self.spool.peek(10)
        self.spool.acknowledge([position for position, _ in taken])
        self.sent |= {frame.seq for _, frame in taken}

    @rule()
    @precondition(lambda self: self.appended)
    def crash(self):
        SpoolMachine.thinned += self.spool.samples_thinned
        self.spool.close()
        self.spool = self.open()
        # What had gaps before it is sent again; what was confirmed from the start on is not.
        waiting = {frame.seq for frame in read_all(self.spool)}
        oldest = min((seq for seq in self.appended if seq not in self.sent), default=None)
        assert all(seq >= oldest for seq in waiting) if oldest is not None else not waiting
        self.sent = set(self.appended) - waiting

    @invariant()
    def holds_what_was_not_sent(self):
        found = read_all(self.spool)
        assert [frame.seq for frame in found] == [seq for seq in self.appended if seq not in self.sent]
        for frame in found:
            check_kept(self.appended[frame.seq], frame)
        assert self.spool.depth == len(found)
        assert self.spool.depth_bytes == sum(len(encode_frame(frame)) for frame in found)
        assert self.spool.latest_state == self.state
        size = sum(path.stat().st_size for path in self.directory.glob("*.spool"))
        assert size <= CAP_BYTES + self.required_bytes

    def teardown(self):
        SpoolMachine.thinned += self.spool.samples_thinned
        self.spool.close()
        shutil.rmtree(self.directory)


def test_any_order_of_appends_sends_and_crashes_agrees_with_the_model(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    # The same runs every time: some seeds fill the spool in none of them, and the last line wants one.
    quick = settings(
        max_examples=80,
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(SpoolMachine, settings=quick)
    assert SpoolMachine.thinned > 0

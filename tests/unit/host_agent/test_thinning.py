"""A full spool gives up old samples, says which, and nothing else: not by itself, not in any crash."""

import os
import shutil

import msgspec
import pytest

from chalicelib.wire.telemetry import unpack_telemetry
from host_agent.frames import encode_frame, scan_frames
from host_agent.spool import Spool, SpoolBroken, SpoolFull
from host_agent.thinning import LAST_LEVEL, thin_frames
from tests.unit.host_agent.spool_records import (
    build_frame,
    build_xid_record,
    check_kept,
    list_frames,
)

FRAMES = list_frames(60)
SEGMENT_BYTES = 8 * 1024
#: Holds all of them only when most have lost their samples.
CAP_BYTES = 80 * 1024


def read_all(spool):
    return [frame for _, frame in spool.peek(100_000)]


def fill(directory, frames=FRAMES, cap_bytes=CAP_BYTES):
    spool = Spool(directory, cap_bytes, SEGMENT_BYTES)
    for frame in frames:
        spool.append(frame)
    return spool


def test_level_one_drops_old_states_alone():
    thinned, taken = thin_frames(FRAMES, 1)
    assert taken == 0
    assert [frame.record for frame in thinned] == [frame.record for frame in FRAMES]
    assert [bool(frame.state) for frame in thinned] == [False] * 59 + [True]


def test_level_two_keeps_a_round_a_minute_and_level_three_none():
    for level, kept in ((2, 10), (3, 0)):
        thinned, taken = thin_frames(FRAMES, level)
        lost = [check_kept(*pair) for pair in zip(FRAMES, thinned, strict=True)]
        assert (lost.count(0), sum(lost)) == (kept, taken)
        assert thin_frames(thinned, level)[1] == (0 if level == 3 else taken_again(thinned))


def taken_again(frames):
    # What level 2 has kept is thinned again if asked; a spool never asks for the same level twice.
    return thin_frames(frames, 2)[1]


def test_what_is_required_what_has_no_samples_and_what_is_of_another_version_is_left_alone():
    required = build_frame(0, unpack_telemetry(FRAMES[0].record), required=True)
    xids = build_frame(1, build_xid_record())
    newer = msgspec.structs.replace(FRAMES[2], record=b'{"samples":"of another kind"}')
    for level in (1, 2, 3):
        thinned, taken = thin_frames([required, xids, newer], level)
        assert taken == 0
        assert [frame.record for frame in thinned] == [required.record, xids.record, newer.record]


def test_at_the_cap_the_oldest_samples_go_and_every_interval_and_number_stays(tmp_path):
    spool = fill(tmp_path)
    frames = read_all(spool)
    lost = [check_kept(*pair) for pair in zip(FRAMES, frames, strict=True)]
    assert 0 < sum(lost) == spool.samples_thinned
    # From the oldest on: what was taken last is whole.
    assert not any(lost[-10:])
    assert sum(map(bool, lost[:30])) > sum(map(bool, lost[30:]))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= CAP_BYTES
    again = Spool(tmp_path, CAP_BYTES, SEGMENT_BYTES)
    assert read_all(again) == frames
    assert again.latest_state == FRAMES[-1].state


def test_when_no_sample_is_left_the_record_is_refused_and_what_is_required_is_taken(tmp_path):
    spool = Spool(tmp_path, 20 * 1024, SEGMENT_BYTES)
    taken, refused = [], 0
    for frame in list_frames(400):
        try:
            spool.append(frame)
        except SpoolFull:
            refused += 1
            # Each refusal has tried: all but the segment that is written to have given what they had.
            old = [each.level for each in spool._segments.values() if each.number < spool._state_segment]
            assert set(old) == {LAST_LEVEL}
        else:
            taken.append(frame)
    assert len(taken) > 12
    assert refused > 300
    lease = build_frame(999, build_xid_record(), required=True)
    spool.append(lease)
    found = read_all(spool)
    assert [frame.seq for frame in found] == [frame.seq for frame in taken] + [999]
    assert all(check_kept(*pair) >= 0 for pair in zip([*taken, lease], found, strict=True))


def test_a_record_that_is_being_sent_while_its_segment_is_thinned_is_confirmed_all_the_same(tmp_path):
    spool = fill(tmp_path, FRAMES[:18])
    inflight = spool.peek(10)
    for frame in FRAMES[18:]:
        spool.append(frame)
    assert spool.samples_thinned
    spool.acknowledge([position for position, _ in inflight])
    assert [frame.seq for frame in read_all(spool)] == list(range(10, 60))
    assert [frame.seq for frame in read_all(Spool(tmp_path))] == list(range(10, 60))


def test_a_segment_with_a_rotten_frame_is_not_rewritten_so_that_what_is_behind_it_stays(tmp_path):
    spool = fill(tmp_path, FRAMES[:18])
    first = min(tmp_path.glob("*.spool"))
    data = bytearray(first.read_bytes())
    data[20] ^= 0xFF
    first.write_bytes(data)
    for frame in FRAMES[18:]:
        spool.append(frame)
    assert first.read_bytes() == bytes(data)
    assert [frame.seq for frame in read_all(spool)] == list(range(1, 60))
    assert spool.records_lost == 1


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class FaultyDisk:
    """Counts what changes the disk and fails at one of these points, or right after it."""

    def __init__(self, monkeypatch, point=None, error=None, *, after=False):
        self.calls, self._point, self._error, self._after = [], point, error, after
        for name in ("open", "write", "fsync", "replace", "ftruncate"):
            self._wrap(monkeypatch, os, name)
        # Path.replace goes by os.replace; Path.unlink by os.unlink.

    def _wrap(self, monkeypatch, module, name):
        real = getattr(module, name)

        def call(*arguments, **options):
            number = len(self.calls)
            self.calls.append(name)
            if number == self._point and not self._after:
                raise self._error
            result = real(*arguments, **options)
            if number == self._point:
                raise self._error
            return result

        monkeypatch.setattr(module, name, call)


def count_points(tmp_path, monkeypatch):
    """Return what one append that has to thin does to the disk."""
    spool, frame = prepare(tmp_path / "count")
    with monkeypatch.context() as patch:
        disk = FaultyDisk(patch)
        spool.append(frame)
    assert spool.samples_thinned
    return disk.calls


def prepare(directory):
    """Return a spool that is full up to the next frame, which takes samples of the oldest segment."""
    shutil.rmtree(directory, ignore_errors=True)
    spool = Spool(directory, 10**9, SEGMENT_BYTES)
    for frame in FRAMES[:40]:
        spool.append(frame)
    # Level 1 first everywhere, so that the next step is one that takes samples.
    while any(each.level == 0 for each in list(spool._segments.values())[:-1]):
        assert spool._thin_next()
    spool._cap = sum(each.size for each in spool._segments.values()) + 1
    return spool, FRAMES[40]


def test_a_thinned_segment_is_synced_before_it_takes_the_place_of_the_old_one(tmp_path, monkeypatch):
    calls = count_points(tmp_path, monkeypatch)
    start = calls.index("replace")
    assert calls[start - 2 : start] == ["write", "fsync"]
    assert "fsync" in calls[start + 1 : start + 3]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), OSError(5, "I/O error"), Killed()])
def test_a_fault_at_any_point_of_thinning_loses_nothing_and_doubles_nothing(
    tmp_path, monkeypatch, error, after
):
    points = count_points(tmp_path, monkeypatch)
    for point in range(len(points)):
        directory = tmp_path / f"at-{point}"
        spool, frame = prepare(directory)
        stored = True
        with monkeypatch.context() as patch:
            FaultyDisk(patch, point, error, after=after)
            try:
                spool.append(frame)
            except (SpoolBroken, Killed):
                stored = False
        if isinstance(error, OSError):
            # It lives: what it has can be read, and the next record is taken.
            check_all(read_all(spool), stored)
            spool._cap = 10**9
            spool.append(FRAMES[41])
            assert read_all(spool)[-1].seq == 41
        again = Spool(directory)
        found = read_all(again)
        seqs = [each.seq for each in found]
        # Killed after the sync, before the caller knew: the record may be there, once.
        assert seqs in ([*range(40)], [*range(41)], [*range(40), 41], [*range(42)])
        for each in found:
            check_kept(FRAMES[each.seq], each)
        assert again.latest_state == FRAMES[seqs[-1]].state
        assert not list(directory.glob("*.thin"))


def check_all(found, stored):
    assert [each.seq for each in found] == list(range(41 if stored else 40))
    for each in found:
        check_kept(FRAMES[each.seq], each)


def test_a_required_record_is_taken_even_when_the_disk_refuses_to_thin(tmp_path, monkeypatch):
    spool, _ = prepare(tmp_path)

    def refuse(*_):
        raise OSError(28, "No space left")

    monkeypatch.setattr(spool, "_replace", refuse)
    spool.append(build_frame(99, build_xid_record(), required=True))
    assert read_all(spool)[-1].seq == 99
    with pytest.raises(SpoolBroken):
        spool.append(FRAMES[40])


def test_a_thinned_file_torn_at_any_byte_keeps_its_intact_prefix(tmp_path):
    thinned, _ = thin_frames(list_frames(50, gpus=1), 2)
    data = b"".join(map(encode_frame, thinned))
    ends = [end for end, _ in scan_frames(data)]
    assert len(ends) == 50
    directory = tmp_path / "torn"
    directory.mkdir()
    file = directory / "000000000001.spool"
    intact = 50
    for length in range(len(data), -1, -1):
        file.write_bytes(data[:length])
        while intact and ends[intact - 1] > length:
            intact -= 1
        spool = Spool(directory)
        assert spool.depth == intact
        if length in {0, len(data)} or length in ends or length % 101 == 0:
            assert read_all(spool) == thinned[:intact]

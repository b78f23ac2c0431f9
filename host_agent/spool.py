"""Append-only queue on disk for telemetry: what counts is what was synced.

Segment files of frames (`host_agent.frames`). Reading a segment stops at the first bad frame: the rest was
never confirmed to anybody.

The newest frame also carries the meter's state, so one sync makes a record and the state that follows from
it durable together. The segment with the newest frame is therefore kept even when all is sent.

At the cap, old segments are thinned (`host_agent.thinning`) before anything is refused: the thinned segment
is written aside, synced, and renamed over the old one. It has the same frames in the same order, so a crash
leaves one or the other, and a position means the same in both.
"""

import contextlib
import os
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.durable import read_if_there, sync_directory
from host_agent.frames import MAX_FRAME_BYTES, Frame, encode_frame, scan_frames
from host_agent.thinning import LAST_LEVEL, thin_frames

DEFAULT_CAP_BYTES = 64 * 1024 * 1024
#: Small, because one is thinned at a time while the agent's loop waits: a few milliseconds.
DEFAULT_SEGMENT_BYTES = 256 * 1024
#: Bounds what one append may cost; what more there is to thin, the next one does.
THINNINGS_PER_APPEND = 4


class SpoolFull(Exception):
    """The cap is reached, no sample is left to give up, and the record was not marked as required."""


class SpoolBroken(Exception):
    """The disk refused the write; nothing of the record counts."""


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Which frame of which segment. Ordered as written; stays when the segment is thinned."""

    segment: int
    index: int


class Segment:
    """What is known in memory of one file: four bytes a frame, for there may be 70,000 of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ends = array("I")
        self.level = LAST_LEVEL
        #: Frames confirmed from the first on without a gap, and those after a gap.
        self.done = 0
        self._later: set[int] = set()

    @property
    def size(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def waiting(self) -> int:
        return len(self.ends) - self.done - len(self._later)

    @property
    def waiting_bytes(self) -> int:
        sent = sum(self.span(index)[1] for index in self._later)
        return self.size - (self.ends[self.done - 1] if self.done else 0) - sent

    def add(self, end: int, frame: Frame) -> None:
        self.ends.append(end)
        self.level = min(self.level, frame.level)

    def span(self, index: int) -> tuple[int, int]:
        """Return (offset, size) of a frame."""
        start = self.ends[index - 1] if index else 0
        return start, self.ends[index] - start

    def list_waiting(self) -> list[int]:
        return [index for index in range(self.done, len(self.ends)) if index not in self._later]

    def confirm(self, index: int) -> None:
        if index >= self.done:
            self._later.add(index)
        while self.done in self._later:
            self._later.discard(self.done)
            self.done += 1


class Spool:
    """Thread-safe. ``records_lost`` and ``samples_thinned`` count since the agent started."""

    def __init__(
        self,
        directory: Path,
        cap_bytes: int = DEFAULT_CAP_BYTES,
        segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> None:
        """Recover what is on disk. Raises OSError when the directory cannot be used at all."""
        self._directory = directory
        self._cap = cap_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        #: Oldest first, by number.
        self._segments: dict[int, Segment] = {}
        self._file: int | None = None
        self._newest = 0
        #: Where the newest frame lies: an empty or torn segment after it does not replace its state.
        self._state_segment = 0
        self.latest_state: bytes | None = None
        self.records_lost = 0
        self.samples_thinned = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    @property
    def depth(self) -> int:
        with self._lock:
            return sum(segment.waiting for segment in self._segments.values())

    @property
    def depth_bytes(self) -> int:
        with self._lock:
            return sum(segment.waiting_bytes for segment in self._segments.values())

    def append(self, frame: Frame) -> None:
        """Write and sync one frame, thinning old segments when there is no room.

        Raises:
            SpoolFull: only when the frame is not required (required ones may pass the cap).
            SpoolBroken: the disk refused; the segment is cut back to the frame before.
        """
        data = encode_frame(frame)
        if len(data) > MAX_FRAME_BYTES:
            raise SpoolFull(f"record of {len(data)} bytes")
        with self._lock:
            self._make_room(len(data), required=frame.required)
            try:
                segment = self._open_segment()
                self._write(data)
            except OSError as error:
                self._cut_back()
                raise SpoolBroken(str(error)) from error
            segment.add(segment.size + len(data), frame)
            self.latest_state = frame.state
            self._state_segment = segment.number

    def peek(self, limit: int) -> list[tuple[Position, Frame]]:
        """Return up to ``limit`` unsent frames, oldest first; one that rotted on the disk counts as lost."""
        with self._lock:
            found: list[tuple[Position, Frame]] = []
            for segment in self._segments.values():
                for index in segment.list_waiting() if segment.waiting else ():
                    if len(found) == limit:
                        return found
                    frame = self._read(segment, index)
                    if frame is None:
                        self.records_lost += 1
                        segment.confirm(index)
                        continue
                    found.append((Position(segment.number, index), frame))
            return found

    def acknowledge(self, positions: Sequence[Position]) -> None:
        """Forget sent frames, in any order. A crash before the ack is durable sends them again."""
        with self._lock:
            before = self._find_oldest()
            for position in positions:
                if position.segment in self._segments:
                    self._segments[position.segment].confirm(position.index)
            oldest = self._find_oldest()
            if oldest == before:
                return
            with contextlib.suppress(OSError):
                self._save_ack(oldest)
                self._delete_sent(oldest.segment)

    def close(self) -> None:
        with self._lock:
            self._close_segment()

    def _make_room(self, size: int, *, required: bool) -> None:
        """Raises SpoolFull or SpoolBroken, but not for what is required."""
        for _ in range(THINNINGS_PER_APPEND):
            if self._fits(size):
                return
            try:
                if not self._thin_next():
                    break
            except OSError as error:
                if required:
                    return
                raise SpoolBroken(str(error)) from error
        if not required and not self._fits(size):
            raise SpoolFull(f"{self._cap} bytes wait and no sample is left to thin")

    def _fits(self, size: int) -> bool:
        return sum(segment.size for segment in self._segments.values()) + size <= self._cap

    def _thin_next(self) -> bool:
        """Take the oldest of the least thinned segments one level down; return False when none is left.

        Never the one that is written to, nor the one with the newest state. Raises OSError.
        """
        candidates = [each for each in self._segments.values() if each.number < self._state_segment]
        segment = min(candidates, key=lambda each: each.level, default=None)
        if segment is None or segment.level >= LAST_LEVEL:
            return False
        frames = [frame for _, frame in scan_frames(self._path(segment.number).read_bytes())]
        if len(frames) != len(segment.ends):
            # Something rotted: what is behind it can still be read by its position, so nothing may move.
            segment.level = LAST_LEVEL
            return True
        thinned, taken = thin_frames(frames, segment.level + 1)
        try:
            self._replace(segment, [encode_frame(frame) for frame in thinned])
        finally:
            # From the file itself: a rename that failed may have been done all the same.
            self._find_ends(segment)
        segment.level += 1
        self.samples_thinned += taken
        logs.info("spool_thinned", segment=segment.number, step=segment.level, samples=taken)
        sync_directory(self._directory)
        return True

    def _replace(self, segment: Segment, pieces: Sequence[bytes]) -> None:
        aside = self._path(segment.number).with_suffix(".thin")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, b"".join(pieces))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(self._path(segment.number))

    def _find_ends(self, segment: Segment) -> None:
        with contextlib.suppress(OSError):
            ends = array("I", [end for end, _ in scan_frames(self._path(segment.number).read_bytes())])
            if len(ends) == len(segment.ends):
                segment.ends = ends

    def _open_segment(self) -> Segment:
        segment = self._segments.get(self._newest)
        if self._file is not None and segment is not None and segment.size < self._segment_bytes:
            return segment
        self._close_segment()
        # Before the attempt: a file may be there even though creating it was reported as failed.
        self._newest += 1
        path = self._path(self._newest)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._segments[self._newest] = segment = Segment(self._newest)
        sync_directory(self._directory)
        return segment

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        _write_all(self._file, data)
        os.fsync(self._file)

    def _cut_back(self) -> None:
        """After a failed write: drop the torn part and never write to this segment again.

        A frame whose sync failed may still be there; cutting keeps a restart from taking it for good.
        """
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._segments[self._newest].size)
        self._close_segment()

    def _close_segment(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _read(self, segment: Segment, index: int) -> Frame | None:
        offset, size = segment.span(index)
        try:
            with self._path(segment.number).open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError:
            return None
        return next((frame for _, frame in scan_frames(data)), None)

    def _recover(self) -> None:
        for aside in self._directory.glob("*.thin"):
            aside.unlink()
        acked = self._load_ack()
        # Numbers that were confirmed once are never given again, even if somebody removed the files.
        self._newest = acked.segment
        for number in sorted(int(path.stem) for path in self._directory.glob("*.spool")):
            self._segments[number] = segment = Segment(number)
            for end, frame in scan_frames(self._path(number).read_bytes()):
                segment.add(end, frame)
                self._state_segment = number
                self.latest_state = frame.state or self.latest_state
            if number <= acked.segment:
                segment.done = len(segment.ends) if number < acked.segment else acked.index
                segment.done = min(segment.done, len(segment.ends))
            # Always a new segment: what follows a torn tail would not be found again.
            self._newest = max(number, self._newest)

    def _find_oldest(self) -> Position:
        """Return where the oldest unsent frame is, or would be."""
        segment = next((each for each in self._segments.values() if each.waiting), None)
        if segment is not None:
            return Position(segment.number, segment.done)
        newest = self._segments.get(self._newest)
        return Position(self._newest, newest.done if newest else 0)

    def _save_ack(self, oldest: Position) -> None:
        # Not synced: losing it means sending again, which the receiver drops by (boot_id, seq).
        aside = self._directory / "acked.new"
        aside.write_bytes(msgspec.json.encode({"segment": oldest.segment, "frames": oldest.index}))
        aside.replace(self._directory / "acked.json")

    def _load_ack(self) -> Position:
        data = read_if_there(self._directory / "acked.json")
        try:
            found = {} if data is None else msgspec.json.decode(data, type=dict[str, int])
        except msgspec.DecodeError:
            found = {}
        return Position(found.get("segment", 0), found.get("frames", 0))

    def _delete_sent(self, oldest_needed: int) -> None:
        for number in list(self._segments):
            if number < min(oldest_needed, self._state_segment):
                self._path(number).unlink(missing_ok=True)
                del self._segments[number]

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}.spool"


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

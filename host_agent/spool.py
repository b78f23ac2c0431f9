"""Append-only queue on disk for telemetry: what counts is what was synced.

A segment file is a sequence of frames: length (4 bytes), CRC-32 (4 bytes), payload. CRC-32 comes from
zlib because the standard library has no CRC-32C; both find torn and rotten frames equally well here, and
forgery is the signature's business, not the spool's. Reading a segment stops at the first bad frame: the
rest was never confirmed to anybody.

The newest frame also carries the meter's state, so one sync makes a record and the state that follows from
it durable together. The segment with the newest frame is therefore kept even when all is sent.
"""

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from host_agent.durable import read_if_there, sync_directory

_HEADER = struct.Struct("<II")
MAX_FRAME_BYTES = 256 * 1024
DEFAULT_CAP_BYTES = 64 * 1024 * 1024
DEFAULT_SEGMENT_BYTES = 1024 * 1024


class SpoolFull(Exception):
    """The cap is reached and the record was not marked as required."""


class SpoolBroken(Exception):
    """The disk refused the write; nothing of the record counts."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    boot_id: str
    seq: int
    #: JSON of a `wire.v1.Telemetry`; signed when it is sent.
    record: bytes
    #: msgpack of the meter's state after this record.
    state: bytes


class Position(msgspec.Struct, frozen=True, order=True, array_like=True):
    """Where a frame ends. Ordered as written."""

    segment: int
    end: int
    size: int


class Spool:
    """Thread-safe. ``records_lost`` counts records given up since the agent started."""

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
        self._pending: list[Position] = []
        self._acked: set[Position] = set()
        self._file: int | None = None
        self._offset = 0
        self._segment = 0
        #: Where the newest frame lies: an empty or torn segment after it does not replace its state.
        self._state_segment = 0
        self.latest_state: bytes | None = None
        self.records_lost = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._recover()

    @property
    def depth(self) -> int:
        with self._lock:
            return len(self._pending)

    @property
    def depth_bytes(self) -> int:
        with self._lock:
            return sum(position.size for position in self._pending)

    def append(self, frame: Frame, *, required: bool = False) -> None:
        """Write and sync one frame.

        Raises:
            SpoolFull: only when not ``required`` (required frames may pass the cap).
            SpoolBroken: the disk refused; the segment is cut back to the frame before.
        """
        payload = msgspec.msgpack.encode(frame)
        data = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        if len(payload) > MAX_FRAME_BYTES:
            raise SpoolFull(f"record of {len(payload)} bytes")
        with self._lock:
            waiting = sum(position.size for position in self._pending)
            if waiting + len(data) > self._cap and not required:
                raise SpoolFull(f"{waiting} bytes wait")
            try:
                self._write(data)
            except OSError as error:
                self._cut_back()
                raise SpoolBroken(str(error)) from error
            self._offset += len(data)
            self._pending.append(Position(self._segment, self._offset, len(data)))
            self.latest_state = frame.state
            self._state_segment = self._segment

    def peek(self, limit: int) -> list[tuple[Position, Frame]]:
        """Return up to ``limit`` unsent frames, oldest first; one that rotted on the disk counts as lost."""
        with self._lock:
            found: list[tuple[Position, Frame]] = []
            for position in self._pending:
                if len(found) == limit:
                    break
                if position in self._acked:
                    continue
                frame = self._read(position)
                if frame is None:
                    self.records_lost += 1
                    self._acked.add(position)
                    continue
                found.append((position, frame))
            return found

    def acknowledge(self, positions: Sequence[Position]) -> None:
        """Forget sent frames, in any order. A crash before the ack is durable sends them again."""
        with self._lock:
            self._acked.update(positions)
            done = 0
            while done < len(self._pending) and self._pending[done] in self._acked:
                self._acked.discard(self._pending[done])
                done += 1
            if done == 0:
                return
            last = self._pending[done - 1]
            del self._pending[:done]
            with contextlib.suppress(OSError):
                self._save_ack(last)
                self._delete_sent()

    def close(self) -> None:
        with self._lock:
            self._close_segment()

    def _write(self, data: bytes) -> None:
        if self._file is None or self._offset >= self._segment_bytes:
            self._open_next()
        assert self._file is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        os.fsync(self._file)

    def _open_next(self) -> None:
        self._close_segment()
        path = self._path(self._segment + 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._segment += 1
        self._offset = 0
        sync_directory(self._directory)

    def _cut_back(self) -> None:
        """After a failed write: drop the torn part and never write to this segment again.

        A frame whose sync failed may still be there; cutting keeps a restart from taking it for good.
        """
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._offset)
        self._close_segment()

    def _close_segment(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _read(self, position: Position) -> Frame | None:
        try:
            with self._path(position.segment).open("rb") as file:
                file.seek(position.end - position.size)
                data = file.read(position.size)
        except OSError:
            return None
        return next((frame for _, frame in _scan(data)), None)

    def _recover(self) -> None:
        numbers = sorted(int(path.stem) for path in self._directory.glob("*.spool"))
        acked = self._load_ack()
        for number in numbers:
            data = self._path(number).read_bytes()
            for (end, size), frame in _scan(data):
                self.latest_state = frame.state
                self._state_segment = number
                if acked is None or (number, end) > acked:
                    self._pending.append(Position(number, end, size))
        # Always a new segment: what follows a torn tail would not be found again.
        self._segment = numbers[-1] if numbers else 0

    def _save_ack(self, last: Position) -> None:
        # Not synced: losing it means sending again, which the receiver drops by (boot_id, seq).
        aside = self._directory / "acked.new"
        aside.write_bytes(msgspec.json.encode((last.segment, last.end)))
        aside.replace(self._directory / "acked.json")

    def _load_ack(self) -> tuple[int, int] | None:
        data = read_if_there(self._directory / "acked.json")
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=tuple[int, int])
        except msgspec.DecodeError:
            return None

    def _delete_sent(self) -> None:
        oldest_needed = self._pending[0].segment if self._pending else self._segment
        numbers = sorted(int(path.stem) for path in self._directory.glob("*.spool"))
        for number in numbers:
            if number < min(oldest_needed, self._state_segment):
                self._path(number).unlink()

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}.spool"


def _scan(data: bytes) -> Iterator[tuple[tuple[int, int], Frame]]:
    """Yield ((end offset, size), frame) up to the first frame that is torn or does not check out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, offset)
        end = offset + _HEADER.size + length
        payload = data[offset + _HEADER.size : end]
        if length > MAX_FRAME_BYTES or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        try:
            frame = msgspec.msgpack.decode(payload, type=Frame)
        except msgspec.DecodeError:
            return
        yield (end, end - offset), frame
        offset = end

"""Xid errors from the kernel log: classed by a data file, floods folded, never the text around them.

A line of the driver names the GPU by bus id and the error by number; what follows may name a tenant's process
and stays on the host. A flood of one error on one GPU is kept as first, last and count. Where reading has got
to is kept on disk by the kernel's own sequence number, so an agent that was away finds what it missed, once.
Sources: Documentation/ABI/testing/dev-kmsg; NVIDIA's Xid catalogue (see ``xid_classes.json``).
"""

import errno
import os
import re
from pathlib import Path
from typing import Protocol

import msgspec

from chalicelib.wire.v1 import XidClass, XidEvent
from host_agent import logs
from host_agent.clock import Clock
from host_agent.durable import read_if_there, write_atomic
from host_agent.gpu import GpuInfo

KERNEL_LOG = Path("/dev/kmsg")
KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: What one poll reads at most: a flood costs a bounded time, what is passed over is counted by its numbers.
MAX_RECORDS = 500
#: An error that goes on is told again this often.
REPEAT_MS = 60_000
_MAX_RECORD_BYTES = 8192
_RECORD = re.compile(rb"^\d+,(\d+),\d+,[^;]*;(?:.*NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+))?")


class _Table(msgspec.Struct):
    class Class(msgspec.Struct):
        meaning: str
        codes: list[int]

    source: str
    unknown: XidClass
    classes: dict[XidClass, Class]


class Cursor(msgspec.Struct, frozen=True):
    """The last record that was read, by the kernel's boot and number."""

    boot_id: str = ""
    sequence: int = -1


def load_classes() -> tuple[dict[int, XidClass], XidClass]:
    """Return the class of each known code, and that of any other."""
    data = Path(__file__).with_name("xid_classes.json").read_bytes()
    table = msgspec.json.decode(data, type=_Table)
    return {code: name for name, each in table.classes.items() for code in each.codes}, table.unknown


class XidSource(Protocol):
    def poll(self) -> list[XidEvent]:
        """Return what is to be told now."""
        ...

    def confirm(self, told: list[XidEvent]) -> None:
        """What was told is durable."""
        ...


class XidLog:
    """Not thread-safe. ``poll`` gives what is to be told now; ``confirm`` forgets it once it is durable."""

    def __init__(
        self,
        state_dir: Path,
        gpus: list[GpuInfo],
        clock: Clock,
        *,
        path: Path = KERNEL_LOG,
        boot_id: str = "",
    ) -> None:
        self._file = state_dir / "kernel_log.json"
        self._clock = clock
        self._boot_id = boot_id or read_boot_id()
        self._uuids = {parse_bus_id(gpu.pci_bus_id): gpu.board_uuid for gpu in gpus}
        self._classes, self._unknown = load_classes()
        self._pending: dict[tuple[str, int], XidEvent] = {}
        self._told_at_ms: dict[tuple[str, int], int] = {}
        self._cursor = self._load_cursor()
        self._log = self._open(path)

    @property
    def available(self) -> bool:
        return self._log is not None

    def poll(self) -> list[XidEvent]:
        """Read what is new. As soon as one event is new or due again, all that wait are returned.

        They come again until `confirm`.
        """
        if self._log is not None:
            self._drain(self._log)
        now_ms = self._clock.now_ms()
        due = any(now_ms - self._told_at_ms.get(key, 0) >= REPEAT_MS for key in self._pending)
        return list(self._pending.values()) if due else []

    def confirm(self, told: list[XidEvent]) -> None:
        """The events are durable. Raises OSError: where reading has got to is not; they may come again."""
        now_ms = self._clock.now_ms()
        for event in told:
            key = (event.gpu_uuid, event.code)
            self._told_at_ms[key] = now_ms
            if self._pending.get(key) == event:
                del self._pending[key]
        if not self._pending:
            # Never past an event that is still to be told.
            write_atomic(self._file, msgspec.json.encode(self._cursor))

    def close(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _drain(self, log: int) -> None:
        records = 0
        while records < MAX_RECORDS:
            try:
                data = os.read(log, _MAX_RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:
                    # The kernel has overwritten what we had not read; reading goes on with the oldest.
                    continue
                logs.warn("kernel_log_not_read", reason=str(error))
                return
            if not data:
                return
            for line in data.splitlines():
                records += 1
                self._take(line)
        # A flood: go to its end. The numbers of the records tell later how many were passed over.
        os.lseek(log, 0, os.SEEK_END)
        logs.warn("kernel_log_flood", read=records)

    def _take(self, line: bytes) -> None:
        match = _RECORD.match(line)
        if match is None:
            return
        sequence = int(match[1])
        if sequence <= self._cursor.sequence:
            return
        self._cursor = Cursor(self._boot_id, sequence)
        if match[2] is not None:
            gpu_uuid = self._uuids.get(parse_bus_id(match[2].decode()))
            if gpu_uuid is not None:
                self._count(gpu_uuid, int(match[3]), sequence)

    def _count(self, gpu_uuid: str, code: int, sequence: int) -> None:
        now_ms = self._clock.now_ms()
        key = (gpu_uuid, code)
        before = self._pending.get(key)
        if before is not None:
            self._pending[key] = msgspec.structs.replace(
                before, count=before.count + 1, last_at_ms=now_ms, last_sequence=sequence
            )
            return
        self._pending[key] = XidEvent(
            gpu_uuid=gpu_uuid,
            code=code,
            xid_class=self._classes.get(code, self._unknown),
            count=1,
            first_at_ms=now_ms,
            last_at_ms=now_ms,
            kernel_boot_id=self._boot_id,
            first_sequence=sequence,
            last_sequence=sequence,
        )

    def _open(self, path: Path) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            logs.warn("kernel_log_unavailable", reason=str(error))
            return None

    def _load_cursor(self) -> Cursor:
        data = read_if_there(self._file)
        if data is None:
            return Cursor()
        try:
            cursor = msgspec.json.decode(data, type=Cursor)
        except msgspec.DecodeError:
            return Cursor()
        # Another boot numbers its records anew.
        return cursor if cursor.boot_id == self._boot_id else Cursor()


def parse_bus_id(text: str) -> tuple[int, ...]:
    """Return (domain, bus, device) of ``00000000:10:00.0`` or ``0000:10:00``; empty when it is neither."""
    parts = text.partition(".")[0].split(":")
    try:
        return tuple(int(part, 16) for part in parts)
    except ValueError:
        return ()


def read_boot_id() -> str:
    """Return the id of the machine's own boot."""
    data = read_if_there(KERNEL_BOOT_ID)
    return "unknown" if data is None else data.decode().strip()

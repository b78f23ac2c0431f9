"""What waits to be sent: telemetry until SQS has it, and the newest heartbeat only.

Sequence numbers: telemetry gets its number when it is put here, so a reader sees a hole for each record
that was lost. A heartbeat gets its number when it is first offered to the network: an unsent one that a
newer one replaces leaves no hole, and one whose sending failed leaves an honest one.
"""

import threading
from collections import deque

import msgspec

from chalicelib.wire.telemetry import pack_telemetry, unpack_telemetry
from chalicelib.wire.v1 import Heartbeat, InvalidMessage, SpoolStatus, Telemetry
from host_agent import logs
from host_agent.frames import Frame
from host_agent.spool import Position, Spool, SpoolBroken, SpoolFull

RING_RECORDS = 1000


class Pending(msgspec.Struct, frozen=True):
    """One record to send, packed. ``position`` is ``None`` for one that lives in memory only."""

    boot_id: str
    seq: int
    packed: bytes
    position: Position | None = None

    @property
    def record(self) -> Telemetry:
        """Raises InvalidMessage: another version wrote it."""
        return unpack_telemetry(self.packed)


class TelemetryOutbox:
    """Thread-safe. The disk first; a bounded ring in memory while the disk refuses."""

    def __init__(self, spool: Spool, boot_id: str, waiting: threading.Event | None = None) -> None:
        """``waiting`` is set when something is put here, or is here already."""
        self._spool = spool
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._seq = 0
        self._ring: deque[Pending] = deque()
        self._on_disk = True
        self._lost = 0
        self._waiting = waiting or threading.Event()
        if spool.depth:
            self._waiting.set()

    def put(self, record: Telemetry, state: bytes, *, required: bool = False) -> bool:
        """Return True when ``record`` and ``state`` are durable: only then may the meter go on.

        Otherwise the samples may still go out from memory, and the energy stays with the meter: its next
        interval covers the longer time, so a full or broken disk costs resolution and no energy.

        Raises:
            SpoolBroken: the record was ``required`` (a lease boundary) and the disk refused.
        """
        with self._lock:
            try:
                self._spool.append(Frame(self._boot_id, self._seq, pack_telemetry(record), state, required))
            except (SpoolFull, InvalidMessage) as error:
                if required:
                    raise SpoolBroken(str(error)) from error
                self._lost += 1
                logs.warn("sample_dropped", reason=str(error))
                return False
            except SpoolBroken as error:
                self._on_disk = False
                logs.warn("spool_on_memory", reason=str(error))
                if required:
                    raise
                self._remember(Telemetry(record.samples, [], capture=record.capture))
                return False
            self._on_disk = True
            self._seq += 1
            self._waiting.set()
            return True

    def take(self, limit: int) -> list[Pending]:
        """Return up to ``limit`` unsent records, oldest first. They stay until `confirm`."""
        with self._lock:
            taken = [
                Pending(frame.boot_id, frame.seq, frame.record, at) for at, frame in self._spool.peek(limit)
            ]
            return (taken + list(self._ring))[:limit]

    def confirm(self, sent: list[Pending], refused: list[Pending]) -> None:
        """Forget what SQS confirmed, and what nobody will ever accept (counted as lost)."""
        with self._lock:
            done = sent + refused
            self._lost += len(refused)
            self._spool.acknowledge([each.position for each in done if each.position is not None])
            for each in done:
                if each.position is None and each in self._ring:
                    self._ring.remove(each)

    def describe(self) -> SpoolStatus:
        with self._lock:
            return SpoolStatus(
                depth_records=self._spool.depth + len(self._ring),
                depth_bytes=self._spool.depth_bytes,
                medium="disk" if self._on_disk else "memory",
                records_lost=self._lost + self._spool.records_lost,
                samples_thinned=self._spool.samples_thinned,
            )

    def _remember(self, record: Telemetry) -> None:
        if len(self._ring) == RING_RECORDS:
            self._ring.popleft()
            self._lost += 1
        self._ring.append(Pending(self._boot_id, self._seq, pack_telemetry(record)))
        self._seq += 1
        self._waiting.set()


class HeartbeatSlot:
    """Holds the newest heartbeat. An old one says nothing true about now, so it is never sent late."""

    def __init__(self, waiting: threading.Event | None = None) -> None:
        """``waiting`` is set when a heartbeat is put here."""
        self._lock = threading.Lock()
        self._newest: Heartbeat | None = None
        self._seq = 0
        self._waiting = waiting or threading.Event()

    def put(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._newest = heartbeat
            self._waiting.set()

    def take(self) -> tuple[int, Heartbeat] | None:
        """Return the newest heartbeat with its sequence number, and empty the slot."""
        with self._lock:
            if self._newest is None:
                return None
            taken = (self._seq, self._newest)
            self._seq += 1
            self._newest = None
            return taken

    def put_back(self, heartbeat: Heartbeat) -> None:
        """After a failed attempt; a newer one that came meanwhile stays."""
        with self._lock:
            if self._newest is None:
                self._newest = heartbeat

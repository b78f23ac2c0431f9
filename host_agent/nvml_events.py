"""Xid errors as NVML events: the source where the kernel log may not be read.

The kernel log has every Xid that NVML has, so one of the two is told, never both. Events are taken from the
driver within a watched look at a GPU: one that hangs stops nothing else. What happened while no agent ran is
not known to NVML. Source: NVML API reference, event handling methods.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from chalicelib.wire.v1 import XidEvent
from host_agent.clock import Clock
from host_agent.xid import REPEAT_MS, load_classes

#: What one look takes at most; the driver keeps the rest.
MAX_EVENTS = 100
#: What waits to be told at most; a flood loses its middle, not its beginning.
MAX_WAITING = 1000


class XidEvents:
    """The driver's queue of Xid events of the boards that were registered, while the driver is open."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._set: Any = None
        self._registered: set[str] = set()

    def register(self, gpu_uuid: str, handle: Any) -> str:
        """Ask once for a board's events; return ``ok`` or ``not_supported``, as for any other call."""
        nvml = self._nvml
        if gpu_uuid in self._registered:
            return "ok"
        try:
            if self._set is None:
                self._set = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._set)
        except nvml.NVMLError:
            return "not_supported"
        self._registered.add(gpu_uuid)
        return "ok"

    def drain(self) -> list[tuple[str, int]]:
        """Return (board UUID, code) of what has happened since; does not wait.

        Raises:
            nvml.NVMLError: the driver does not answer.
        """
        nvml, found = self._nvml, list[tuple[str, int]]()
        while self._set is not None and len(found) < MAX_EVENTS:
            try:
                event = nvml.nvmlEventSetWait(self._set, 0)
            except nvml.NVMLError_Timeout:
                break
            uuid = nvml.nvmlDeviceGetUUID(event.device)
            found.append((uuid.decode() if isinstance(uuid, bytes) else uuid, int(event.eventData)))
        return found

    def close(self) -> None:
        """Forget the queue. The driver frees it when it is shut down."""
        self._set = None
        self._registered.clear()


class WaitingXids:
    """From the thread that reads GPUs to the one that tells: keeps the oldest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, int]] = deque()

    def add(self, events: list[tuple[str, int]]) -> None:
        with self._lock:
            self._waiting.extend(events[: MAX_WAITING - len(self._waiting)])

    def take(self) -> list[tuple[str, int]]:
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        return taken


class NvmlXids:
    """An `XidSource` over NVML's events: one event per GPU and code, told again a minute later at most.

    ``kernel_boot_id`` names the agent's own start, and the numbers are counted since then.
    """

    def __init__(self, take: Callable[[], list[tuple[str, int]]], boot_id: str, clock: Clock) -> None:
        self._take, self._boot_id, self._clock = take, f"nvml:{boot_id}", clock
        self._classes, self._unknown = load_classes()
        self._sequence = 0
        self._pending: dict[tuple[str, int], XidEvent] = {}
        self._told_at_ms: dict[tuple[str, int], int] = {}

    def poll(self) -> list[XidEvent]:
        """As soon as one event is new or due again, all that wait are returned, until `confirm`."""
        now_ms = self._clock.now_ms()
        for key in self._take():
            self._count(key, now_ms)
        due = any(now_ms - self._told_at_ms.get(key, 0) >= REPEAT_MS for key in self._pending)
        return list(self._pending.values()) if due else []

    def confirm(self, told: list[XidEvent]) -> None:
        now_ms = self._clock.now_ms()
        for event in told:
            key = (event.gpu_uuid, event.code)
            self._told_at_ms[key] = now_ms
            if self._pending.get(key) == event:
                del self._pending[key]

    def _count(self, key: tuple[str, int], now_ms: int) -> None:
        self._sequence += 1
        gpu_uuid, code = key
        before = self._pending.get(key)
        if before is None:
            before = XidEvent(
                gpu_uuid=gpu_uuid,
                code=code,
                xid_class=self._classes.get(code, self._unknown),
                count=0,
                first_at_ms=now_ms,
                last_at_ms=now_ms,
                kernel_boot_id=self._boot_id,
                first_sequence=self._sequence,
                last_sequence=self._sequence,
            )
        self._pending[key] = msgspec.structs.replace(
            before, count=before.count + 1, last_at_ms=now_ms, last_sequence=self._sequence
        )

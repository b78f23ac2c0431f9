"""Reads one capture unit at its pace and hands on what is new. Runs in a thread of its own."""

import threading
from collections.abc import Callable

from chalicelib.wire.v1 import CaptureDatapoint
from host_agent import logs
from host_agent.capture.datapoint import CaptureReader, CaptureUnavailable
from host_agent.clock import Clock
from host_agent.status import CaptureReport

#: Takes datapoints and says whether they are durable.
Sink = Callable[[list[CaptureDatapoint]], bool]


class CapturePoller:
    def __init__(
        self, unit_id: str, reader: CaptureReader, sink: Sink, clock: Clock, interval_seconds: float
    ) -> None:
        self._unit_id, self._reader, self._sink, self._clock = unit_id, reader, sink, clock
        self._interval_seconds = interval_seconds
        self._lock = threading.Lock()
        #: The newest instant of each sensor and quantity that was handed on.
        self._seen: dict[tuple[str, str], int] = {}
        self._report = CaptureReport(unit_id, None, 0, 0)

    def step(self) -> float:
        """Read once; return the pause until the next. Raises CaptureUnavailable."""
        try:
            found = self._reader.read()
        except CaptureUnavailable as error:
            self._note(error=str(error))
            raise
        for sensor_id, reason in found.refused.items():
            logs.warn("capture_refused", unit_id=self._unit_id, sensor_id=sensor_id, reason=reason)
        # A controller shows its last reading until there is another; each is told once.
        new = [each for each in found.datapoints if each.sampled_at_ms > self._seen.get(_key(each), -1)]
        kept = not new or self._sink(new)
        if kept:
            for each in new:
                self._seen[_key(each)] = max(each.sampled_at_ms, self._seen.get(_key(each), -1))
        self._note(
            datapoints=len(new) if kept else 0,
            refused=len(found.refused),
            error="" if kept else "the spool takes nothing",
        )
        return self._interval_seconds

    def describe(self) -> CaptureReport:
        with self._lock:
            return self._report

    def _note(self, *, datapoints: int = 0, refused: int = 0, error: str = "") -> None:
        with self._lock:
            before = self._report
            self._report = CaptureReport(
                self._unit_id,
                self._clock.now_ms() if datapoints else before.last_reading_at_ms,
                before.datapoints + datapoints,
                before.refused + refused,
                error,
            )


def _key(datapoint: CaptureDatapoint) -> tuple[str, str]:
    return datapoint.sensor_id, datapoint.quantity

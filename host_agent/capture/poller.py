"""Reads one capture unit at its pace and hands on what is new. Runs in a thread of its own."""

import threading
from collections.abc import Callable, Mapping

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
        #: What the unit showed last, as far as it was handed on.
        self._shown: frozenset[CaptureDatapoint] = frozenset()
        self._refused: frozenset[str] = frozenset()
        self._report = CaptureReport(unit_id, None, 0, 0)

    def step(self) -> float:
        """Read once; return the pause until the next. Raises CaptureUnavailable."""
        try:
            found = self._reader.read()
        except CaptureUnavailable as error:
            self._note(error=str(error))
            raise
        self._tell_refused(found.refused)
        # A controller shows its last reading until there is another; each is told once. By content, never by
        # age: a clock that was set back must not silence a sensor until it is where it was.
        new = [each for each in dict.fromkeys(found.datapoints) if each not in self._shown]
        kept = not new or self._sink(new)
        if kept:
            self._shown = frozenset(found.datapoints)
        self._note(
            datapoints=len(new) if kept else 0,
            refused=len(found.refused),
            error="" if kept else "the spool takes nothing",
        )
        return self._interval_seconds

    def describe(self) -> CaptureReport:
        with self._lock:
            return self._report

    def _tell_refused(self, refused: Mapping[str, str]) -> None:
        """Log what was readable the last time: a sensor that stays broken is one line."""
        for sensor_id, reason in refused.items():
            if sensor_id not in self._refused:
                logs.warn("capture_refused", unit_id=self._unit_id, sensor_id=sensor_id, reason=reason)
        self._refused = frozenset(refused)

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

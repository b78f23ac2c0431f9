"""Time as the agent sees it; tests pass their own."""

import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch: labels of readings and events."""

    def monotonic(self) -> float:
        """Seconds that never step back: pauses, deadlines and grace times."""


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

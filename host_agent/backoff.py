"""How long to wait before the next attempt."""

from collections.abc import Callable


class Backoff:
    """Exponential with full jitter: uniform in [0, min(cap, base * 2**n)] seconds.

    ``draw`` returns a number in [0, 1). Full jitter spreads a fleet that lost its network at one moment.
    """

    def __init__(
        self, draw: Callable[[], float], base_seconds: float = 0.5, cap_seconds: float = 30.0
    ) -> None:
        self._draw = draw
        self._base = base_seconds
        self._cap = cap_seconds
        self._failures = 0

    def next_delay(self) -> float:
        ceiling = min(self._cap, self._base * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._draw() * ceiling

    def reset(self) -> None:
        self._failures = 0

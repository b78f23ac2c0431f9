"""Seeded power traces of one GPU, exact in energy, and what NVML would show of them."""

import random
from dataclasses import dataclass, field
from itertools import accumulate

from host_agent.gpu import Capabilities, GpuInfo, GpuLost, PowerSource, Reading
from tests.unit.host_agent.fakes import START_MS

STEP_MS = 5
LIMIT_MILLIWATTS = 700_000
COUNTER_STEP_MS = 100
SENSOR_MS = 25
GAIN = 0.004
SECONDS = 120


@dataclass
class Trace:
    """``milliwatts`` holds the power of each ``STEP_MS``. Times are milliseconds since ``START_MS``."""

    kind: str
    milliwatts: list[int]
    gain: float
    counter: bool = True
    power_source: PowerSource | None = "field_average"
    utilization: bool = True
    reset_at_ms: int | None = None
    jump_at_ms: int | None = None
    lost_ms: tuple[int, int] = (0, 0)
    _sums: list[int] = field(init=False)

    def __post_init__(self) -> None:
        # mW times ms: microjoules.
        self._sums = [0, *accumulate(power * STEP_MS for power in self.milliwatts)]

    @property
    def info(self) -> GpuInfo:
        capabilities = Capabilities({}, self.power_source)
        return GpuInfo("GPU", "0:0", "H100", 81_559, LIMIT_MILLIWATTS, capabilities)

    def read_truth(self, from_ms: int, to_ms: int) -> float:
        """Return the exact energy in millijoules."""
        return (self._sum(to_ms) - self._sum(from_ms)) / 1000

    def read(self, at_ms: int) -> Reading:
        """Raises GpuLost."""
        if self.lost_ms[0] <= at_ms < self.lost_ms[1]:
            raise GpuLost("gpu_lost")
        power = None
        if self.power_source == "field_average":
            power = self._mean(at_ms // COUNTER_STEP_MS * COUNTER_STEP_MS, 1000)
        elif self.power_source is not None:
            power = self._mean(at_ms // COUNTER_STEP_MS * COUNTER_STEP_MS, SENSOR_MS)
        busy = round(100 * self._mean(at_ms, 1000) / LIMIT_MILLIWATTS)
        return Reading(
            START_MS + at_ms,
            at_ms,
            self._count(at_ms) if self.counter else None,
            power,
            min(100, busy) if self.utilization else None,
        )

    def _count(self, at_ms: int) -> int:
        seen_ms = at_ms // COUNTER_STEP_MS * COUNTER_STEP_MS
        began_ms = 0
        if self.reset_at_ms is not None and seen_ms >= self.reset_at_ms:
            began_ms = self.reset_at_ms
        jumped = 10**9 if self.jump_at_ms is not None and seen_ms >= self.jump_at_ms else 0
        return int(self.read_truth(began_ms, seen_ms) * self.gain) + jumped + (10**6 if began_ms == 0 else 0)

    def _mean(self, at_ms: int, window_ms: int) -> int:
        from_ms = max(0, at_ms - window_ms)
        if at_ms == from_ms:
            return self.milliwatts[0]
        return int((self._sum(at_ms) - self._sum(from_ms)) * self.gain / (at_ms - from_ms))

    def _sum(self, at_ms: int) -> float:
        index, rest = divmod(at_ms, STEP_MS)
        return self._sums[index] + (self.milliwatts[index] * rest if rest else 0)


def build_trace(seed: int) -> Trace:
    """Return trace ``seed``; twenty of them cover every kind twice."""
    rng = random.Random(seed)
    kinds = (
        "steps",
        "spikes",
        "reset",
        "no_counter_average",
        "no_counter_instant",
        "usage_only",
        "model_only",
        "lost",
        "jump",
        "noise",
    )
    kind = kinds[seed % len(kinds)]
    samples = SECONDS * 1000 // STEP_MS
    if kind == "spikes":
        # 25 ms of full power at the moment that a sensor of 100 ms does not look at.
        watts = [690_000 if (index * STEP_MS) % 100 < 25 else 90_000 for index in range(samples)]
    elif kind == "noise":
        watts = [rng.randint(70_000, 800_000) for _ in range(samples)]
    else:
        watts = []
        while len(watts) < samples:
            watts += [rng.randint(70_000, 700_000)] * rng.randint(20, 2000)
    trace = Trace(kind, watts[:samples], 1 + rng.uniform(-GAIN, GAIN))
    if kind == "reset":
        trace.reset_at_ms = rng.randrange(20_000, 100_000, 100)
    elif kind == "jump":
        trace.jump_at_ms = rng.randrange(20_000, 100_000, 100)
    elif kind == "lost":
        start = rng.randrange(20_000, 60_000)
        trace.lost_ms = (start, start + rng.randrange(1000, 40_000))
    elif kind in {"no_counter_average", "no_counter_instant", "usage_only", "model_only"}:
        trace.counter = False
        trace.power_source = {
            "no_counter_average": "field_average",
            "no_counter_instant": "field_instant",
            "usage_only": "power_usage",
            "model_only": None,
        }[kind]
    return trace

"""The physics of a simulated GPU: power follows load, temperature follows power, energy is their integral.

- Target power: ``(idle + (limit - idle) * utilization ** 0.8) * (1 + noise)``, at most the limit; boards draw
  most of their power well below full utilisation. Noise is seeded, at most 2 %, redrawn each step.
- Power approaches its target exponentially (time constant 0.4 s); the integral of a step is exact.
- Temperature: first-order RC model, 0.06 K/W above an ambient of 25 C, time constant 40 s.
- A slowdown, by heat or by the power brake, takes half of what the load draws; its time is counted exactly.
- Counter: the exact energy times a seeded gain within 0.3 %, in whole millijoules, moving in 100 ms steps as
  NVML's does (20 to 100 ms, see `host_agent.nvml`).

Times are milliseconds since the Unix epoch, power watts inside the model, energy joules inside the model.
"""

import math
import random
from array import array
from dataclasses import dataclass, field

STEP_MS = 100
POWER_TIME_CONSTANT_MS = 400.0
THERMAL_TIME_CONSTANT_MS = 40_000.0
KELVIN_PER_WATT = 0.06
AMBIENT_CELSIUS = 25.0
LOAD_EXPONENT = 0.8
NOISE = 0.02
GAIN_ERROR = 0.003
SLOWED = 0.5
IDLE_MEMORY_MIB = 540
#: Steps of exact energy that are kept for `read_truth`: six hours.
HISTORY_STEPS = 6 * 3600 * 1000 // STEP_MS


@dataclass(slots=True)
class SimulatedGpu:
    """One GPU. ``advance`` is the only way that time passes; it may be called as rarely as one likes."""

    gpu_uuid: str
    seed: int
    start_ms: int
    memory_mib: int = 81_559
    idle_watts: float = 72.0
    limit_watts: float = 700.0
    utilization: float = 0.0
    is_hot: bool = False
    is_braked: bool = False
    #: Since the start.
    hot_ms: int = 0
    braked_ms: int = 0
    now_ms: int = field(init=False)
    power_watts: float = field(init=False)
    temperature_celsius: float = field(init=False)
    _random: random.Random = field(init=False)
    _gain: float = field(init=False)
    #: Exact energy in joules at ``start_ms + n * STEP_MS``, the oldest dropped after ``HISTORY_STEPS``.
    _history: "array[float]" = field(init=False)
    _dropped: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.now_ms = self.start_ms
        self._random = random.Random(self.seed)  # noqa: S311  # a simulation, not a secret
        self._gain = 1.0 + self._random.uniform(-GAIN_ERROR, GAIN_ERROR)
        self.power_watts = self.idle_watts
        self.temperature_celsius = AMBIENT_CELSIUS + KELVIN_PER_WATT * self.idle_watts
        self._history = array("d", [0.0])

    @property
    def energy_counter_millijoules(self) -> int:
        return int(self._history[-1] * self._gain * 1000)

    @property
    def memory_used_mib(self) -> int:
        return IDLE_MEMORY_MIB + int(self.utilization * 0.8 * (self.memory_mib - IDLE_MEMORY_MIB))

    def advance(self, to_ms: int) -> None:
        """Let time pass in whole steps under the present load."""
        while self.now_ms + STEP_MS <= to_ms:
            self._step()

    def set_load(self, at_ms: int, utilization: float) -> None:
        """Change the load; takes effect at the step that contains ``at_ms``."""
        self.advance(at_ms)
        self.utilization = min(1.0, max(0.0, utilization))

    def set_slowdown(self, at_ms: int, *, is_hot: bool, is_braked: bool) -> None:
        """Slow the GPU, or let it go; takes effect as a load does."""
        self.advance(at_ms)
        self.is_hot, self.is_braked = is_hot, is_braked

    def read_truth(self, from_ms: int, to_ms: int) -> float:
        """Return the exact energy between two instants in millijoules.

        Raises:
            ValueError: the window is not within the kept history.
        """
        return (self._read_exact(to_ms) - self._read_exact(from_ms)) * 1000

    def _read_exact(self, at_ms: int) -> float:
        position = (at_ms - self.start_ms) / STEP_MS - self._dropped
        index = math.floor(position)
        if index < 0 or position > len(self._history) - 1:
            raise ValueError(f"{at_ms} is outside the recorded history")
        if index == len(self._history) - 1:
            return self._history[index]
        part = position - index
        return self._history[index] * (1 - part) + self._history[index + 1] * part

    def _step(self) -> None:
        noise = 1.0 + self._random.uniform(-NOISE, NOISE)
        dynamic = (self.limit_watts - self.idle_watts) * self.utilization**LOAD_EXPONENT
        if self.is_hot or self.is_braked:
            dynamic *= SLOWED
        self.hot_ms += STEP_MS if self.is_hot else 0
        self.braked_ms += STEP_MS if self.is_braked else 0
        target = min(self.limit_watts, (self.idle_watts + dynamic) * noise)
        decay = math.exp(-STEP_MS / POWER_TIME_CONSTANT_MS)
        excess = self.power_watts - target
        joules = (target * STEP_MS + excess * POWER_TIME_CONSTANT_MS * (1 - decay)) / 1000
        self.power_watts = target + excess * decay
        equilibrium = AMBIENT_CELSIUS + KELVIN_PER_WATT * self.power_watts
        cooling = math.exp(-STEP_MS / THERMAL_TIME_CONSTANT_MS)
        self.temperature_celsius = equilibrium + (self.temperature_celsius - equilibrium) * cooling
        self._history.append(self._history[-1] + joules)
        if len(self._history) > HISTORY_STEPS:
            half = HISTORY_STEPS // 2
            self._dropped += half
            del self._history[:half]
        self.now_ms += STEP_MS

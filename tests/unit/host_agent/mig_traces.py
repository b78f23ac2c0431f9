"""Seeded traces of a board in instances of 3, 2 and 2 slices, exact in each instance's energy."""

import random
from dataclasses import dataclass, field
from itertools import accumulate

import msgspec

from host_agent.gpu import Capabilities, GpuInfo, InstanceReading, Reading
from tests.unit.host_agent.traces import GAIN, LIMIT_MILLIWATTS, SECONDS, STEP_MS, Trace

BOARD = "GPU"
SLICES = {"MIG-3": 3, "MIG-2a": 2, "MIG-2b": 2}
IDLE_MILLIWATTS = 72_000
SAMPLES = SECONDS * 1000 // STEP_MS
#: When each may run anything: while it is leased (`test_mig_truth.CHANGES`), and not in the first while.
LEASED_MS = {"MIG-3": [(10_100, 115_000)], "MIG-2a": [(30_100, 80_000), (100_100, 115_000)], "MIG-2b": []}
QUIET_MS = 5000
KINDS = (
    "even",
    "unequal",
    "no_activity",
    "busy",
    "recreated",
    "reset",
    "lost",
    "no_counter",
    "jump",
    "model_only",
)


@dataclass
class MigTrace(Trace):
    """``work`` is the power of each instance above its slices' part of the idle board's, per step."""

    activity: bool = True
    work: dict[str, list[int]] = field(default_factory=dict)
    #: Whether each instance runs anything, per step.
    active: dict[str, list[int]] = field(default_factory=dict)
    #: When an instance is not there.
    gone_ms: dict[str, tuple[int, int]] = field(default_factory=dict)
    _deep_ms: int | None = None

    @property
    def infos(self) -> list[GpuInfo]:
        board = msgspec.structs.replace(self.info, capabilities=Capabilities({}, self.power_source))
        return [
            msgspec.structs.replace(board, gpu_uuid=uuid, parent_uuid=BOARD, slices=slices)
            for uuid, slices in SLICES.items()
        ]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._work = {uuid: [0, *accumulate(each)] for uuid, each in self.work.items()}
        self._active = {uuid: [0, *accumulate(each)] for uuid, each in self.active.items()}

    def look(self, at_ms: int, *, deep: bool) -> Reading:
        """Raises GpuLost. Activity is the mean since the deep look before, as of two GPM samples."""
        reading = msgspec.structs.replace(self.read(at_ms), utilization_percent=None)
        if not deep:
            return reading
        before, self._deep_ms = self._deep_ms, at_ms
        return msgspec.structs.replace(
            reading,
            instances={
                uuid: self._look(uuid, before, at_ms) for uuid in SLICES if self.is_there(uuid, at_ms)
            },
        )

    def is_there(self, uuid: str, at_ms: int) -> bool:
        from_ms, to_ms = self.gone_ms.get(uuid, (0, 0))
        return not from_ms <= at_ms < to_ms

    def _look(self, uuid: str, before: int | None, at_ms: int) -> InstanceReading:
        if not self.activity or before is None or at_ms == before:
            return InstanceReading()
        sums = self._active[uuid]
        busy = (interpolate(sums, at_ms) - interpolate(sums, before)) * STEP_MS / (at_ms - before)
        return InstanceReading(round(1000 * busy), round(1000 * busy))

    def read_part(self, uuid: str, from_ms: int, to_ms: int) -> float:
        """Return the exact energy of one instance: its slices' part of idle, and its work (mJ)."""
        lost_from, lost_to = self.gone_ms.get(uuid, (0, 0))
        there_ms = to_ms - from_ms - max(0, min(to_ms, lost_to) - max(from_ms, lost_from))
        sums = self._work[uuid]
        work = (interpolate(sums, to_ms) - interpolate(sums, from_ms)) * STEP_MS
        return (IDLE_MILLIWATTS * there_ms * SLICES[uuid] / 7 + work) / 1000


def interpolate(sums: list[int], at_ms: int) -> float:
    index, rest = divmod(at_ms, STEP_MS)
    return sums[index] + ((sums[index + 1] - sums[index]) * rest / STEP_MS if rest else 0)


def build_mig_trace(seed: int) -> MigTrace:
    """Return trace ``seed``; as many as there are kinds cover each once."""
    rng = random.Random(1000 + seed)
    kind = KINDS[seed % len(KINDS)]
    full = (LIMIT_MILLIWATTS - IDLE_MILLIWATTS) // 7
    trace = {"power_source": "field_average", "counter": True, "activity": kind != "no_activity"}
    if kind in {"no_counter", "model_only"}:
        trace |= {"counter": False, "power_source": None if kind == "model_only" else "field_average"}
    gone = {}
    if kind == "recreated":
        start = rng.randrange(85_000, 90_000, STEP_MS)
        gone["MIG-2a"] = (start, start + 12_000)
    work, active = {}, {}
    for uuid, slices in SLICES.items():
        runs = build_runs(rng, always=kind == "busy")
        from_ms, to_ms = gone.get(uuid, (0, 0))
        for index in range(SAMPLES):
            at_ms = index * STEP_MS
            # A program that nobody leased an instance for is seen by its activity: only there it may be.
            leased = kind == "unequal" or any(start <= at_ms < end for start, end in LEASED_MS[uuid])
            if not leased or at_ms < QUIET_MS or from_ms <= at_ms < to_ms:
                runs[index] = 0
        # The same draw per busy slice, or whatever each does: then activity tells a part of the truth only.
        draw = slices * full if kind != "unequal" else rng.randrange(full // 4, slices * full)
        active[uuid], work[uuid] = runs, [draw * each for each in runs]
    total = [IDLE_MILLIWATTS + sum(each) for each in zip(*work.values(), strict=True)]
    built = MigTrace(
        kind, total, 1 + rng.uniform(-GAIN, GAIN), work=work, active=active, gone_ms=gone, **trace
    )
    if kind == "reset":
        built.reset_at_ms = rng.randrange(40_000, 70_000, 100)
    elif kind == "jump":
        built.jump_at_ms = rng.randrange(40_000, 70_000, 100)
    elif kind == "lost":
        start = rng.randrange(35_000, 50_000)
        built.lost_ms = (start, start + rng.randrange(5000, 25_000))
    return built


def build_runs(rng: random.Random, *, always: bool) -> list[int]:
    """Return whether something runs at each step: kernels of 50 ms to 5 s with pauses between."""
    if always:
        return [1] * SAMPLES
    runs: list[int] = []
    while len(runs) < SAMPLES:
        runs += [rng.randint(0, 1)] * rng.randint(10, 1000)
    return runs[:SAMPLES]

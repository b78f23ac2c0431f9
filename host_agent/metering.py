"""Cuts a GPU's energy into intervals, each owned by one lease or by nobody.

Invariants: intervals of one GPU touch and never overlap, so their energies add up to what the counter
gained; those of one (rental, GPU) are numbered from 0 without holes. The meter is pure: it returns the
intervals and the next state, and the caller makes both durable at once before it uses either.

Energy is integer millijoules, time integer milliseconds, power integer milliwatts.
"""

from collections.abc import Mapping

import msgspec

from chalicelib.wire.v1 import EnergyInterval, EnergyMethod
from host_agent.gpu import Reading

#: A power integral over a longer step than this is a guess. Three missed 10-second samples.
MAX_INTEGRATION_STEP_MS = 30_000
#: NVML counters move in steps of up to 100 ms, so a short window may hold one step too much.
COUNTER_STEP_MS = 100
#: Beyond 1.2 times the board's limit a counter jump is not energy. Source: zeus issue 113.
PLAUSIBLE_FACTOR_PERCENT = 120
#: For boards that do not tell their limit: above every single GPU sold (1.4 kW) with room.
DEFAULT_POWER_LIMIT_MILLIWATTS = 2_000_000
_MS_PER_SECOND = 1000


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """A lease in force. ``epoch`` is the start command's."""

    rental_id: str
    epoch: int


class GpuMeter(msgspec.Struct, frozen=True, array_like=True):
    """Where the next interval of one GPU begins."""

    owner: Owner | None = None
    next_index: int = 0
    #: Numbers unrented intervals, across leases.
    unrented_index: int = 0
    started_at_ms: int | None = None
    counter_millijoules: int | None = None
    power_milliwatts: int | None = None
    #: Instant of ``power_milliwatts`` and what was integrated since ``started_at_ms``.
    power_at_ms: int | None = None
    integrated_millijoules: int = 0
    #: The beginning, or a part since, had to be filled.
    estimated: bool = False
    #: ``counter_millijoules`` was calculated, not read: a smaller reading is then no reset.
    calculated: bool = False


class MeterState(msgspec.Struct, frozen=True, array_like=True):
    gpus: dict[str, GpuMeter] = {}


class Cut(msgspec.Struct, frozen=True):
    """What a cut gave; ``state`` holds only once ``intervals`` are durable."""

    intervals: list[EnergyInterval]
    state: MeterState


class EnergyMeter:
    """Holds the committed state of every GPU. Not thread-safe: callers hold one lock over cut and commit."""

    def __init__(self, state: MeterState, power_limits: Mapping[str, int | None]) -> None:
        self.state = state
        self._limits = power_limits

    def owner_of(self, gpu_uuid: str) -> Owner | None:
        return self.state.gpus.get(gpu_uuid, GpuMeter()).owner

    def observe(self, readings: Mapping[str, Reading]) -> None:
        """Add power samples between cuts. Lost on a crash; the next cut then fills and says so."""
        gpus = dict(self.state.gpus)
        for gpu_uuid, reading in readings.items():
            if gpu_uuid in gpus:
                gpus[gpu_uuid] = _integrate(gpus[gpu_uuid], reading)
        self.state = MeterState(gpus)

    def cut(self, readings: Mapping[str, Reading]) -> Cut:
        """End the running interval of every GPU that was read; one without a reading goes on."""
        intervals: list[EnergyInterval] = []
        gpus = dict(self.state.gpus)
        for gpu_uuid, reading in readings.items():
            before = gpus.get(gpu_uuid, GpuMeter())
            interval, gpus[gpu_uuid] = self._close(gpu_uuid, before, reading, final=False)
            if interval is not None:
                intervals.append(interval)
        return Cut(intervals, MeterState(gpus))

    def change_owner(
        self, changes: Mapping[str, Owner | None], readings: Mapping[str, Reading], now_ms: int
    ) -> Cut:
        """Cut the GPUs of ``changes`` at a lease boundary and hand them to their new owner.

        A GPU already owned as asked is left alone, so a repeated command changes nothing. One that cannot
        be read now gets an estimated interval, so that a lease never ends without its final one.
        """
        intervals: list[EnergyInterval] = []
        gpus = dict(self.state.gpus)
        for gpu_uuid, owner in changes.items():
            before = gpus.get(gpu_uuid, GpuMeter())
            if before.owner == owner:
                continue
            reading = readings.get(gpu_uuid, Reading(now_ms))
            final = before.owner is not None
            interval, after = self._close(gpu_uuid, before, reading, final=final)
            if interval is not None:
                intervals.append(interval)
            gpus[gpu_uuid] = msgspec.structs.replace(after, owner=owner, next_index=0)
        return Cut(intervals, MeterState(gpus))

    def _close(
        self, gpu_uuid: str, before: GpuMeter, reading: Reading, *, final: bool
    ) -> tuple[EnergyInterval | None, GpuMeter]:
        """Return the interval that ends at ``reading`` and the state after it."""
        known = reading.energy_counter_millijoules is not None or reading.power_milliwatts is not None
        if before.started_at_ms is None:
            if not final:
                return None, _begin(before, reading) if known else before
            before = msgspec.structs.replace(before, started_at_ms=reading.sampled_at_ms, estimated=True)
        started_at_ms = reading.sampled_at_ms if before.started_at_ms is None else before.started_at_ms
        if not known and not final and before.owner is not None:
            return None, before
        before = _integrate(before, reading)
        # A host clock that stepped back must not make an interval end before it starts.
        ended_at_ms = max(started_at_ms, reading.sampled_at_ms)
        energy, method, estimated = self._measure(gpu_uuid, before, reading, ended_at_ms - started_at_ms)
        interval = EnergyInterval(
            gpu_uuid=gpu_uuid,
            started_at_ms=started_at_ms,
            ended_at_ms=ended_at_ms,
            energy_millijoules=energy,
            method=method,
            rental_id=None if before.owner is None else before.owner.rental_id,
            epoch=0 if before.owner is None else before.owner.epoch,
            interval_index=before.unrented_index if before.owner is None else before.next_index,
            final=final,
            estimated=estimated,
            counter_start_millijoules=None if before.calculated else before.counter_millijoules,
            counter_end_millijoules=reading.energy_counter_millijoules,
        )
        after = _begin(before, msgspec.structs.replace(reading, sampled_at_ms=ended_at_ms))
        if reading.energy_counter_millijoules is None and before.counter_millijoules is not None:
            # The counter went on unseen: what was filled here is taken off the next interval.
            after = msgspec.structs.replace(
                after,
                counter_millijoules=before.counter_millijoules + energy,
                calculated=True,
                estimated=True,
            )
        if before.owner is None:
            return interval, msgspec.structs.replace(after, unrented_index=before.unrented_index + 1)
        return interval, msgspec.structs.replace(after, next_index=before.next_index + 1)

    def _measure(
        self, gpu_uuid: str, before: GpuMeter, reading: Reading, duration_ms: int
    ) -> tuple[int, EnergyMethod, bool]:
        """Return (energy, method, estimated)."""
        start, end = before.counter_millijoules, reading.energy_counter_millijoules
        if start is None or end is None:
            # Without a power reading at both ends part of the time is a guess.
            guessed = reading.power_milliwatts is None or start is not None
            return before.integrated_millijoules, "power_integral", before.estimated or guessed
        if end < start:
            # Reset: the counter restarted from 0, what it shows is the least that was used. A calculated
            # start that is too high is an estimate that was too high.
            return (0 if before.calculated else end), "counter", True
        limit = self._limits.get(gpu_uuid) or DEFAULT_POWER_LIMIT_MILLIWATTS
        window_ms = duration_ms + COUNTER_STEP_MS
        most = limit * window_ms // _MS_PER_SECOND * PLAUSIBLE_FACTOR_PERCENT // 100
        if end - start > most:
            return before.integrated_millijoules, "power_integral", True
        return end - start, "counter", before.estimated


def _begin(before: GpuMeter, reading: Reading) -> GpuMeter:
    return GpuMeter(
        owner=before.owner,
        next_index=before.next_index,
        unrented_index=before.unrented_index,
        started_at_ms=reading.sampled_at_ms,
        counter_millijoules=reading.energy_counter_millijoules,
        power_milliwatts=(
            before.power_milliwatts if reading.power_milliwatts is None else reading.power_milliwatts
        ),
        power_at_ms=reading.sampled_at_ms,
    )


def _integrate(meter: GpuMeter, reading: Reading) -> GpuMeter:
    """Add the trapezoid from the last power sample to ``reading``."""
    if meter.power_at_ms is None:
        return meter
    step_ms = max(0, reading.sampled_at_ms - meter.power_at_ms)
    before = meter.power_milliwatts
    now = reading.power_milliwatts
    first = before if before is not None else now
    last = now if now is not None else before
    filled = first is None or last is None or before is None or now is None
    # mW times ms is microjoules; two of them for the two ends of the trapezoid.
    gained = 0 if first is None or last is None else (first + last) * step_ms // 2000
    # With a counter the integral is only the fallback and does not mark the interval.
    counted = meter.counter_millijoules is not None
    return msgspec.structs.replace(
        meter,
        power_milliwatts=last,
        power_at_ms=reading.sampled_at_ms,
        integrated_millijoules=meter.integrated_millijoules + gained,
        estimated=meter.estimated
        or (not counted and step_ms > 0 and (filled or step_ms > MAX_INTEGRATION_STEP_MS)),
    )

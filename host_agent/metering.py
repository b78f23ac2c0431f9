"""Cuts a GPU's energy into intervals, each owned by one lease or by nobody.

Invariants: intervals of one GPU touch and never overlap, so their energies add up to what the counter
gained; those of one (rental, GPU) are numbered from 0 without holes; the bounds of an interval hold its true
energy. The meter is pure: it returns the intervals and the next state, and the caller makes both durable at
once before it uses either.

A partitioned board has one meter; at each cut its interval is split among the instances that are leased and
the platform (`host_agent.mig`).

Energy is integer millijoules, time integer milliseconds, power integer milliwatts.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from chalicelib.wire.accuracy import (
    AVERAGED_MS,
    COUNTER_STEP_MS,
    DEFAULT_POWER_LIMIT_MILLIWATTS,
    GAIN_PERCENT,
    MAX_INTEGRATION_STEP_MS,
    MODEL_IDLE_PERCENT,
    PLAUSIBLE_FACTOR_PERCENT,
)
from chalicelib.wire.v1 import EnergyInterval, EnergyMethod, EstimateCause
from host_agent.gpu import GpuInfo, PowerSource, Reading, is_known
from host_agent.mig import Partition, Split, begin_split, learn_idle, list_partitions, share_step, split_board
from host_agent.slowdown import Watch, begin_watch, measure_slowdown, watch

#: Time before a reading that it speaks for. An instant, or a figure of unknown meaning, speaks for none:
#: what happened between two of them is anybody's guess, and is bounded by the board's limit alone.
COVERED_MS: Mapping[PowerSource | None, int] = {"field_average": AVERAGED_MS}
_MS_PER_SECOND = 1000


class Owner(msgspec.Struct, frozen=True, array_like=True):
    """A lease in force. ``epoch`` is the start command's."""

    rental_id: str
    epoch: int


class GpuMeter(msgspec.Struct, frozen=True, array_like=True):
    """Where the next interval of one GPU begins; of an instance only owner and index are used."""

    owner: Owner | None = None
    next_index: int = 0
    #: Numbers unrented intervals, across leases.
    unrented_index: int = 0
    started_at_ms: int | None = None
    counter_millijoules: int | None = None
    power_milliwatts: int | None = None
    #: Instant of ``power_milliwatts`` and what was integrated since ``started_at_ms``, with its bounds.
    power_at_ms: int | None = None
    integrated_millijoules: int = 0
    integrated_min_millijoules: int = 0
    integrated_max_millijoules: int = 0
    #: The beginning, or a part since, had to be filled.
    cause: EstimateCause = "none"
    #: ``counter_millijoules`` was calculated, not read: a smaller reading is then no reset.
    calculated: bool = False
    utilization_percent: int | None = None
    #: The beginning and the last power sample on the clock that never jumps.
    started_monotonic_ms: int | None = None
    power_monotonic_ms: int | None = None
    watch: Watch = Watch()


class MeterState(msgspec.Struct, frozen=True, array_like=True):
    gpus: dict[str, GpuMeter] = {}
    #: By board, of partitioned ones.
    splits: dict[str, Split] = {}


class Cut(msgspec.Struct, frozen=True):
    """What a cut gave; ``state`` holds only once ``intervals`` are durable."""

    intervals: list[EnergyInterval]
    state: MeterState


class Measure(msgspec.Struct, frozen=True):
    """Energy of a window with the bounds that hold it."""

    energy: int
    least: int
    most: int
    method: EnergyMethod
    cause: EstimateCause = "none"
    integral: int | None = None


class EnergyMeter:
    """Holds the committed state of every GPU. Not thread-safe: callers hold one lock over cut and commit."""

    def __init__(self, state: MeterState, gpus: list[GpuInfo]) -> None:
        self.state = state
        self._limits = {
            gpu.board_uuid: gpu.power_limit_milliwatts or DEFAULT_POWER_LIMIT_MILLIWATTS for gpu in gpus
        }
        self._covered_ms = {gpu.board_uuid: COVERED_MS.get(gpu.capabilities.power_source, 0) for gpu in gpus}
        self._boards = {gpu.gpu_uuid: gpu.board_uuid for gpu in gpus}
        self._partitions = list_partitions(gpus, self._limits)

    def owner_of(self, gpu_uuid: str) -> Owner | None:
        return self.state.gpus.get(gpu_uuid, GpuMeter()).owner

    def list_leased(self) -> AbstractSet[str]:
        return {uuid for uuid, meter in self.state.gpus.items() if meter.owner is not None}

    def observe(self, readings: Mapping[str, Reading]) -> None:
        """Add power samples between cuts. Lost on a crash; the next cut then fills and says so."""
        gpus, splits = dict(self.state.gpus), dict(self.state.splits)
        for gpu_uuid, reading in readings.items():
            if gpu_uuid in gpus and self._is_board(gpu_uuid):
                gpus[gpu_uuid] = self._integrate(gpu_uuid, gpus[gpu_uuid], reading)
                partition = self._partitions.get(gpu_uuid)
                if partition is not None:
                    split = learn_idle(splits.get(gpu_uuid, Split()), reading)
                    if reading.instances is not None:
                        leased = self._list_leased(gpus, gpu_uuid)
                        split = self._share(gpus[gpu_uuid], split, partition, leased, reading)
                    splits[gpu_uuid] = split
        self.state = MeterState(gpus, splits)

    def cut(self, readings: Mapping[str, Reading]) -> Cut:
        """End the running interval of every board that was read; one without a reading goes on."""
        intervals: list[EnergyInterval] = []
        gpus, splits = dict(self.state.gpus), dict(self.state.splits)
        for gpu_uuid, reading in readings.items():
            if self._is_board(gpu_uuid):
                intervals += self._end_window(gpus, splits, gpu_uuid, reading)
        return Cut(intervals, MeterState(gpus, splits))

    def change_owner(
        self, changes: Mapping[str, Owner | None], readings: Mapping[str, Reading], now_ms: int
    ) -> Cut:
        """Cut the boards of ``changes`` at a lease boundary and hand the GPUs to their new owners.

        A GPU already owned as asked is left alone, so a repeated command changes nothing. One that cannot
        be read now gets an estimated interval, so that a lease never ends without its final one.
        """
        intervals: list[EnergyInterval] = []
        gpus, splits = dict(self.state.gpus), dict(self.state.splits)
        changed = {uuid: owner for uuid, owner in changes.items() if owner != self.owner_of(uuid)}
        for board in dict.fromkeys(self._boards.get(uuid, uuid) for uuid in changed):
            here = [uuid for uuid in changed if self._boards.get(uuid, uuid) == board]
            ended = {uuid for uuid in here if self.owner_of(uuid) is not None}
            reading = readings.get(board, Reading(now_ms))
            intervals += self._end_window(gpus, splits, board, reading, ended)
            for uuid in here:
                before = gpus.get(uuid, GpuMeter())
                gpus[uuid] = msgspec.structs.replace(before, owner=changed[uuid], next_index=0)
        return Cut(intervals, MeterState(gpus, splits))

    def _is_board(self, gpu_uuid: str) -> bool:
        return self._boards.get(gpu_uuid, gpu_uuid) == gpu_uuid

    def _end_window(
        self,
        gpus: dict[str, GpuMeter],
        splits: dict[str, Split],
        board: str,
        reading: Reading,
        ended: AbstractSet[str] = frozenset(),
    ) -> list[EnergyInterval]:
        """Return the intervals that end at ``reading``; ``gpus`` and ``splits`` become what is after it."""
        before, split = gpus.get(board, GpuMeter()), splits.get(board, Split())
        leased = self._list_leased(gpus, board)
        if leased and not ended and not is_known(reading):
            return []
        before = gpus[board] = self._integrate(board, before, reading)
        partition = self._partitions.get(board)
        if partition is not None:
            split = self._share(before, split, partition, leased, reading)
            splits[board] = begin_split(split, reading.sampled_at_ms, reading.monotonic_ms)
        interval, gpus[board] = self._close(board, before, reading, final=bool(ended))
        if interval is None or partition is None:
            return [] if interval is None else [interval]
        busy = self._bound(board, _MS_PER_SECOND)
        idle = busy if split.idle_milliwatts is None else self._upper(split.idle_milliwatts)
        parts = split_board(interval, split, idle_most_milliwatts=idle, active_most_milliwatts=busy)
        return [self._assign(gpus, each, final=each.gpu_uuid in ended) for each in parts.values()]

    @staticmethod
    def _assign(gpus: dict[str, GpuMeter], part: EnergyInterval, *, final: bool) -> EnergyInterval:
        """Return a part of a board under the lease that it is of, and count it."""
        meter = gpus[part.gpu_uuid]
        if meter.owner is None:
            return msgspec.structs.replace(part, final=False)
        gpus[part.gpu_uuid] = msgspec.structs.replace(meter, next_index=meter.next_index + 1)
        return msgspec.structs.replace(
            part,
            rental_id=meter.owner.rental_id,
            epoch=meter.owner.epoch,
            interval_index=meter.next_index,
            final=final,
        )

    def _list_leased(self, gpus: Mapping[str, GpuMeter], board: str) -> AbstractSet[str]:
        units = self._partitions[board].slices if board in self._partitions else (board,)
        return {uuid for uuid in units if uuid in gpus and gpus[uuid].owner is not None}

    def _share(
        self, meter: GpuMeter, split: Split, partition: Partition, leased: AbstractSet[str], reading: Reading
    ) -> Split:
        """Give out what the board has used since the last deep look."""
        started_at_ms = reading.sampled_at_ms if split.shared_at_ms is None else split.shared_at_ms
        duration_ms = _elapse(started_at_ms, split.shared_monotonic_ms, reading)
        energy = meter.integrated_millijoules - split.shared_millijoules
        split = learn_idle(split, reading)
        after = share_step(split, partition, leased, reading.instances, energy, duration_ms)
        return msgspec.structs.replace(
            after, shared_at_ms=reading.sampled_at_ms, shared_monotonic_ms=reading.monotonic_ms
        )

    def _close(
        self, gpu_uuid: str, before: GpuMeter, reading: Reading, *, final: bool
    ) -> tuple[EnergyInterval | None, GpuMeter]:
        """Return the interval that ends at ``reading`` and the state after it."""
        known = is_known(reading)
        if before.started_at_ms is None:
            if not final:
                return None, _begin(before, reading) if known else before
            before = msgspec.structs.replace(before, started_at_ms=reading.sampled_at_ms, cause="unread")
        started_at_ms = reading.sampled_at_ms if before.started_at_ms is None else before.started_at_ms
        # A host clock that stepped back must not make an interval end before it starts.
        ended_at_ms = max(started_at_ms, reading.sampled_at_ms)
        duration_ms = _elapse(started_at_ms, before.started_monotonic_ms, reading)
        measure = self._measure(gpu_uuid, before, reading, duration_ms)
        slowed = measure_slowdown(before.watch, reading, ended_at_ms - started_at_ms)
        interval = EnergyInterval(
            gpu_uuid=gpu_uuid,
            started_at_ms=started_at_ms,
            ended_at_ms=ended_at_ms,
            energy_millijoules=measure.energy,
            method=measure.method,
            rental_id=None if before.owner is None else before.owner.rental_id,
            epoch=0 if before.owner is None else before.owner.epoch,
            interval_index=before.unrented_index if before.owner is None else before.next_index,
            final=final,
            estimated=measure.cause != "none",
            counter_start_millijoules=None if before.calculated else before.counter_millijoules,
            counter_end_millijoules=reading.energy_counter_millijoules,
            energy_min_millijoules=min(measure.least, measure.energy),
            energy_max_millijoules=max(measure.most, measure.energy),
            integral_millijoules=measure.integral,
            cause=measure.cause,
        )
        if slowed.thermal_ms or slowed.power_brake_ms:
            interval = msgspec.structs.replace(
                interval,
                thermal_slowdown_ms=slowed.thermal_ms,
                power_brake_ms=slowed.power_brake_ms,
                slowdown_source=slowed.source,
            )
        after = _begin(before, msgspec.structs.replace(reading, sampled_at_ms=ended_at_ms))
        if reading.energy_counter_millijoules is None and before.counter_millijoules is not None:
            # The counter went on unseen: what was filled here is taken off the next interval.
            after = msgspec.structs.replace(
                after,
                counter_millijoules=before.counter_millijoules + measure.energy,
                calculated=True,
                cause="counter_gap",
            )
        if before.owner is None:
            return interval, msgspec.structs.replace(after, unrented_index=before.unrented_index + 1)
        return interval, msgspec.structs.replace(after, next_index=before.next_index + 1)

    def _measure(self, gpu_uuid: str, before: GpuMeter, reading: Reading, duration_ms: int) -> Measure:
        start, end = before.counter_millijoules, reading.energy_counter_millijoules
        ceiling = self._bound(gpu_uuid, duration_ms + COUNTER_STEP_MS)
        if start is None or end is None:
            return self._measure_power(before, reading, ceiling)
        if before.calculated:
            return Measure(max(0, end - start), 0, ceiling, "counter", "counter_gap")
        if end < start:
            # Reset: the counter restarted from 0, what it shows is the least that was used since. What was
            # used before the reset is not known and not invented.
            return Measure(end, self._lower(end), ceiling, "counter", "counter_reset")
        gained = end - start
        if gained > ceiling:
            integral = self._measure_power(before, reading, ceiling)
            return msgspec.structs.replace(integral, cause="implausible_jump")
        step = self._bound(gpu_uuid, COUNTER_STEP_MS)
        seen = before.power_at_ms is not None and before.integrated_max_millijoules > 0
        return Measure(
            gained,
            max(0, self._lower(gained) - step),
            min(ceiling, self._upper(gained) + step),
            "counter",
            # A missing power sample does not matter to the counter; an unread beginning does.
            "unread" if before.cause == "unread" else "none",
            before.integrated_millijoules if seen else None,
        )

    def _measure_power(self, before: GpuMeter, reading: Reading, ceiling: int) -> Measure:
        if before.power_milliwatts is None and reading.power_milliwatts is None:
            energy = min(before.integrated_millijoules, ceiling)
            return Measure(energy, 0, ceiling, "model", "no_meter")
        cause = before.cause
        if cause == "none" and (reading.power_milliwatts is None or before.counter_millijoules is not None):
            cause = "counter_gap" if before.counter_millijoules is not None else "power_gap"
        most = min(ceiling, before.integrated_max_millijoules)
        least = before.integrated_min_millijoules
        return Measure(before.integrated_millijoules, least, most, "power_integral", cause)

    def _integrate(self, gpu_uuid: str, meter: GpuMeter, reading: Reading) -> GpuMeter:
        """Add the time from the last power sample to ``reading``."""
        if meter.power_at_ms is None:
            return meter
        step_ms = _elapse(meter.power_at_ms, meter.power_monotonic_ms, reading)
        before, now = meter.power_milliwatts, reading.power_milliwatts
        covered_ms = min(step_ms, self._covered_ms.get(gpu_uuid, 0)) if now is not None else 0
        if covered_ms and now is not None:
            # An average speaks for the time before it; the rest of the step looks like it.
            first = last = now
        else:
            first = before if before is not None else now if now is not None else self._model(gpu_uuid, meter)
            last = now if now is not None else first
        # mW times ms is microjoules; two of them for the two ends of the trapezoid.
        gained = (first + last) * step_ms // 2000
        seen = (now or 0) * covered_ms // _MS_PER_SECOND
        # An average is as old as the sensor's last step: its window begins and ends that much earlier.
        lag_ms = COUNTER_STEP_MS if covered_ms else 0
        cause = meter.cause
        if cause == "none" and step_ms > 0 and (now is None or step_ms > MAX_INTEGRATION_STEP_MS):
            cause = "power_gap"
        return msgspec.structs.replace(
            meter,
            power_milliwatts=before if now is None else now,
            power_at_ms=reading.sampled_at_ms,
            integrated_millijoules=meter.integrated_millijoules + gained,
            integrated_min_millijoules=meter.integrated_min_millijoules
            + max(0, self._lower(seen) - self._bound(gpu_uuid, lag_ms)),
            integrated_max_millijoules=meter.integrated_max_millijoules
            + self._upper(seen)
            + self._bound(gpu_uuid, step_ms - covered_ms + lag_ms),
            cause=cause,
            utilization_percent=reading.utilization_percent,
            power_monotonic_ms=reading.monotonic_ms,
            watch=watch(meter.watch, reading, step_ms),
        )

    def _model(self, gpu_uuid: str, meter: GpuMeter) -> int:
        """Return a guess of the power of a board that does not tell it (mW)."""
        limit = self._limits.get(gpu_uuid, DEFAULT_POWER_LIMIT_MILLIWATTS)
        busy = meter.utilization_percent or 0
        return limit * (MODEL_IDLE_PERCENT * 100 + (100 - MODEL_IDLE_PERCENT) * busy) // 10_000

    def _bound(self, gpu_uuid: str, duration_ms: int) -> int:
        """Return the most that a board can have used in a time."""
        limit = self._limits.get(gpu_uuid, DEFAULT_POWER_LIMIT_MILLIWATTS)
        return limit * duration_ms // _MS_PER_SECOND * PLAUSIBLE_FACTOR_PERCENT // 100

    @staticmethod
    def _lower(energy: int) -> int:
        return energy * 100 // (100 + GAIN_PERCENT)

    @staticmethod
    def _upper(energy: int) -> int:
        # One more for the counter's own rounding down.
        return energy * 100 // (100 - GAIN_PERCENT) + 1


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
        utilization_percent=reading.utilization_percent,
        started_monotonic_ms=reading.monotonic_ms,
        power_monotonic_ms=reading.monotonic_ms,
        watch=begin_watch(reading),
    )


def _elapse(from_ms: int, from_monotonic_ms: int | None, reading: Reading) -> int:
    """Return the time up to ``reading``: never negative, whatever was done to the host's clock.

    The clock that does not jump starts again with the machine, so the longer of the two counts: that loosens
    a bound after a jump, where the other choice could reject real energy.
    """
    elapsed = max(0, reading.sampled_at_ms - from_ms)
    if reading.monotonic_ms is None or from_monotonic_ms is None:
        return elapsed
    return max(elapsed, reading.monotonic_ms - from_monotonic_ms)

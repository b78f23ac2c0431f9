"""The meter of a rental: time from proofs of life, energy from counter intervals. All pure.

Invariants: billable time never passes the last proof of life nor the moment the renter asked to stop; a
silence longer than ``MAX_PROOF_GAP_MS`` is not billed; a heartbeat seen twice or late changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.clock import format_hour
from chalicelib.core.leases import Lease
from chalicelib.core.methodology import Constant
from chalicelib.core.money import compute_charge_micros

MeterState = Literal["open", "closed", "settled"]

#: A host is LOST after 60 s of silence (reliability knobs); time that nobody vouched for is not sold.
MAX_PROOF_GAP_MS = 60_000
#: After the end of a UTC day, for records on their way; what comes later is told as late.
DAY_MARGIN_MS = 2 * 3_600_000
CONSTANTS = (
    Constant(
        "DAY_MARGIN_MS",
        "after a day's end, for energy on its way; what is later restates the day",
        DAY_MARGIN_MS,
        "ms",
    ),
    Constant("MAX_PROOF_GAP_MS", "longest silence that counts as time of the GPUs", MAX_PROOF_GAP_MS, "ms"),
)
HOUR_MS = 3_600_000
UNRENTED = ""
#: Meters that are still to be charged are listed under this many index keys, hosts with energy of a day too.
OPEN_SHARDS = 8


@dataclass(frozen=True, slots=True)
class Activity:
    """What telemetry has shown of a stay that has an idle policy.

    ``idle_since_ms``: no sample above the policy's limit since; ``None``: it is busy.
    """

    observed_through_ms: int
    idle_since_ms: int | None


@dataclass(frozen=True, slots=True)
class CaptureDatapoint:
    """What one sensor of a capture unit showed (see `wire.v1.CaptureDatapoint`)."""

    unit_id: str
    sensor_id: str
    quantity: str
    value: int
    standard_deviation: int
    unit: str
    sampled_at_ms: int


@dataclass(frozen=True, slots=True)
class KeptDatapoint:
    """``received_at_ms`` is of the platform's clock."""

    datapoint: CaptureDatapoint
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class Meter:
    """Of one stay of a rental on a host. Times are server times in ms.

    ``charge_seq`` is the cursor of the next posting.
    """

    rental_id: str
    segment: int
    account_id: str
    host_id: str
    region: str
    leases: tuple[Lease, ...]
    price_micros_per_gpu_hour: int
    state: MeterState
    started_at_ms: int
    alive_through_ms: int
    unproven_ms: int = 0
    charge_seq: int = 0
    charged_seconds: int = 0
    charged_micros: int = 0
    #: Why the stay ended (`rentals.rules.Reason`); known once it is closed.
    end_reason: str | None = None
    #: Hours of which telemetry told a slowdown that nobody has looked at, and when it last came.
    slowed_hours: frozenset[str] = frozenset()
    slowed_at_ms: int = 0
    #: What was credited for slowdowns.
    slowdown_micros: int = 0
    activity: Activity | None = None

    @property
    def gpu_count(self) -> int:
        return len(self.leases)

    @property
    def billable_seconds(self) -> int:
        proven_ms = self.alive_through_ms - self.started_at_ms - self.unproven_ms
        # Never below what was charged: a charge is corrected by a reversal, not by running backwards.
        return max(proven_ms // 1000, self.charged_seconds)

    @property
    def due_micros(self) -> int:
        """What the next posting charges: cumulative now, less cumulative before."""
        cumulative = compute_charge_micros(
            price_micros_per_gpu_hour=self.price_micros_per_gpu_hour,
            gpu_count=self.gpu_count,
            seconds=self.billable_seconds,
        )
        return cumulative - self.charged_micros


def extend(meter: Meter, proof_at_ms: int) -> Meter:
    """Return the meter after a proof of life; an older proof than the last leaves it as it is."""
    if meter.state != "open" or proof_at_ms <= meter.alive_through_ms:
        return meter
    gap_ms = proof_at_ms - meter.alive_through_ms
    unproven_ms = gap_ms if gap_ms > MAX_PROOF_GAP_MS else 0
    return replace(meter, alive_through_ms=proof_at_ms, unproven_ms=meter.unproven_ms + unproven_ms)


def shorten(meter: Meter, end_ms: int) -> Meter:
    """Return the meter as if nothing had been proven after ``end_ms``; it never gets longer."""
    if meter.state != "open":
        return meter
    end_ms = max(meter.started_at_ms + meter.unproven_ms, min(end_ms, meter.alive_through_ms))
    return replace(meter, alive_through_ms=end_ms)


def close(meter: Meter, end_ms: int, reason: str | None) -> Meter:
    """Return the meter closed at ``end_ms`` or at its last proof, whichever is earlier."""
    if meter.state != "open":
        return meter
    return replace(shorten(meter, end_ms), state="closed", end_reason=reason)


def choose_shard(rental_id: str) -> str:
    """Return the index key of an open meter: from the id's random tail, so that load spreads evenly."""
    return f"OPEN#{sum(rental_id[-8:].encode()) % OPEN_SHARDS}"


@dataclass(frozen=True, slots=True)
class Interval:
    """Energy of one GPU between two readings (see `wire.v1.EnergyInterval`)."""

    #: `UNRENTED` while nobody had it.
    rental_id: str
    gpu_uuid: str
    epoch: int
    interval_index: int
    final: bool
    started_at_ms: int
    ended_at_ms: int
    energy_millijoules: int
    estimated: bool
    #: For how long the GPU was slowed by heat, and by a brake on its power; ``None``: not told.
    thermal_slowdown_ms: int | None = None
    power_brake_ms: int | None = None
    slowdown_source: str | None = None


@dataclass(frozen=True, slots=True)
class EnergyShare:
    """The part of an interval that falls into one UTC hour."""

    rental_id: str
    gpu_uuid: str
    epoch: int
    hour: str
    energy_millijoules: int
    estimated_millijoules: int
    #: An interval counts in the hour in which it begins.
    intervals: int
    #: Number of intervals of this GPU in the rental; known once the final one is in.
    intervals_expected: int | None
    thermal_slowdown_ms: int | None = None
    power_brake_ms: int | None = None
    slowdown_source: str | None = None
    #: How much of the hour it covers.
    covered_ms: int = 0


@dataclass(frozen=True, slots=True)
class HourlyEnergy:
    """What is stored of one rental, GPU, lease epoch and hour."""

    gpu_uuid: str
    epoch: int
    hour: str
    energy_millijoules: int
    estimated_millijoules: int
    intervals: int
    intervals_expected: int | None
    #: Sums of what was told; ``None``: nothing was.
    thermal_slowdown_ms: int | None = None
    power_brake_ms: int | None = None
    slowdown_source: str | None = None
    #: What was credited for it.
    slowdown_micros: int = 0

    @property
    def slowed_ms(self) -> int:
        """Heat and brake may have coincided, which nobody knows: the renter has the benefit."""
        return min((self.thermal_slowdown_ms or 0) + (self.power_brake_ms or 0), HOUR_MS)


def split_by_hour(interval: Interval) -> Iterator[EnergyShare]:
    """Yield the interval's energy per UTC hour, in proportion to time; the parts sum to the whole."""
    expected = interval.interval_index + 1 if interval.final else None
    duration_ms = interval.ended_at_ms - interval.started_at_ms
    start_ms = interval.started_at_ms

    def cut(total: int | None, end_ms: int) -> int | None:
        """Return the part of ``total`` between ``start_ms`` and ``end_ms``; the parts telescope."""
        if total is None:
            return None
        if end_ms >= interval.ended_at_ms:
            until = total
        else:
            until = total * (end_ms - interval.started_at_ms) // duration_ms
        since = 0
        if start_ms > interval.started_at_ms:
            since = total * (start_ms - interval.started_at_ms) // duration_ms
        return until - since

    thermal, brake = (
        None if told is None else min(told, max(0, duration_ms))
        for told in (interval.thermal_slowdown_ms, interval.power_brake_ms)
    )
    while True:
        end_ms = min(interval.ended_at_ms, (start_ms // HOUR_MS + 1) * HOUR_MS)
        energy = cut(interval.energy_millijoules, end_ms) or 0
        first = start_ms == interval.started_at_ms
        yield EnergyShare(
            interval.rental_id,
            interval.gpu_uuid,
            interval.epoch,
            format_hour(start_ms),
            energy,
            energy if interval.estimated else 0,
            1 if first else 0,
            expected if first else None,
            cut(thermal, end_ms),
            cut(brake, end_ms),
            interval.slowdown_source,
            max(0, end_ms - start_ms),
        )
        if end_ms >= interval.ended_at_ms:
            return
        start_ms = end_ms


@dataclass(frozen=True, slots=True)
class SiteUse:
    """Whose GPUs used energy of a host in an hour: a stay of a rental, or nobody (the platform).

    ``covered_ms``: GPU-milliseconds that the intervals cover; what they do not cover is a gap, not zero.
    """

    account_id: str
    rental_id: str
    segment: int
    energy_millijoules: int
    estimated_millijoules: int
    covered_ms: int


@dataclass(frozen=True, slots=True)
class LateSite:
    """A host's day to which energy came when it was over; ``marked_at_ms`` of the last that came."""

    host_id: str
    day: str
    marked_at_ms: int


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """A rental's energy and how complete the telemetry behind it is. ``expected`` is None until final."""

    energy_millijoules: int
    estimated_millijoules: int
    intervals_stored: int
    intervals_expected: int | None


def sum_energy(hours: Sequence[HourlyEnergy], leases: Sequence[Lease]) -> EnergyReading:
    """Return a rental's energy; it is complete once the last interval of each of ``leases`` is in."""
    expected = {
        Lease(hour.gpu_uuid, hour.epoch): hour.intervals_expected
        for hour in hours
        if hour.intervals_expected is not None
    }
    complete = all(lease in expected for lease in leases)
    return EnergyReading(
        sum(hour.energy_millijoules for hour in hours),
        sum(hour.estimated_millijoules for hour in hours),
        sum(hour.intervals for hour in hours),
        sum(expected.values()) if complete else None,
    )


def list_metered(stays: Sequence[Sequence[Lease]], hours: Sequence[HourlyEnergy]) -> list[Lease]:
    """Return the leases whose energy is to be expected: of stays of which any has come."""
    seen = {Lease(hour.gpu_uuid, hour.epoch) for hour in hours}
    return [lease for leases in stays if seen.intersection(leases) for lease in leases]

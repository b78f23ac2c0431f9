"""The receipt: money, energy and emissions of one rental, from the records of the slices below."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.billing.model import sum_legs
from chalicelib.billing.ports import BillingPorts
from chalicelib.billing.service import read_usage_legs
from chalicelib.carbon.embodied import LIFE_SECONDS, EmbodiedFactor, Interval, amortise, find_embodied
from chalicelib.carbon.figures import find_average, read_hours
from chalicelib.carbon.grid import find_annual, find_pue
from chalicelib.carbon.model import (
    Emissions,
    RegionFigures,
    TelemetryCount,
    compute_emissions,
    count_telemetry,
    list_missing,
)
from chalicelib.carbon.ports import IntensityStore
from chalicelib.carbon.sci import Sci, compute_sci
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import NotFound
from chalicelib.core.leases import Lease
from chalicelib.core.principal import Principal
from chalicelib.metering.model import EnergyReading, HourlyEnergy, Meter, list_metered, sum_energy
from chalicelib.rentals.model import Rental
from chalicelib.rentals.ports import get_rental


@dataclass(frozen=True, slots=True)
class Footprint:
    """The hardware's share of a rental, and its SCI; ``None`` before it ran for a second."""

    factor: EmbodiedFactor
    embodied: Interval
    sci: Sci | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """``missing`` is empty once nothing in it can change any more, except by a restatement."""

    rental: Rental
    meters: tuple[Meter, ...]
    ledger_sum_micros: int
    charged_legs_micros: int
    energy: EnergyReading
    emissions: Emissions
    #: ``None``: the table does not have the GPU.
    footprint: Footprint | None
    telemetry: TelemetryCount
    missing: tuple[str, ...]


def build_receipt(ports: BillingPorts, grid: IntensityStore, principal: Principal, rental_id: str) -> Receipt:
    """Return the statement of a rental as it stands now.

    An hour's figure may come, or be revised, later: emissions are then stated anew, from the same energy.

    Raises:
        NotFound: there is no such rental, or it is another account's.
    """
    rental = get_rental(ports.rentals, principal, rental_id)
    meters = tuple(ports.meters.list_meters(rental_id))
    legs = [leg for meter in meters for leg in read_usage_legs(ports, meter)]
    hours = ports.meters.list_energy(rental_id)
    # A stay whose workload was never started has no intervals, and none to wait for. One that failed to
    # become healthy has some: the host's energy is counted from the start command.
    running = rental.leases if rental.running_at_ms is not None else ()
    leases = list_metered([stay.leases for stay in rental.placements], hours)
    energy = sum_energy(hours, sorted({*leases, *running}, key=lambda each: (each.gpu_uuid, each.epoch)))
    telemetry = count_telemetry(
        stored=energy.intervals_stored,
        expected=energy.intervals_expected,
        duplicates=ports.meters.count_duplicates(rental_id),
    )
    emissions = _compute_emissions(grid, group_by_region(rental, hours))
    settled = bool(meters) and all(meter.state == "settled" for meter in meters)
    return Receipt(
        rental=rental,
        meters=meters,
        ledger_sum_micros=sum_legs(legs),
        charged_legs_micros=-sum_legs([leg for leg in legs if leg.amount_micros < 0]),
        energy=energy,
        emissions=emissions,
        footprint=compute_footprint(rental.gpu_type, meters, emissions),
        telemetry=telemetry,
        missing=tuple(list_missing(settled=settled, telemetry=telemetry)),
    )


@dataclass(frozen=True, slots=True)
class GpuHour:
    """What one GPU used under one lease in one UTC hour."""

    hour: str
    gpu_uuid: str
    epoch: int
    energy_millijoules: int
    estimated_millijoules: int
    intervals: int


def list_gpu_hours(ports: BillingPorts, principal: Principal, rental_id: str, day: str) -> list[GpuHour]:
    """Return what each GPU of a rental used in each hour of a UTC day, by hour, GPU and lease.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        InvalidInput: ``invalid_instant``: it is no day.
    """
    parse_instant(f"{day}T00:00:00Z")
    get_rental(ports.rentals, principal, rental_id)
    found = (
        GpuHour(
            each.hour,
            each.gpu_uuid,
            each.epoch,
            each.energy_millijoules,
            each.estimated_millijoules,
            each.intervals,
        )
        for each in ports.meters.list_day_energy(rental_id, day)
    )
    return sorted(found, key=lambda each: (each.hour, each.gpu_uuid, each.epoch))


def compute_footprint(gpu_type: str, meters: Sequence[Meter], emissions: Emissions) -> Footprint | None:
    """Return the embodied share of the GPUs' proven time, and the SCI of it (ISO/IEC 21031).

    Its operational part is the location-based average with the site's overhead; nothing is taken from it.
    """
    try:
        factor = find_embodied(gpu_type)
    except NotFound:
        return None
    gpu_seconds = sum(meter.billable_seconds * meter.gpu_count for meter in meters)
    embodied = amortise(
        factor.total, reserved_seconds=gpu_seconds, life_seconds=LIFE_SECONDS, reserved=1, of_resources=1
    )
    if not gpu_seconds:
        return Footprint(factor, embodied, None)
    overhead = sum(each.overhead.mg_co2e for each in emissions.regions if each.overhead is not None)
    operational = emissions.mg_co2e + overhead
    return Footprint(
        factor, embodied, compute_sci(operational_mg=operational, embodied=embodied, gpu_seconds=gpu_seconds)
    )


def group_by_region(rental: Rental, hours: Sequence[HourlyEnergy]) -> dict[str, dict[int, int]]:
    """Return the millijoules of a rental by the region of the stay in which they were used, and by hour.

    An hour is its start in ms. A region without energy has none.
    """
    regions = {lease: stay.region for stay in rental.placements for lease in stay.leases}
    grouped: dict[str, dict[int, int]] = {stay.region: {} for stay in rental.placements}
    for each in hours:
        of_region = grouped[regions[Lease(each.gpu_uuid, each.epoch)]]
        start_ms = parse_instant(f"{each.hour}:00:00Z")
        of_region[start_ms] = of_region.get(start_ms, 0) + each.energy_millijoules
    return grouped


def _compute_emissions(grid: IntensityStore, energy: Mapping[str, Mapping[int, int]]) -> Emissions:
    figures = {region: read_figures(grid, region, hours) for region, hours in energy.items()}
    return compute_emissions(energy, figures)


def read_figures(grid: IntensityStore, region: str, hours: Collection[int]) -> RegionFigures:
    """Return what the energy of ``hours`` (their starts in ms) is counted with.

    Raises:
        NotFound: ``unknown_region``.
    """
    return RegionFigures(
        average=read_hours(grid, region, "average", hours),
        marginal=read_hours(grid, region, "marginal", hours),
        market=find_annual(region, "average", "market"),
        annual=find_average(region),
        pue=find_pue(region),
    )

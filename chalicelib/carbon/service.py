"""The receipt: money, energy and emissions of one rental, from the records of the slices below."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.billing.model import sum_legs
from chalicelib.billing.ports import BillingPorts
from chalicelib.billing.service import read_usage_legs
from chalicelib.carbon.grid import find_intensity
from chalicelib.carbon.model import (
    Emissions,
    TelemetryCount,
    compute_emissions,
    count_telemetry,
    list_missing,
)
from chalicelib.core.leases import Lease
from chalicelib.core.principal import Principal
from chalicelib.metering.model import EnergyReading, HourlyEnergy, Meter, list_metered, sum_energy
from chalicelib.rentals.model import Rental
from chalicelib.rentals.ports import get_rental


@dataclass(frozen=True, slots=True)
class Receipt:
    """``missing`` is empty once nothing in it can change any more, except by a restatement."""

    rental: Rental
    meters: tuple[Meter, ...]
    ledger_sum_micros: int
    charged_legs_micros: int
    energy: EnergyReading
    emissions: Emissions
    telemetry: TelemetryCount
    missing: tuple[str, ...]


def build_receipt(ports: BillingPorts, principal: Principal, rental_id: str) -> Receipt:
    """Return the statement of a rental as it stands now.

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
    settled = bool(meters) and all(meter.state == "settled" for meter in meters)
    return Receipt(
        rental=rental,
        meters=meters,
        ledger_sum_micros=sum_legs(legs),
        charged_legs_micros=-sum_legs([leg for leg in legs if leg.amount_micros < 0]),
        energy=energy,
        emissions=compute_emissions(group_by_region(rental, hours), find_intensity),
        telemetry=telemetry,
        missing=tuple(list_missing(settled=settled, telemetry=telemetry)),
    )


def group_by_region(rental: Rental, hours: Sequence[HourlyEnergy]) -> dict[str, int]:
    """Return the millijoules of a rental by the region of the stay in which they were used."""
    regions = {lease: stay.region for stay in rental.placements for lease in stay.leases}
    grouped = {stay.region: 0 for stay in rental.placements}
    for hour in hours:
        grouped[regions[Lease(hour.gpu_uuid, hour.epoch)]] += hour.energy_millijoules
    return grouped

"""The receipt: money, energy and emissions of one rental, from the records of the slices below."""

from dataclasses import dataclass

from chalicelib.billing.model import sum_legs
from chalicelib.billing.service import BillingPorts, read_usage_legs
from chalicelib.carbon.grid import find_intensity
from chalicelib.carbon.model import (
    Emissions,
    TelemetryCount,
    compute_emissions,
    count_telemetry,
    list_missing,
)
from chalicelib.core.principal import Principal
from chalicelib.metering.model import EnergyReading, Meter, sum_energy
from chalicelib.rentals.model import Rental
from chalicelib.rentals.service import get_rental


@dataclass(frozen=True, slots=True)
class Receipt:
    """``missing`` is empty once nothing in it can change any more, except by a restatement."""

    rental: Rental
    meter: Meter | None
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
    meter = ports.meters.get_meter(rental_id)
    legs = read_usage_legs(ports, meter) if meter else []
    hours = ports.meters.list_energy(rental_id)
    # A rental whose workload was never started has no intervals, and none to wait for. One that failed to
    # become healthy has some: the host's energy is counted from the start command.
    started = bool(hours) or rental.running_at_ms is not None
    energy = sum_energy(hours, rental.gpu_count if started else 0)
    telemetry = count_telemetry(
        stored=energy.intervals_stored,
        expected=energy.intervals_expected,
        duplicates=ports.meters.count_duplicates(rental_id),
    )
    settled = meter is not None and meter.state == "settled"
    return Receipt(
        rental=rental,
        meter=meter,
        ledger_sum_micros=sum_legs(legs),
        charged_legs_micros=-sum_legs([leg for leg in legs if leg.amount_micros < 0]),
        energy=energy,
        emissions=compute_emissions(energy.energy_millijoules, find_intensity(rental.region)),
        telemetry=telemetry,
        missing=tuple(list_missing(settled=settled, telemetry=telemetry)),
    )

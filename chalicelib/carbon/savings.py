"""What a flexible start saved, measured afterwards: by the intensities that came, never by the forecast.

``saved = emitted by a start at once - emitted``, of the same energy in the same order. The start at once is
at home, at the instant of the request. Both with the location-based average of their hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib.billing.ports import BillingPorts
from chalicelib.carbon.figures import read_hours
from chalicelib.carbon.intensity import HOUR_MS
from chalicelib.carbon.ports import IntensityStore
from chalicelib.carbon.service import build_receipt
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import Conflict
from chalicelib.core.leases import Lease
from chalicelib.core.principal import Principal
from chalicelib.core.units import split_emissions_mg
from chalicelib.metering.model import HourlyEnergy, Meter
from chalicelib.rentals.flexibility import StartPlan, compute_permille


@dataclass(frozen=True, slots=True)
class MeasuredSaving:
    """``missing``: what it still waits for, as in the receipt. ``immediate_start_ms``: beside what.

    ``estimated``: of some energy the intensity is no measurement of its hour, here or there.
    """

    rental_id: str
    plan: StartPlan
    started_at_ms: int | None
    immediate_start_ms: int
    home_region: str
    energy_millijoules: int
    mg_co2e: int
    immediate_mg_co2e: int
    estimated: bool
    missing: tuple[str, ...]

    @property
    def saved_mg_co2e(self) -> int:
        """Negative: the start at once would have been better."""
        return self.immediate_mg_co2e - self.mg_co2e

    @property
    def saved_permille(self) -> int:
        """Of what the start at once would have emitted, rounded down; 0 where that is nothing."""
        return compute_permille(self.saved_mg_co2e, self.immediate_mg_co2e)


def measure_rental_saving(
    ports: BillingPorts, grid: IntensityStore, principal: Principal, rental_id: str
) -> MeasuredSaving:
    """Return what a rental's start saved, as far as its energy is known.

    Raises:
        NotFound: there is no such rental, or it is another account's; or ``unknown_region``: of its home's
            grid nothing is known.
        Conflict: ``not_flexible``: its start was not planned.
    """
    receipt = build_receipt(ports, grid, principal, rental_id)
    rental, plan = receipt.rental, receipt.rental.start_plan
    if plan is None:
        raise Conflict("The rental's start was not left to be planned.", code="not_flexible")
    home = plan.flexibility.regions[0]
    started_at_ms = min((meter.started_at_ms for meter in receipt.meters), default=None)
    shift_ms = 0 if started_at_ms is None else rental.created_at_ms - started_at_ms
    hours = shift_energy(ports.meters.list_energy(rental_id), receipt.meters, shift_ms)
    figures = read_hours(grid, home, "average", list(hours))
    counted = [(energy, figure) for hour, energy in hours.items() if (figure := figures[hour]) is not None]
    assert len(counted) == len(hours), "each region of the table has an annual average"
    masses = split_emissions_mg([(energy, figure.mg_co2e_per_kwh) for energy, figure in counted])
    return MeasuredSaving(
        rental_id=rental_id,
        plan=plan,
        started_at_ms=started_at_ms,
        immediate_start_ms=rental.created_at_ms,
        home_region=home,
        energy_millijoules=sum(hours.values()),
        mg_co2e=receipt.emissions.mg_co2e,
        immediate_mg_co2e=sum(masses),
        estimated=receipt.emissions.estimated or any(f.estimated for energy, f in counted if energy),
        missing=receipt.missing,
    )


def shift_energy(hours: Sequence[HourlyEnergy], meters: Sequence[Meter], shift_ms: int) -> dict[int, int]:
    """Return the millijoules by hour (its start in ms) of the same energy used ``shift_ms`` later.

    An hour's energy is spread evenly over the part of it in which its stay ran. Nothing of it is lost.
    """
    stays = {lease: meter for meter in meters for lease in meter.leases}
    shifted: dict[int, int] = {}
    for each in sorted(hours, key=lambda row: (row.hour, row.gpu_uuid, row.epoch)):
        hour_ms = parse_instant(f"{each.hour}:00:00Z")
        begin, end = _find_part(stays.get(Lease(each.gpu_uuid, each.epoch)), hour_ms)
        for hour, energy in _split(begin + shift_ms, end + shift_ms, each.energy_millijoules):
            shifted[hour] = shifted.get(hour, 0) + energy
    return shifted


def _find_part(meter: Meter | None, hour_ms: int) -> tuple[int, int]:
    """Return from when until when a stay ran within an hour; the whole hour where nothing says so.

    A host counts a stay's energy from the start command on: that before the meter is with its first moments.
    """
    end_ms = hour_ms + HOUR_MS
    if meter is not None:
        begin, end = max(hour_ms, meter.started_at_ms), min(end_ms, meter.alive_through_ms)
        if begin < end:
            return begin, end
    return hour_ms, end_ms


def _split(begin_ms: int, end_ms: int, energy: int) -> Iterator[tuple[int, int]]:
    """Yield (hour, its part of the energy) of a stretch; the parts sum to the energy."""
    given, at_ms = 0, begin_ms
    while at_ms < end_ms:
        hour = at_ms // HOUR_MS * HOUR_MS
        at_ms = min(hour + HOUR_MS, end_ms)
        until = energy * (at_ms - begin_ms) // (end_ms - begin_ms)
        yield hour, until - given
        given = until

"""Body of the receipt."""

from chalicelib.carbon.model import RegionalEmissions
from chalicelib.carbon.service import Receipt
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import ResponseBody


class IntensityBody(ResponseBody):
    #: Decimal text, exact; in ``unit``.
    value: str
    unit: str
    method: str
    source: str
    version: str


class RegionalEmissionsBody(ResponseBody):
    region: str
    energy_millijoules: int
    mg_co2e: int
    intensity: IntensityBody


class EmissionsBody(ResponseBody):
    #: GPUs only: no node overhead, no PUE, no embodied share; removals are never netted.
    scope: str
    mg_co2e: int
    #: Of each region in which the rental had a stay; ``mg_co2e`` is their sum.
    regions: list[RegionalEmissionsBody]
    estimated: bool


class EnergyBody(ResponseBody):
    energy_millijoules: int
    estimated_millijoules: int
    method: str
    source: str
    version: str


class ChargeBody(ResponseBody):
    billed_seconds: int
    unproven_seconds: int
    price_micros_per_gpu_hour: int | None
    currency: str
    charge_micros: int
    #: What the charges' legs debited, the platform's share of an overrun included.
    debited_micros: int
    #: Sum over every leg of every charge; 0 by double entry.
    ledger_sum_micros: int
    formula: str


class TelemetryBody(ResponseBody):
    sent: int | None
    stored: int
    duplicates_dropped: int
    lost: int | None


class ReceiptBody(ResponseBody):
    rental_id: str
    account_id: str
    label: str | None
    #: ``final`` or ``provisional``; ``missing`` says what it waits for.
    status: str
    missing: list[str]
    state: str
    reason: str | None
    gpu_type: str
    gpu_count: int
    region: str
    created_at: str
    running_at: str | None
    stop_requested_at: str | None
    terminated_at: str | None
    charge: ChargeBody
    energy: EnergyBody
    emissions: EmissionsBody
    telemetry: TelemetryBody


def render_receipt(receipt: Receipt) -> ReceiptBody:
    rental = receipt.rental
    return ReceiptBody(
        rental_id=rental.rental_id,
        account_id=rental.account_id,
        label=rental.label,
        status="provisional" if receipt.missing else "final",
        missing=list(receipt.missing),
        state=rental.state,
        reason=rental.reason,
        gpu_type=rental.gpu_type,
        gpu_count=rental.gpu_count,
        region=rental.region,
        created_at=format_instant(rental.created_at_ms),
        running_at=_format(rental.running_at_ms),
        stop_requested_at=_format(rental.stop_requested_at_ms),
        terminated_at=_format(rental.terminated_at_ms),
        charge=_render_charge(receipt),
        energy=EnergyBody(
            energy_millijoules=receipt.energy.energy_millijoules,
            estimated_millijoules=receipt.energy.estimated_millijoules,
            method="difference of the GPUs' energy counters, cut at the lease's ends",
            source="host agent",
            version="wire/v1",
        ),
        emissions=_render_emissions(receipt),
        telemetry=TelemetryBody(
            sent=receipt.telemetry.sent,
            stored=receipt.telemetry.stored,
            duplicates_dropped=receipt.telemetry.duplicates_dropped,
            lost=receipt.telemetry.lost,
        ),
    )


def _render_charge(receipt: Receipt) -> ChargeBody:
    return ChargeBody(
        billed_seconds=receipt.rental.billed_seconds,
        unproven_seconds=sum(meter.unproven_ms for meter in receipt.meters) // 1000,
        price_micros_per_gpu_hour=receipt.rental.price_micros_per_gpu_hour,
        currency=receipt.rental.currency,
        charge_micros=receipt.rental.charge_micros,
        debited_micros=receipt.charged_legs_micros,
        ledger_sum_micros=receipt.ledger_sum_micros,
        formula="floor(billed_seconds * gpu_count * price_micros_per_gpu_hour / 3600)",
    )


def _render_emissions(receipt: Receipt) -> EmissionsBody:
    return EmissionsBody(
        scope="gpu",
        mg_co2e=receipt.emissions.mg_co2e,
        regions=[_render_region(each) for each in receipt.emissions.regions],
        estimated=receipt.emissions.estimated,
    )


def _render_region(emitted: RegionalEmissions) -> RegionalEmissionsBody:
    intensity = emitted.intensity
    whole, thousandths = divmod(intensity.mg_co2e_per_kwh, 1000)
    return RegionalEmissionsBody(
        region=intensity.region,
        energy_millijoules=emitted.energy_millijoules,
        mg_co2e=emitted.mg_co2e,
        intensity=IntensityBody(
            value=f"{whole}.{thousandths:03d}",
            unit="gCO2e/kWh",
            method=intensity.method,
            source=intensity.source,
            version=intensity.version,
        ),
    )


def _format(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else format_instant(epoch_ms)

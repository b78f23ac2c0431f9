"""Body of the receipt."""

from chalicelib.carbon.model import Accounted, Overhead, RegionalEmissions
from chalicelib.carbon.service import Receipt
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import ResponseBody

UNIT = "gCO2e/kWh"


class IntensityBody(ResponseBody):
    #: Decimal text, exact; in ``unit``.
    value: str
    unit: str
    method: str
    source: str
    version: str


class SourceShareBody(IntensityBody):
    """``value``: the mean of its hours by energy."""

    zone: str
    estimated: bool
    energy_millijoules: int
    mg_co2e: int


class AccountedBody(ResponseBody):
    mg_co2e: int
    estimated: bool
    sources: list[SourceShareBody]


class OverheadBody(ResponseBody):
    """Of the site beyond the GPUs' energy: ``energy * (PUE - 1)``. Not part of ``mg_co2e``."""

    pue: str
    energy_millijoules: int
    mg_co2e: int
    source: str
    version: str


class RegionalEmissionsBody(ResponseBody):
    region: str
    energy_millijoules: int
    mg_co2e: int
    #: The mean by energy; names are joined where there are several sources.
    intensity: IntensityBody
    estimated: bool
    #: What ``mg_co2e`` is made of: their energies and masses sum to the region's.
    sources: list[SourceShareBody]
    #: Beside it, never added to it or taken from it; null where not known.
    marginal: AccountedBody | None
    market: AccountedBody | None
    overhead: OverheadBody | None


class EmissionsBody(ResponseBody):
    #: GPUs only: no node overhead, no embodied share; the site's overhead is a line of its own, and removals
    #: are never netted.
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
    average = emitted.average
    return RegionalEmissionsBody(
        region=emitted.region,
        energy_millijoules=emitted.energy_millijoules,
        mg_co2e=average.mg_co2e,
        intensity=IntensityBody(
            value=format_thousandths(average.mg_co2e_per_kwh),
            unit=UNIT,
            method="; ".join(dict.fromkeys(each.method for each in average.sources)),
            source="; ".join(dict.fromkeys(each.source for each in average.sources)),
            version="; ".join(dict.fromkeys(each.version for each in average.sources)),
        ),
        estimated=average.estimated,
        sources=_render_sources(average),
        marginal=_render_accounted(emitted.marginal),
        market=_render_accounted(emitted.market),
        overhead=_render_overhead(emitted.overhead),
    )


def _render_accounted(accounted: Accounted | None) -> AccountedBody | None:
    if accounted is None:
        return None
    return AccountedBody(
        mg_co2e=accounted.mg_co2e, estimated=accounted.estimated, sources=_render_sources(accounted)
    )


def _render_sources(accounted: Accounted) -> list[SourceShareBody]:
    return [
        SourceShareBody(
            value=format_thousandths(each.mg_co2e_per_kwh),
            unit=UNIT,
            method=each.method,
            source=each.source,
            version=each.version,
            zone=each.zone,
            estimated=each.estimated,
            energy_millijoules=each.energy_millijoules,
            mg_co2e=each.mg_co2e,
        )
        for each in accounted.sources
    ]


def _render_overhead(overhead: Overhead | None) -> OverheadBody | None:
    if overhead is None:
        return None
    return OverheadBody(
        pue=format_thousandths(overhead.pue.permille),
        energy_millijoules=overhead.energy_millijoules,
        mg_co2e=overhead.mg_co2e,
        source=overhead.pue.source,
        version=overhead.pue.version,
    )


def format_thousandths(value: int) -> str:
    whole, thousandths = divmod(value, 1000)
    return f"{whole}.{thousandths:03d}"


def _format(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else format_instant(epoch_ms)

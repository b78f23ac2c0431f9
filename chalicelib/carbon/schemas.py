"""Body of the receipt."""

from chalicelib.carbon.embodied import LIFE_SECONDS, Interval
from chalicelib.carbon.model import Accounted, Overhead, RegionalEmissions
from chalicelib.carbon.service import Footprint, Receipt
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


class MassIntervalBody(ResponseBody):
    """mg CO2e; ``low <= value <= high``."""

    low_mg: int
    value_mg: int
    high_mg: int


class EmbodiedBody(ResponseBody):
    """The rental's share of making the hardware: ``total * GPU-seconds / life``. Not part of ``mg_co2e``."""

    mg_co2e: MassIntervalBody
    total_per_gpu: MassIntervalBody
    life_seconds: int
    #: What ``total_per_gpu`` is of: ``server`` (an eighth of one) or ``board``.
    scope: str
    method: str
    source: str
    version: str


class SciBody(ResponseBody):
    """Software carbon intensity, R = a GPU-hour. Removals and contracts never lower it."""

    mg_co2e_per_gpu_hour: MassIntervalBody
    operational_mg: int
    gpu_seconds: int
    method: str


class EmissionsBody(ResponseBody):
    #: GPUs only: no node overhead; the site's overhead and the embodied share are lines of their own, and
    #: removals are never netted.
    scope: str
    mg_co2e: int
    #: Of each region in which the rental had a stay; ``mg_co2e`` is their sum.
    regions: list[RegionalEmissionsBody]
    estimated: bool
    #: ``null``: nothing is known of this GPU, and nothing is guessed.
    embodied: EmbodiedBody | None
    sci: SciBody | None


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
        embodied=None if receipt.footprint is None else _render_embodied(receipt.footprint),
        sci=_render_sci(receipt.footprint),
    )


def _render_embodied(footprint: Footprint) -> EmbodiedBody:
    factor = footprint.factor
    return EmbodiedBody(
        mg_co2e=_render_interval(footprint.embodied),
        total_per_gpu=_render_interval(factor.total),
        life_seconds=LIFE_SECONDS,
        scope=factor.scope,
        method="M = TE * TiR / EL (SCI specification v1.1)",
        source=factor.source,
        version=factor.version,
    )


def _render_sci(footprint: Footprint | None) -> SciBody | None:
    sci = None if footprint is None else footprint.sci
    if sci is None:
        return None
    return SciBody(
        mg_co2e_per_gpu_hour=_render_interval(sci.per_gpu_hour),
        operational_mg=sci.operational_mg,
        gpu_seconds=sci.gpu_seconds,
        method="SCI = (O + M) / R (ISO/IEC 21031), R a GPU-hour; O by location, the site's overhead in it",
    )


def _render_interval(interval: Interval) -> MassIntervalBody:
    return MassIntervalBody(low_mg=interval.low_mg, value_mg=interval.value_mg, high_mg=interval.high_mg)


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

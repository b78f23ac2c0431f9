"""Bodies of the routes of carbon reports."""

from chalicelib.core.clock import format_instant
from chalicelib.core.paging import Page, encode_cursor
from chalicelib.reporting.comparisons import compare
from chalicelib.reporting.model import Content, Group, Report, Span, Step, Sum
from chalicelib.runtime.bodies import ResponseBody

NOTE = (
    "Emissions by location, emissions by market and removals are three lines: none is taken from another. "
    "Only what is called final is verified."
)


class ReportHeadBody(ResponseBody):
    #: ``2026-11-30`` or ``2026-11``, UTC.
    period: str
    #: A restated report is another version; what was said before stays.
    version: int
    created_at: str
    energy_millijoules: int
    #: Location-based: GPUs, and what is known of their servers and the site.
    operational_mg_co2e: int
    estimated: bool


class ReportHeadsBody(ResponseBody):
    items: list[ReportHeadBody]
    next_cursor: str | None


class SpanBody(ResponseBody):
    low_mg_co2e: int
    mg_co2e: int
    high_mg_co2e: int


class SumBody(ResponseBody):
    """``null``: nobody knows it, of all of the energy. Nothing stands for it."""

    energy_millijoules: int
    estimated_millijoules: int
    covered_gpu_ms: int
    #: GPU-milliseconds without a reading, and the most energy that they can hide.
    gap_gpu_ms: int
    gap_at_most_millijoules: int | None
    location_average_mg_co2e: int
    #: Of the energy, what was counted with no measurement of its hour.
    location_average_estimated_millijoules: int
    location_marginal_mg_co2e: int | None
    market_mg_co2e: int | None
    #: The servers around the GPUs, by a model; GPU-milliseconds of which it is not known.
    node_millijoules: int
    node_mg_co2e: int
    node_unknown_gpu_ms: int
    #: What the site uses beyond both (PUE), as far as it is known.
    overhead_millijoules: int
    overhead_mg_co2e: int
    overhead_unknown_millijoules: int
    embodied: SpanBody
    embodied_unknown_gpu_ms: int


class GroupBody(ResponseBody):
    region: str
    label: str
    gpu_type: str
    #: Empty in an account's report; ``rented`` or ``platform`` in a site's.
    user: str
    total: SumBody


class StepBody(ResponseBody):
    #: An hour of a day or a day of a month.
    name: str
    energy_millijoules: int
    location_average_mg_co2e: int


class SourceBody(ResponseBody):
    signal: str
    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    energy_millijoules: int


class RemovedBody(ResponseBody):
    state: str
    mass_mg_co2e: int
    serials: list[str]


class ComparisonBody(ResponseBody):
    name: str
    thousandths: int
    unit: str
    source: str


class CarbonReportBody(ResponseBody):
    report: ReportHeadBody
    #: ``account:...`` or ``site:...``.
    owner: str
    total: SumBody
    groups: list[GroupBody]
    steps: list[StepBody]
    #: By the hour of the day, UTC.
    by_hour: list[StepBody]
    sources: list[SourceBody]
    #: On their own line: never netted with emissions.
    removals: list[RemovedBody]
    comparisons: list[ComparisonBody]
    #: Days of a month that it has.
    days: list[str]
    note: str


class ReportLinkBody(ResponseBody):
    url: str
    expires_at: str


def render_heads(page: Page[Report]) -> ReportHeadsBody:
    return ReportHeadsBody(
        items=[_render_head(each) for each in page.items], next_cursor=encode_cursor(page.next_key)
    )


def render_report(report: Report, content: Content) -> CarbonReportBody:
    total = content.total
    compared = compare(operational_mg=total.operational_mg, energy_millijoules=total.energy_millijoules)
    return CarbonReportBody(
        report=_render_head(report),
        owner=content.owner,
        total=_render_sum(total),
        groups=[_render_group(each) for each in content.groups],
        steps=[_render_step(each) for each in content.steps],
        by_hour=[_render_step(each) for each in content.by_hour],
        sources=[
            SourceBody(
                signal=each.signal,
                method=each.method,
                source=each.source,
                version=each.version,
                zone=each.zone,
                estimated=each.estimated,
                energy_millijoules=each.energy_millijoules,
            )
            for each in content.sources
        ],
        removals=[
            RemovedBody(state=each.state, mass_mg_co2e=each.mass_mg, serials=list(each.serials))
            for each in content.removals
        ],
        comparisons=[
            ComparisonBody(name=each.name, thousandths=each.thousandths, unit=each.unit, source=each.source)
            for each in compared
        ],
        days=list(content.days),
        note=NOTE,
    )


def render_link(url: str, expires_at_ms: int) -> ReportLinkBody:
    return ReportLinkBody(url=url, expires_at=format_instant(expires_at_ms))


def _render_head(report: Report) -> ReportHeadBody:
    return ReportHeadBody(
        period=report.period.name,
        version=report.version,
        created_at=format_instant(report.created_at_ms),
        energy_millijoules=report.energy_millijoules,
        operational_mg_co2e=report.operational_mg,
        estimated=report.estimated,
    )


def _render_group(group: Group) -> GroupBody:
    return GroupBody(
        region=group.region,
        label=group.label,
        gpu_type=group.gpu_type,
        user=group.user,
        total=_render_sum(group.total),
    )


def _render_step(step: Step) -> StepBody:
    return StepBody(
        name=step.name,
        energy_millijoules=step.energy_millijoules,
        location_average_mg_co2e=step.average_mg,
    )


def _render_sum(total: Sum) -> SumBody:
    return SumBody(
        energy_millijoules=total.energy_millijoules,
        estimated_millijoules=total.estimated_millijoules,
        covered_gpu_ms=total.covered_ms,
        gap_gpu_ms=total.gap_ms,
        gap_at_most_millijoules=total.gap_millijoules,
        location_average_mg_co2e=total.average_mg,
        location_average_estimated_millijoules=total.average_estimated_millijoules,
        location_marginal_mg_co2e=total.marginal_mg,
        market_mg_co2e=total.market_mg,
        node_millijoules=total.node_millijoules,
        node_mg_co2e=total.node_mg,
        node_unknown_gpu_ms=total.node_unknown_ms,
        overhead_millijoules=total.overhead_millijoules,
        overhead_mg_co2e=total.overhead_mg,
        overhead_unknown_millijoules=total.overhead_unknown_millijoules,
        embodied=_render_span(total.embodied),
        embodied_unknown_gpu_ms=total.embodied_unknown_ms,
    )


def _render_span(span: Span) -> SpanBody:
    return SpanBody(low_mg_co2e=span.low_mg, mg_co2e=span.value_mg, high_mg_co2e=span.high_mg)

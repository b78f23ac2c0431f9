"""Body of the best starts, in the shape of the Carbon Aware SDK: what, where, when, and beside what."""

from chalicelib.carbon.planning import RankedStarts, StartQuery
from chalicelib.carbon.schemas import UNIT, format_thousandths
from chalicelib.carbon.starts import BestStart
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import ResponseBody


class BestStartBody(ResponseBody):
    region: str
    starts_at: str
    ends_at: str
    #: ``no_slack``, ``already_lowest`` or ``lower_later``.
    why: str
    #: Another region than home is meant.
    moved: bool
    #: Mean intensity while it runs, and of a start at once at home; decimal text, in ``unit``.
    value: str
    immediate_value: str
    unit: str
    #: Parts of a million of the start at once; negative: that would be better.
    saved_ppm: int
    price_micros_per_gpu_hour: int | None
    provider: str
    #: When the forecast was made.
    generated_at: str


class BestStartsBody(ResponseBody):
    home_region: str
    signal: str
    earliest: str
    deadline: str
    duration_seconds: int
    #: The best start of each region, the best first.
    items: list[BestStartBody]
    #: Why other regions are not there, by region.
    excluded: dict[str, str]


def render_starts(query: StartQuery, ranked: RankedStarts) -> BestStartsBody:
    return BestStartsBody(
        home_region=query.home_region,
        signal=query.signal,
        earliest=format_instant(query.earliest_ms),
        deadline=format_instant(query.deadline_ms),
        duration_seconds=query.duration_seconds,
        items=[_render(each, ranked) for each in ranked.found.starts],
        excluded=dict(ranked.found.excluded),
    )


def _render(start: BestStart, ranked: RankedStarts) -> BestStartBody:
    forecast, (first, *_), last = (
        ranked.forecasts[start.region],
        start.plan.intervals,
        start.plan.intervals[-1],
    )
    return BestStartBody(
        region=start.region,
        starts_at=format_instant(first[0]),
        ends_at=format_instant(last[1]),
        why=start.plan.why,
        moved=start.moved,
        value=format_thousandths(start.saving.mg_co2e_per_kwh),
        immediate_value=format_thousandths(start.saving.immediate_mg_co2e_per_kwh),
        unit=UNIT,
        saved_ppm=start.saving.saved_ppm,
        price_micros_per_gpu_hour=start.price_micros_per_gpu_hour,
        provider=forecast.series.provider,
        generated_at=format_instant(forecast.generated_at_ms),
    )

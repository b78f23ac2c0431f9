"""Bodies of grid intensity: each point with all that is known of where it comes from."""

from chalicelib.carbon.figures import RegionalIntensity
from chalicelib.carbon.intensity import Figure, Forecast, IntensityPoint, Signal
from chalicelib.carbon.schemas import UNIT, IntensityBody, format_thousandths
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import ResponseBody


class PointBody(IntensityBody):
    provider: str
    zone: str
    signal: str
    accounting: str
    #: ``actual`` or ``forecast``.
    kind: str
    valid_from: str
    valid_until: str
    fetched_at: str
    estimated: bool
    #: Counts what the provider has said of this interval, from 0; the last is shown.
    revision: int
    generated_at: str | None


class RegionalIntensityBody(ResponseBody):
    region: str
    signal: str
    items: list[PointBody]
    #: What an hour is counted with, as an estimate, for which nobody has given a figure.
    annual: IntensityBody | None


class ForecastBody(ResponseBody):
    provider: str
    zone: str
    generated_at: str
    points: list[PointBody]


class ForecastListBody(ResponseBody):
    region: str
    signal: str
    #: The instant of which is said what was known then.
    at: str
    #: In the order of preference.
    items: list[ForecastBody]


def render_intensity(region: str, signal: Signal, found: RegionalIntensity) -> RegionalIntensityBody:
    return RegionalIntensityBody(
        region=region,
        signal=signal,
        items=[_render_point(each) for each in found.points],
        annual=None if found.annual is None else _render_figure(found.annual),
    )


def render_forecasts(region: str, signal: Signal, at_ms: int, found: list[Forecast]) -> ForecastListBody:
    items = [
        ForecastBody(
            provider=each.series.provider,
            zone=each.series.zone,
            generated_at=format_instant(each.generated_at_ms),
            points=[_render_point(point) for point in each.points],
        )
        for each in found
    ]
    return ForecastListBody(region=region, signal=signal, at=format_instant(at_ms), items=items)


def _render_figure(figure: Figure) -> IntensityBody:
    return IntensityBody(
        value=format_thousandths(figure.mg_co2e_per_kwh),
        unit=UNIT,
        method=figure.method,
        source=figure.source,
        version=figure.version,
    )


def _render_point(point: IntensityPoint) -> PointBody:
    made = point.generated_at_ms
    return PointBody(
        value=format_thousandths(point.mg_co2e_per_kwh),
        unit=UNIT,
        method=point.method,
        source=point.source,
        version=point.dataset,
        provider=point.series.provider,
        zone=point.series.zone,
        signal=point.series.signal,
        accounting=point.series.accounting,
        kind=point.kind,
        valid_from=format_instant(point.valid_from_ms),
        valid_until=format_instant(point.valid_until_ms),
        fetched_at=format_instant(point.fetched_at_ms),
        estimated=point.estimated,
        revision=point.revision,
        generated_at=None if made is None else format_instant(made),
    )

"""Figures of grid intensity, when they hold, where they come from, and which of them an hour has. Pure.

A figure is compared and averaged with those of its own series only: another provider, zone, signal or
accounting is another number, not a second opinion.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from chalicelib.core.methodology import Constant

Signal = Literal["average", "marginal"]
Accounting = Literal["location", "market"]
Kind = Literal["actual", "forecast"]

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
#: Lignite alone emits about 1.2 kg/kWh, and losses do not double that; above it is no intensity of a grid.
MAX_MG_PER_KWH = 3_000_000
MIN_INTERVAL_MS, MAX_INTERVAL_MS = 5 * MINUTE_MS, HOUR_MS
#: How far back a run asks: what was revised within a day is seen.
WINDOW_MS = 24 * HOUR_MS
#: A reply whose newest figure ended before that is yesterday's.
STALE_MS = 6 * HOUR_MS
MAX_HORIZON_MS = 96 * HOUR_MS
#: g/lb, exact: 1 lb = 0.45359237 kg (international yard and pound agreement, 1959).
GRAMS_PER_POUND = Fraction(45_359_237, 100_000)
CONSTANTS = (
    Constant(
        "GRAMS_PER_POUND",
        "a pound",
        str(Decimal(GRAMS_PER_POUND.numerator) / GRAMS_PER_POUND.denominator),
        "g",
        "international yard and pound agreement",
        "1959",
    ),
    Constant("MAX_MG_PER_KWH", "a larger intensity is of no grid", MAX_MG_PER_KWH, "mg CO2e/kWh"),
    Constant("MIN_INTERVAL_MS", "shortest interval of a figure", MIN_INTERVAL_MS, "ms"),
    Constant("MAX_INTERVAL_MS", "longest interval of a figure", MAX_INTERVAL_MS, "ms"),
    Constant("WINDOW_MS", "how far back revisions are asked for", WINDOW_MS, "ms"),
    Constant("STALE_MS", "a reply whose newest figure is older is refused", STALE_MS, "ms"),
    Constant("MAX_HORIZON_MS", "how far ahead a forecast is believed", MAX_HORIZON_MS, "ms"),
)


class ProviderFailed(Exception):
    """Nothing of the reply is used. ``reason`` is stable, for metrics and records."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class ProviderUnreachable(ProviderFailed):
    """No reply, or one that the provider itself calls a failure."""


class ProviderDenied(ProviderFailed):
    """Our key is not accepted, or not for this."""


class AnswerRefused(ProviderFailed):
    """There is a reply, and it cannot be what was asked for."""


@dataclass(frozen=True, slots=True)
class Series:
    """``zone`` as the provider names it. Marginal figures are of the location by definition."""

    provider: str
    zone: str
    signal: Signal
    accounting: Accounting = "location"


@dataclass(frozen=True, slots=True)
class IntensityPoint:
    """One figure: 1 g/kWh = 1000 mg/kWh. ``valid_until_ms`` is excluded.

    ``estimated``: the provider says that it is no measurement, or it is a forecast. ``revision`` counts what
    the provider has said of this interval; ``generated_at_ms`` is a forecast's.
    """

    series: Series
    kind: Kind
    valid_from_ms: int
    valid_until_ms: int
    mg_co2e_per_kwh: int
    method: str
    source: str
    dataset: str
    fetched_at_ms: int
    estimated: bool
    revision: int = 0
    generated_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a provider forecast at one instant; points in the order of time."""

    series: Series
    generated_at_ms: int
    points: tuple[IntensityPoint, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """``refused``: (reason, start of the interval)."""

    points: tuple[IntensityPoint, ...]
    refused: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one hour is counted with."""

    mg_co2e_per_kwh: int
    method: str
    source: str
    version: str
    zone: str
    estimated: bool


def read_number(value: Any) -> Fraction:
    """Raises AnswerRefused: it is no number of JSON, exact as ``Decimal``."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise AnswerRefused("malformed", "a figure is no number")
    return Fraction(value)


def read_member(document: Any, name: str) -> Any:
    """Raises AnswerRefused: it is no object, or has no such member."""
    if not isinstance(document, dict) or name not in document:
        raise AnswerRefused("malformed", f"{name} is missing")
    return document[name]


def read_rows(document: Any, name: str) -> list[Any]:
    """Raises AnswerRefused: there is no list. An empty one is a failure too: a grid always has a figure."""
    rows = read_member(document, name)
    if not isinstance(rows, list):
        raise AnswerRefused("malformed", f"{name} is no list")
    if not rows:
        raise AnswerRefused("empty", f"{name} has nothing in it")
    return rows


def convert_grams(grams_per_kwh: Fraction) -> int:
    """Return mg/kWh, rounded half up."""
    return round_half_up(grams_per_kwh * 1000)


def convert_pounds(pounds_per_mwh: Fraction) -> int:
    """Return mg/kWh: 1 lb/MWh = 453.59237 mg/kWh, rounded half up."""
    return round_half_up(pounds_per_mwh * GRAMS_PER_POUND)


def round_half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def check_actuals(points: Sequence[IntensityPoint], now_ms: int) -> Checked:
    """Return the points that can be what they claim. An interval that still runs is left out: it may change.

    Raises:
        AnswerRefused: nothing can be used, or the newest of it is of long ago.
    """
    accepted, refused = [], []
    for point in sorted(points, key=lambda each: each.valid_from_ms):
        reason = _find_flaw(point)
        if reason is None and point.valid_from_ms >= now_ms:
            reason = "in_future"
        if reason is None and point.valid_until_ms < now_ms - 2 * WINDOW_MS:
            reason = "outside_window"
        if reason is not None:
            refused.append((reason, point.valid_from_ms))
        elif point.valid_until_ms <= now_ms:
            accepted.append(point)
    checked = Checked(_drop_repeated(accepted), tuple(refused))
    if not checked.points:
        reasons = sorted({reason for reason, _ in refused})
        raise AnswerRefused("empty" if not refused else reasons[0], "no figure can be used")
    if checked.points[-1].valid_until_ms < now_ms - STALE_MS:
        raise AnswerRefused("stale", "the newest figure is of long ago")
    return checked


def check_forecast(forecast: Forecast, now_ms: int) -> Forecast:
    """Return the forecast in order, of what is still to come.

    Raises:
        AnswerRefused: a figure cannot be right (half a forecast misleads), or it is of long ago.
    """
    points = sorted(forecast.points, key=lambda each: each.valid_from_ms)
    for point in points:
        reason = _find_flaw(point)
        if reason is None and point.valid_from_ms > now_ms + MAX_HORIZON_MS:
            reason = "outside_window"
        if reason is not None:
            raise AnswerRefused(reason, "a figure of the forecast")
    if forecast.generated_at_ms > now_ms + HOUR_MS:
        raise AnswerRefused("in_future", "the forecast was not made yet")
    ahead = [point for point in points if point.valid_until_ms > now_ms]
    if not ahead or forecast.generated_at_ms < now_ms - STALE_MS:
        raise AnswerRefused("stale", "nothing of the forecast is ahead, or it was made long ago")
    return Forecast(forecast.series, forecast.generated_at_ms, _drop_repeated(ahead))


def list_revised(said: Iterable[IntensityPoint], stored: Iterable[IntensityPoint]) -> list[IntensityPoint]:
    """Return what was not said before, each under the revision after the last of its interval."""
    known = {each.valid_from_ms: each for each in keep_latest(stored)}
    revised = []
    for point in said:
        before = known.get(point.valid_from_ms)
        if before is None:
            revised.append(point)
        elif _say(before) != _say(point):
            revised.append(replace(point, revision=before.revision + 1))
    return revised


def keep_latest(points: Iterable[IntensityPoint]) -> list[IntensityPoint]:
    """Return the last revision of each interval, in the order of time."""
    latest: dict[int, IntensityPoint] = {}
    for point in points:
        before = latest.get(point.valid_from_ms)
        if before is None or before.revision < point.revision:
            latest[point.valid_from_ms] = point
    return [latest[start] for start in sorted(latest)]


def average_hour(points: Iterable[IntensityPoint], hour_ms: int) -> Figure | None:
    """Return the mean of one series over the hour by time, half up; ``None`` unless its points tile it.

    Raises:
        ValueError: the points are of several series, or forecasts: they are never mixed.
    """
    until_ms = hour_ms + HOUR_MS
    inside = [each for each in points if each.valid_from_ms < until_ms and each.valid_until_ms > hour_ms]
    inside.sort(key=lambda each: each.valid_from_ms)
    if len({each.series for each in inside}) > 1 or any(each.kind != "actual" for each in inside):
        raise ValueError("figures of several series are not averaged")
    if len({each.method for each in inside}) != 1:
        return None
    reached_ms, product = hour_ms, 0
    for each in inside:
        start_ms, end_ms = max(each.valid_from_ms, hour_ms), min(each.valid_until_ms, until_ms)
        if start_ms != reached_ms:
            return None
        product += each.mg_co2e_per_kwh * (end_ms - start_ms)
        reached_ms = end_ms
    if reached_ms != until_ms:
        return None
    last = inside[-1]
    mean = round_half_up(Fraction(product, HOUR_MS))
    estimated = any(each.estimated for each in inside)
    return Figure(mean, last.method, last.source, last.dataset, last.series.zone, estimated)


def choose_figure(
    candidates: Sequence[Sequence[IntensityPoint]], hour_ms: int, annual: Figure | None
) -> Figure | None:
    """Return what the hour is counted with: measured before estimated, then in the order given, then annual.

    Each candidate holds one series; all are of one signal and accounting.

    Raises:
        ValueError: signals or accountings are mixed.
    """
    signals = {(each.series.signal, each.series.accounting) for points in candidates for each in points}
    if len(signals) > 1:
        raise ValueError("an hour has one signal and one accounting")
    found = [figure for points in candidates if (figure := average_hour(points, hour_ms)) is not None]
    return next((each for each in found if not each.estimated), found[0] if found else annual)


def _find_flaw(point: IntensityPoint) -> str | None:
    if not 0 <= point.mg_co2e_per_kwh <= MAX_MG_PER_KWH:
        return "out_of_bounds"
    length_ms = point.valid_until_ms - point.valid_from_ms
    aligned = point.valid_from_ms % MIN_INTERVAL_MS == 0
    return None if aligned and MIN_INTERVAL_MS <= length_ms <= MAX_INTERVAL_MS else "bad_interval"


def _drop_repeated(points: Iterable[IntensityPoint]) -> tuple[IntensityPoint, ...]:
    return tuple({each.valid_from_ms: each for each in points}.values())


def _say(point: IntensityPoint) -> tuple[object, ...]:
    return (point.valid_until_ms, point.mg_co2e_per_kwh, point.estimated, point.method, point.dataset)

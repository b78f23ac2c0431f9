"""The figures of a region's grid: of each hour for receipts, and as stored for whoever asks."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from chalicelib.carbon.grid import find_annual, list_series
from chalicelib.carbon.intensity import (
    HOUR_MS,
    Figure,
    Forecast,
    IntensityPoint,
    Signal,
    choose_figure,
    keep_latest,
)
from chalicelib.carbon.ports import IntensityStore
from chalicelib.core.errors import InvalidInput

#: In steps of five minutes that is 2016 points of a series.
MAX_RANGE_MS = 7 * 24 * HOUR_MS
#: Hours further apart than that are read as ranges of their own.
_GAP_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class RegionalIntensity:
    """``points``: the last revision of each interval, series by series in the order of preference."""

    points: tuple[IntensityPoint, ...]
    annual: Figure | None


def find_average(region: str) -> Figure:
    """Return the location-based annual average, which stands in for hours without a figure.

    Raises:
        NotFound: ``unknown_region``.
    """
    annual = find_annual(region, "average")
    assert annual is not None, "each region of the table has one"
    return annual


def read_hours(
    store: IntensityStore, region: str, signal: Signal, hours: Collection[int]
) -> dict[int, Figure | None]:
    """Return the location-based figure of each hour (its start in ms).

    Raises:
        NotFound: ``unknown_region``.
    """
    annual, series = find_annual(region, signal), list_series(region, signal)
    figures: dict[int, Figure | None] = {}
    for first, last in _join(hours):
        # An interval that begins before the hour has at most an hour.
        candidates = [
            _group_by_hour(keep_latest(store.list_actuals(each, first - HOUR_MS, last + HOUR_MS)))
            for each in series
        ]
        for hour in hours:
            if first <= hour <= last:
                of_hour = [grouped.get(hour, []) for grouped in candidates]
                figures[hour] = choose_figure(of_hour, hour, annual)
    return figures


def list_intensity(
    store: IntensityStore, region: str, signal: Signal, from_ms: int, until_ms: int
) -> RegionalIntensity:
    """Return what is stored of a region's grid, beside the annual figure that stands in for what is not.

    Raises:
        NotFound: ``unknown_region``.
        InvalidInput: the range is empty or too long.
    """
    if not 0 < until_ms - from_ms <= MAX_RANGE_MS:
        raise InvalidInput("to is after from, and by at most 7 days.", code="invalid_range")
    points = [
        point
        for series in list_series(region, signal)
        for point in keep_latest(store.list_actuals(series, from_ms, until_ms))
    ]
    return RegionalIntensity(tuple(points), find_annual(region, signal))


def find_forecasts(store: IntensityStore, region: str, signal: Signal, at_ms: int) -> list[Forecast]:
    """Return the last forecast of each provider that was known at the instant, in the order of preference.

    Raises:
        NotFound: ``unknown_region``.
    """
    found = (store.find_forecast(each, at_ms) for each in list_series(region, signal))
    return [each for each in found if each is not None]


def _group_by_hour(points: Iterable[IntensityPoint]) -> dict[int, list[IntensityPoint]]:
    """Return the points by each hour that they reach into."""
    grouped: dict[int, list[IntensityPoint]] = {}
    for point in points:
        first, last = (each // HOUR_MS * HOUR_MS for each in (point.valid_from_ms, point.valid_until_ms - 1))
        for hour in range(first, last + HOUR_MS, HOUR_MS):
            grouped.setdefault(hour, []).append(point)
    return grouped


def _join(hours: Collection[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run of hours."""
    runs: list[tuple[int, int]] = []
    for hour in sorted(hours):
        if runs and hour - runs[-1][1] <= _GAP_MS:
            runs[-1] = (runs[-1][0], hour)
        else:
            runs.append((hour, hour))
    return runs

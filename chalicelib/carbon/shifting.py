"""Plans the start of work that may wait, for rentals: the stored forecasts under `carbon.policies`.

A forecast that ends before the deadline is used as far as it reaches, and never drawn out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.carbon.figures import find_forecasts
from chalicelib.carbon.intensity import Forecast
from chalicelib.carbon.planning import build_slots
from chalicelib.carbon.policies import Forecast as Slots
from chalicelib.carbon.policies import (
    Plan,
    Window,
    plan_immediate,
    plan_threshold,
    plan_window,
)
from chalicelib.carbon.ports import IntensityStore
from chalicelib.core.errors import NotFound
from chalicelib.rentals.flexibility import Flexibility, StartChoice, UsedForecast


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What is forecast of a region from now on."""

    region: str
    forecast: Forecast
    slots: Slots[int]


@dataclass(frozen=True, slots=True)
class _Option:
    """The best start of a region."""

    outlook: _Outlook
    plan: Plan[int]


class ForecastPlanner:
    """`rentals.ports.StartPlanner`. By the location-based average, as receipts count."""

    def __init__(self, store: IntensityStore) -> None:
        self._store = store
        #: What was known at one instant does not change: a sweep, in which many are due, reads it once.
        self._read_at_ms: int | None = None
        self._read: dict[str, Sequence[Forecast]] = {}

    def plan_start(self, flexibility: Flexibility, regions: Sequence[str], now_ms: int) -> StartChoice:
        finish_ms, duration_ms = flexibility.finish_by_ms, flexibility.duration_seconds * 1000
        found = [self._look_ahead(region, now_ms, finish_ms) for region in regions]
        known = [each for each in found if each is not None]
        if not known:
            return StartChoice(now_ms, tuple(regions), "no_forecast")
        long_enough = [each for each in known if each.slots.end - now_ms >= duration_ms]
        if not long_enough:
            return StartChoice(now_ms, tuple(regions), "forecast_too_short")
        options = [_Option(each, _plan(flexibility, each.slots, now_ms)) for each in long_enough]
        ranked = sorted(options, key=lambda each: _rank(flexibility, each))
        best = ranked[0]
        home = flexibility.regions[0]
        of_home = next((each for each in known if each.region == home), None)
        if home not in regions:
            of_home = self._look_ahead(home, now_ms, finish_ms)
        order = [each.outlook.region for each in ranked]
        return StartChoice(
            start_at_ms=best.plan.start,
            regions=tuple(dict.fromkeys([*order, *regions])),
            why=best.plan.why,
            forecast=UsedForecast(
                provider=best.outlook.forecast.series.provider,
                zone=best.outlook.forecast.series.zone,
                generated_at_ms=best.outlook.forecast.generated_at_ms,
                covers_until_ms=best.outlook.slots.end,
                mg_co2e_per_kwh=best.plan.mean,
                immediate_mg_co2e_per_kwh=_measure_immediate(of_home, now_ms, duration_ms),
            ),
        )

    def _look_ahead(self, region: str, now_ms: int, finish_ms: int) -> _Outlook | None:
        if now_ms != self._read_at_ms:
            self._read_at_ms, self._read = now_ms, {}
        if region not in self._read:
            self._read[region] = _find(self._store, region, now_ms)
        return _choose(region, self._read[region], now_ms, finish_ms)


def _find(store: IntensityStore, region: str, now_ms: int) -> Sequence[Forecast]:
    try:
        return find_forecasts(store, region, "average", now_ms)
    except NotFound:
        # A region that the table of grids does not have is rented out all the same.
        return ()


def _choose(region: str, forecasts: Sequence[Forecast], now_ms: int, finish_ms: int) -> _Outlook | None:
    """Return the first forecast that reaches the deadline, in the order of preference, else the longest."""
    longest: _Outlook | None = None
    for forecast in forecasts:
        slots = build_slots(forecast.points, now_ms)
        if slots is None:
            continue
        if slots.end >= finish_ms:
            return _Outlook(region, forecast, slots)
        if longest is None or slots.end > longest.slots.end:
            longest = _Outlook(region, forecast, slots)
    return longest


def _plan(flexibility: Flexibility, slots: Slots[int], now_ms: int) -> Plan[int]:
    known_until_ms = min(flexibility.finish_by_ms, slots.end)
    window = Window(now_ms, known_until_ms, flexibility.duration_seconds * 1000)
    if flexibility.policy == "none":
        return plan_immediate(slots, window)
    if flexibility.policy == "threshold":
        bound = flexibility.threshold_mg_per_kwh
        assert bound is not None, "its policy has one"
        return plan_threshold(slots, window, bound, interruptible=False)
    return plan_window(slots, window)


def _rank(flexibility: Flexibility, option: _Option) -> tuple[bool, int, int, int]:
    """Lowest first. Below a threshold the earliest start is the best, above it the lowest."""
    plan = option.plan
    place = flexibility.regions.index(option.outlook.region)
    if flexibility.policy == "threshold" and plan.why != "deadline":
        return False, plan.start, plan.total, place
    return flexibility.policy == "threshold", plan.total, plan.start, place


def _measure_immediate(home: _Outlook | None, now_ms: int, duration_ms: int) -> int | None:
    if home is None or home.slots.end - now_ms < duration_ms:
        return None
    return plan_immediate(home.slots, Window(now_ms, now_ms + duration_ms, duration_ms)).mean

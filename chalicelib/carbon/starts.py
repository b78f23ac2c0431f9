"""Where and when to start: the best of several regions' forecasts, and what that saved afterwards. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chalicelib.carbon.policies import (
    Forecast,
    Interval,
    Plan,
    Window,
    compute_mean,
    plan_immediate,
    plan_window,
)
from chalicelib.core.errors import InvalidInput
from chalicelib.core.units import compute_emissions_mg

#: Parts of a million.
PPM = 1_000_000
Obstacle = Literal["region_not_allowed", "above_price_cap", "no_price", "forecast_too_short"]


@dataclass(frozen=True, slots=True)
class Place:
    """A region that could be chosen. Intensities in mg CO2e per kWh, instants in ms since the epoch."""

    region: str
    forecast: Forecast[int]
    price_micros_per_gpu_hour: int | None


@dataclass(frozen=True, slots=True)
class Saving:
    """Mean intensity while it runs, beside that of the start at once in the home region. Both rounded."""

    mg_co2e_per_kwh: int
    immediate_mg_co2e_per_kwh: int

    @property
    def saved_mg_co2e_per_kwh(self) -> int:
        """Negative: the start at once would have been better."""
        return self.immediate_mg_co2e_per_kwh - self.mg_co2e_per_kwh

    @property
    def saved_ppm(self) -> int:
        """Parts of a million of what the start at once emits, rounded down; 0 where that is nothing."""
        if self.immediate_mg_co2e_per_kwh == 0:
            return 0
        return self.saved_mg_co2e_per_kwh * PPM // self.immediate_mg_co2e_per_kwh

    def compute_mass(self, energy_millijoules: int) -> int:
        """Return the mg CO2e that are saved with an energy, the same in both cases."""
        immediate, planned = (
            compute_emissions_mg(energy_millijoules=energy_millijoules, intensity_mg_per_kwh=each)
            for each in (self.immediate_mg_co2e_per_kwh, self.mg_co2e_per_kwh)
        )
        return immediate - planned


@dataclass(frozen=True, slots=True)
class BestStart:
    """``plan.why`` explains the time, ``moved`` says that another region than home is meant."""

    region: str
    plan: Plan[int]
    saving: Saving
    price_micros_per_gpu_hour: int | None
    moved: bool


@dataclass(frozen=True, slots=True)
class BestStarts:
    """``starts``: the best of each region, the best first. ``excluded``: why other regions are not there."""

    starts: tuple[BestStart, ...]
    excluded: Mapping[str, Obstacle]


def find_best_starts(
    places: Sequence[Place],
    window: Window,
    *,
    home_region: str,
    allowed_regions: frozenset[str] | None = None,
    max_price_micros_per_gpu_hour: int | None = None,
    plan: Callable[[Forecast[int], Window], Plan[int]] = plan_window,
) -> BestStarts:
    """Rank places by expected intensity, then start, price and name.

    The expected saving is against a start at once at home, whether or not home is allowed or within the cap.
    ``allowed_regions`` of ``None`` allows all.

    Raises:
        InvalidInput: home is none of the places; or as ``plan_window`` raises it.
        Conflict: home's forecast does not cover the window.
    """
    home = next((place for place in places if place.region == home_region), None)
    if home is None:
        raise InvalidInput(f"No forecast is known for {home_region}.", code="unknown_region")
    immediate = plan_immediate(home.forecast, window).mean
    starts: list[BestStart] = []
    excluded: dict[str, Obstacle] = {}
    for place in places:
        obstacle = _find_obstacle(place, allowed_regions, max_price_micros_per_gpu_hour)
        if obstacle is None and not _covers(place.forecast, window):
            obstacle = "forecast_too_short"
        if obstacle is not None:
            excluded[place.region] = obstacle
            continue
        best = plan(place.forecast, window)
        moved = place.region != home_region
        saving = Saving(best.mean, immediate)
        starts.append(BestStart(place.region, best, saving, place.price_micros_per_gpu_hour, moved))
    return BestStarts(tuple(sorted(starts, key=_rank)), excluded)


def measure_saving(
    intervals: Sequence[Interval], actual: Forecast[int], *, immediate: Interval, home_actual: Forecast[int]
) -> Saving:
    """Return what a plan saved, by the intensities that came.

    ``actual`` is of the region in which it ran, ``home_actual`` of the one in which it would have run in
    ``immediate``. In the units of the expected saving, so that the two can be compared.

    Raises:
        InvalidInput: nothing ran.
        Conflict: an intensity is not known yet.
    """
    if not intervals:
        raise InvalidInput("Nothing ran, so nothing was saved.", code="invalid_duration")
    total = sum(_measure(actual, interval) for interval in intervals)
    duration = sum(end - start for start, end in intervals)
    before = compute_mean(_measure(home_actual, immediate), immediate[1] - immediate[0])
    return Saving(compute_mean(total, duration), before)


def _measure(actual: Forecast[int], interval: Interval) -> int:
    start, end = interval
    return plan_immediate(actual, Window(start, end, end - start)).total


def _find_obstacle(place: Place, allowed: frozenset[str] | None, cap: int | None) -> Obstacle | None:
    if allowed is not None and place.region not in allowed:
        return "region_not_allowed"
    if cap is None:
        return None
    if place.price_micros_per_gpu_hour is None:
        return "no_price"
    return "above_price_cap" if place.price_micros_per_gpu_hour > cap else None


def _covers(forecast: Forecast[int], window: Window) -> bool:
    return forecast.start <= window.earliest and window.deadline <= forecast.end


def _rank(start: BestStart) -> tuple[int, int, bool, int, str]:
    price = start.price_micros_per_gpu_hour
    return start.plan.total, start.plan.start, price is None, price or 0, start.region

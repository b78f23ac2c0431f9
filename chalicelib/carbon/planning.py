"""When and where work of some hours starts best: the stored forecasts under `carbon.starts`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.carbon import policies
from chalicelib.carbon.figures import find_forecasts
from chalicelib.carbon.intensity import Forecast, IntensityPoint, Signal
from chalicelib.carbon.policies import Window
from chalicelib.carbon.ports import IntensityStore
from chalicelib.carbon.starts import BestStarts, Place, find_best_starts
from chalicelib.core.errors import Conflict, InvalidInput

#: Forecasts are read region by region.
MAX_REGIONS = 8


@dataclass(frozen=True, slots=True)
class StartQuery:
    """``regions``: where it may run, home among them or not; empty: at home alone. Instants in ms."""

    home_region: str
    regions: frozenset[str]
    earliest_ms: int
    deadline_ms: int
    duration_seconds: int
    max_price_micros_per_gpu_hour: int | None = None
    signal: Signal = "average"


@dataclass(frozen=True, slots=True)
class RankedStarts:
    """``forecasts``: what was planned by, by region."""

    found: BestStarts
    forecasts: Mapping[str, Forecast]


def rank_starts(
    store: IntensityStore, prices_micros: Mapping[str, int], query: StartQuery, now_ms: int
) -> RankedStarts:
    """Rank the best start of each region by what is forecast now; the first forecast that suffices counts.

    ``prices_micros``: of a GPU-hour by region, of those in which it is sold; empty: prices do not matter.

    Raises:
        InvalidInput: ``too_many_regions``, ``deadline_too_early``, ``invalid_duration``.
        NotFound: ``unknown_region``.
        Conflict: ``forecast_too_short``: of home nothing is forecast, or not until the deadline.
    """
    regions = sorted({query.home_region, *query.regions})
    if len(regions) > MAX_REGIONS:
        raise InvalidInput(f"At most {MAX_REGIONS} regions are compared at once.", code="too_many_regions")
    window = Window(query.earliest_ms, query.deadline_ms, query.duration_seconds * 1000)
    used: dict[str, Forecast] = {}
    places = []
    for region in regions:
        chosen = _choose(find_forecasts(store, region, query.signal, now_ms), window)
        if chosen is None:
            if region == query.home_region:
                raise Conflict(
                    f"Nothing is forecast of the grid of {region} from then until the deadline.",
                    code="forecast_too_short",
                )
            slots: policies.Forecast[int] = policies.Forecast(0, 1, ())
        else:
            used[region], slots = chosen
        places.append(Place(region, slots, prices_micros.get(region)))
    found = find_best_starts(
        places,
        window,
        home_region=query.home_region,
        allowed_regions=query.regions or frozenset({query.home_region}),
        max_price_micros_per_gpu_hour=query.max_price_micros_per_gpu_hour,
    )
    return RankedStarts(found, used)


def _choose(forecasts: Sequence[Forecast], window: Window) -> tuple[Forecast, policies.Forecast[int]] | None:
    """Return the first forecast, in the order of preference, that covers the window."""
    for forecast in forecasts:
        slots = build_slots(forecast.points, window.earliest)
        if slots is not None and slots.start <= window.earliest and window.deadline <= slots.end:
            return forecast, slots
    return None


def build_slots(points: Sequence[IntensityPoint], from_ms: int) -> policies.Forecast[int] | None:
    """Return the run of equal intervals without a gap in which ``from_ms`` lies; ``None``: in none."""
    run: list[IntensityPoint] = []
    for point in points:
        follows = bool(run) and point.valid_from_ms == run[-1].valid_until_ms
        same = bool(run) and _measure(point) == _measure(run[-1])
        if run and not (follows and same):
            if run[-1].valid_until_ms > from_ms:
                break
            run = []
        run.append(point)
    if not run or not run[0].valid_from_ms <= from_ms < run[-1].valid_until_ms:
        return None
    return policies.Forecast(
        run[0].valid_from_ms, _measure(run[0]), tuple(each.mg_co2e_per_kwh for each in run)
    )


def _measure(point: IntensityPoint) -> int:
    return point.valid_until_ms - point.valid_from_ms

"""Points, series and providers for the tests of grid intensity."""

import contextlib
from datetime import UTC, datetime

from chalicelib.carbon.electricity_maps_gateway import ElectricityMaps
from chalicelib.carbon.grid import ELECTRICITY_MAPS, UK, WATTTIME
from chalicelib.carbon.http_gateway import JsonFetcher
from chalicelib.carbon.intensity import HOUR_MS, Forecast, IntensityPoint, Series
from chalicelib.carbon.uk_intensity_gateway import UkCarbonIntensity
from chalicelib.carbon.watttime_gateway import WattTime
from infra.local.grid.server import PASSWORD, TOKEN, USERNAME, GridSimulator, run_grid
from tests.fakes.database import START_MS

GB = Series(UK, "GB", "average")
GERMANY = Series(ELECTRICITY_MAPS, "DE", "average")
SWEDEN = Series(ELECTRICITY_MAPS, "SE", "average")
CALIFORNIA = Series(WATTTIME, "CAISO_NORTH", "marginal")
#: A whole hour that has just ended at the clock's start.
HOUR = START_MS - HOUR_MS


def build_point(series=GERMANY, start_ms=HOUR, mg=300_000, **changes):
    fields = {
        "kind": "actual",
        "valid_until_ms": start_ms + HOUR_MS,
        "method": "of the tests",
        "source": series.provider,
        "dataset": "v0",
        "fetched_at_ms": START_MS,
        "estimated": False,
    }
    return IntensityPoint(series=series, valid_from_ms=start_ms, mg_co2e_per_kwh=mg, **(fields | changes))


def build_forecast(series, grams, *, start_ms=START_MS, made_ms=START_MS):
    """One figure an hour, in g/kWh."""
    points = tuple(
        build_point(
            series,
            start_ms + number * HOUR_MS,
            mg * 1000,
            kind="forecast",
            estimated=True,
            generated_at_ms=made_ms,
            fetched_at_ms=made_ms,
        )
        for number, mg in enumerate(grams)
    )
    return Forecast(series, made_ms, points)


def build_providers(clock, url, fetch=None):
    fetch = fetch or JsonFetcher(loopback=True)
    return {
        UK: UkCarbonIntensity(fetch, clock, url),
        ELECTRICITY_MAPS: ElectricityMaps(fetch, clock, TOKEN, url),
        WATTTIME: WattTime(fetch, clock, USERNAME, PASSWORD, url),
    }


@contextlib.contextmanager
def simulate(clock):
    """Serve all providers on loopback under the test's clock."""
    simulator = GridSimulator(now=lambda: datetime.fromtimestamp(clock.now_ms() / 1000, UTC))
    with run_grid(simulator) as running:
        yield simulator, build_providers(clock, running.url)

"""Two regions with a price each, hosts in them, and forecasts of their grids."""

from chalicelib.catalog.service import put_price
from chalicelib.core.capacity import name_pool
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.due import do_due
from chalicelib.rentals.flexibility import HOUR_MS, Flexibility
from tests.factories import GPU_TYPE, PRICE, REGION, add_host, rent, seed_cloud
from tests.fakes.database import START_MS
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import GERMANY, SWEDEN, build_forecast

HOME, NORTH = "eu-central-1", REGION
HOME_PRICE = 2_000_000
#: From the start on, in g/kWh: Sweden is cleanest from the third hour on.
GERMAN, SWEDISH = (300,) * 30, (90, 80, 20, 20, *[90] * 26)


def seed_two_regions(*, gpus=4, forecasts=True):
    seeded = seed_cloud(gpus=gpus)
    put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type=GPU_TYPE,
        region=HOME,
        price_micros_per_gpu_hour=HOME_PRICE,
        known_regions=frozenset({HOME}),
    )
    # The process that serves has read the prices before.
    seeded.cloud.rentals.cached_catalog.get(fresh=True)
    seeded.beat(add_host(seeded, "home", gpus, region=HOME).host_id)
    if forecasts:
        tell(seeded, GERMANY, GERMAN)
        tell(seeded, SWEDEN, SWEDISH)
    return seeded


def tell(seeded, series, grams, *, start_ms=START_MS, made_ms=START_MS):
    """A forecast that is there from ``made_ms`` on."""
    store = FakeIntensityStore(seeded.cloud.db)
    store.add_forecast(build_forecast(series, grams, start_ms=start_ms, made_ms=made_ms))


def leave_open(*, policy="window", hours=2, latest=20, regions=(HOME, NORTH), threshold=None):
    return Flexibility(policy, hours * 3600, START_MS + latest * HOUR_MS, regions, threshold)


def book(seeded, gpus=1, *, key="flexible", **wishes):
    asked = {"flexibility": leave_open(), "waits": True, "region": "any", **wishes}
    return seeded.rental(rent(seeded, gpus, key=key, **asked).body)


def pass_time(seeded, *, hours=0, seconds=0):
    """The minute's sweep comes after so long, with all hosts alive."""
    now_ms = seeded.cloud.clock.advance_seconds(hours * 3600 + seconds)
    for host_id in list(seeded.cloud.db.table("hosts")):
        seeded.beat(host_id)
    done = do_due(seeded.cloud.rentals, now_ms)
    for region in (HOME, NORTH):
        dispatch_pool(seeded.cloud.rentals, name_pool(GPU_TYPE, region))
    return done


__all__ = ["GERMAN", "HOME", "HOME_PRICE", "NORTH", "PRICE", "SWEDISH"]

"""What is sold: prices with versions, offers cheapest first, a cache that a start never trusts blindly."""

import pytest

from chalicelib.catalog.model import GpuType
from chalicelib.catalog.service import (
    CachedCatalog,
    Capacity,
    list_offers,
    put_gpu_type,
    put_price,
    rank_availability,
)
from chalicelib.core.errors import Conflict, InvalidInput, NotFound
from tests.factories import GPU_TYPE, PRICE, REGION, rent, seed_cloud
from tests.fakes import FakeClock

REGIONS = frozenset({REGION, "us-east-1"})


def set_price(seeded, micros, region=REGION, gpu_type=GPU_TYPE):
    return put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type=gpu_type,
        region=region,
        price_micros_per_gpu_hour=micros,
        known_regions=REGIONS,
    )


def test_a_new_price_has_the_next_version_and_leaves_an_entry():
    seeded = seed_cloud()
    assert set_price(seeded, 3_000_000).version == 2
    assert seeded.cloud.audit.entries[-1].action == "price.put"


def test_a_running_rental_keeps_its_price_and_the_next_one_pays_the_new():
    seeded = seed_cloud()
    before = seeded.rental(rent(seeded, key="a").body)
    set_price(seeded, PRICE * 2)
    # The process still has the old catalogue in its cache: the transaction notices.
    after = seeded.rental(rent(seeded, key="b").body)
    assert before.price_micros_per_gpu_hour == PRICE
    assert after.price_micros_per_gpu_hour == PRICE * 2


def test_a_renter_is_never_charged_more_than_the_cap_by_a_price_that_has_just_risen():
    seeded = seed_cloud()
    rent(seeded, key="a", max_price=PRICE)
    set_price(seeded, PRICE * 2)
    with pytest.raises(Conflict) as caught:
        rent(seeded, key="b", max_price=PRICE)
    assert caught.value.code == "price_cap"


def test_an_unknown_type_or_region_has_no_price():
    seeded = seed_cloud()
    with pytest.raises(NotFound):
        set_price(seeded, 1, gpu_type="none")
    with pytest.raises(InvalidInput) as caught:
        set_price(seeded, 1, region="mars-north-1")
    assert caught.value.code == "unknown_region"


def test_offers_are_cheapest_first_with_their_room():
    seeded = seed_cloud()
    put_gpu_type(seeded.cloud.catalog, seeded.operator, GpuType("A10", "Ampere", 24_576, 150))
    set_price(seeded, 600_000, gpu_type="A10")
    set_price(seeded, PRICE + 1, region="us-east-1")

    class Capacities:
        def read_capacity(self, gpu_type, region):
            return Capacity(20, 8) if region == REGION else Capacity(0, 0)

    offers = list_offers(seeded.cloud.catalog.store.read_catalog(), Capacities())
    shown = [(each.gpu_type.name, each.price.region, each.availability) for each in offers]
    assert shown == [("A10", REGION, "HIGH"), (GPU_TYPE, REGION, "HIGH"), (GPU_TYPE, "us-east-1", "NONE")]


def test_availability_has_four_ranks():
    ranks = [rank_availability(free) for free in (0, 1, 3, 4, 15, 16)]
    assert ranks == ["NONE", "LOW", "LOW", "MEDIUM", "MEDIUM", "HIGH"]


def test_the_cache_reads_once_until_it_is_old_or_told_otherwise():
    reads, clock = [], FakeClock()
    cached = CachedCatalog(lambda: reads.append(1) or object(), clock, ttl_ms=60_000)
    for _ in range(3):
        cached.get()
    assert len(reads) == 1
    cached.get(fresh=True)
    clock.advance_seconds(61)
    cached.get()
    assert len(reads) == 3

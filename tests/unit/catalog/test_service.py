"""What is sold: types, prices with versions and instants, a cache that a start never trusts blindly."""

import pytest

from chalicelib.catalog.model import GpuType, PriceKey
from chalicelib.catalog.service import MAX_AHEAD_MS, CachedCatalog, put_gpu_type, put_price
from chalicelib.catalog.spot import SpotBounds
from chalicelib.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from tests.factories import GPU_TYPE, PRICE, REGION, rent, seed_cloud
from tests.fakes import START_MS, Crash, FakeClock

REGIONS = frozenset({REGION, "us-east-1"})


KEY = PriceKey(GPU_TYPE, REGION, "on_demand")
SPOT = PriceKey(GPU_TYPE, REGION, "spot")
PROFILE = GpuType("H100-1g.10gb", "Hopper", 9_984, 100, "none", "1g.10gb", GPU_TYPE)


def set_price(seeded, micros, region=REGION, gpu_type=GPU_TYPE, **more):
    return put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type=gpu_type,
        region=region,
        price_micros_per_gpu_hour=micros,
        known_regions=REGIONS,
        **more,
    )


def set_type(seeded, gpu_type):
    return put_gpu_type(seeded.cloud.catalog, seeded.operator, gpu_type)


def list_history(seeded, key=KEY, from_ms=0, to_ms=10**13 - 1, limit=50, start=None):
    return seeded.cloud.catalog.store.list_history(key, from_ms, to_ms, limit, start)


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


def test_what_an_operator_just_added_is_known_though_the_cache_is_older():
    seeded = seed_cloud()
    rent(seeded, key="cached")
    with pytest.raises(InvalidInput):
        rent(seeded, key="before", region="us-east-1")
    set_price(seeded, PRICE, "us-east-1")
    waiting = seeded.rental(rent(seeded, key="after", region="us-east-1", waits=True).body)
    assert waiting.state == "queued"


def test_a_refusal_reads_the_catalogue_anew_once():
    reads, clock = [], FakeClock()
    cached = CachedCatalog(lambda: reads.append(1) or object(), clock, ttl_ms=60_000)

    def refuse(_catalog):
        raise InvalidInput("no")

    for fresh, wanted in ((False, 2), (True, 1)):
        reads.clear()
        with pytest.raises(InvalidInput):
            cached.ask(refuse, fresh=fresh)
        assert len(reads) == wanted


def test_a_price_for_later_is_announced_and_comes_into_force_by_itself():
    seeded = seed_cloud()
    later_ms = START_MS + 3_600_000
    set_price(seeded, PRICE * 2, effective_from_ms=later_ms)
    catalog = seeded.cloud.catalog.store.read_catalog()
    for at_ms, micros in ((START_MS, PRICE), (later_ms - 1, PRICE), (later_ms, PRICE * 2)):
        (price,) = catalog.find_prices(GPU_TYPE, REGION, at_ms=at_ms)
        assert price.price_micros_per_gpu_hour == micros
    assert catalog.find_prices(GPU_TYPE, REGION, at_ms=START_MS - 1) == []


def test_a_start_never_pays_a_price_that_another_one_has_followed_since_it_was_read():
    seeded = seed_cloud()
    rent(seeded, key="cached")
    set_price(seeded, PRICE * 2, effective_from_ms=START_MS + 10_000)
    before = seeded.rental(rent(seeded, key="before").body)
    seeded.cloud.clock.advance_seconds(10)
    after = seeded.rental(rent(seeded, key="after").body)
    assert before.price_micros_per_gpu_hour == PRICE
    assert after.price_micros_per_gpu_hour == PRICE * 2


def test_the_guard_fails_by_the_clock_and_by_the_version():
    seeded = seed_cloud()
    store = seeded.cloud.catalog.store
    set_price(seeded, PRICE * 2, effective_from_ms=START_MS + 10_000)
    (price,) = store.read_catalog().find_prices(GPU_TYPE, REGION, at_ms=START_MS)

    def guard():
        tx = seeded.cloud.db.begin()
        store.require_price(tx, price)
        tx.commit()

    guard()
    seeded.cloud.clock.advance_seconds(10)
    with pytest.raises(Conflict) as by_clock:
        guard()
    seeded.cloud.clock.advance_seconds(-10)
    guard()
    set_price(seeded, PRICE * 3, effective_from_ms=START_MS + 20_000)
    with pytest.raises(Conflict) as by_version:
        guard()
    assert by_clock.value.code == by_version.value.code == "price_changed"


def test_classes_have_prices_of_their_own():
    seeded = seed_cloud()
    set_price(seeded, PRICE // 2, billing_class="spot")
    catalog = seeded.cloud.catalog.store.read_catalog()
    found = {
        name: [
            price.price_micros_per_gpu_hour
            for price in catalog.find_prices(GPU_TYPE, "any", name, at_ms=START_MS)
        ]
        for name in ("on_demand", "spot", "reserved")
    }
    assert found == {"on_demand": [PRICE], "spot": [PRICE // 2], "reserved": []}
    assert catalog.list_pools() == [(GPU_TYPE, REGION)]
    assert seeded.rental(rent(seeded).body).price_micros_per_gpu_hour == PRICE


@pytest.mark.parametrize("offset_ms", [-1, MAX_AHEAD_MS + 1])
def test_no_price_is_set_for_the_past_or_for_a_distant_future(offset_ms):
    seeded = seed_cloud()
    with pytest.raises(InvalidInput) as caught:
        set_price(seeded, 1, effective_from_ms=START_MS + offset_ms)
    assert caught.value.code == "effective_from_out_of_range"
    assert len(list_history(seeded).items) == 1


def test_a_spot_price_stays_between_its_parts_of_the_on_demand_price():
    seeded = seed_cloud()
    bounds = SpotBounds(500_000, 600_000)
    for micros in (PRICE // 2 - 1, PRICE * 6 // 10 + 1):
        with pytest.raises(InvalidInput) as caught:
            set_price(seeded, micros, billing_class="spot", bounds=bounds)
        assert caught.value.code == "spot_price_out_of_bounds"
    set_price(seeded, PRICE // 2, billing_class="spot", bounds=bounds)
    # A later change that does not name bounds leaves them.
    set_price(seeded, PRICE * 6 // 10, billing_class="spot")
    assert seeded.cloud.catalog.store.read_catalog().find_schedule(SPOT).bounds == bounds
    with pytest.raises(InvalidInput) as caught:
        set_price(seeded, PRICE, bounds=bounds)
    assert caught.value.code == "bounds_without_rule"


def test_every_price_that_was_set_stays_in_the_history_newest_first_page_by_page():
    seeded = seed_cloud()
    for number in range(1, 5):
        seeded.cloud.clock.advance_seconds(60)
        set_price(seeded, PRICE + number)
    set_price(seeded, PRICE * 2, effective_from_ms=seeded.cloud.clock.now_ms() + 1000)
    set_price(seeded, PRICE * 3, effective_from_ms=seeded.cloud.clock.now_ms() + 1000)
    seen, start = [], None
    while True:
        page = list_history(seeded, limit=2, start=start)
        seen += [change.point.price_micros_per_gpu_hour for change in page.items]
        start = page.next_key
        if start is None:
            break
    assert seen == [PRICE * 3, PRICE * 2, PRICE + 4, PRICE + 3, PRICE + 2, PRICE + 1, PRICE]
    window = list_history(seeded, from_ms=START_MS + 60_000, to_ms=START_MS + 180_000).items
    assert [change.point.price_micros_per_gpu_hour for change in window] == [PRICE + 2, PRICE + 1]
    assert {change.origin for change in window} == {"operator"}
    assert list_history(seeded, SPOT).items == []


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_price_history_and_audit_are_one_write(moment):
    seeded = seed_cloud()
    db = seeded.cloud.db
    before = len(seeded.cloud.audit.entries)
    setattr(db, moment, db.commits)
    with pytest.raises(Crash):
        set_price(seeded, PRICE * 2)
    written = moment == "crash_after"
    assert len(list_history(seeded).items) == 1 + written
    assert len(seeded.cloud.audit.entries) == before + written
    assert seeded.cloud.catalog.store.read_catalog().find_schedule(KEY).version == 1 + written


def test_of_two_operators_who_read_the_same_version_one_is_told_to_try_again():
    seeded = seed_cloud()
    store = seeded.cloud.catalog.store
    stale = store.read_catalog()
    set_price(seeded, PRICE * 2)
    store.read_catalog = lambda: stale
    with pytest.raises(Unavailable):
        set_price(seeded, PRICE * 3)


def test_a_pool_announces_a_bounded_number_of_prices():
    seeded = seed_cloud()
    with pytest.raises(InvalidInput) as caught:
        for number in range(100):
            set_price(seeded, PRICE + number, effective_from_ms=START_MS + 1000 + number)
    assert caught.value.code == "too_many_prices"


def test_a_mig_profile_is_a_type_that_names_its_whole_parent():
    seeded = seed_cloud()
    set_type(seeded, PROFILE)
    assert seeded.cloud.catalog.store.read_catalog().gpu_types[PROFILE.name].parent_gpu_type == GPU_TYPE
    assert set_price(seeded, PRICE // 7, gpu_type=PROFILE.name).version == 1


@pytest.mark.parametrize(
    ("gpu_type", "code"),
    [
        (GpuType("x", "Hopper", 1, 1, "none", "1g.10gb", "unknown"), "unknown_parent_gpu_type"),
        (GpuType("x", "Hopper", 1, 1, "none", "1g.10gb", "x"), "unknown_parent_gpu_type"),
        (GpuType("x", "Hopper", 1, 1, "none", "1g.10gb", None), "incomplete_profile"),
        (GpuType("x", "Hopper", 1, 1, "none", None, GPU_TYPE), "incomplete_profile"),
        (GpuType("x", "Hopper", 1, 1, "none", "1g.10gb", PROFILE.name), "parent_is_profile"),
        (GpuType("x", "Hopper", 10**6, 1, "none", "1g.10gb", GPU_TYPE), "profile_too_large"),
    ],
)
def test_a_profile_without_a_whole_known_parent_is_refused(gpu_type, code):
    seeded = seed_cloud()
    set_type(seeded, PROFILE)
    with pytest.raises(InvalidInput) as caught:
        set_type(seeded, gpu_type)
    assert caught.value.code == code


def test_a_parent_that_is_no_whole_type_by_now_is_refused_by_the_write_itself(monkeypatch):
    seeded = seed_cloud()
    store = seeded.cloud.catalog.store
    stale = store.read_catalog()
    seeded.cloud.db.table("gpu_types").pop(GPU_TYPE)
    monkeypatch.setattr(store, "read_catalog", lambda: stale)
    with pytest.raises(Conflict) as caught:
        set_type(seeded, PROFILE)
    assert caught.value.code == "gpu_type_kind"


def test_a_type_keeps_its_kind_and_may_change_everything_else():
    seeded = seed_cloud()
    set_type(seeded, PROFILE)
    set_type(seeded, GpuType(GPU_TYPE, "Hopper", 81_559, 650, "nvswitch"))
    for other in (
        GpuType(PROFILE.name, "Hopper", 9_984, 100),
        GpuType(PROFILE.name, "Hopper", 9_984, 100, "none", "1g.12gb", GPU_TYPE),
    ):
        with pytest.raises(Conflict) as caught:
            set_type(seeded, other)
        assert caught.value.code == "gpu_type_kind"
    assert seeded.cloud.catalog.store.read_catalog().gpu_types[GPU_TYPE].interconnect == "nvswitch"

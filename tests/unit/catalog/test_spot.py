"""The published rule of spot prices, and the schedule that applies it once per step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.catalog.model import PriceKey
from chalicelib.catalog.service import Capacity, move_spot_prices, put_price
from chalicelib.catalog.spot import MAX_MOVE_PPM, PPM, STEP_MS, SpotBounds, find_step, move_price
from chalicelib.core.errors import Unavailable
from tests.factories import GPU_TYPE, PRICE, REGION, seed_cloud
from tests.fakes import START_MS, Crash

MICROS = st.integers(1, 10**10)
TOTALS = st.integers(1, 100_000)
SPOT = PriceKey(GPU_TYPE, REGION, "spot")


@st.composite
def list_bounds(draw):
    floor, cap = sorted((draw(st.integers(1, PPM)), draw(st.integers(1, PPM))))
    return SpotBounds(floor, cap)


BOUNDS = list_bounds()


@given(MICROS, MICROS, TOTALS, st.data(), BOUNDS)
def test_a_step_is_never_more_than_five_percent(price, on_demand, total, data, bounds):
    busy = data.draw(st.integers(0, total))
    new = move_price(
        price_micros=price, on_demand_micros=on_demand, busy_gpus=busy, total_gpus=total, bounds=bounds
    )
    assert type(new) is int
    assert abs(new - price) * PPM <= price * MAX_MOVE_PPM
    assert new >= 1


@given(MICROS, TOTALS, st.data(), BOUNDS)
def test_between_its_bounds_a_price_stays_between_them(on_demand, total, data, bounds):
    floor, cap = bounds.compute_limits(on_demand)
    price = data.draw(st.integers(floor, cap))
    busy = data.draw(st.integers(0, total))
    new = move_price(
        price_micros=price, on_demand_micros=on_demand, busy_gpus=busy, total_gpus=total, bounds=bounds
    )
    assert floor <= new <= cap


@given(MICROS, MICROS, TOTALS, st.data(), BOUNDS)
def test_outside_its_bounds_a_price_comes_back_whatever_is_busy(price, on_demand, total, data, bounds):
    floor, cap = bounds.compute_limits(on_demand)
    busy = data.draw(st.integers(0, total))
    new = move_price(
        price_micros=price, on_demand_micros=on_demand, busy_gpus=busy, total_gpus=total, bounds=bounds
    )
    # Below 20 micros 5 % are less than one.
    moves = price >= PPM // MAX_MOVE_PPM
    if price > cap:
        assert floor <= new <= price - moves
    if price < floor:
        assert price + moves <= new <= cap


@given(MICROS, MICROS, TOTALS, st.data(), BOUNDS)
def test_more_busy_gpus_never_make_it_cheaper(price, on_demand, total, data, bounds):
    few, many = sorted((data.draw(st.integers(0, total)), data.draw(st.integers(0, total))))
    cheap, dear = (
        move_price(
            price_micros=price, on_demand_micros=on_demand, busy_gpus=busy, total_gpus=total, bounds=bounds
        )
        for busy in (few, many)
    )
    assert cheap <= dear


@given(MICROS, st.integers(1, 20_000), st.data(), BOUNDS)
def test_at_eighty_percent_a_price_between_its_bounds_stands_still(on_demand, fifths, data, bounds):
    floor, cap = bounds.compute_limits(on_demand)
    price = data.draw(st.integers(floor, cap))
    new = move_price(
        price_micros=price,
        on_demand_micros=on_demand,
        busy_gpus=4 * fifths,
        total_gpus=5 * fifths,
        bounds=bounds,
    )
    assert new == price


@pytest.mark.parametrize(
    ("busy", "new"), [(100, 1_050_000), (90, 1_025_000), (80, 10**6), (40, 975_000), (0, 950_000)]
)
def test_the_rule_as_it_is_published(busy, new):
    moved = move_price(
        price_micros=10**6, on_demand_micros=2 * 10**6, busy_gpus=busy, total_gpus=100, bounds=SpotBounds()
    )
    assert moved == new


@pytest.mark.parametrize(("busy", "new"), [(90, 341), (40, 325)])
def test_a_fraction_is_rounded_towards_the_old_price(busy, new):
    # 5 % of 333 by a half is 8.325.
    bounds = SpotBounds(1, PPM)
    moved = move_price(price_micros=333, on_demand_micros=1000, busy_gpus=busy, total_gpus=100, bounds=bounds)
    assert moved == new


@pytest.mark.parametrize(("busy", "total"), [(0, 0), (-1, 1), (2, 1)])
def test_a_pool_that_cannot_be_is_refused(busy, total):
    with pytest.raises(ValueError, match="busy"):
        move_price(price_micros=1, on_demand_micros=1, busy_gpus=busy, total_gpus=total, bounds=SpotBounds())


@pytest.mark.parametrize("parts", [(0, 1), (2, 1), (1, PPM + 1)])
def test_bounds_are_parts_in_order(parts):
    with pytest.raises(ValueError, match="floor"):
        SpotBounds(*parts)


class Pools:
    def __init__(self, capacity):
        self.capacity, self.reads = capacity, 0

    def count_free(self, _gpu_type, _region):
        return self.capacity.free_gpus

    def read_capacity(self, _gpu_type, _region):
        self.reads += 1
        return self.capacity


FULL = Capacity(0, 0, 8, {"maintenance": 0, "unhealthy": 0})
EMPTY = Capacity(8, 8, 8, {"maintenance": 0, "unhealthy": 0})


def set_spot(seeded, micros=1_000_000, **more):
    return put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type=GPU_TYPE,
        region=REGION,
        price_micros_per_gpu_hour=micros,
        known_regions=frozenset({REGION}),
        billing_class="spot",
        **more,
    )


def move(seeded, capacity=FULL):
    return move_spot_prices(seeded.cloud.catalog, Pools(capacity), seeded.operator.account_id)


def read_spot(seeded):
    catalog = seeded.cloud.catalog.store.read_catalog()
    (price,) = catalog.find_prices(GPU_TYPE, REGION, "spot", at_ms=seeded.cloud.clock.now_ms())
    return price.price_micros_per_gpu_hour


def test_a_step_moves_the_price_once_and_leaves_history_and_audit():
    seeded = seed_cloud()
    set_spot(seeded)
    assert [move(seeded) for _ in range(3)] == [1, 0, 0]
    assert read_spot(seeded) == 1_050_000
    newest = seeded.cloud.catalog.store.list_history(SPOT, 0, 10**13, 5, None).items[0]
    assert (newest.point.price_micros_per_gpu_hour, newest.origin) == (1_050_000, "spot_rule")
    entry = seeded.cloud.audit.entries[-1]
    assert (entry.action, entry.actor, entry.account_id) == (
        "price.moved",
        "system",
        seeded.operator.account_id,
    )
    assert entry.details["price_micros_per_gpu_hour"] == 1_050_000


def test_after_an_hour_without_the_schedule_it_moves_by_one_step():
    seeded = seed_cloud()
    set_spot(seeded)
    move(seeded)
    seeded.cloud.clock.advance_seconds(3600)
    assert [move(seeded), move(seeded)] == [1, 0]
    assert read_spot(seeded) == 1_102_500


def test_it_stops_at_the_cap_and_writes_nothing_there():
    seeded = seed_cloud()
    set_spot(seeded)
    for _ in range(40):
        move(seeded)
        seeded.cloud.clock.advance_seconds(STEP_MS // 1000)
    assert read_spot(seeded) == PRICE * 9 // 10
    commits = seeded.cloud.db.commits
    assert move(seeded) == 0
    assert seeded.cloud.db.commits == commits


def test_it_comes_down_to_the_floor_when_nobody_rents():
    seeded = seed_cloud()
    set_spot(seeded, bounds=SpotBounds(350_000, 900_000))
    for _ in range(40):
        move(seeded, EMPTY)
        seeded.cloud.clock.advance_seconds(STEP_MS // 1000)
    assert read_spot(seeded) == -(-PRICE * 35 // 100)


@pytest.mark.parametrize(
    "capacity",
    [
        Capacity(0, 0),
        Capacity(0, 0, total_gpus=8),
        Capacity(0, 0, 0, {}),
        Capacity(0, 0, 8, {"maintenance": 6, "unhealthy": 2}),
    ],
)
def test_a_pool_whose_use_is_not_known_is_left_alone(capacity):
    seeded = seed_cloud()
    set_spot(seeded)
    assert move(seeded, capacity) == 0


def test_gpus_that_nobody_may_rent_count_neither_as_busy_nor_as_free():
    seeded = seed_cloud()
    set_spot(seeded)
    # 4 of the 5 that are offered are busy: the target.
    assert move(seeded, Capacity(1, 1, 8, {"maintenance": 2, "unhealthy": 1})) == 0


def test_only_spot_prices_beside_an_on_demand_price_move():
    seeded = seed_cloud()
    assert move(seeded) == 0
    table = seeded.cloud.db.table("schedules")
    set_spot(seeded)
    table.pop(PriceKey(GPU_TYPE, REGION, "on_demand"))
    assert move(seeded) == 0


def test_a_price_that_is_set_at_the_same_time_wins_and_the_others_still_move(monkeypatch):
    seeded = seed_cloud()
    set_spot(seeded)
    store, put = seeded.cloud.catalog.store, seeded.cloud.catalog.store.put_schedule

    def collide(tx, schedule):
        put(tx, schedule)
        tx.add(lambda: Unavailable("set meanwhile"), lambda: None)

    monkeypatch.setattr(store, "put_schedule", collide)
    assert move(seeded) == 0
    monkeypatch.undo()
    assert move(seeded) == 1


@pytest.mark.parametrize(("moment", "price"), [("crash_before", 1_050_000), ("crash_after", 1_050_000)])
def test_a_crash_in_a_step_and_a_repeat_move_it_once(moment, price):
    seeded = seed_cloud()
    set_spot(seeded)
    db = seeded.cloud.db
    setattr(db, moment, db.commits)
    with pytest.raises(Crash):
        move(seeded)
    move(seeded)
    assert read_spot(seeded) == price
    assert len(seeded.cloud.catalog.store.list_history(SPOT, 0, 10**13, 5, None).items) == 2


def test_an_announced_spot_price_still_comes():
    seeded = seed_cloud()
    set_spot(seeded)
    set_spot(seeded, 900_000, effective_from_ms=START_MS + 600_000)
    move(seeded)
    assert read_spot(seeded) == 1_050_000
    seeded.cloud.clock.advance_seconds(600)
    assert read_spot(seeded) == 900_000


def test_steps_are_five_minutes():
    assert [find_step(at) for at in (0, STEP_MS - 1, STEP_MS)] == [0, 0, 1]
    assert STEP_MS == 5 * 60_000

"""A schedule of prices against its definition: of all that was set, the newest for the latest instant."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.catalog.model import KEEP_REPLACED_MS, MAX_POINTS, PriceKey, PriceSchedule

KEY = PriceKey("H100", "eu-north-1", "on_demand")
#: Seconds since the last change, seconds ahead of now, price.
CHANGES = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(1, 1000)),
    min_size=1,
    max_size=MAX_POINTS - 2,
)


def build(changes):
    """Return the schedule, all rows (instant, version, price), and the time of the last change."""
    schedule, rows, now_ms = PriceSchedule(KEY, (), 0), [], 1_000_000
    for waited, ahead, micros in changes:
        now_ms += waited * 1000
        from_ms = now_ms + ahead * 1000
        schedule = schedule.set_price(from_ms, micros, now_ms)
        rows.append((from_ms, schedule.version, micros))
    return schedule, rows, now_ms


def find(rows, at_ms):
    past = [row for row in rows if row[0] <= at_ms]
    return max(past)[2] if past else None


@given(CHANGES, st.integers(-KEEP_REPLACED_MS, 2_000_000))
def test_the_price_in_force_is_the_newest_row_of_the_latest_instant(changes, offset_ms):
    schedule, rows, now_ms = build(changes)
    price = schedule.price_at(now_ms + offset_ms)
    # Also for a reader whose clock is behind by as much as replaced prices are kept.
    assert (None if price is None else price.price_micros_per_gpu_hour) == find(rows, now_ms + offset_ms)


@given(CHANGES, st.integers(-KEEP_REPLACED_MS, 2_000_000))
def test_a_price_holds_exactly_from_its_first_to_before_its_last_instant(changes, offset_ms):
    schedule, _, now_ms = build(changes)
    price = schedule.price_at(now_ms + offset_ms)
    if price is None:
        return
    assert price.from_ms <= now_ms + offset_ms
    if price.until_ms is None:
        assert schedule.price_at(now_ms + 10**9) == price
    else:
        assert schedule.price_at(price.until_ms - 1) == price
        assert schedule.price_at(price.until_ms).from_ms == price.until_ms


@given(CHANGES)
def test_points_rise_are_bounded_and_no_row_is_in_force_that_was_replaced(changes):
    schedule, rows, now_ms = build(changes)
    instants = [point.from_ms for point in schedule.points]
    assert instants == sorted(set(instants))
    assert schedule.version == len(rows)
    # One that has ended long ago is dropped; the one in force, however old, is not.
    ended = [end for end in instants[1:] if end <= now_ms - KEEP_REPLACED_MS]
    assert ended == []
    assert {
        (point.from_ms, point.version, point.price_micros_per_gpu_hour) for point in schedule.points
    } <= set(rows)


@given(CHANGES)
def test_what_was_announced_stays_announced_whatever_is_set_before_it(changes):
    schedule, _, now_ms = build(changes)
    later_ms = now_ms + 10**7
    announced = schedule.set_price(later_ms, 5, now_ms).set_price(now_ms, 7, now_ms)
    assert announced.price_at(now_ms).price_micros_per_gpu_hour == 7
    assert announced.price_at(later_ms).price_micros_per_gpu_hour == 5

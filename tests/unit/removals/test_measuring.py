"""Datapoints to a day: sums that do not depend on order, windows that join, faults that are told."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.clock import format_hour
from chalicelib.metering.model import CaptureDatapoint
from chalicelib.removals.measuring import Datapoint, measure
from chalicelib.removals.model import Window
from chalicelib.removals.service import read_datapoints
from tests.fakes import FakeMeterStore
from tests.fakes.database import MemoryDatabase
from tests.unit.removals.plant import DAY_MS, HEAT_JOULES, POWER_JOULES, START, read_plant, tell

HOUR_MS = 3_600_000


#: A reading each five minutes, which is no gap yet.
COARSE = read_plant(step_ms=HOUR_MS // 12)
WHOLE = measure(COARSE, START, START + DAY_MS)


def codes(readings):
    return {each.code for each in readings.observed}


def day(points, from_ms=START, until_ms=START + DAY_MS):
    return measure(points, from_ms, until_ms)


def test_a_day_of_a_steady_plant_is_its_flow_times_its_purity():
    found = day(read_plant())
    assert found.captured.value == 24 * 1_000_000 * 95 // 100
    # 1 % of the flow and 1 % of 95 points, of meters that do not know each other.
    assert found.captured.standard_deviation == pytest.approx(24 * 1_000_000 * 0.95 * 0.0145, rel=0.01)
    assert found.heat.value == 24 * HEAT_JOULES * 1000
    assert found.cycles == 24
    assert found.tank.value == 24 * 950 * 1000
    assert codes(found) == set()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_order_and_repeats_change_nothing(seed, repeats):
    again = COARSE + COARSE[:repeats]
    random.Random(seed).shuffle(again)
    assert day(again) == WHOLE


@settings(max_examples=60, deadline=None)
@given(st.integers(1, DAY_MS - 1))
def test_two_windows_are_the_day_they_make(offset):
    cut = START + offset
    first, second = day(COARSE, until_ms=cut), day(COARSE, from_ms=cut)
    assert first.heat.value + second.heat.value == WHOLE.heat.value
    assert WHOLE.captured.value - 1 <= first.captured.value + second.captured.value <= WHOLE.captured.value


def test_a_steady_meter_gives_each_hour_the_same():
    found = day(read_plant())
    assert found.electricity.hours == tuple(
        (START + hour * HOUR_MS, POWER_JOULES * 1000) for hour in range(24)
    )
    assert found.heat.hours == tuple((START + hour * HOUR_MS, HEAT_JOULES * 1000) for hour in range(24))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, DAY_MS + 200_000), st.integers(0, 10**9)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_the_hours_of_a_counter_sum_to_it_whatever_it_shows_and_however_it_comes(told, random):
    points = [
        tell(f"ET-{number % 2}", "electricity", value, START + at_ms)
        for number, (at_ms, value) in enumerate(dict(told).items())
    ]
    found = day(points)
    random.shuffle(points)
    assert day(points).electricity == found.electricity
    if found.electricity is not None:
        assert sum(part for _, part in found.electricity.hours) == found.electricity.value
        assert all(part >= 0 for _, part in found.electricity.hours)
        assert {hour for hour, _ in found.electricity.hours} <= set(range(START, START + DAY_MS, HOUR_MS))


def test_what_a_counter_gained_over_hours_is_of_each_by_time():
    before, after = START + HOUR_MS // 2, START + 2 * HOUR_MS
    found = day([tell("ET-1", "electricity", 10, before), tell("ET-1", "electricity", 40, after)])
    assert found.electricity.hours == ((START, 10_000), (START + HOUR_MS, 20_000))
    last = [
        tell("ET-1", "electricity", 0, START + DAY_MS - 60_000),
        tell("ET-1", "electricity", 7, START + DAY_MS + 60_000),
    ]
    assert day(last).electricity.hours == ((START + 23 * HOUR_MS, 7_000),)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 5 * DAY_MS - 1), st.integers(0, 1), st.integers(0, 10**6)), max_size=30
    ),
    st.sampled_from([1, HOUR_MS // 12, DAY_MS // 3, DAY_MS]),
)
def test_the_days_of_a_counter_sum_to_what_it_gained_however_long_it_was_silent(told, near):
    store, unit = FakeMeterStore(MemoryDatabase()), "dac-1"
    # Some of them close to a midnight.
    readings = {
        (number, (at_ms // DAY_MS * DAY_MS + at_ms % near) if near < DAY_MS else at_ms): gained
        for at_ms, number, gained in told
    }
    shown, values = {}, {}
    for (number, at_ms), gained in sorted(readings.items()):
        shown[number] = shown.get(number, 0) + gained
        values.setdefault(number, []).append(shown[number])
        point = CaptureDatapoint(
            unit, f"ET-{number}", "electricity", shown[number], 0, "joules", START + at_ms
        )
        assert store.keep_datapoint("hst_1", point, START + at_ms)
    total = 0
    for number in range(-1, 6):
        window = Window("hst_1", unit, format_hour(START + number * DAY_MS)[:10])
        found = measure(read_datapoints(store, window), window.from_ms, window.until_ms).electricity
        if found is not None:
            total += found.value
            assert sum(part for _, part in found.hours) == found.value
            assert {hour for hour, _ in found.hours} <= set(range(window.from_ms, window.until_ms, HOUR_MS))
    assert total == 1000 * sum(each[-1] - each[0] for each in values.values())


def test_what_a_counter_gained_over_midnight_is_of_the_day_in_which_it_tells_again_and_both_say_so():
    silent = [
        tell("ET-1", "electricity", 100, START - DAY_MS - HOUR_MS),
        tell("ET-1", "electricity", 160, START + 2 * HOUR_MS),
        tell("ET-1", "electricity", 170, START + DAY_MS),
    ]
    before, after = day(silent[:1], START - 2 * DAY_MS, START - DAY_MS), day(silent)
    assert (before.electricity.value, codes(before) - {"no_mass_flow", "gap"}) == (0, {"counter_gap"})
    assert after.electricity.hours[:2] == ((START, 30_000), (START + HOUR_MS, 30_000))
    assert after.electricity.value == 70_000
    assert codes(after) - {"no_mass_flow", "gap"} == {"counter_gap"}
    joined = day([*silent, tell("ET-1", "electricity", 130, START + 60_000)])
    assert joined.electricity.value == 40_000, "the day before has what came before it"
    assert "counter_gap" not in codes(joined)


def test_who_looks_back_for_a_counter_gives_up_and_says_so(monkeypatch):
    monkeypatch.setattr("chalicelib.removals.service.MAX_LOOK_BACK", 2)
    store, window = FakeMeterStore(MemoryDatabase()), Window("hst_1", "dac-1", format_hour(START)[:10])
    for sensor, at_ms in (
        ("ET-1", -3 * HOUR_MS),
        ("TT-1", -2 * HOUR_MS),
        ("TT-1", -HOUR_MS),
        ("ET-1", HOUR_MS),
    ):
        told = ("electricity", "joules") if sensor == "ET-1" else ("temperature", "millikelvin")
        point = CaptureDatapoint("dac-1", sensor, told[0], 5, 0, told[1], START + at_ms)
        store.keep_datapoint("hst_1", point, START + at_ms)
    found = read_datapoints(store, window)
    assert [each.sampled_at_ms for each in found] == [START + HOUR_MS]
    assert any("begins 3600000 ms after" in each.detail for each in day(found).observed)


def test_a_gap_captures_nothing_and_is_told():
    points = [each for each in read_plant() if not START + HOUR_MS < each.sampled_at_ms < START + 3 * HOUR_MS]
    found = day(points)
    assert "gap" in codes(found)
    assert found.captured.value == 22 * 1_000_000 * 95 // 100
    assert found.heat.value == 24 * HEAT_JOULES * 1000, "a counter went on counting"


def test_a_counter_that_fell_began_anew_and_is_told():
    points = [
        replace(each, value=each.value - 12 * HEAT_JOULES - 500_000)
        if each.quantity == "heat" and each.sampled_at_ms >= START + 12 * HOUR_MS
        else each
        for each in read_plant()
    ]
    found = day(points)
    assert "counter_reset" in codes(found)
    assert found.heat.value < 24 * HEAT_JOULES * 1000, "what came before the reset is not known"
    assert found.heat.value >= 0


def test_a_clock_that_jumps_is_told():
    points = read_plant()
    late = replace(points[-1], sampled_at_ms=START + HOUR_MS + 1, received_at_ms=START + 2 * DAY_MS)
    assert codes(day([*points, late])) == {"clock_went_back"}
    early = replace(points[-1], sampled_at_ms=START + DAY_MS + 900_000, received_at_ms=START + DAY_MS)
    assert "clock_ahead" in codes(day([*points, early]))


def test_flow_without_purity_is_refused():
    points = [each for each in read_plant() if each.quantity != "co2_mass_fraction"]
    found = day(points)
    assert codes(found) == {"no_mass_flow"}
    assert found.captured.value == 0


def test_another_unit_than_the_quantitys_is_refused():
    assert "wrong_unit" in codes(day([*read_plant(), tell("QT-9", "heat", 5, START, unit="grams")]))


def test_nothing_told_is_nothing_captured():
    found = day([])
    assert (found.captured.value, found.heat, found.cycles) == (0, None, None)
    assert isinstance(tell("x", "heat", 1, 1), Datapoint)

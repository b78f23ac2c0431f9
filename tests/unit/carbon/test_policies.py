"""When work that may wait runs: in its window, no worse than at once, as well as any other way."""

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.carbon.policies import (
    Forecast,
    Window,
    find_percentile,
    plan_immediate,
    plan_interrupting,
    plan_threshold,
    plan_window,
)
from chalicelib.core.errors import Conflict, InvalidInput

LOWEST = (plan_immediate, plan_window, plan_interrupting)
#: mg/kWh; few values, so that slots are often equal.
VALUES = st.lists(st.integers(0, 4) | st.integers(0, 900_000), min_size=1, max_size=12)


@st.composite
def cases(draw):
    """A forecast and a window in it, seldom on the edges of slots."""
    slot = draw(st.integers(1, 6))
    forecast = Forecast(draw(st.integers(-20, 20)), slot, draw(VALUES))
    earliest = draw(st.integers(forecast.start, forecast.end - 1))
    deadline = draw(st.integers(earliest + 1, forecast.end))
    return forecast, Window(earliest, deadline, draw(st.integers(1, deadline - earliest)))


def list_instants(forecast, window):
    """The intensity of each instant of the window: the plain truth to measure with."""
    return {
        instant: forecast.intensities[(instant - forecast.start) // forecast.slot]
        for instant in range(window.earliest, window.deadline)
    }


def list_plans(forecast, window, bound):
    plans = [plan(forecast, window) for plan in LOWEST]
    return [
        *plans,
        plan_threshold(forecast, window, bound, interruptible=True),
        plan_threshold(forecast, window, bound, interruptible=False),
    ]


@given(cases(), st.integers(0, 900_000))
def test_a_plan_runs_the_whole_duration_inside_its_window(case, bound):
    forecast, window = case
    instants = list_instants(forecast, window)
    for plan in list_plans(forecast, window, bound):
        assert plan.start >= window.earliest
        assert plan.intervals[-1][1] <= window.deadline
        assert all(start < end for start, end in plan.intervals)
        assert all(before[1] < after[0] for before, after in pairwise(plan.intervals))
        run = [instant for start, end in plan.intervals for instant in range(start, end)]
        assert len(run) == window.duration == plan.duration
        assert plan.total == sum(instants[instant] for instant in run)
        assert plan.immediate_total == sum(list(instants.values())[: window.duration])


@given(cases())
def test_pauses_are_no_worse_than_the_best_window_and_that_is_no_worse_than_at_once(case):
    at_once, window, interrupting = (plan(*case) for plan in LOWEST)
    assert interrupting.total <= window.total <= at_once.total == at_once.immediate_total
    assert interrupting.mean <= window.mean <= at_once.mean


@given(cases())
def test_nothing_that_could_be_tried_is_better(case):
    forecast, window = case
    instants = list_instants(forecast, window)
    values = list(instants.values())
    starts = range(len(values) - window.duration + 1)
    costs = [sum(values[start : start + window.duration]) for start in starts]
    best = plan_window(forecast, window)
    assert best.total == min(costs)
    assert best.start == window.earliest + costs.index(min(costs))
    assert plan_interrupting(forecast, window).total == sum(sorted(values)[: window.duration])


@given(VALUES, st.data())
def test_the_lowest_slots_are_those_of_every_choice_and_of_equal_ones_the_earliest(values, data):
    count = data.draw(st.integers(1, len(values)))
    plan = plan_interrupting(Forecast(0, 1, values), Window(0, len(values), count))
    run = tuple(instant for start, end in plan.intervals for instant in range(start, end))
    ways = combinations(range(len(values)), count)
    assert run == min(ways, key=lambda way: (sum(values[each] for each in way), way))


@given(cases(), st.integers(0, 900_000))
def test_a_bound_is_exceeded_only_when_the_deadline_asks_for_it(case, bound):
    forecast, window = case
    instants = list_instants(forecast, window)
    plan = plan_threshold(forecast, window, bound, interruptible=True)
    run = [instant for start, end in plan.intervals for instant in range(start, end)]
    above = [instant for instant in run if instants[instant] > bound]
    slack = window.deadline - window.earliest > window.duration
    assert (plan.why == "deadline") == (bool(above) and slack)
    for instant in above:
        left = window.duration - run.index(instant)
        assert window.deadline - instant == left
    skipped = [each for each in instants if each < run[-1] and each not in run]
    assert all(instants[each] > bound for each in skipped)


@given(cases(), st.integers(0, 900_000))
def test_what_may_not_pause_starts_at_the_first_low_instant_or_the_last_possible(case, bound):
    forecast, window = case
    instants = list_instants(forecast, window)
    latest = window.deadline - window.duration
    low = [each for each in instants if instants[each] <= bound and each <= latest]
    plan = plan_threshold(forecast, window, bound, interruptible=False)
    assert plan.start == (low[0] if low else latest)
    assert (plan.why == "deadline") == (not low and latest > window.earliest)


@given(cases())
def test_the_same_forecast_in_floats_gives_the_same_plan(case):
    forecast, window = case
    floats = Forecast(forecast.start, forecast.slot, [float(each) for each in forecast.intensities])
    for plan in LOWEST:
        # Whole numbers of this size are exact in a float.
        assert plan(floats, window).intervals == plan(forecast, window).intervals
        assert plan(floats, window).total == plan(forecast, window).total


@given(cases(), st.integers(1, 100))
def test_a_percentile_is_not_exceeded_by_that_part_of_the_slots(case, percent):
    forecast, window = case
    bound = find_percentile(forecast, window, percent)
    first = (window.earliest - forecast.start) // forecast.slot
    last = (window.deadline - 1 - forecast.start) // forecast.slot
    slots = forecast.intensities[first : last + 1]
    assert bound in slots
    assert sum(each <= bound for each in slots) * 100 >= percent * len(slots)
    assert sum(each < bound for each in slots) * 100 < percent * len(slots)


@pytest.mark.parametrize(
    ("plan", "window", "why"),
    [
        (plan_immediate, Window(0, 8, 2), "immediate"),
        (plan_window, Window(0, 2, 2), "no_slack"),
        (plan_window, Window(0, 8, 2), "lower_later"),
        (plan_window, Window(4, 8, 2), "already_lowest"),
        (plan_interrupting, Window(0, 2, 2), "no_slack"),
        (plan_interrupting, Window(0, 8, 2), "lower_later"),
        (plan_interrupting, Window(4, 8, 1), "already_lowest"),
    ],
)
def test_a_plan_says_why(plan, window, why):
    assert plan(Forecast(0, 1, [5, 4, 3, 9, 1, 1, 9, 9]), window).why == why


def test_a_threshold_says_why():
    forecast, window = Forecast(0, 1, [5, 4, 3, 9]), Window(0, 4, 2)
    below = plan_threshold(forecast, window, 4, interruptible=True)
    assert (below.why, below.intervals) == ("below_bound", ((1, 3),))
    late = plan_threshold(forecast, window, 2, interruptible=True)
    assert (late.why, late.intervals) == ("deadline", ((2, 4),))
    assert plan_threshold(forecast, Window(0, 2, 2), 2, interruptible=True).why == "no_slack"


def test_the_part_of_a_slot_joins_what_runs_after_it():
    plan = plan_interrupting(Forecast(0, 30, [90, 50, 10, 90]), Window(0, 120, 45))
    assert plan.intervals == ((45, 90),)
    assert plan.total == 15 * 50 + 30 * 10
    # 1050 / 45 = 23.3
    assert (plan.mean, plan.immediate_mean) == (23, 77)


def test_the_best_start_may_lie_within_a_slot():
    plan = plan_window(Forecast(0, 30, [90, 50, 10, 90]), Window(0, 120, 45))
    assert plan.intervals == ((45, 90),)


@given(cases(), st.integers(1, 50))
def test_a_deadline_that_cannot_be_met_is_refused(case, missing):
    forecast, window = case
    window = replace(window, duration=window.deadline - window.earliest + missing)
    for plan in LOWEST:
        with pytest.raises(InvalidInput) as error:
            plan(forecast, window)
        assert error.value.code == "deadline_too_early"


@given(cases(), st.integers(0, 20), st.integers(0, 20))
def test_a_window_that_the_forecast_does_not_cover_is_refused(case, before, after):
    assume(before or after)
    forecast, window = case
    window = replace(window, earliest=forecast.start - before, deadline=forecast.end + after)
    for plan in LOWEST:
        with pytest.raises(Conflict) as error:
            plan(forecast, window)
        assert error.value.code == "forecast_too_short"
        assert error.value.extra == {"forecast_start": forecast.start, "forecast_end": forecast.end}


def test_nothing_to_run_and_a_wrong_percentage_are_refused():
    forecast = Forecast(0, 1, [1, 2])
    with pytest.raises(InvalidInput, match="positive"):
        plan_window(forecast, Window(0, 2, 0))
    for percent in (0, 101):
        with pytest.raises(InvalidInput, match="percentile"):
            find_percentile(forecast, Window(0, 2, 1), percent)

"""Plans of flexible starts, pure: bounded whatever a planner says, looked at again once an hour at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidInput
from chalicelib.rentals.flexibility import (
    HOUR_MS,
    MAX_REPLANS,
    MAX_WINDOW_MS,
    WIDEN_LEAD_MS,
    Flexibility,
    StartChoice,
    UsedForecast,
    begin_plan,
    check_window,
    list_allowed,
    may_replan,
    replan,
)

NOW = 1_800_000_000_000
REGIONS = ("eu-central-1", "eu-north-1")
HOURS = 3600


def ask(*, latest_ms=NOW + 8 * HOUR_MS, hours=2, policy="window", regions=REGIONS):
    return Flexibility(policy, hours * HOURS, latest_ms, regions)


def choose(start_ms, *regions, why="lower_later", mg=100_000, immediate=200_000):
    used = UsedForecast("p", "z", NOW, NOW + 96 * HOUR_MS, mg, immediate)
    return StartChoice(start_ms, regions or REGIONS, why, used)


@pytest.mark.parametrize(
    ("latest_ms", "code"),
    [
        (NOW - 2 * HOUR_MS, "deadline_passed"),
        (NOW - 1, "deadline_too_early"),
        (NOW + MAX_WINDOW_MS - 2 * HOUR_MS + 1, "window_too_long"),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_its_reason(latest_ms, code):
    with pytest.raises(InvalidInput) as refused:
        check_window(ask(latest_ms=latest_ms), NOW)
    assert refused.value.code == code


@pytest.mark.parametrize("latest_ms", [NOW, NOW + MAX_WINDOW_MS - 2 * HOUR_MS])
def test_the_edges_of_a_window_are_inside(latest_ms):
    check_window(ask(latest_ms=latest_ms), NOW)


@given(st.integers(-(10**13), 10**13), st.integers(0, 10 * HOUR_MS), st.lists(st.sampled_from("abc")))
def test_a_planner_that_errs_neither_breaks_the_deadline_nor_leads_elsewhere(offset_ms, slack_ms, named):
    asked = ask(latest_ms=NOW + slack_ms, regions=("a", "b"))
    plan = begin_plan(asked, choose(NOW + offset_ms, *named), NOW)
    assert NOW <= plan.choice.start_at_ms <= asked.latest_start_ms
    assert sorted(plan.choice.regions) == ["a", "b"]
    later_ms = min(NOW + 2 * HOUR_MS, asked.latest_start_ms)
    again = replan(plan, choose(NOW + offset_ms, *named), later_ms)
    assert later_ms <= again.choice.start_at_ms <= asked.latest_start_ms


def test_a_plan_is_looked_at_again_once_an_hour_and_not_at_its_latest_start():
    plan = begin_plan(ask(), choose(NOW + HOUR_MS), NOW)
    assert not may_replan(plan, NOW + HOUR_MS - 1)
    assert may_replan(plan, NOW + HOUR_MS)
    again = replan(plan, choose(NOW + 3 * HOUR_MS, "eu-north-1"), NOW + HOUR_MS)
    assert not may_replan(again, NOW + 2 * HOUR_MS - 1)
    assert not may_replan(again, NOW + 8 * HOUR_MS)
    (step,) = again.replans
    assert (step.at_ms, step.start_at_ms, step.region, step.why) == (
        NOW + HOUR_MS,
        NOW + 3 * HOUR_MS,
        "eu-north-1",
        "lower_later",
    )


def test_a_plan_is_not_looked_at_without_end():
    plan = begin_plan(ask(latest_ms=NOW + 400 * HOUR_MS), choose(NOW + HOUR_MS), NOW)
    for number in range(1, MAX_REPLANS + 1):
        assert may_replan(plan, NOW + number * HOUR_MS)
        plan = replan(plan, choose(NOW + (number + 1) * HOUR_MS), NOW + number * HOUR_MS)
    assert not may_replan(plan, NOW + (MAX_REPLANS + 1) * HOUR_MS)


def test_a_saving_stays_against_the_start_when_it_was_asked_for():
    plan = begin_plan(ask(), choose(NOW + HOUR_MS, mg=100_000, immediate=400_000), NOW)
    assert plan.choice.forecast.saving_permille == 750
    again = replan(plan, choose(NOW + 2 * HOUR_MS, mg=300_000, immediate=310_000), NOW + HOUR_MS)
    assert again.choice.forecast.saving_permille == 250
    worse = replan(plan, choose(NOW + 2 * HOUR_MS, mg=500_000), NOW + HOUR_MS)
    assert worse.choice.forecast.saving_permille == -250


def test_only_the_best_region_is_open_until_the_latest_start_is_near():
    plan = begin_plan(ask(), choose(NOW + HOUR_MS, "eu-north-1"), NOW)
    assert plan.open_regions == ("eu-north-1",)
    assert plan.widens_at_ms == NOW + 8 * HOUR_MS - WIDEN_LEAD_MS
    near = begin_plan(ask(), choose(NOW + 8 * HOUR_MS, "eu-north-1"), NOW)
    assert near.open_regions == ("eu-north-1", "eu-central-1")


@pytest.mark.parametrize(
    ("policy", "choice"),
    [
        ("none", choose(NOW, why="immediate")),
        ("window", StartChoice(NOW, REGIONS, "no_forecast")),
        ("window", StartChoice(NOW, REGIONS, "forecast_too_short")),
    ],
)
def test_what_starts_at_once_whatever_the_grid_may_go_anywhere(policy, choice):
    plan = begin_plan(ask(policy=policy), choice, NOW)
    assert (plan.choice.start_at_ms, plan.open_regions) == (NOW, REGIONS)


def test_where_it_may_run_is_what_was_asked_for_and_sold():
    sold = [f"r-{number}" for number in range(10)]
    assert list_allowed(("r-9", "r-1"), sold) == ("r-9", "r-1")
    assert list_allowed((), sold) == tuple(sold[:8])
    with pytest.raises(InvalidInput, match="mars-1"):
        list_allowed(("r-1", "mars-1"), sold)

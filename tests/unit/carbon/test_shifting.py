"""Starts of work that may wait: in time by any forecast, never worse than at once by a perfect one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.carbon.intensity import HOUR_MS, Series
from chalicelib.carbon.shifting import ForecastPlanner
from chalicelib.rentals.flexibility import Flexibility, begin_plan, explain
from tests.fakes.database import START_MS, MemoryDatabase
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import GB, GERMANY, SWEDEN, build_forecast

HOME, NORTH = "eu-central-1", "eu-north-1"
#: From the present hour on, in g/kWh.
GERMAN = (300, 280, 120, 110, 290, 310)
SWEDISH = (40, 20, 20, 30, 30, 30)
BRITISH_MAPS = Series("electricity_maps", "GB", "average")


def ask(*, policy="window", hours=2, within=6, regions=(HOME,), threshold=None):
    latest_ms = START_MS + (within - hours) * HOUR_MS
    return Flexibility(policy, hours * 3600, latest_ms, regions, threshold)


def plan(asked, *forecasts, now_ms=START_MS, regions=None):
    store = FakeIntensityStore(MemoryDatabase())
    for each in forecasts:
        store.add_forecast(each)
    return ForecastPlanner(store).plan_start(asked, regions or asked.regions, now_ms)


def test_the_lowest_hours_before_the_deadline_are_chosen_and_their_forecast_is_named():
    choice = plan(ask(), build_forecast(GERMANY, GERMAN))
    assert (choice.start_at_ms, choice.regions, choice.why) == (
        START_MS + 2 * HOUR_MS,
        (HOME,),
        "lower_later",
    )
    used = choice.forecast
    assert (used.provider, used.zone, used.generated_at_ms) == ("electricity_maps", "DE", START_MS)
    assert (used.mg_co2e_per_kwh, used.immediate_mg_co2e_per_kwh) == (115_000, 290_000)
    assert used.saving_permille == 603


def test_of_several_regions_the_cleanest_is_meant_and_the_others_follow_in_order():
    asked = ask(regions=(HOME, "eu-west-3", NORTH))
    choice = plan(asked, build_forecast(GERMANY, GERMAN), build_forecast(SWEDEN, SWEDISH))
    # Of eu-west-3 nothing is forecast: it is the last.
    assert choice.regions == (NORTH, HOME, "eu-west-3")
    assert (choice.start_at_ms, choice.forecast.zone) == (START_MS + HOUR_MS, "SE")
    assert choice.forecast.immediate_mg_co2e_per_kwh == 290_000, "beside a start at once at home"


def test_without_a_pause_in_time_the_cleanest_region_is_taken_at_once():
    asked = ask(policy="none", regions=(HOME, NORTH))
    choice = plan(asked, build_forecast(GERMANY, GERMAN), build_forecast(SWEDEN, SWEDISH))
    assert (choice.start_at_ms, choice.regions[0], choice.why) == (START_MS, NORTH, "immediate")


def test_a_threshold_starts_in_the_first_hour_at_or_below_it_wherever_that_is():
    both = build_forecast(GERMANY, GERMAN), build_forecast(SWEDEN, [200] * 6)
    asked = ask(policy="threshold", threshold=120_000, regions=(NORTH, HOME))
    choice = plan(asked, *both)
    assert (choice.start_at_ms, choice.regions[0], choice.why) == (
        START_MS + 2 * HOUR_MS,
        HOME,
        "below_bound",
    )
    never = plan(ask(policy="threshold", threshold=1, regions=(HOME,)), both[0])
    assert (never.start_at_ms, never.why) == (START_MS + 4 * HOUR_MS, "deadline")


def test_a_region_that_comes_down_to_the_threshold_goes_before_one_that_never_does():
    asked = ask(policy="threshold", threshold=120_000, regions=(HOME, NORTH))
    # Home's forecast is short: it would have to start sooner.
    both = build_forecast(GERMANY, [200] * 3), build_forecast(SWEDEN, (300, 300, 300, 100, 100, 100))
    choice = plan(asked, *both)
    assert (choice.start_at_ms, choice.regions, choice.why) == (
        START_MS + 3 * HOUR_MS,
        (NORTH, HOME),
        "below_bound",
    )


@pytest.mark.parametrize("regions", [(HOME, "eu-west-3"), ("mars-1",)])
def test_what_nothing_is_forecast_of_starts_at_once(regions):
    choice = plan(ask(regions=regions))
    assert (choice.start_at_ms, choice.regions, choice.why, choice.forecast) == (
        START_MS,
        regions,
        "no_forecast",
        None,
    )


def test_a_forecast_that_ends_before_the_deadline_is_used_as_far_as_it_reaches_and_said_so():
    asked = ask(within=48)
    choice = plan(asked, build_forecast(GERMANY, GERMAN))
    assert choice.start_at_ms == START_MS + 2 * HOUR_MS
    assert choice.forecast.covers_until_ms == START_MS + 6 * HOUR_MS
    assert "forecast ends before the deadline" in explain(begin_plan(asked, choice, START_MS))
    whole = plan(ask(), build_forecast(GERMANY, GERMAN))
    assert "ends before" not in explain(begin_plan(ask(), whole, START_MS))


def test_a_forecast_that_is_shorter_than_the_work_says_nothing_of_it():
    choice = plan(ask(hours=7, within=24), build_forecast(GERMANY, GERMAN))
    assert (choice.start_at_ms, choice.why, choice.forecast) == (START_MS, "forecast_too_short", None)


def test_a_provider_that_reaches_the_deadline_goes_before_one_that_does_not():
    operators = build_forecast(GB, (100, 100, 100))
    longer = build_forecast(BRITISH_MAPS, (300, 300, 300, 300, 50, 50))
    asked = ask(regions=("eu-west-2",))
    assert plan(asked, operators, longer).forecast.provider == "electricity_maps"
    assert plan(asked, operators).forecast.provider == "uk_carbon_intensity"


class CountingStore(FakeIntensityStore):
    reads = 0

    def find_forecast(self, series, at_ms):
        self.reads += 1
        return super().find_forecast(series, at_ms)


def test_many_that_are_due_at_one_instant_read_the_forecasts_once():
    store = CountingStore(MemoryDatabase())
    store.add_forecast(build_forecast(GERMANY, GERMAN))
    planner = ForecastPlanner(store)
    choices = {planner.plan_start(ask(), (HOME,), START_MS) for _ in range(9)}
    assert len(choices) == 1
    first = store.reads
    assert first == 2, "one of each provider of the grid"
    store.add_forecast(build_forecast(GERMANY, [0] * 12, made_ms=START_MS + 1))
    assert planner.plan_start(ask(), (HOME,), START_MS + 1).forecast.mg_co2e_per_kwh == 0
    assert store.reads == 2 * first


def test_a_home_above_the_price_cap_is_still_what_the_saving_is_against():
    asked = ask(regions=(HOME, NORTH))
    both = build_forecast(GERMANY, GERMAN), build_forecast(SWEDEN, SWEDISH)
    choice = plan(asked, *both, regions=(NORTH,))
    assert (choice.regions, choice.forecast.immediate_mg_co2e_per_kwh) == ((NORTH,), 290_000)
    unknown = plan(asked, both[1], regions=(NORTH,))
    assert (unknown.forecast.immediate_mg_co2e_per_kwh, unknown.forecast.saving_permille) == (None, None)


forecasts = st.lists(st.integers(0, 3000), max_size=60)


@given(
    home=forecasts,
    north=forecasts,
    policy=st.sampled_from(["none", "window", "threshold"]),
    minutes=st.integers(1, 40 * 60),
    slack_minutes=st.integers(0, 40 * 60),
    offset_ms=st.integers(0, 2 * HOUR_MS),
)
def test_whatever_is_forecast_the_start_is_between_now_and_the_latest(
    home, north, policy, minutes, slack_minutes, offset_ms
):
    now_ms = START_MS + offset_ms
    threshold = 700_000 if policy == "threshold" else None
    asked = Flexibility(policy, minutes * 60, now_ms + slack_minutes * 60_000, (HOME, NORTH), threshold)
    told = [build_forecast(s, g) for s, g in ((GERMANY, home), (SWEDEN, north)) if g]
    choice = plan(asked, *told, now_ms=now_ms)
    assert now_ms <= choice.start_at_ms <= asked.latest_start_ms
    assert choice.start_at_ms + minutes * 60_000 <= asked.finish_by_ms
    assert sorted(choice.regions) == [HOME, NORTH]
    if choice.forecast is None:
        assert choice.start_at_ms == now_ms
    elif policy != "threshold" and choice.forecast.immediate_mg_co2e_per_kwh is not None:
        # What comes true as forecast is never worse than a start at once.
        assert choice.forecast.mg_co2e_per_kwh <= choice.forecast.immediate_mg_co2e_per_kwh
        assert choice.forecast.saving_permille >= 0

"""The best start over several regions, its expected saving, and the saving that came of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.carbon.policies import Forecast, Window, plan_immediate, plan_interrupting
from chalicelib.carbon.starts import Place, Saving, find_best_starts, measure_saving
from chalicelib.core.errors import Conflict, InvalidInput

HOUR_MS = 3_600_000
WINDOW = Window(0, 4 * HOUR_MS, 2 * HOUR_MS)


def build_place(region, intensities, price=1_000_000):
    return Place(region, Forecast(0, HOUR_MS, intensities), price)


HOME = build_place("eu-central-1", [400_000, 400_000, 300_000, 300_000], 2_000_000)
NORTH = build_place("eu-north-1", [30_000, 20_000, 20_000, 50_000], 3_000_000)
WEST = build_place("eu-west-1", [350_000, 250_000, 250_000, 450_000])


def find(*places, **options):
    return find_best_starts(places, WINDOW, home_region="eu-central-1", **options)


def test_the_lowest_region_and_time_come_first_with_what_they_save():
    best = find(HOME, WEST, NORTH)
    assert [each.region for each in best.starts] == ["eu-north-1", "eu-west-1", "eu-central-1"]
    assert best.excluded == {}
    north = best.starts[0]
    assert north.plan.intervals == ((HOUR_MS, 3 * HOUR_MS),)
    assert (north.plan.why, north.moved) == ("lower_later", True)
    assert north.saving == Saving(20_000, 400_000)
    assert (north.saving.saved_mg_co2e_per_kwh, north.saving.saved_ppm) == (380_000, 950_000)
    assert north.saving.compute_mass(7_200_000_000) == 760_000
    home = best.starts[-1]
    assert (home.plan.why, home.moved, home.saving.saved_ppm) == ("lower_later", False, 250_000)


def test_regions_that_are_not_allowed_too_dear_or_not_forecast_are_named():
    short = build_place("us-east-1", [1, 1])
    unpriced = build_place("us-west-2", [1, 1, 1, 1], None)
    allowed = frozenset({"eu-central-1", "eu-north-1", "us-east-1", "us-west-2"})
    best = find(
        HOME, NORTH, WEST, short, unpriced, allowed_regions=allowed, max_price_micros_per_gpu_hour=2_500_000
    )
    assert [each.region for each in best.starts] == ["eu-central-1"]
    assert best.excluded == {
        "eu-north-1": "above_price_cap",
        "eu-west-1": "region_not_allowed",
        "us-east-1": "forecast_too_short",
        "us-west-2": "no_price",
    }


def test_a_home_that_may_not_be_chosen_is_still_what_is_compared_with():
    best = find(HOME, WEST, allowed_regions=frozenset({"eu-west-1"}))
    assert [each.region for each in best.starts] == ["eu-west-1"]
    assert best.starts[0].saving == Saving(250_000, 400_000)
    assert best.excluded == {"eu-central-1": "region_not_allowed"}


def test_where_nothing_is_left_the_answer_says_why():
    best = find(HOME, max_price_micros_per_gpu_hour=1)
    assert best.starts == ()
    assert best.excluded == {"eu-central-1": "above_price_cap"}


def test_of_equal_places_the_earlier_then_the_cheaper_then_the_name_decides():
    flat = [5, 5, 5, 5]
    places = [
        build_place("d", [9, 5, 5, 9], 1),
        build_place("c", flat, 7),
        build_place("b", flat, None),
        build_place("a", flat, 7),
        build_place("eu-central-1", [9, 9, 9, 9]),
    ]
    assert [each.region for each in find(*places).starts] == ["a", "c", "b", "d", "eu-central-1"]


@given(st.lists(st.lists(st.integers(0, 900_000), min_size=4, max_size=4), min_size=1, max_size=5))
def test_no_region_and_no_start_is_better_and_the_forecast_that_comes_true_saves_what_was_expected(rows):
    places = [build_place(f"region-{index}", row) for index, row in enumerate(rows)]
    best = find_best_starts(places, WINDOW, home_region="region-0", plan=plan_interrupting).starts[0]
    assert best.plan.total == min(sum(sorted(row)[:2]) * HOUR_MS for row in rows)
    assert best.saving.saved_mg_co2e_per_kwh >= 0
    assert 0 <= best.saving.saved_ppm <= 1_000_000
    actual = next(place.forecast for place in places if place.region == best.region)
    measured = measure_saving(
        best.plan.intervals, actual, immediate=(0, 2 * HOUR_MS), home_actual=places[0].forecast
    )
    assert measured == best.saving


def test_a_forecast_that_was_wrong_is_measured_as_a_loss():
    actual = Forecast(0, HOUR_MS, [100_000, 100_000, 200_000, 200_000])
    saving = measure_saving(
        [(2 * HOUR_MS, 4 * HOUR_MS)], actual, immediate=(0, 2 * HOUR_MS), home_actual=actual
    )
    assert (saving.saved_mg_co2e_per_kwh, saving.saved_ppm) == (-100_000, -1_000_000)
    assert saving.compute_mass(3_600_000_000) == -100_000


def test_nothing_is_saved_where_nothing_is_emitted():
    assert Saving(0, 0).saved_ppm == 0


def test_a_saving_is_not_measured_before_the_intensities_are_known():
    known = Forecast(0, HOUR_MS, [1, 1])
    with pytest.raises(Conflict):
        measure_saving([(HOUR_MS, 3 * HOUR_MS)], known, immediate=(0, HOUR_MS), home_actual=known)
    with pytest.raises(InvalidInput):
        measure_saving([], known, immediate=(0, HOUR_MS), home_actual=known)


def test_an_unknown_home_and_a_deadline_that_no_region_can_meet_are_refused():
    with pytest.raises(InvalidInput, match="eu-central-1"):
        find(NORTH)
    with pytest.raises(InvalidInput, match="deadline"):
        find_best_starts(
            [HOME], Window(0, HOUR_MS, 2 * HOUR_MS), home_region=HOME.region, plan=plan_immediate
        )

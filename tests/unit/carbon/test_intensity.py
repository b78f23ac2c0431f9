"""A figure is believed only if it can be right, and counted only for its hour, its signal and its grid."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.carbon.grid import REGIONS, find_annual, find_pue, list_series
from chalicelib.carbon.intensity import (
    HOUR_MS,
    MAX_MG_PER_KWH,
    MINUTE_MS,
    AnswerRefused,
    Figure,
    Forecast,
    Series,
    average_hour,
    check_actuals,
    check_forecast,
    choose_figure,
    convert_grams,
    convert_pounds,
    keep_latest,
    list_revised,
    read_number,
)
from tests.fakes.database import START_MS
from tests.unit.carbon.grids import CALIFORNIA, GB, GERMANY, HOUR, build_point

ANNUAL = Figure(370_930, "annual", "table", "v1", "eu-central-1", estimated=True)


def halves(series, first, second, **changes):
    half = HOUR_MS // 2
    return [
        build_point(series, HOUR, first, valid_until_ms=HOUR + half, **changes),
        build_point(series, HOUR + half, second, valid_until_ms=HOUR + HOUR_MS, **changes),
    ]


def test_pounds_per_megawatt_hour_are_converted_by_the_definition_of_the_pound():
    # 0.45359237 kg/lb: 1000 lb/MWh = 453.59237 g/kWh.
    assert convert_pounds(Fraction(1000)) == 453_592
    assert convert_pounds(read_number(Decimal(100000))) == 45_359_237
    assert convert_pounds(Fraction(0)) == 0
    assert convert_grams(read_number(Decimal("24.7105"))) == 24_711


@pytest.mark.parametrize("value", [True, None, "300", 1.5, [300]])
def test_what_is_no_exact_number_is_no_figure(value):
    with pytest.raises(AnswerRefused) as refused:
        read_number(value)
    assert refused.value.reason == "malformed"


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (build_point(mg=-1), "out_of_bounds"),
        (build_point(mg=MAX_MG_PER_KWH + 1), "out_of_bounds"),
        (build_point(valid_until_ms=HOUR + 2 * HOUR_MS), "bad_interval"),
        (build_point(valid_until_ms=HOUR), "bad_interval"),
        (build_point(valid_until_ms=HOUR + MINUTE_MS), "bad_interval"),
        (build_point(start_ms=HOUR + 1), "bad_interval"),
        (build_point(start_ms=START_MS + HOUR_MS), "in_future"),
        (build_point(start_ms=HOUR - 50 * HOUR_MS), "outside_window"),
    ],
)
def test_a_figure_that_cannot_be_right_is_refused_with_its_reason_and_the_others_are_kept(point, reason):
    good = build_point(start_ms=HOUR if point.valid_from_ms != HOUR else HOUR - HOUR_MS)
    checked = check_actuals([good, point], START_MS)
    assert checked.points == (good,)
    assert checked.refused == ((reason, point.valid_from_ms),)
    with pytest.raises(AnswerRefused) as refused:
        check_actuals([point], START_MS)
    assert refused.value.reason == reason


def test_yesterdays_reply_is_refused_and_so_is_an_empty_one():
    yesterday = [build_point(start_ms=HOUR - hours * HOUR_MS) for hours in range(20, 30)]
    with pytest.raises(AnswerRefused) as refused:
        check_actuals(yesterday, START_MS)
    assert refused.value.reason == "stale"
    with pytest.raises(AnswerRefused) as refused:
        check_actuals([], START_MS)
    assert refused.value.reason == "empty"


def test_an_interval_that_still_runs_is_left_out_and_is_no_error():
    over, running = build_point(), build_point(start_ms=START_MS - MINUTE_MS * 30)
    checked = check_actuals([over, running], START_MS)
    assert (checked.points, checked.refused) == ((over,), ())


def test_a_forecast_with_one_impossible_figure_is_refused_whole():
    ahead = [
        build_point(start_ms=START_MS + hours * HOUR_MS, kind="forecast", estimated=True)
        for hours in range(3)
    ]
    forecast = Forecast(GERMANY, START_MS, tuple(ahead))
    assert check_forecast(forecast, START_MS) == forecast
    with pytest.raises(AnswerRefused):
        check_forecast(replace(forecast, points=(*ahead, build_point(mg=-5))), START_MS)
    with pytest.raises(AnswerRefused) as refused:
        check_forecast(forecast, START_MS + 30 * HOUR_MS)
    assert refused.value.reason == "stale"


def test_an_hour_is_the_mean_of_its_half_hours_and_nothing_of_an_hour_that_has_a_gap():
    both = halves(GB, 200_000, 100_001)
    figure = average_hour(both, HOUR)
    assert (figure.mg_co2e_per_kwh, figure.estimated) == (150_001, False)
    assert average_hour(both[:1], HOUR) is None
    assert average_hour(both, HOUR + HOUR_MS) is None
    overlapping = [*both, build_point(GB, HOUR + MINUTE_MS * 15, 1)]
    assert average_hour(overlapping, HOUR) is None


def test_figures_made_by_two_methods_are_not_averaged():
    direct, lifecycle = halves(GERMANY, 200_000, 100_000)
    assert average_hour([direct, replace(lifecycle, method="another")], HOUR) is None


def test_measured_comes_before_estimated_and_estimated_before_the_year():
    uk, maps = halves(GB, 200_000, 100_000), [build_point(mg=170_000)]
    assert choose_figure([uk, maps], HOUR, ANNUAL).source == GB.provider
    guessed = halves(GB, 200_000, 100_000, estimated=True)
    assert choose_figure([guessed, maps], HOUR, ANNUAL).source == GERMANY.provider
    assert choose_figure([guessed, []], HOUR, ANNUAL).estimated
    assert choose_figure([guessed[:1], []], HOUR, ANNUAL) == ANNUAL
    assert choose_figure([[], []], HOUR, None) is None


def test_an_average_and_a_marginal_figure_are_never_candidates_for_the_same_hour():
    with pytest.raises(ValueError, match="one signal"):
        choose_figure([[build_point()], [build_point(CALIFORNIA)]], HOUR, ANNUAL)
    with pytest.raises(ValueError, match="several series"):
        average_hour([build_point(), build_point(GB)], HOUR)
    market = Series(GERMANY.provider, GERMANY.zone, "average", "market")
    with pytest.raises(ValueError, match="one accounting"):
        choose_figure([[build_point()], [build_point(market)]], HOUR, ANNUAL)


def test_what_a_provider_revises_is_a_revision_beside_the_first():
    first = build_point(mg=300_000)
    assert list_revised([first], []) == [first]
    assert list_revised([first], [first]) == []
    (second,) = list_revised([build_point(mg=290_000)], [first])
    assert (second.revision, second.mg_co2e_per_kwh) == (1, 290_000)
    assert list_revised([replace(second, revision=0)], [second, first]) == []
    assert keep_latest([second, first]) == [second]


@given(
    st.lists(st.integers(0, MAX_MG_PER_KWH), min_size=12, max_size=12),
    st.permutations(range(12)),
)
def test_an_hours_figure_lies_within_its_points_whatever_their_order(values, order):
    step = 5 * MINUTE_MS
    points = [
        build_point(CALIFORNIA, HOUR + i * step, mg, valid_until_ms=HOUR + (i + 1) * step)
        for i, mg in enumerate(values)
    ]
    figure = average_hour([points[i] for i in order], HOUR)
    assert figure == average_hour(points, HOUR)
    assert min(values) <= figure.mg_co2e_per_kwh <= max(values)
    assert abs(figure.mg_co2e_per_kwh * 12 - sum(values)) <= 6


def test_every_region_has_annual_figures_and_hourly_series_that_are_never_of_another_signal():
    for region in REGIONS:
        for signal in ("average", "marginal"):
            annual = find_annual(region, signal)
            assert annual.estimated
            assert signal in annual.method
            assert {each.signal for each in list_series(region, signal)} == {signal}
        assert find_annual(region, "marginal", "market") is None
    assert list_series("eu-west-2", "average")[0].provider == GB.provider
    assert find_annual("eu-north-1", "marginal").mg_co2e_per_kwh == 791_260


def test_a_blank_of_the_table_is_unknown_and_a_zero_is_a_claim():
    assert find_annual("af-south-1", "average", "market") is None
    assert find_annual("eu-north-1", "average", "market").mg_co2e_per_kwh == 0
    assert find_pue("eu-west-2") is None
    assert find_pue("eu-north-1").permille == 1100

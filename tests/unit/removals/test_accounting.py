"""Gross to net to credited: integers, deviations in quadrature, rounding never for us."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidInput
from chalicelib.removals.accounting import (
    COMPONENT_KINDS,
    Component,
    Rate,
    account,
    ceil_root,
    combine,
    emit,
    estimate_heat_pump,
)

KWH = 3_600_000_000
MASS = st.integers(0, 10**15)
ENERGY = st.integers(0, 10**14)
INTENSITY = st.integers(0, 3_000_000)
COMPONENTS = st.lists(
    st.builds(Component, st.sampled_from(COMPONENT_KINDS), MASS, st.integers(0, 10**12), st.just("meter")),
    max_size=8,
)


def rate(mg, source="grid", *, annual=False):
    return Rate(mg, "hourly", source, "v1", "DE", estimated=annual, annual=annual)


@settings(max_examples=1_000)
@given(COMPONENTS)
def test_the_chain_adds_up_and_uncertainty_only_takes(components):
    found = account(components)
    signed = [each.mass_mg if each.kind == "sequestration" else -each.mass_mg for each in components]
    assert found.net_mg == sum(signed)
    assert found.net_mg <= found.gross_mg
    assert found.credited_mg <= found.net_mg
    assert found.issuable_mg == max(0, found.credited_mg)
    square = sum(each.standard_deviation_mg**2 for each in components)
    assert found.standard_deviation_mg**2 >= square > (found.standard_deviation_mg - 1) ** 2 or square == 0
    assert account(components[::-1]) == found


def test_independent_deviations_combine_in_quadrature_and_round_up():
    assert combine([3, 4]) == 5
    assert combine([1, 1]) == 2, "the root of two is 1.41"
    assert ceil_root(0) == 0
    assert combine([]) == 0


def test_a_unit_that_emits_more_than_it_takes_is_shown_so_and_issued_nothing():
    found = account([Component("sequestration", 10, 0, "flow"), Component("activity", 25, 0, "grid")])
    assert (found.net_mg, found.credited_mg, found.issuable_mg) == (-15, -15, 0)


@pytest.mark.parametrize("wrong", [{"mass_mg": -1}, {"standard_deviation_mg": -1}])
def test_a_negative_mass_is_refused(wrong):
    component = replace(Component("loss", 1, 1, "pipe"), **wrong)
    with pytest.raises(InvalidInput) as refused:
        account([component])
    assert refused.value.code == "negative_mass"


def test_electricity_is_rounded_against_us():
    assert emit([(1, rate(1))], 0, "unit").mass_mg == 1
    found = emit([(KWH, rate(120_000))], 1, "unit")
    assert (found.kind, found.mass_mg, found.standard_deviation_mg) == ("activity", 120_000, 1)
    assert found.source == "unit; grid, v1, DE"


@settings(max_examples=1_000)
@given(st.lists(st.tuples(ENERGY, INTENSITY, st.sampled_from("abc")), min_size=1, max_size=30), ENERGY)
def test_the_hours_sum_to_the_component_which_is_rounded_up_once(hours, deviation):
    found = emit([(energy, rate(mg, source)) for energy, mg, source in hours], deviation, "unit")
    exact = sum(energy * mg for energy, mg, _ in hours)
    assert 0 <= found.mass_mg * KWH - exact < KWH
    assert sum(each.mass_mg for each in found.counted) == found.mass_mg
    assert sum(each.energy_millijoules for each in found.counted) == sum(hour[0] for hour in hours)
    assert all(each.mass_mg >= 0 for each in found.counted)
    assert [each.source for each in found.counted] == list(dict.fromkeys(hour[2] for hour in hours))
    assert found.standard_deviation_mg * KWH >= deviation * max(mg for _, mg, _ in hours)


@settings(max_examples=1_000)
@given(st.lists(ENERGY, min_size=1, max_size=30), ENERGY, INTENSITY)
def test_a_day_at_one_annual_figure_is_its_energy_times_that_figure(hours, deviation, mg):
    by_year = rate(mg, annual=True)
    found = emit([(energy, by_year) for energy in hours], deviation, "unit")
    assert found.mass_mg == -(-sum(hours) * mg // KWH)
    assert found.standard_deviation_mg == -(-deviation * mg // KWH)
    assert (found.annual_ppm, found.estimated) == (1_000_000, True)


def test_what_was_counted_by_the_year_is_told_and_never_less_of_it_than_there_is():
    found = emit([(2, rate(100)), (1, rate(400, "year", annual=True))], 0, "unit")
    assert (found.estimated, found.annual_ppm) == (True, 333_334)
    assert [(each.annual, each.energy_millijoules) for each in found.counted] == [(False, 2), (True, 1)]
    whole = emit([(2, rate(100)), (0, rate(400, "year", annual=True))], 0, "unit")
    assert (whole.estimated, whole.annual_ppm) == (False, 0)
    nothing = emit([(0, rate(400, annual=True))], 0, "unit")
    assert (nothing.mass_mg, nothing.estimated, nothing.annual_ppm) == (0, True, 1_000_000)
    loss = Component("loss", 1, 1, "pipe")
    assert (loss.estimated, loss.annual_ppm) == (False, 0)


@pytest.mark.parametrize(("heat", "cop"), [(-1, 3000), (1, 1000), (1, 0)])
def test_a_heat_pump_that_makes_energy_is_refused(heat, cop):
    with pytest.raises(InvalidInput):
        estimate_heat_pump(heat, cop)

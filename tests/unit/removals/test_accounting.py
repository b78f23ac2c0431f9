"""Gross to net to credited: integers, deviations in quadrature, rounding never for us."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import InvalidInput
from chalicelib.removals.accounting import (
    COMPONENT_KINDS,
    Component,
    account,
    ceil_root,
    combine,
    emit,
    estimate_heat_pump,
)

MASS = st.integers(0, 10**15)
COMPONENTS = st.lists(
    st.builds(Component, st.sampled_from(COMPONENT_KINDS), MASS, st.integers(0, 10**12), st.just("meter")),
    max_size=8,
)


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
    assert emit(1, 0, 1, "grid").mass_mg == 1
    assert emit(3_600_000_000, 1, 120_000, "grid") == Component("activity", 120_000, 1, "grid")


@pytest.mark.parametrize(("heat", "cop"), [(-1, 3000), (1, 1000), (1, 0)])
def test_a_heat_pump_that_makes_energy_is_refused(heat, cop):
    with pytest.raises(InvalidInput):
        estimate_heat_pump(heat, cop)

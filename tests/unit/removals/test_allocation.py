"""Every milligram is somebody's, once, and the order in which energy came in is nobody's gain."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.capacity import PLATFORM
from chalicelib.removals.allocation import allocate

MASSES = st.integers(0, 10**15)
ENERGIES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4) | st.just(PLATFORM), st.integers(0, 10**13), max_size=6
)


@settings(max_examples=1_000)
@given(MASSES, ENERGIES)
def test_the_parts_are_the_whole_to_the_milligram_and_each_within_one_of_its_share(mass, energies):
    parts = allocate(mass, energies)
    assert sum(parts.values()) == mass
    total = sum(energies.values())
    for tenant, energy in energies.items() if total else ():
        assert abs(parts[tenant] - Fraction(mass * energy, total)) < 1
        assert energy or not parts[tenant], "who gave no heat is given nothing"


@settings(max_examples=1_000)
@given(MASSES, ENERGIES, st.randoms(use_true_random=False))
def test_the_order_in_which_energy_came_in_changes_nothing(mass, energies, rng):
    shuffled = list(energies.items())
    rng.shuffle(shuffled)
    assert allocate(mass, dict(shuffled)) == allocate(mass, energies)


def test_equal_remainders_go_by_tenant_id():
    assert allocate(2, {"c": 1, "a": 1, "b": 1}) == {"a": 1, "b": 1, "c": 0}


def test_heat_of_nobody_is_the_platforms():
    assert allocate(7, {}) == {PLATFORM: 7}
    assert allocate(10, {"a": 3, PLATFORM: 7}) == {"a": 3, PLATFORM: 7}


@pytest.mark.parametrize(("mass", "energies"), [(-1, {}), (1, {"a": -1})])
def test_nothing_negative_is_shared_out(mass, energies):
    with pytest.raises(ValueError):
        allocate(mass, energies)

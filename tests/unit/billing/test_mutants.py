"""Each bug that was made by hand in the money path is noticed by a test."""

import pytest

from tests.unit.billing.mutants import MUTANTS, hunt


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_a_bug_made_by_hand_is_noticed(mutant):
    assert hunt(mutant).by


def test_there_are_enough_of_them():
    assert len({each.__name__ for each in MUTANTS}) >= 15

"""Each bug that was made by hand in the money path is noticed by a test."""

import pytest

from tests.unit.billing.mutants import DIRECTED, MUTANTS, hunt


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.__name__)
def test_a_bug_made_by_hand_is_noticed(mutant):
    assert hunt(mutant).by


@pytest.mark.parametrize("test", DIRECTED, ids=lambda each: each.__name__)
def test_what_is_to_notice_them_passes_without_them(test):
    """One that fails by itself would pass for noticing every bug: the assertions are its own."""
    assert test() is None


def test_there_are_enough_of_them():
    assert len({each.__name__ for each in MUTANTS}) >= 15

"""What ends a rental by itself: pure rules."""

from chalicelib.rentals.policies import Policies, find_end


def test_the_maximum_duration_counts_what_ran_before():
    assert find_end(Policies(max_duration_seconds=3600), 1_000, 600) == 1_000 + 3_000_000
    assert find_end(Policies(max_duration_seconds=3600), 1_000, 9_999) == 1_000
    assert find_end(Policies(), 1_000, 0) is None

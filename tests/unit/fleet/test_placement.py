"""Which host and which GPUs: never too many or twice, the tightest fit, spread evenly, nothing overlooked."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.leases import Lease
from chalicelib.fleet.placement import (
    RANK_STEP,
    Candidate,
    Crowds,
    choose_leases,
    compute_rank,
    compute_spread,
    order_candidates,
    search,
)

REGION = "eu-north-1"
LIMIT = 8
POOL = "H100#eu-north-1"


def build(name, free):
    return Candidate(name, REGION, tuple(Lease(f"{name}-{n:02}", n) for n in range(free)))


class Index:
    """A pool's hosts by rank, with the reads that were made."""

    def __init__(self, frees):
        hosts = [build(f"hst_{n}", free) for n, free in enumerate(frees)]
        self.ranked = sorted((compute_rank(len(h.free_leases), h.host_id), h) for h in hosts)
        self.reads = 0

    def __call__(self, low, high):
        self.reads += 1
        return [host for rank, host in self.ranked if low <= rank <= high][:LIMIT]


frees = st.lists(st.integers(0, 8), max_size=60)
starts = st.integers(0, RANK_STEP - 1)


@given(frees, st.integers(1, 8), starts, st.booleans())
def test_a_search_finds_what_exists_tightest_first_and_nobody_twice(free, wanted, start, hinted):
    index = Index(free)
    crowds = Crowds({(POOL, wanted)} if hinted else set())
    found = search(index, POOL, wanted, LIMIT, start, crowds)
    expected = sorted(each for each in free if each >= wanted)[:LIMIT]
    assert [len(each.free_leases) for each in found] == expected
    assert len({each.host_id for each in found}) == len(found)
    assert index.reads <= 3


def test_a_search_reads_once_where_there_is_no_crowd_and_where_one_is_known():
    for free in ([], [4], [8] * 7, [1, *[8] * 500]):
        index = Index(free)
        search(index, POOL, 1, LIMIT, RANK_STEP // 2, Crowds())
        assert index.reads == 1
    index, crowds = Index([8] * 500), Crowds()
    for tenth in range(10):
        search(index, POOL, 8, LIMIT, tenth * RANK_STEP // 20, crowds)
    # The first met the crowd; those after it began inside.
    assert index.reads == 2 + 9


def test_a_crowd_that_has_gone_is_forgotten():
    crowds = Crowds({(POOL, 8)})
    assert search(Index([8] * 3), POOL, 8, LIMIT, 0, crowds) == [host for _, host in Index([8] * 3).ranked]
    assert crowds.known == set()


@pytest.mark.parametrize("wanted", [8, 1])
def test_racing_starts_want_different_hosts_of_a_crowd(wanted):
    index, crowds = Index([8] * 200), Crowds()
    first = Counter()
    for number in range(2000):
        rental_id = f"rnt_{number}"
        found = search(index, POOL, wanted, LIMIT, compute_spread(rental_id), crowds)
        first[order_candidates(found, rental_id)[0].host_id] += 1
    assert len(first) > 190
    # Ten each on average.
    assert max(first.values()) < 40


def test_spreads_are_even():
    """Chi-square of 100,000 ids over 256 equal parts: 255 degrees of freedom, 310.5 is the 99 % point."""
    counts = Counter(compute_spread(f"hst_{number}") * 256 // RANK_STEP for number in range(100_000))
    expected = 100_000 / 256
    assert sum((counts[part] - expected) ** 2 / expected for part in range(256)) < 310.5


def test_the_tightest_fit_comes_first_and_equal_ones_are_spread():
    mixed = [build("a", 8), build("b", 2), build("c", 4)]
    assert [each.host_id for each in order_candidates(mixed, "rnt")] == ["b", "c", "a"]
    equal = [build(name, 4) for name in "abcdefgh"]
    first = Counter(order_candidates(equal, f"rnt_{n}")[0].host_id for n in range(800))
    # 7 degrees of freedom, 99 % point.
    assert sum((first[each.host_id] - 100) ** 2 / 100 for each in equal) < 18.5


@given(st.integers(1, 16), st.integers(1, 16), st.text(min_size=1))
def test_leases_are_chosen_without_repeats_and_in_a_fixed_order(free, wanted, rental_id):
    candidate = build("GPU", free)
    chosen = choose_leases(candidate, wanted, rental_id)
    assert len(set(chosen)) == min(free, wanted)
    assert set(chosen) <= set(candidate.free_leases)
    assert chosen == choose_leases(candidate, wanted, rental_id)

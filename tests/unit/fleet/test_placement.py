"""Which host and which GPUs: never too many or twice, the tightest fit, spread evenly, nothing overlooked."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chalicelib
from chalicelib.core.leases import Lease
from chalicelib.fleet.placement import (
    RANK_STEP,
    Candidate,
    Crowds,
    choose_leases,
    compute_rank,
    compute_spread,
    list_clusters,
    order_candidates,
    pack_groups,
    search,
    unpack_groups,
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


blocks = st.lists(st.integers(1, 5), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) <= 12)


def join(sizes):
    """A host whose free GPUs are joined in blocks of these sizes."""
    uuids = [f"GPU-{block}-{n}" for block, size in enumerate(sizes) for n in range(size)]
    groups = {uuid: int(uuid.split("-")[1]) for uuid in uuids}
    return Candidate("hst", REGION, tuple(Lease(uuid, 0) for uuid in uuids), groups)


def span(candidate, leases):
    return len({candidate.link_groups[lease.gpu_uuid] for lease in leases})


def leave(candidate, leases):
    """The blocks that stay, largest first."""
    rest = Counter(
        candidate.link_groups[lease.gpu_uuid] for lease in set(candidate.free_leases) - set(leases)
    )
    return sorted(rest.values(), reverse=True)


@given(blocks, st.data())
def test_no_other_choice_spans_fewer_groups_or_leaves_larger_blocks(sizes, data):
    candidate = join(sizes)
    wanted = data.draw(st.integers(1, sum(sizes)))
    chosen = choose_leases(candidate, wanted, data.draw(st.text(min_size=1, max_size=5)))
    assert len(set(chosen)) == wanted
    others = list(itertools.combinations(candidate.free_leases, wanted))
    fewest = min(span(candidate, other) for other in others)
    assert span(candidate, chosen) == fewest
    equal = [other for other in others if span(candidate, other) == fewest]
    assert leave(candidate, chosen) == max(leave(candidate, other) for other in equal)


def test_equal_blocks_and_gpus_are_spread_by_rental():
    candidate = join([4, 4])
    taken = Counter(lease.gpu_uuid for n in range(1600) for lease in choose_leases(candidate, 1, f"rnt_{n}"))
    # Chi-square, 7 degrees of freedom, 99 % point.
    assert sum((taken[lease.gpu_uuid] - 200) ** 2 / 200 for lease in candidate.free_leases) < 18.5


def test_a_gpu_without_a_group_is_alone_among_gpus_that_have_one():
    leases = tuple(Lease(f"GPU-{n}", 0) for n in range(4))
    candidate = Candidate("hst", REGION, leases, {"GPU-1": 0, "GPU-3": 0})
    for n in range(20):
        assert [each.gpu_uuid for each in choose_leases(candidate, 2, f"rnt_{n}")] == ["GPU-1", "GPU-3"]
        assert choose_leases(candidate, 1, f"rnt_{n}")[0].gpu_uuid in {"GPU-0", "GPU-2"}


def test_of_equally_tight_hosts_the_one_that_joins_what_is_wanted_comes_first():
    split, whole = join([2, 2]), build("whole", 4)
    assert {order_candidates([split, whole], f"rnt_{n}", 4)[0].host_id for n in range(20)} == {"whole"}
    assert {order_candidates([split, whole], f"rnt_{n}", 2)[0].host_id for n in range(20)} == {"hst", "whole"}
    tight = build("tight", 3)
    assert order_candidates([whole, join([2, 1]), tight], "rnt", 3)[0].host_id == "tight"


def test_groups_are_kept_in_few_bytes_and_only_where_there_is_a_choice():
    uuids = [f"GPU-{n:08x}-aaaa-bbbb-cccc-0123456789ab" for n in range(8)]
    leases = [Lease(uuid, 0) for uuid in uuids]
    packed = pack_groups([(uuid, f"numa-{n // 4}") for n, uuid in enumerate(uuids)])
    assert len(str(packed).replace(" ", "")) < 100
    assert list(unpack_groups(packed, leases).values()) == [0] * 4 + [1] * 4
    assert unpack_groups(packed, leases[6:]) == {uuids[6]: 1, uuids[7]: 1}
    assert pack_groups([(uuid, "nvlink-0") for uuid in uuids]) == []
    assert pack_groups([(uuid, None) for uuid in uuids]) == []
    partly = pack_groups([(uuids[0], "nvlink-0"), (uuids[1], "nvlink-0"), (uuids[2], None)])
    assert unpack_groups(partly, leases) == {uuids[0]: 0, uuids[1]: 0}


def place(name, free, fabric_id):
    return Candidate(name, REGION, build(name, free).free_leases, {}, fabric_id)


def choose_best(hosts, gpu_count, node_count):
    return next(iter(list_clusters(hosts, gpu_count, node_count, "rnt", LIMIT)), ())


def test_a_cluster_takes_the_fabric_with_the_least_to_spare_or_nothing():
    hosts = [place(f"big-{n}", 8, "big") for n in range(5)]
    hosts += [place(f"small-{n}", 8, "small") for n in range(3)]
    hosts += [place(f"lone-{n}", 8, None) for n in range(9)] + [place("full", 2, "small")]
    for nodes, fabric in ((2, "small"), (3, "small"), (4, "big"), (5, "big")):
        chosen = choose_best(hosts, 8, nodes)
        assert len({each.host_id for each in chosen}) == nodes
        assert {each.fabric_id for each in chosen} == {fabric}
    assert choose_best(hosts, 8, 6) == ()
    assert [each.fabric_id for each in choose_best(hosts, 2, 4)] == ["small"] * 4
    (alone,) = choose_best([each for each in hosts if each.fabric_id is None], 8, 1)
    assert alone.host_id.startswith("lone")


fleets = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([None, "a", "b", "c"])), max_size=20)


@given(fleets, st.integers(1, 8), st.integers(1, 6))
def test_a_cluster_is_found_whole_exactly_when_a_fabric_has_room(fleet, wanted, nodes):
    hosts = [place(f"hst_{n}", free, fabric) for n, (free, fabric) in enumerate(fleet)]
    chosen = choose_best(hosts, wanted, nodes)
    room = Counter(each.fabric_id for each in hosts if len(each.free_leases) >= wanted)
    alone = nodes == 1 and room.total() > 0
    assert bool(chosen) == (alone or any(n >= nodes for name, n in room.items() if name is not None))
    if chosen:
        assert len({each.host_id for each in chosen}) == nodes
        assert all(len(each.free_leases) >= wanted for each in chosen)
        assert nodes == 1 or len({each.fabric_id for each in chosen} - {None}) == 1


def test_free_gpus_and_their_rank_are_changed_in_one_place():
    changed = [
        path.name
        for path in (Path(chalicelib.__file__).parent / "fleet").rglob("*.py")
        for _ in range(
            path.read_text().count("HostItem.free_gpus.set(") + path.read_text().count("free_rank.set(")
        )
    ]
    assert changed == ["health_store.py"] * 2


@given(st.integers(2, 6), st.integers(1, 12), st.data())
def test_a_fabric_with_one_to_spare_can_do_without_any_one_host(nodes, spare, data):
    hosts = [place(f"hst_{n}", 8, "a") for n in range(nodes + spare)]
    found = list_clusters(hosts, 8, nodes, data.draw(st.text(min_size=1, max_size=5)), LIMIT)
    names = [{each.host_id for each in chosen} for chosen in found]
    assert all(len(chosen) == nodes for chosen in names)
    assert len(set(map(frozenset, names))) == len(names) <= LIMIT
    missed = data.draw(st.sampled_from(sorted(host.host_id for host in hosts)))
    assert any(missed not in chosen for chosen in names)


def test_the_best_of_each_fabric_comes_before_any_fabric_s_second():
    hosts = [place(f"{fabric}-{n}", 8, fabric) for fabric, size in (("a", 4), ("b", 3)) for n in range(size)]
    found = list_clusters(hosts, 8, 2, "rnt", LIMIT)
    assert [chosen[0].fabric_id for chosen in found] == ["b", "a", "b", "b", "a"]
    assert all(len({each.fabric_id for each in chosen}) == 1 for chosen in found)
    assert len(list_clusters(hosts, 8, 2, "rnt", 3)) == 3

"""Who gives way: the cheapest set that makes room on one host."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.rentals.preemption import SpotStay, choose_victims


def stay(name, host, gpus, price=100, started=0):
    return SpotStay(name, host, gpus, price, started)


def names(found):
    return None if found is None else {each.rental_id for each in found[1]}


def test_the_cheaper_of_two_hosts_gives_way():
    stays = [stay("dear", "h1", 4, 900), stay("cheap", "h2", 4, 100)]
    assert names(choose_victims(4, {"h1": 0, "h2": 0}, stays, 1)) == {"cheap"}


def test_no_more_end_than_must():
    stays = [stay("two", "h1", 2), stay("four", "h1", 4, 40)]
    assert names(choose_victims(4, {"h1": 2}, stays, 1)) == {"four"}
    assert names(choose_victims(6, {"h1": 2}, stays, 1)) == {"four"}
    assert names(choose_victims(8, {"h1": 2}, stays, 1)) == {"two", "four"}


def test_among_equals_the_youngest_work_is_lost():
    stays = [stay("old", "h1", 4, started=0), stay("young", "h1", 4, started=900)]
    assert names(choose_victims(4, {"h1": 0}, stays, 1000)) == {"young"}


def test_room_that_cannot_be_made_is_not_asked_for():
    assert choose_victims(8, {"h1": 1}, [stay("small", "h1", 2)], 1) is None
    assert choose_victims(2, {}, [stay("closed", "h9", 4)], 1) is None


@given(
    st.integers(1, 8),
    st.dictionaries(st.sampled_from(["h1", "h2"]), st.integers(0, 4), min_size=1),
    st.lists(
        st.tuples(st.sampled_from(["h1", "h2"]), st.sampled_from([1, 2, 4]), st.integers(1, 5)), max_size=6
    ),
)
def test_the_set_is_the_cheapest_there_is(needed, free, drawn):
    stays = [stay(f"s{index}", host, gpus, price) for index, (host, gpus, price) in enumerate(drawn)]
    found = choose_victims(needed, free, stays, 0)

    def cost(chosen):
        return sum(each.price_micros_per_gpu_hour * each.gpu_count for each in chosen)

    feasible = [
        cost(chosen)
        for host, there in free.items()
        if there < needed
        for size in range(1, len(stays) + 1)
        for chosen in combinations([each for each in stays if each.host_id == host], size)
        if there + sum(each.gpu_count for each in chosen) >= needed
    ]
    if found is None:
        assert not feasible
        return
    host, chosen = found
    assert {each.host_id for each in chosen} == {host}
    assert free[host] + sum(each.gpu_count for each in chosen) >= needed
    assert cost(chosen) == min(feasible)

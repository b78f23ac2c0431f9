"""Who is next: priority, then fair share, then age; and how long it takes."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.rentals.queue import (
    Line,
    Ticket,
    build_ticket_key,
    estimate_wait_ms,
    note_dispatch,
    order_tickets,
)


def build(ticket_id, account="a", *, priority=0, since=0, gpus=1):
    key = build_ticket_key(priority, since, ticket_id)
    return Ticket(ticket_id, key, (ticket_id,), account, "H100", ("p",), gpus, "on_demand", priority, since)


def order(tickets, **used):
    return [ticket.ticket_id for ticket in order_tickets(tickets, used)]


def test_a_higher_priority_goes_first_whatever_its_age():
    assert order([build("old", since=1), build("urgent", priority=50, since=9)]) == ["urgent", "old"]


def test_of_two_accounts_the_one_with_fewer_gpus_goes_first():
    assert order([build("big", "a", since=1), build("small", "b", since=2)], a=8, b=0) == ["small", "big"]


def test_one_account_with_many_tickets_does_not_hold_up_another():
    many = [build(f"m{index}", "a", since=index) for index in range(4)]
    assert order([*many, build("one", "b", since=9)]) == ["m0", "one", "m1", "m2", "m3"]


def test_within_an_account_age_decides():
    assert order([build("young", since=5), build("old", since=1)]) == ["old", "young"]


tickets = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 5), st.integers(1, 8)), max_size=12
)


@given(tickets, st.dictionaries(st.sampled_from("abc"), st.integers(0, 50)))
def test_nobody_is_forgotten_or_served_twice_and_no_priority_is_overtaken(drawn, used):
    line = [
        build(f"t{index}", account, priority=priority, since=since, gpus=gpus)
        for index, (account, priority, since, gpus) in enumerate(drawn)
    ]
    served = order_tickets(line, used)
    assert sorted(ticket.ticket_id for ticket in served) == sorted(ticket.ticket_id for ticket in line)
    assert [ticket.priority for ticket in served] == sorted((t.priority for t in line), reverse=True)
    for account in "abc":
        own = [(t.priority, t.since_ms) for t in served if t.account_id == account]
        assert own == sorted(own, key=lambda each: (-each[0], each[1]))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 10**13 - 1)), min_size=2, max_size=20))
def test_keys_sort_by_priority_then_age(drawn):
    by_key = sorted(drawn, key=lambda each: build_ticket_key(*each, "t"))
    assert by_key == sorted(drawn, key=lambda each: (-each[0], each[1]))


def test_the_estimate_follows_the_rate_and_grows_when_the_line_stands_still():
    line = Line()
    assert estimate_wait_ms(line, 1, 0) is None
    for at_ms in (0, 10_000, 20_000, 30_000):
        line = note_dispatch(line, at_ms)
    assert estimate_wait_ms(line, 1, 31_000) == 10_000
    assert estimate_wait_ms(line, 3, 31_000) == 30_000
    assert estimate_wait_ms(line, 1, 90_000) == 60_000

"""Which hosts a booking is put on."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.reservations.calendars import EMPTY_DAY, Calendar, list_choices, promise
from chalicelib.reservations.model import Span

MONDAY, TUESDAY = "2027-01-18", "2027-01-19"
NIGHT = (Span(MONDAY, 90, 96), Span(TUESDAY, 0, 4))


def build(host_id, gpus, *promised, fabric=None):
    days = {}
    for span, count in promised:
        days[span.day] = promise(days.get(span.day, EMPTY_DAY), span, count)
    return Calendar(host_id, gpus, fabric, days)


def choose(calendars, gpus, nodes=1, spans=NIGHT, seed="seed"):
    return [
        tuple(host.host_id for host in hosts) for hosts in list_choices(calendars, spans, gpus, nodes, seed)
    ]


def test_the_fullest_calendar_that_still_fits_is_taken():
    empty = build("empty", 8)
    half = build("half", 8, (Span(MONDAY, 90, 96), 4))
    full = build("full", 8, (Span(TUESDAY, 3, 4), 6))
    assert choose([empty, half, full], 4) == [("half",), ("empty",)]
    assert choose([empty, half, full], 2) == [("half",), ("full",), ("empty",)]


def test_of_equal_windows_the_busier_day_is_taken_and_of_hosts_the_smaller():
    quiet, busy = build("quiet", 8), build("busy", 8, (Span(MONDAY, 0, 10), 8))
    assert choose([quiet, busy], 8)[0] == ("busy",)
    assert choose([quiet, build("small", 4)], 4)[0] == ("small",)


def test_one_slot_that_is_full_is_enough_to_not_fit():
    assert choose([build("host", 8, (Span(TUESDAY, 3, 4), 1))], 8) == []
    assert choose([build("host", 8, (Span(TUESDAY, 4, 5), 8))], 8) == [("host",)]


def test_a_cluster_takes_whole_hosts_of_the_smallest_fabric_that_is_large_enough():
    wide = [build(f"wide-{number}", 8, fabric="wide") for number in range(4)]
    narrow = [build(f"narrow-{number}", 8, fabric="narrow") for number in range(2)]
    loose = [build(f"loose-{number}", 8) for number in range(9)]
    touched = build("touched", 8, (Span(MONDAY, 95, 96), 1), fabric="narrow")
    found = choose([*wide, *narrow, *loose, touched], 8, nodes=2)
    assert sorted(found[0]) == ["narrow-0", "narrow-1"]
    assert all(host.startswith("wide") for host in found[1])
    assert choose([*narrow, *loose, touched], 8, nodes=3) == []
    assert choose(wide, 4, nodes=2) == [], "nodes are whole hosts"


def test_parallel_bookings_see_equal_hosts_in_different_orders():
    hosts = [build(f"host-{number}", 8) for number in range(8)]
    assert len({choose(hosts, 2, seed=f"seed-{number}")[0] for number in range(40)}) > 4


SPANS = st.builds(
    lambda day, first, length: Span(day, first, min(96, first + length)),
    st.sampled_from((MONDAY, TUESDAY)),
    st.integers(0, 95),
    st.integers(1, 96),
)


@given(st.lists(st.tuples(SPANS, st.integers(1, 3)), max_size=6), st.integers(1, 8), SPANS)
def test_a_host_is_chosen_exactly_when_every_slot_has_room(promised, gpus, wanted):
    calendar = build("host", 8, *promised)
    counts = [0] * 96
    for span, count in promised:
        if span.day == wanted.day:
            for slot in range(span.first, span.end):
                counts[slot] += count
    fits = all(count + gpus <= 8 for count in counts[wanted.first : wanted.end])
    assert bool(choose([calendar], gpus, spans=(wanted,))) == fits
    if wanted.day in calendar.days:
        assert calendar.days[wanted.day] == tuple(counts)
        assert promise(promise(counts, wanted, gpus), wanted, -gpus) == tuple(counts)

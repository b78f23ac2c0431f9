"""What happens by itself: beginning, ending, moving away from a lost host."""

import pytest

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.reservations import upkeep
from chalicelib.reservations.model import SLOT_MS
from chalicelib.reservations.service import cancel_reservation
from tests.factories import PRICES
from tests.fakes import START_MS, Crash
from tests.unit.reservations.booking import (
    book,
    booked,
    change_host,
    list_actions,
    pass_slots,
    put_back,
    read,
    read_promises,
    seed_calendars,
    take,
)

PRICE = PRICES["reserved"]

LEAD_SLOTS = 210 / 900


def sweep(seeded):
    return upkeep.sweep(seeded.cloud.reservations, seeded.cloud.clock.now_ms())


def lose(seeded, host):
    change_host(seeded, host, state="lost")
    return upkeep.rebook_host(seeded.cloud.reservations, host)


def test_a_reservation_begins_and_ends_once_however_often_it_is_swept():
    seeded, (host,) = seed_calendars(8)
    reservation_id = book(seeded, start=4, slots=4).body
    for slots, state in ((3, "confirmed"), (1, "active"), (3, "active"), (1, "ended")):
        pass_slots(seeded, slots)
        for _ in range(2):
            sweep(seeded)
            assert read(seeded, reservation_id).state == state
    assert list_actions(seeded) == ["reservation.created", "reservation.begun", "reservation.ended"]
    assert seeded.cloud.db.table("heads")[host] == 0
    assert len(read_promises(seeded, host)) == 4, "what is past stays as it was"


def test_hours_without_a_sweep_end_in_the_same_state():
    seeded, (host,) = seed_calendars(8)
    whole = [book(seeded, 1, start=number, slots=2, key=f"key-{number}").body for number in range(8)]
    running = book(seeded, 1, start=2, slots=90, key="running").body
    pass_slots(seeded, 40)
    done = sweep(seeded)
    assert (done.begun, done.ended, done.left) == (1, 8, 0)
    assert {read(seeded, each).state for each in whole} == {"ended"}
    assert read(seeded, running).state == "active"
    assert seeded.cloud.db.table("heads")[host] == 1
    assert sweep(seeded) == upkeep.Swept(0, 0, 0)


def test_two_sweeps_at_once_write_once(monkeypatch):
    seeded, _ = seed_calendars(8)
    stale = booked(seeded, start=0, slots=1)
    pass_slots(seeded, 2)
    sweep(seeded)
    monkeypatch.setattr(upkeep, "find_due", lambda *_: [stale])
    assert sweep(seeded) == upkeep.Swept(0, 0, 1)
    assert list_actions(seeded).count("reservation.ended") == 1


def test_what_begins_or_ends_soon_is_told_a_lead_before():
    seeded, _ = seed_calendars(8)
    ports = seeded.cloud.reservations
    first = book(seeded, 1, start=4, slots=4).body
    second = book(seeded, 1, start=8, slots=4, key="key-2").body

    def ask():
        due = upkeep.list_due(ports, seeded.cloud.clock.now_ms())
        return tuple([each.reservation_id for each in part] for part in (due.starting, due.ending))

    pass_slots(seeded, 4 - LEAD_SLOTS - 0.001)
    assert ask() == ([], [])
    pass_slots(seeded, 0.001)
    assert ask() == ([first], [])
    pass_slots(seeded, LEAD_SLOTS)
    assert ask() == ([first], []), "until it was written down"
    sweep(seeded)
    assert ask() == ([], [])
    pass_slots(seeded, 4 - LEAD_SLOTS)
    assert ask() == ([second], [first])
    pass_slots(seeded, LEAD_SLOTS)
    sweep(seeded)
    assert ask() == ([], [])
    pass_slots(seeded, 30)
    # Nobody swept: it has ended, and nothing starts any more.
    assert ask() == ([], [second])


def test_a_lost_hosts_bookings_move_to_another_calendar():
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 5, start=4, slots=8)
    take_at = reservation.bookings[0].host_id
    other = next(host for host in hosts if host != take_at)
    pass_slots(seeded, 6.5)
    take(seeded, reservation, "rnt_1", 3)
    assert lose(seeded, take_at) == {reservation.reservation_id: "moved"}
    moved = read(seeded, reservation.reservation_id)
    assert [(each.host_id, each.used_gpus) for each in moved.open_bookings] == [(other, 0)]
    # From the slot that has begun, on the new host; what has not begun is free on the old one.
    assert read_promises(seeded, other) == dict.fromkeys(range(6, 12), 5)
    assert read_promises(seeded, take_at) == dict.fromkeys(range(4, 7), 5)
    assert seeded.cloud.db.table("heads") == {take_at: 0, other: 1}
    assert lose(seeded, take_at) == {}
    put_back(seeded, reservation, "rnt_1", 3)
    take(seeded, moved, "rnt_1", 3, host=1)
    assert list_actions(seeded)[1:] == ["reservation.moved", "reservation.slots_given_back"]


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", [0, 1])
def test_a_crash_at_any_commit_of_a_move_is_made_good_by_calling_again(moment, commit):
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 5, start=4, slots=8)
    lost = reservation.bookings[0].host_id
    other = next(host for host in hosts if host != lost)
    setattr(seeded.cloud.db, moment, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        lose(seeded, lost)
    lose(seeded, lost)
    assert read_promises(seeded, lost) == {}
    assert read_promises(seeded, other) == dict.fromkeys(range(4, 12), 5)
    assert seeded.cloud.db.table("heads") == {lost: 0, other: 1}
    assert list_actions(seeded).count("reservation.moved") == 1


def test_a_cancel_between_the_two_steps_of_a_move_gives_back_on_both_hosts():
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 5, start=4, slots=8)
    seeded.cloud.db.crash_after = seeded.cloud.db.commits
    with pytest.raises(Crash):
        lose(seeded, reservation.bookings[0].host_id)
    assert all(read_promises(seeded, host) for host in hosts)
    cancel_reservation(seeded.cloud.reservations, seeded.renter, reservation.reservation_id)
    assert not any(read_promises(seeded, host) for host in hosts)
    assert set(seeded.cloud.db.table("heads").values()) == {0}


def test_where_no_other_host_has_room_the_reservation_is_broken_and_what_is_owed_is_marked():
    seeded, hosts = seed_calendars(8, 8)
    first = booked(seeded, 8, start=4, slots=8)
    second = booked(seeded, 8, start=11, slots=8, key="key-2")
    lost = first.bookings[0].host_id
    pass_slots(seeded, 6)
    assert lose(seeded, lost) == {first.reservation_id: "broken"}
    broken = read(seeded, first.reservation_id)
    assert (broken.state, broken.broken_at_ms) == ("broken", START_MS + 6 * SLOT_MS)
    assert broken.credit_due_micros == PRICE * 8 * 6 // 4
    assert read_promises(seeded, lost) == {4: 8, 5: 8}
    assert read(seeded, second.reservation_id).state == "confirmed"
    (entry,) = [each for each in seeded.cloud.audit.entries if each.action == "reservation.broken"]
    assert entry.details == {
        "why": f"host {lost} was lost",
        "credit_due_micros": broken.credit_due_micros,
    }
    assert len(hosts) == 2


def test_a_node_of_a_cluster_is_replaced_in_its_fabric_or_the_cluster_is_broken():
    seeded, hosts = seed_calendars(8, 8, 8, 8)
    for number, host in enumerate(hosts):
        change_host(seeded, host, fabric_id="near" if number < 3 else "far")
    reservation = booked(seeded, 8, node_count=2)
    spare = next(host for host in hosts[:3] if host not in {each.host_id for each in reservation.bookings})
    first, second = (each.host_id for each in reservation.bookings)
    assert lose(seeded, first) == {reservation.reservation_id: "moved"}
    moved = read(seeded, reservation.reservation_id)
    assert {each.host_id for each in moved.open_bookings} == {second, spare}
    assert lose(seeded, second) == {reservation.reservation_id: "broken"}
    assert not any(read_promises(seeded, host) for host in hosts)


def test_nothing_moves_that_is_over():
    seeded, (host, _) = seed_calendars(8, 4)
    reservation = booked(seeded, 8, start=0, slots=4)
    pass_slots(seeded, 4)
    # The sweep has not come by yet.
    assert lose(seeded, host) == {reservation.reservation_id: "unchanged"}
    assert upkeep.rebook(seeded.cloud.reservations, "rsv_none", host) == "unchanged"
    with pytest.raises(Conflict) as caught:
        upkeep.break_reservation(seeded.cloud.reservations, reservation, "test")
    assert caught.value.code == "reservation_over"


def test_a_move_that_loses_every_race_says_to_call_again(monkeypatch):
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 8)
    lost = reservation.bookings[0].host_id
    other = next(host for host in hosts if host != lost)
    ports = seeded.cloud.reservations
    listed = ports.fleet.list_reservable
    monkeypatch.setattr(ports.fleet, "list_reservable", lambda *given: found)
    found = listed(reservation.gpu_type, reservation.region, 9)
    change_host(seeded, other, state="draining")
    with pytest.raises(Unavailable):
        lose(seeded, lost)
    assert read(seeded, reservation.reservation_id).state == "confirmed"
    assert read_promises(seeded, other) == {}


def test_a_late_sweep_does_not_bring_back_what_was_cancelled_meanwhile():
    seeded, (host,) = seed_calendars(8)
    stale = booked(seeded, start=0)
    ports = seeded.cloud.reservations
    cancel_reservation(ports, seeded.renter, stale.reservation_id)
    with pytest.raises(Unavailable):
        upkeep.pass_boundary(ports, stale, seeded.cloud.clock.now_ms())
    assert read(seeded, stale.reservation_id).state == "cancelled"
    assert seeded.cloud.db.table("heads")[host] == 0

"""Hosts that can no longer keep what they promised: who moves, who waits for the host, who is broken."""

from dataclasses import replace

import pytest

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.fleet.operations import cordon_host, retire_host, uncordon_host
from chalicelib.reservations import keeping
from chalicelib.reservations.hosts import make_reservable
from chalicelib.reservations.keeping import Kept, keep_promises
from chalicelib.reservations.ports import NoRoom
from chalicelib.reservations.service import cancel_reservation
from tests.factories import GPU_TYPE, REGION, add_host
from tests.fakes import Crash
from tests.unit.reservations.booking import (
    book,
    booked,
    change_host,
    fail_gpus,
    list_actions,
    mend,
    pass_slots,
    put_back,
    read,
    read_promises,
    seed_calendars,
    take,
)

POOLS = [(GPU_TYPE, REGION)]
DAY_SLOTS = 96


def look(seeded):
    return keep_promises(seeded.cloud.reservations, POOLS, seeded.cloud.clock.now_ms())


def list_incidents(seeded):
    return [each for each in seeded.cloud.watch_store.incidents if each.kind == "reservation_broken"]


def keep_another(seeded, gpus=8):
    """A further host that is kept for reservations, on which nothing is booked."""
    host_id = add_host(seeded, "another", gpus).host_id
    make_reservable(seeded.cloud.reservations, seeded.operator, host_id)
    seeded.beat(host_id)
    return host_id


def find_hosts(seeded, reservation):
    return [each.host_id for each in read(seeded, reservation.reservation_id).open_bookings]


def test_hosts_that_are_well_are_left_alone():
    seeded, _ = seed_calendars(8, 8)
    booked(seeded, 8)
    commits = seeded.cloud.db.commits
    assert look(seeded) == Kept()
    assert seeded.cloud.db.commits == commits


@pytest.mark.parametrize(("error_class", "moved"), [("E", "first second later"), ("F", "second")])
def test_a_broken_gpu_moves_what_its_host_cannot_keep_and_nothing_else(error_class, moved):
    """A fault of the fabric leaves no GPU of the host to anybody."""
    seeded, (host,) = seed_calendars(8)
    made = {
        name: booked(seeded, 4, start=start, key=name)
        for name, start in (("first", 200), ("second", 201), ("later", 500))
    }
    spare = keep_another(seeded)
    fail_gpus(seeded, host, error_class=error_class)
    assert look(seeded) == Kept(moved=len(moved.split()))
    for name, reservation in made.items():
        assert find_hosts(seeded, reservation) == [spare if name in moved.split() else host]
    assert look(seeded) == Kept(), "once"


def test_a_host_with_a_broken_gpu_promises_what_is_left_of_it():
    seeded, (host,) = seed_calendars(8)
    fail_gpus(seeded, host)
    with pytest.raises(NoRoom):
        book(seeded, 8)
    book(seeded, 5, key="five")
    with pytest.raises(NoRoom):
        book(seeded, 3, key="three")
    book(seeded, 2, key="two")
    assert set(read_promises(seeded, host).values()) == {7}
    mend(seeded, host)
    book(seeded, 1, key="one")


def test_a_booking_does_not_land_on_a_gpu_that_broke_after_the_calendar_was_read(monkeypatch):
    seeded, (host,) = seed_calendars(8)
    store = seeded.cloud.reservations.fleet
    stale = store.list_reservable(GPU_TYPE, REGION, 9)
    fail_gpus(seeded, host)
    monkeypatch.setattr(store, "list_reservable", lambda *_: stale)
    with pytest.raises(DomainError):
        book(seeded, 8)
    assert read_promises(seeded, host) == {}


def test_a_reservation_that_fits_nowhere_waits_for_the_host_and_is_broken_a_day_ahead():
    seeded, (host,) = seed_calendars(8)
    reservation = booked(seeded, 8, start=2 * DAY_SLOTS)
    fail_gpus(seeded, host)
    assert look(seeded) == Kept(waiting=1)
    assert (read(seeded, reservation.reservation_id).state, list_incidents(seeded)) == ("confirmed", [])
    pass_slots(seeded, DAY_SLOTS)
    assert look(seeded) == Kept(broken=1)
    broken = read(seeded, reservation.reservation_id)
    assert broken.state == "broken"
    (incident,) = list_incidents(seeded)
    assert (incident.host_id, incident.details["reservation_id"]) == (host, reservation.reservation_id)
    assert incident.details["account_id"] == seeded.renter.account_id
    assert incident.details["credit_due_micros"] == broken.credit_due_micros
    assert look(seeded) == Kept()
    assert len(list_incidents(seeded)) == 1


def test_a_host_that_is_back_or_mended_in_time_keeps_its_promise():
    seeded, (host,) = seed_calendars(8)
    reservation = booked(seeded, 8, start=2 * DAY_SLOTS)
    change_host(seeded, host, state="lost")
    assert look(seeded) == Kept(waiting=1)
    change_host(seeded, host, state="active")
    fail_gpus(seeded, host)
    assert look(seeded) == Kept(waiting=1)
    mend(seeded, host)
    pass_slots(seeded, DAY_SLOTS + 1)
    assert look(seeded) == Kept()
    assert read(seeded, reservation.reservation_id).state == "confirmed"
    assert set(read_promises(seeded, host)) == set(range(2 * DAY_SLOTS, 2 * DAY_SLOTS + 8))


def test_a_lost_host_with_nothing_on_it_is_looked_at_too():
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=2 * DAY_SLOTS)
    (at,) = find_hosts(seeded, reservation)
    change_host(seeded, at, state="lost")
    assert look(seeded) == Kept(moved=1)
    assert find_hosts(seeded, reservation) == [each for each in hosts if each != at]


def test_what_mends_itself_moves_a_window_only_shortly_before_it_and_breaks_none():
    seeded, _ = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=8)
    (at,) = find_hosts(seeded, reservation)
    fail_gpus(seeded, at, error_class="C")
    assert look(seeded) == Kept()
    pass_slots(seeded, 6)
    assert look(seeded) == Kept(moved=1)
    (there,) = find_hosts(seeded, reservation)
    fail_gpus(seeded, there, error_class="C")
    pass_slots(seeded, 3)
    assert look(seeded) == Kept(waiting=1)
    assert read(seeded, reservation.reservation_id).state == "confirmed"


@pytest.mark.parametrize("lease_state", ["withheld", "unhealthy"])
def test_a_gpu_that_its_host_calls_unfit_moves_a_window_that_begins_soon(lease_state):
    seeded, _ = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=8)
    (at,) = find_hosts(seeded, reservation)
    rows = seeded.cloud.db.table("gpus")
    key = next(key for key in rows if key[0] == at)
    rows[key] = replace(rows[key], lease_state=lease_state)
    assert look(seeded) == Kept()
    pass_slots(seeded, 6)
    assert look(seeded) == Kept(moved=1)
    assert find_hosts(seeded, reservation) != [at]


def test_a_closed_host_keeps_later_windows_and_not_the_next():
    seeded, _ = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=8)
    (at,) = find_hosts(seeded, reservation)
    cordon_host(seeded.cloud.operations, seeded.operator, at, "to be looked at")
    assert look(seeded) == Kept()
    uncordon_host(seeded.cloud.operations, seeded.operator, at)
    pass_slots(seeded, 6)
    assert look(seeded) == Kept()
    cordon_host(seeded.cloud.operations, seeded.operator, at, "to be looked at")
    assert look(seeded) == Kept(moved=1)


def test_who_uses_the_gpus_of_a_booking_stays_where_they_are():
    seeded, (host,) = seed_calendars(8)
    first = booked(seeded, 4, start=4, slots=40, key="first")
    used = booked(seeded, 4, start=4, slots=40, key="used")
    spare = keep_another(seeded)
    pass_slots(seeded, 5)
    take(seeded, used, "rnt_1", 4)
    fail_gpus(seeded, host)
    assert look(seeded) == Kept(moved=1)
    assert (find_hosts(seeded, used), find_hosts(seeded, first)) == ([host], [spare])
    fail_gpus(seeded, host, 7)
    assert look(seeded) == Kept()
    put_back(seeded, used, "rnt_1", 4)
    assert look(seeded) == Kept(moved=1)


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", [0, 1])
def test_a_look_that_crashed_is_made_good_by_the_next(moment, commit):
    seeded, (host, other) = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=200)
    (at,) = find_hosts(seeded, reservation)
    fail_gpus(seeded, at)
    setattr(seeded.cloud.db, moment, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        look(seeded)
    seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    look(seeded)
    look(seeded)
    assert read_promises(seeded, at) == {}
    assert find_hosts(seeded, reservation) == [other if at == host else host]
    assert list_actions(seeded).count("reservation.moved") == 1


def test_a_move_that_crashed_half_way_is_finished_though_its_host_has_room_again():
    seeded, (host,) = seed_calendars(8)
    first, second = (booked(seeded, 4, start=200 + number, key=f"key-{number}") for number in range(2))
    spare = keep_another(seeded)
    fail_gpus(seeded, host)
    seeded.cloud.db.crash_after = seeded.cloud.db.commits
    with pytest.raises(Crash):
        look(seeded)
    seeded.cloud.db.crash_after = None
    cancel_reservation(seeded.cloud.reservations, seeded.renter, first.reservation_id)
    assert set(read_promises(seeded, host).values()) == {4}
    look(seeded)
    assert read_promises(seeded, host) == {}
    assert find_hosts(seeded, second) == [spare]


def test_a_retired_host_has_promised_nothing_any_more():
    seeded, (host,) = seed_calendars(8)
    over = booked(seeded, 1, start=4, slots=1, key="over")
    fits = booked(seeded, 4, start=400, key="fits")
    large = booked(seeded, 8, start=800, key="large")
    spare = keep_another(seeded, 4)
    pass_slots(seeded, 6)
    for _ in range(2):
        assert retire_host(seeded.cloud.operations, seeded.operator, host, "sold").state == "retired"
    assert seeded.cloud.db.table("heads")[host] == 0
    assert find_hosts(seeded, fits) == [spare]
    states = [read(seeded, each.reservation_id).state for each in (over, fits, large)]
    assert states == ["ended", "confirmed", "broken"]
    (incident,) = list_incidents(seeded)
    assert incident.details["reservation_id"] == large.reservation_id


def test_a_host_in_use_is_not_retired_and_keeps_its_promises():
    seeded, (host,) = seed_calendars(8)
    reservation = booked(seeded, 8)
    rows = seeded.cloud.db.table("gpus")
    key = next(iter(rows))
    rows[key] = replace(rows[key], lease_state="leased", rental_id="rnt_1")
    with pytest.raises(Conflict) as refused:
        retire_host(seeded.cloud.operations, seeded.operator, host, "sold")
    assert refused.value.code == "host_in_use"
    assert read(seeded, reservation.reservation_id).state == "confirmed"


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(4))
def test_a_retirement_that_crashed_anywhere_is_made_good_by_asking_again(moment, commit):
    seeded, hosts = seed_calendars(8, 8)
    reservation = booked(seeded, 8, start=400)
    (at,) = find_hosts(seeded, reservation)
    setattr(seeded.cloud.db, moment, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        retire_host(seeded.cloud.operations, seeded.operator, at, "sold")
    seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    retire_host(seeded.cloud.operations, seeded.operator, at, "sold")
    assert set(find_hosts(seeded, reservation)) == set(hosts) - {at}
    assert (read_promises(seeded, at), seeded.cloud.db.table("heads")[at]) == ({}, 0)


def test_a_booking_that_the_index_does_not_show_yet_keeps_a_host_from_being_retired(monkeypatch):
    seeded, _ = seed_calendars(8, 8)
    (at,) = find_hosts(seeded, booked(seeded, 8))
    with monkeypatch.context() as patched:
        patched.setattr(seeded.cloud.reservations.store, "list_on_host", lambda *_: [])
        with pytest.raises(Conflict) as refused:
            retire_host(seeded.cloud.operations, seeded.operator, at, "sold")
    assert refused.value.code == "host_booked"
    assert retire_host(seeded.cloud.operations, seeded.operator, at, "sold").state == "retired"


@pytest.mark.parametrize("error", [Unavailable("moved"), Conflict("over", code="reservation_over")])
def test_a_host_that_changes_all_the_time_keeps_no_other_waiting(monkeypatch, error):
    seeded, hosts = seed_calendars(8, 8)
    kept = keeping.keep_host

    def fail_first(ports, host_id, now_ms):
        if host_id == min(hosts):
            raise error
        return kept(ports, host_id, now_ms)

    for number in range(2):
        booked(seeded, 8, key=f"key-{number}")
    for host_id in hosts:
        change_host(seeded, host_id, state="lost")
    monkeypatch.setattr(keeping, "keep_host", fail_first)
    assert look(seeded) == Kept(broken=1, left=1)
    monkeypatch.undo()
    assert look(seeded) == Kept(broken=1)

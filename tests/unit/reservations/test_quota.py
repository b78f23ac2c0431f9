"""How many GPUs an account may have in reservations that are not over."""

from dataclasses import replace

import pytest

from chalicelib.core.capacity import DEFAULT_MAX_GPUS, Quota
from chalicelib.core.errors import Unavailable
from chalicelib.reservations import upkeep
from chalicelib.reservations.ports import ReservedQuotaExceeded
from chalicelib.reservations.service import cancel_reservation, set_quota
from tests.factories import add_renter
from tests.fakes import Crash
from tests.unit.reservations.booking import book, booked, change_host, pass_slots, read, seed_calendars


def read_quota(seeded):
    return seeded.cloud.reservations.store.get_quota(seeded.renter.account_id)


def limit(seeded, max_gpus):
    return set_quota(seeded.cloud.reservations, seeded.operator, seeded.renter.account_id, max_gpus)


def end(seeded, reservation):
    pass_slots(seeded, 40)
    upkeep.sweep(seeded.cloud.reservations, seeded.cloud.clock.now_ms())


def cancel(seeded, reservation):
    cancel_reservation(seeded.cloud.reservations, seeded.renter, reservation.reservation_id)


def lose(seeded, reservation):
    (host_id,) = [each.host_id for each in reservation.open_bookings] or [reservation.bookings[0].host_id]
    change_host(seeded, host_id, state="lost")
    upkeep.rebook_host(seeded.cloud.reservations, host_id)


def test_an_account_without_a_word_of_the_operator_has_a_bound():
    seeded, _ = seed_calendars(*[8] * 9)
    for number in range(8):
        book(seeded, 8, key=f"key-{number}")
    with pytest.raises(ReservedQuotaExceeded) as refused:
        book(seeded, 8, key="more")
    assert refused.value.code == "quota"
    assert read_quota(seeded) == Quota(DEFAULT_MAX_GPUS, 64)
    # Another account has its own.
    book(seeded, 8, key="other", principal=add_renter(seeded, name="other"))


def test_every_node_of_a_cluster_counts():
    seeded, hosts = seed_calendars(8, 8, 8)
    for host in hosts:
        change_host(seeded, host, fabric_id="near")
    limit(seeded, 20)
    with pytest.raises(ReservedQuotaExceeded):
        book(seeded, 8, node_count=3)
    book(seeded, 8, node_count=2, key="two")
    assert read_quota(seeded) == Quota(20, 16)


@pytest.mark.parametrize(("finish", "state"), [(end, "ended"), (cancel, "cancelled"), (lose, "broken")])
@pytest.mark.parametrize("moment", [None, "crash_before", "crash_after"])
def test_what_is_over_comes_back_once(finish, state, moment):
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded, 8)
    assert read_quota(seeded).used_gpus == 8
    if moment is not None:
        setattr(seeded.cloud.db, moment, seeded.cloud.db.commits)
        with pytest.raises(Crash):
            finish(seeded, reservation)
        seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    for _ in range(2):
        finish(seeded, read(seeded, reservation.reservation_id))
    assert read(seeded, reservation.reservation_id).state == state
    assert read_quota(seeded).used_gpus == 0


def test_a_repeat_of_a_booking_counts_once_and_is_answered_though_the_quota_is_used_up():
    seeded, _ = seed_calendars(8)
    limit(seeded, 8)
    first = book(seeded, 8)
    again = book(seeded, 8)
    assert (again.body, again.replayed, read_quota(seeded)) == (first.body, True, Quota(8, 8))


def test_a_move_takes_no_more_of_the_quota():
    seeded, _ = seed_calendars(8, 8)
    reservation = booked(seeded, 8)
    limit(seeded, 8)
    lose(seeded, reservation)
    assert len(read(seeded, reservation.reservation_id).bookings) == 2
    assert read_quota(seeded) == Quota(8, 8)


def test_a_lower_quota_than_is_used_cancels_nothing_and_books_nothing():
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded, 6)
    assert limit(seeded, 4) == Quota(4, 6)
    assert limit(seeded, 4).available_gpus == 0
    with pytest.raises(ReservedQuotaExceeded):
        book(seeded, 1, key="more")
    assert read(seeded, reservation.reservation_id).state == "confirmed"
    cancel(seeded, reservation)
    book(seeded, 4, key="again")


def test_a_quota_that_is_set_while_somebody_books_is_asked_for_again():
    seeded, _ = seed_calendars(8)
    stale = read_quota(seeded)
    booked(seeded, 6)
    tx = seeded.cloud.db.begin()
    seeded.cloud.reservations.store.put_quota(tx, seeded.renter.account_id, stale, 10)
    with pytest.raises(Unavailable):
        tx.commit()
    assert limit(seeded, 10) == Quota(10, 6)


def test_a_reservation_from_before_there_was_a_quota_ends_and_gives_nothing_back():
    seeded, _ = seed_calendars(8)
    old, new = booked(seeded, 3, key="old"), booked(seeded, 4, key="new")
    rows = seeded.cloud.db.table("reservations")
    rows[old.reservation_id] = replace(rows[old.reservation_id], quota_gpus=0)
    seeded.cloud.db.table("reserved_quotas")[seeded.renter.account_id] = Quota(DEFAULT_MAX_GPUS, 4)
    cancel(seeded, old)
    assert read_quota(seeded).used_gpus == 4
    cancel(seeded, new)
    assert read_quota(seeded).used_gpus == 0

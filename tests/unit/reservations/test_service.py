"""Booking, answering twice, cancelling, redeeming."""

import pytest

from chalicelib.catalog.service import put_price
from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound, Unavailable
from chalicelib.reservations import service
from chalicelib.reservations.hosts import make_reservable, make_shared
from chalicelib.reservations.model import DAY_MS, SLOT_MS
from chalicelib.reservations.ports import NoRoom, NotRedeemable, get_reservation
from tests.factories import GPU_TYPE, PRICES, REGION, add_host, add_renter, rent, seed_cloud
from tests.fakes import START_MS, Crash
from tests.unit.reservations.booking import (
    SLOTS_TO_MIDNIGHT,
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


def test_a_booking_promises_every_slot_of_its_window_on_one_host_over_midnight():
    seeded, (host,) = seed_calendars(8)
    first = SLOTS_TO_MIDNIGHT - 2
    reservation = booked(seeded, 3, start=first, slots=5)
    assert read_promises(seeded, host) == dict.fromkeys(range(first, first + 5), 3)
    assert [(each.host_id, each.gpu_count) for each in reservation.bookings] == [(host, 3)]
    assert (reservation.state, reservation.price_micros_per_gpu_hour) == ("confirmed", PRICE)
    assert list_actions(seeded) == ["reservation.created"]


def test_what_is_promised_is_never_promised_again():
    seeded, (host,) = seed_calendars(8)
    booked(seeded, 5, start=4, slots=4)
    with pytest.raises(NoRoom):
        book(seeded, 4, start=7, slots=4, key="key-2")
    booked(seeded, 3, start=7, slots=4, key="key-3")
    booked(seeded, 5, start=8, slots=2, key="key-4")
    assert max(read_promises(seeded, host).values()) == 8


def test_gpus_of_two_hosts_are_never_promised_as_one_block():
    seeded, _ = seed_calendars(4, 4)
    with pytest.raises(NoRoom) as caught:
        book(seeded, 6)
    assert (caught.value.code, caught.value.extra) == ("no_capacity", {"why": "no_capacity"})


def test_the_price_is_frozen():
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded)
    put_price(
        seeded.cloud.catalog,
        seeded.operator,
        gpu_type=GPU_TYPE,
        region=REGION,
        price_micros_per_gpu_hour=2 * PRICE,
        billing_class="reserved",
        known_regions=frozenset({REGION}),
    )
    assert read(seeded, reservation.reservation_id).price_micros_per_gpu_hour == PRICE
    # The cached price is refused by its version, and read anew.
    assert booked(seeded, key="key-2").price_micros_per_gpu_hour == 2 * PRICE


def test_a_repeat_gets_the_first_answer_and_books_nothing():
    seeded, (host,) = seed_calendars(8)
    first = book(seeded, 8)
    again = book(seeded, 8)
    assert (first.body, first.replayed, again.replayed) == (again.body, False, True)
    assert set(read_promises(seeded, host).values()) == {8}
    with pytest.raises(IdempotencyMismatch):
        book(seeded, 8, body=b"other")


@pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
def test_a_crash_at_the_commit_books_all_or_nothing_and_a_repeat_completes(moment):
    seeded, (host,) = seed_calendars(8)
    db = seeded.cloud.db
    setattr(db, moment, db.commits)
    with pytest.raises(Crash):
        book(seeded, 8)
    assert bool(read_promises(seeded, host)) == (moment == "crash_after")
    answer = book(seeded, 8)
    assert answer.replayed == (moment == "crash_after")
    assert set(read_promises(seeded, host).values()) == {8}
    assert (
        len(seeded.cloud.reservations.store.list_reservations(seeded.renter.account_id, 9, None).items) == 1
    )


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        ({"gpu_type": "unknown"}, "unknown_gpu_type"),
        ({"region": "nowhere-1"}, "unknown_region"),
        ({"region": "any"}, "unknown_region"),
        ({"start": -1}, "window_passed"),
        ({"slots": 0}, "window_length"),
        ({"node_count": 6, "slots": 96 * 40}, "too_many_slots"),
    ],
)
def test_what_cannot_be_booked_is_refused_and_changes_nothing(wishes, code):
    seeded, (host,) = seed_calendars(8)
    with pytest.raises(InvalidInput) as caught:
        book(seeded, **wishes)
    assert caught.value.code == code
    assert read_promises(seeded, host) == {}


def test_a_cluster_books_whole_hosts_of_one_fabric_together_or_not_at_all():
    seeded, hosts = seed_calendars(8, 8, 8, 8)
    for number, host in enumerate(hosts):
        change_host(seeded, host, fabric_id=f"fabric-{number // 3}")
    reservation = booked(seeded, 8, node_count=3)
    assert {booking.host_id for booking in reservation.bookings} == set(hosts[:3])
    before = {host: read_promises(seeded, host) for host in hosts}
    with pytest.raises(NoRoom):
        book(seeded, 8, node_count=2, key="key-2")
    assert {host: read_promises(seeded, host) for host in hosts} == before


@pytest.mark.parametrize("changes", [{"state": "draining"}, {"state": "retired"}, {"reservable": False}])
def test_a_host_that_closes_between_reading_and_booking_is_not_booked(changes, monkeypatch):
    seeded, (host,) = seed_calendars(8)
    ports = seeded.cloud.reservations
    listed = ports.fleet.list_reservable(GPU_TYPE, REGION, 9)
    change_host(seeded, host, **changes)
    # The index still shows it.
    monkeypatch.setattr(ports.fleet, "list_reservable", lambda *_: listed)
    with pytest.raises(NoRoom):
        book(seeded)
    assert read_promises(seeded, host) == {}


def test_cancelling_gives_the_coming_slots_back_once_and_names_the_fee():
    seeded, (host,) = seed_calendars(8)
    other = booked(seeded, 2, start=0, slots=20, key="other")
    reservation = booked(seeded, 4, start=4, slots=8)
    pass_slots(seeded, 6.5)
    ports = seeded.cloud.reservations
    cancelled = service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    # Three slots had begun, five had not.
    assert cancelled.cancel_fee_micros == PRICE * 4 * (6 + 5) // 8
    promised = {slot: 6 if 4 <= slot < 7 else 2 for slot in range(20)}
    assert read_promises(seeded, host) == promised
    again = service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    assert again.cancelled_at_ms == cancelled.cancelled_at_ms
    assert read_promises(seeded, host) == promised
    (entry,) = [each for each in seeded.cloud.audit.entries if each.action == "reservation.cancelled"]
    assert entry.details == {
        "begun_micros": PRICE * 3,
        "kept_micros": PRICE * 5 // 2,
        "charged_micros": cancelled.cancel_fee_micros,
    }
    assert read(seeded, other.reservation_id).state == "confirmed"


def test_two_cancels_at_once_give_back_once(monkeypatch):
    seeded, (host,) = seed_calendars(8)
    booked(seeded, 4, key="other")
    reservation = booked(seeded, 4)
    ports = seeded.cloud.reservations
    stale = read(seeded, reservation.reservation_id)
    service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    monkeypatch.setattr(ports.store, "get_reservation", lambda _id: stale)
    with pytest.raises(Unavailable):
        service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    assert set(read_promises(seeded, host).values()) == {4}


def test_a_reservation_in_use_or_over_is_not_cancelled():
    seeded, _ = seed_calendars(8)
    ports, reservation = seeded.cloud.reservations, booked(seeded, 4, start=0)
    take(seeded, reservation, "rnt_1", 2)
    with pytest.raises(Conflict) as caught:
        service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    assert caught.value.code == "reservation_in_use"
    put_back(seeded, reservation, "rnt_1", 2)
    pass_slots(seeded, 8)
    with pytest.raises(Conflict) as caught:
        service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    assert caught.value.code == "reservation_over"


def test_a_foreign_reservation_answers_as_a_missing_one():
    seeded, _ = seed_calendars(8)
    ports, stranger = seeded.cloud.reservations, add_renter(seeded, name="stranger")
    reservation = booked(seeded)
    for attempt in (get_reservation, service.cancel_reservation):
        for principal, wanted in ((stranger, reservation.reservation_id), (seeded.renter, "rsv_none")):
            with pytest.raises(NotFound):
                attempt(ports, principal, wanted)
    assert ports.store.list_reservations(stranger.account_id, 9, None).items == []


def test_an_accounts_reservations_are_listed_newest_first_page_by_page():
    seeded, _ = seed_calendars(8)
    made = []
    for number in range(5):
        made.append(booked(seeded, 1, key=f"key-{number}"))
        pass_slots(seeded, 0.1)
    store, found, start = seeded.cloud.reservations.store, [], None
    while True:
        page = store.list_reservations(seeded.renter.account_id, 2, start)
        found += page.items
        start = page.next_key
        if start is None:
            break
    assert found == made[::-1]


def test_redeeming_never_takes_more_than_is_booked_on_the_host():
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded, 4, start=0)
    take(seeded, reservation, "rnt_1", 3)
    with pytest.raises(NotRedeemable):
        take(seeded, reservation, "rnt_2", 2)
    take(seeded, reservation, "rnt_2", 1)
    with pytest.raises(NotRedeemable):
        take(seeded, reservation, "rnt_1", 1)
    (booking,) = read(seeded, reservation.reservation_id).bookings
    assert (booking.used_gpus, dict(booking.uses)) == (4, {"rnt_1": 3, "rnt_2": 1})
    put_back(seeded, reservation, "rnt_1", 3)
    for wrong in (("rnt_1", 3), ("rnt_2", 2), ("rnt_3", 1)):
        with pytest.raises(NotRedeemable):
            put_back(seeded, reservation, *wrong)
    take(seeded, reservation, "rnt_3", 3)


@pytest.mark.parametrize(("slot", "inside"), [(3.99, False), (4, True), (11.99, True), (12, False)])
def test_a_reservation_is_redeemed_inside_its_window_only_whatever_the_sweep_wrote(slot, inside):
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded, 4, start=4, slots=8)
    pass_slots(seeded, slot)
    if inside:
        take(seeded, reservation, "rnt_1", 4)
        return
    with pytest.raises(NotRedeemable):
        take(seeded, reservation, "rnt_1", 4)


def test_a_rental_that_outlives_the_window_can_still_put_its_gpus_back():
    seeded, _ = seed_calendars(8)
    reservation = booked(seeded, 4, start=0)
    take(seeded, reservation, "rnt_1", 4)
    pass_slots(seeded, 30)
    put_back(seeded, reservation, "rnt_1", 4)
    assert read(seeded, reservation.reservation_id).bookings[0].used_gpus == 0


def test_the_preview_shows_the_largest_promise_of_each_hour():
    seeded, _ = seed_calendars(8, 4)
    booked(seeded, 6, start=5, slots=1)

    def ask(gpus, hours=3):
        return service.preview(
            seeded.cloud.reservations,
            seeded.renter.account_id,
            gpu_type=GPU_TYPE,
            region=REGION,
            from_ms=START_MS + 2 * SLOT_MS,
            to_ms=START_MS + 4 * hours * SLOT_MS,
            gpu_count=gpus,
        )

    found = ask(4)
    assert [hour.largest_gpus for hour in found.hours] == [8, 4, 8]
    assert [(hour.starts_at_ms - START_MS) // SLOT_MS for hour in found.hours] == [2, 4, 8]
    assert (found.fits, ask(5).fits, found.price_micros_per_gpu_hour) == (True, False, PRICE)
    with pytest.raises(InvalidInput):
        ask(1, hours=24 * 7 + 1)


def test_the_promise_of_a_host_is_told_for_those_who_lend_it_to_spot():
    seeded, (host,) = seed_calendars(8)
    booked(seeded, 5, start=4, slots=2)
    ports = seeded.cloud.reservations
    asked = [(0, 3.5), (0, 4.01), (5.5, 6), (6, 90)]
    found = [
        service.find_promise(ports, host, START_MS + int(low * SLOT_MS), START_MS + int(high * SLOT_MS))
        for low, high in asked
    ]
    assert found == [0, 5, 5, 0]


def test_a_host_in_use_does_not_become_reservable_and_one_that_is_gets_nothing_on_demand():
    seeded = seed_cloud(hosts=1, every_class=True)
    ports = seeded.cloud.reservations
    (host,) = ports.fleet.list_hosts(GPU_TYPE, REGION)
    rent(seeded, 1)
    with pytest.raises(Conflict) as caught:
        make_reservable(ports, seeded.operator, host.host_id)
    assert caught.value.code == "host_in_use"
    spare = add_host(seeded, "spare").host_id
    seeded.beat(spare)
    for _ in range(2):
        make_reservable(ports, seeded.operator, spare)
    with pytest.raises(Conflict) as caught:
        rent(seeded, 8, key="key-2")
    assert caught.value.code == "no_capacity"
    assert [each.host_id for each in ports.fleet.list_reservable(GPU_TYPE, REGION, 9)] == [spare]
    actions = [entry.action for entry in seeded.cloud.audit.entries if entry.subject == spare]
    assert actions.count("host.made_reservable") == 1
    with pytest.raises(NotFound):
        make_reservable(ports, seeded.operator, "hst_none")


def test_a_retired_host_is_not_kept_for_reservations():
    seeded = seed_cloud(hosts=1, every_class=True)
    ports = seeded.cloud.reservations
    (host,) = ports.fleet.list_hosts(GPU_TYPE, REGION)
    change_host(seeded, host.host_id, state="retired")
    with pytest.raises(Conflict) as caught:
        make_reservable(ports, seeded.operator, host.host_id)
    assert caught.value.code == "host_gone"


def test_a_host_with_bookings_to_come_is_not_shared_again():
    seeded, (host,) = seed_calendars(8)
    ports, reservation = seeded.cloud.reservations, booked(seeded, 1, start=96, slots=1)
    with pytest.raises(Conflict) as caught:
        make_shared(ports, seeded.operator, host)
    assert caught.value.code == "host_booked"
    service.cancel_reservation(ports, seeded.renter, reservation.reservation_id)
    for _ in range(2):
        make_shared(ports, seeded.operator, host)
    with pytest.raises(NoRoom):
        book(seeded, 1, key="key-2")
    rent(seeded, 8, key="key-3")


def test_sharing_a_host_and_booking_it_at_once_cannot_both_happen(monkeypatch):
    seeded, (host,) = seed_calendars(8)
    ports = seeded.cloud.reservations
    stale = ports.fleet.list_reservable(GPU_TYPE, REGION, 9)
    make_shared(ports, seeded.operator, host)
    monkeypatch.setattr(ports.fleet, "list_reservable", lambda *_: stale)
    with pytest.raises(NoRoom):
        book(seeded, 1)
    assert seeded.cloud.db.table("heads").get(host, 0) == 0


def test_a_window_of_sixty_days_is_booked_as_one():
    seeded, (host,) = seed_calendars(8)
    booked(seeded, 8, start=10, slots=60 * DAY_MS // SLOT_MS)
    promised = read_promises(seeded, host)
    assert (len(promised), set(promised.values())) == (60 * 96, {8})

"""Redeeming a reservation: inside its window, on its host, at its price, and no longer than it lasts."""

import json
from dataclasses import replace

import pytest

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.metering.failover import RentalFailover
from chalicelib.rentals.due import do_due
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.model import NOTICE_MS
from chalicelib.rentals.reserving import clear_way
from chalicelib.reservations.hosts import make_reservable
from chalicelib.reservations.model import KEPT_FREE_MS, PREEMPTION_LEAD_MS
from chalicelib.reservations.service import CreateReservation, ReservationRequest, create_reservation
from tests.factories import GPU_TYPE, PRICES, REGION, add_host, add_renter, rent, seed_cloud, start

STOP_AND_WIPE_MS = 30_000
QUARTER_MS = 15 * 60_000
HOUR_MS = 4 * QUARTER_MS


def seed(*, hosts=1, gpus=4):
    """A cloud whose only hosts are kept for reservations."""
    seeded = seed_cloud(hosts=hosts, gpus=gpus, every_class=True)
    for host_id in list(seeded.cloud.db.table("hosts")):
        make_reservable(seeded.cloud.reservations, seeded.operator, host_id)
    return seeded


def book(seeded, gpus=4, *, in_ms=0, hours=2, key="book"):
    now_ms = seeded.cloud.clock.now_ms()
    starts_at_ms = -(-(now_ms + in_ms) // QUARTER_MS) * QUARTER_MS
    request = ReservationRequest(
        gpu_type=GPU_TYPE,
        region=REGION,
        gpu_count=gpus,
        node_count=1,
        starts_at_ms=starts_at_ms,
        ends_at_ms=starts_at_ms + hours * HOUR_MS,
        label=None,
    )
    command = CreateReservation(
        request, key, compute_fingerprint("book", key.encode()), lambda made: json.dumps(made.reservation_id)
    )
    made = create_reservation(seeded.cloud.reservations, seeded.renter, command)
    return seeded.cloud.reservations.store.get_reservation(json.loads(made.body))


def go_to(seeded, at_ms):
    seeded.cloud.clock.value_ms = at_ms
    for host_id in list(seeded.cloud.db.table("hosts")):
        seeded.beat(host_id)


def sweep(seeded):
    return clear_way(seeded.cloud.rentals, seeded.cloud.reservations, seeded.cloud.clock.now_ms())


def redeem(seeded, reservation, gpus=4, **wishes):
    rented = rent(
        seeded,
        gpus,
        billing_class="reserved",
        reservation_id=reservation.reservation_id,
        waits=True,
        **wishes,
    )
    return seeded.rental(rented.body)


def test_on_demand_is_never_placed_on_what_is_kept_for_reservations():
    seeded = seed()
    with pytest.raises(Conflict) as refused:
        rent(seeded, 1)
    assert refused.value.code == "no_capacity"


def test_a_reservation_is_redeemed_on_its_host_at_its_price():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    rental = redeem(seeded, reservation)
    assert (rental.state, rental.host_id) == ("provisioning", reservation.bookings[0].host_id)
    assert rental.price_micros_per_gpu_hour == PRICES["reserved"]
    assert rental.reserved_until_ms == reservation.ends_at_ms


def test_before_its_window_a_rental_waits_for_its_hour():
    seeded = seed()
    reservation = book(seeded, in_ms=HOUR_MS)
    rental = redeem(seeded, reservation)
    assert (rental.state, rental.waiting) == ("queued", None)
    assert rental.policies.start_at_ms == reservation.starts_at_ms
    go_to(seeded, reservation.starts_at_ms)
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms()) == 1
    seeded.dispatch()
    assert seeded.rental(rental.rental_id).state == "provisioning"


def test_no_more_than_was_booked_is_redeemed_and_what_ends_comes_back():
    seeded = seed()
    reservation = book(seeded, 2)
    go_to(seeded, reservation.starts_at_ms)
    first = redeem(seeded, reservation, 2)
    with pytest.raises(Conflict):
        redeem(seeded, reservation, 1, key="more")
    terminate_rental(seeded.cloud.rentals, seeded.renter, first.rental_id)
    seeded.report(seeded.rental(first.rental_id), "terminated", wiped=True)
    assert redeem(seeded, reservation, 2, key="again").state == "provisioning"


def test_another_accounts_reservation_looks_like_a_missing_one():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    with pytest.raises(NotFound):
        redeem(seeded, reservation, principal=add_renter(seeded, name="other"))


def test_spot_lives_there_until_the_window_and_is_told_in_time():
    seeded = seed()
    reservation = book(seeded, in_ms=HOUR_MS)
    spot = start(seeded, 4, key="spot", billing_class="spot")
    assert spot.host_id == reservation.bookings[0].host_id
    go_to(seeded, reservation.starts_at_ms - PREEMPTION_LEAD_MS - 1)
    assert sweep(seeded) == 0
    go_to(seeded, reservation.starts_at_ms - PREEMPTION_LEAD_MS)
    assert sweep(seeded) == 1
    assert sweep(seeded) == 0
    told = seeded.rental(spot.rental_id)
    assert told.planned_end.at_ms == seeded.cloud.clock.now_ms() + NOTICE_MS
    assert told.planned_end.at_ms <= reservation.starts_at_ms


@pytest.mark.parametrize("offset_seconds", range(0, 60, 5))
def test_whenever_in_a_minute_the_sweep_comes_the_host_is_free_when_the_window_begins(offset_seconds):
    seeded = seed()
    reservation = book(seeded, in_ms=HOUR_MS)
    spot = start(seeded, 4, key="spot", billing_class="spot")
    at_ms = reservation.starts_at_ms - 600_000 + offset_seconds * 1000
    while seeded.rental(spot.rental_id).planned_end is None:
        go_to(seeded, at_ms)
        sweep(seeded)
        at_ms += 60_000
    end = seeded.rental(spot.rental_id).planned_end
    assert end.at_ms - end.notice_at_ms == NOTICE_MS
    assert end.at_ms + STOP_AND_WIPE_MS <= reservation.starts_at_ms


def test_spot_is_not_lent_what_is_about_to_be_used():
    seeded = seed(gpus=8)
    reservation = book(seeded, 5, in_ms=HOUR_MS)
    go_to(seeded, reservation.starts_at_ms - PREEMPTION_LEAD_MS)
    assert sweep(seeded) == 0
    with pytest.raises(Conflict) as refused:
        rent(seeded, 4, key="large", billing_class="spot")
    assert refused.value.code == "no_capacity"
    assert start(seeded, 3, key="small", billing_class="spot").state == "running"
    commits = seeded.cloud.db.commits
    assert sweep(seeded) == 0, "room is there"
    assert seeded.cloud.db.commits == commits
    # Whoever reserved comes a little later, and waits for nobody.
    go_to(seeded, reservation.starts_at_ms + 120_000)
    assert redeem(seeded, reservation, 5).state == "provisioning"


def test_what_nobody_redeems_is_lent_again_after_a_while():
    seeded = seed()
    reservation = book(seeded, in_ms=HOUR_MS)
    go_to(seeded, reservation.starts_at_ms - PREEMPTION_LEAD_MS)
    sweep(seeded)
    waiting = seeded.rental(rent(seeded, 4, key="spot", billing_class="spot", waits=True).body)
    for after_ms, state in ((-1, "queued"), (KEPT_FREE_MS - 1, "queued"), (KEPT_FREE_MS, "provisioning")):
        go_to(seeded, reservation.starts_at_ms + after_ms)
        seeded.dispatch()
        assert seeded.rental(waiting.rental_id).state == state


def test_reservations_that_begin_together_on_a_host_have_their_room_together():
    seeded = seed(gpus=8)
    for number in range(2):
        reservation = book(seeded, 4, in_ms=HOUR_MS, key=f"book-{number}")
    for number in range(4):
        start(seeded, 1, key=f"spot-{number}", billing_class="spot")
    go_to(seeded, reservation.starts_at_ms - PREEMPTION_LEAD_MS)
    assert sweep(seeded) == 4


def test_the_end_of_the_window_is_announced_and_ends_the_rental():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    rental = redeem(seeded, reservation)
    seeded.report(rental, "running")
    go_to(seeded, reservation.ends_at_ms - NOTICE_MS)
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms()) == 1
    told = seeded.rental(rental.rental_id)
    assert (told.planned_end.reason, told.planned_end.at_ms) == ("reservation_ended", reservation.ends_at_ms)
    go_to(seeded, reservation.ends_at_ms)
    seeded.preempted(told)
    assert seeded.rental(rental.rental_id).reason == "reservation_ended"


def test_a_lost_host_moves_reservation_and_rental_to_another():
    seeded = seed(hosts=2)
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    rental = redeem(seeded, reservation, recovery="replace")
    cloud = seeded.cloud
    host = cloud.fleet_store.get_host(rental.host_id)
    cloud.db.table("hosts")[host.host_id] = replace(host, state="lost")
    failover = RentalFailover(cloud.meters, cloud.watch_store, cloud.reservations)
    for _ in range(2):
        failover.fail_over_host(host.host_id, "silent", cloud.clock.now_ms())
        seeded.dispatch()
    again = seeded.rental(rental.rental_id)
    assert again.state == "provisioning"
    assert again.host_id != rental.host_id
    assert again.price_micros_per_gpu_hour == PRICES["reserved"]


def test_a_rental_whose_reservation_was_cancelled_holds_nobody_up():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    # A fault keeps the host from being offered, so that the rental has to wait.
    host = seeded.cloud.fleet_store.get_host(reservation.bookings[0].host_id)
    hosts = seeded.cloud.db.table("hosts")
    hosts[host.host_id] = replace(host, state="draining")
    waiting = redeem(seeded, reservation)
    assert waiting.state == "queued"
    rows = seeded.cloud.db.table("reservations")
    rows[reservation.reservation_id] = replace(rows[reservation.reservation_id], state="cancelled")
    behind = seeded.rental(rent(seeded, 2, key="behind", waits=True).body)
    seeded.beat(add_host(seeded, "shared", 2).host_id)
    seeded.dispatch()
    over = seeded.rental(waiting.rental_id)
    assert (over.state, over.reason, over.charge_micros) == ("failed", "start_impossible", 0)
    assert seeded.rental(behind.rental_id).state == "provisioning"


def test_a_host_that_is_added_later_is_shared():
    seeded = seed()
    seeded.beat(add_host(seeded, "shared", 2).host_id)
    assert seeded.rental(rent(seeded, 2).body).state == "provisioning"


def fall_silent(seeded):
    seeded.cloud.clock.advance_seconds(31)


def test_who_redeems_on_a_silent_host_waits_for_it_and_starts_when_it_is_heard():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    fall_silent(seeded)
    waiting = redeem(seeded, reservation)
    assert (waiting.state, waiting.waiting.why) == ("queued", "no_capacity")
    (host_id,) = seeded.cloud.db.table("hosts")
    seeded.beat(host_id)
    seeded.dispatch()
    assert seeded.rental(waiting.rental_id).state == "provisioning"


def test_a_silent_host_of_a_reservation_holds_up_nobody_else_in_line():
    seeded = seed()
    reservation = book(seeded)
    go_to(seeded, reservation.starts_at_ms)
    fall_silent(seeded)
    waiting = redeem(seeded, reservation)
    other = rent(seeded, 2, key="other", waits=True).body
    assert seeded.rental(other).state == "queued"
    shared = add_host(seeded, "shared", 4)
    seeded.beat(shared.host_id)
    seeded.dispatch()
    assert seeded.rental(other).state == "provisioning"
    assert seeded.rental(waiting.rental_id).state == "queued"

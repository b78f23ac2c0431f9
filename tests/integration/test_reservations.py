"""Slots that are promised once, on the database that the platform runs on, under real contention."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib import wiring
from chalicelib.core.errors import Conflict, Forbidden, Unavailable
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal
from chalicelib.reservations import upkeep
from chalicelib.reservations.hosts import make_reservable, make_shared
from chalicelib.reservations.model import DAY_MS, SLOT_MS, Reservation, floor_slot, list_spans
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.service import (
    CreateReservation,
    ReservationRequest,
    cancel_reservation,
    create_reservation,
    redeem,
    release,
)
from infra.local.cloud import EmbeddedCloud
from tests.fakes import FakeClock
from tests.integration.fleet_setup import REGION, add_host, add_renter, become_operator, offer
from tests.integration.in_process import wire_to

THREADS = 16
HOSTS = (8, 8, 4)
BOOKINGS_PER_THREAD = 25


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def keep_hosts(operator: Principal, gpu_type: str, sizes: tuple[int, ...]) -> dict[str, int]:
    offer(operator, gpu_type)
    offer(operator, gpu_type, "reserved")
    hosts = {add_host(operator, gpu_type, gpus).host_id: gpus for gpus in sizes}
    for host_id in hosts:
        make_reservable(wiring.reservation_ports(), operator, host_id)
    return hosts


def book(
    renter: Principal,
    gpu_type: str,
    gpus: int,
    window: tuple[int, int],
    key: str,
    ports: ReservationPorts | None = None,
) -> str:
    request = ReservationRequest(gpu_type, REGION, gpus, *window)
    fingerprint = compute_fingerprint("POST /v1/reservations", repr(request).encode())
    command = CreateReservation(request, key, fingerprint, lambda made: made.reservation_id)
    return create_reservation(ports or wiring.reservation_ports(), renter, command).body


def read(reservation_id: str) -> Reservation:
    found = wiring.reservation_ports().store.get_reservation(reservation_id)
    assert found is not None
    return found


def count_promises(reservations: list[Reservation]) -> Counter[tuple[str, str, int]]:
    """GPUs by host, day and slot, from the reservations that are in force."""
    counted: Counter[tuple[str, str, int]] = Counter()
    for each in reservations:
        for booking in each.open_bookings:
            for span in list_spans(each.starts_at_ms, each.ends_at_ms):
                for slot in range(span.first, span.end):
                    counted[booking.host_id, span.day, slot] += booking.gpu_count
    return counted


def read_promises(hosts: dict[str, int]) -> Counter[tuple[str, str, int]]:
    store = wiring.reservation_ports().store
    return Counter(
        {
            (host_id, day, slot): count
            for host_id in hosts
            for day, counts in store.read_days(host_id, "0000", "9999").items()
            for slot, count in enumerate(counts)
            if count
        }
    )


@pytest.mark.slow
def test_sixteen_threads_booking_and_cancelling_never_promise_a_slot_twice(wired: None) -> None:
    operator = become_operator()
    hosts = keep_hosts(operator, "booked", HOSTS)
    renters = [add_renter(operator) for _ in range(THREADS)]
    # From tomorrow on, so that every slot can be given back.
    base_ms = floor_slot(wiring.clock().now_ms()) + DAY_MS
    refused: Counter[str] = Counter()

    def work(number: int) -> list[str]:
        rng, made = random.Random(number), []
        for attempt in range(BOOKINGS_PER_THREAD):
            start = base_ms + rng.randrange(60) * SLOT_MS
            window = (start, start + rng.choice((1, 4, 30, 96, 200)) * SLOT_MS)
            try:
                made.append(book(renters[number], "booked", rng.choice((1, 2, 4, 8)), window, f"{attempt}"))
                if rng.random() < 0.5:
                    victim = rng.choice(made)
                    cancel_reservation(wiring.reservation_ports(), renters[number], victim)
            except (Conflict, Forbidden, Unavailable) as error:
                refused[error.code] += 1
        return made

    def list_used() -> list[int]:
        store = wiring.reservation_ports().store
        return [store.get_quota(renter.account_id).used_gpus for renter in renters]

    with ThreadPoolExecutor(THREADS) as pool:
        made = [read(each) for ids in pool.map(work, range(THREADS)) for each in ids]
    promised = read_promises(hosts)
    assert promised == count_promises(made)
    confirmed = Counter[str]()
    for each in made:
        confirmed[each.account_id] += each.total_gpus if each.state == "confirmed" else 0
    assert list_used() == [confirmed[renter.account_id] for renter in renters]
    assert all(count <= hosts[host_id] for (host_id, _, _), count in promised.items())
    states = Counter(each.state for each in made)
    assert states["confirmed"] > 10
    assert states["cancelled"] > 10
    assert refused["no_capacity"] > 10, "nobody was ever refused, so there was no contention"
    print(f"{dict(states)}, refused {dict(refused)}, {len(promised)} slots promised")

    for each in made:
        if each.state == "confirmed":
            owner = next(renter for renter in renters if renter.account_id == each.account_id)
            cancel_reservation(wiring.reservation_ports(), owner, each.reservation_id)
    assert read_promises(hosts) == Counter()
    assert list_used() == [0] * THREADS
    for host_id in hosts:
        make_shared(wiring.reservation_ports(), operator, host_id)


@pytest.mark.slow
def test_a_hundred_threads_with_one_key_make_one_reservation(wired: None) -> None:
    operator = become_operator()
    hosts = keep_hosts(operator, "booked-once", (8,))
    renter = add_renter(operator)
    start = floor_slot(wiring.clock().now_ms()) + DAY_MS
    with ThreadPoolExecutor(THREADS) as pool:
        ids = list(
            pool.map(
                lambda _: book(renter, "booked-once", 2, (start, start + 8 * SLOT_MS), "one-key"), range(100)
            )
        )
    assert len(set(ids)) == 1
    assert set(read_promises(hosts).values()) == {2}


@pytest.mark.slow
def test_a_life_on_the_database_booked_redeemed_moved_listed_and_ended(wired: None) -> None:
    operator = become_operator()
    hosts = keep_hosts(operator, "life", (8, 8))
    # Half the price of sixty days is its deposit.
    renter = add_renter(operator, 2 * 10**10)
    now_ms = wiring.clock().now_ms()
    # One slot for the whole test, however long it takes.
    ports, start = replace(wiring.reservation_ports(), clock=FakeClock(now_ms)), floor_slot(now_ms)
    # Sixty days: 61 days of the calendar in one transaction.
    whole = read(book(renter, "life", 6, (start, start + 60 * DAY_MS), "long", ports))
    assert set(read_promises(hosts).values()) == {6}
    first = whole.bookings[0].host_id

    def take(rental_id: str, gpus: int) -> None:
        tx = ports.transactions()
        redeem(ports, tx, whole, first, rental_id, gpus, now_ms)
        tx.commit()

    def take_all(number: int) -> int:
        try:
            take(f"rnt_{number}", 1)
        except Conflict:
            return 0
        return 1

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(take_all, range(THREADS))) == 6
    (booking,) = read(whole.reservation_id).bookings
    assert booking.used_gpus == 6
    for rental_id, gpus in booking.uses.items():
        tx = ports.transactions()
        release(ports, tx, whole.reservation_id, first, rental_id, gpus)
        tx.commit()

    assert upkeep.rebook_host(ports, first) == {whole.reservation_id: "moved"}
    moved = read(whole.reservation_id)
    (other,) = (each.host_id for each in moved.open_bookings)
    assert other != first
    # What has not begun is free on the first host; the slot that has begun stays in its record.
    left = Counter(host_id for host_id, _, _ in read_promises(hosts))
    assert left[first] == 1
    assert left[other] == 60 * 96
    page = ports.store.list_reservations(renter.account_id, 10, None)
    assert [each.open_bookings for each in page.items] == [moved.open_bookings]

    upkeep.sweep(ports, now_ms)
    assert read(whole.reservation_id).state == "active"
    upkeep.sweep(ports, start + 60 * DAY_MS)
    assert read(whole.reservation_id).state == "ended"
    assert ports.store.list_on_host(other, 10) == []
    for host_id in hosts:
        make_shared(ports, operator, host_id)

"""Exclusive rental of a GPU, on the database that the platform runs on, under real contention."""

import os
import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from chalicelib import wiring
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.metering.service import Report, apply_report
from chalicelib.rentals.life import end_rental
from chalicelib.rentals.model import Rental
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import (
    add_host,
    add_renter,
    beat,
    become_operator,
    offer,
    read_rental,
    rent,
)
from tests.integration.in_process import wire_to

THREADS = 16
ROUNDS = int(os.environ.get("LEASE_ROUNDS", "30"))
HOSTS = (8, 8, 8, 8, 8, 8, 2)


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


@pytest.mark.slow
def test_sixteen_threads_racing_for_fifty_gpus_never_lease_one_twice(wired: None) -> None:
    operator = become_operator()
    offer(operator, "race")
    hosts = [add_host(operator, "race", gpus) for gpus in HOSTS]
    assert sum(HOSTS) == 50
    renters = [add_renter(operator) for _ in range(THREADS)]
    rng = random.Random(20_261_123)
    epochs: dict[str, list[int]] = defaultdict(list)
    won = lost = 0

    with ThreadPoolExecutor(THREADS) as pool:
        barrier = Barrier(THREADS)

        def race(number: int, round_number: int, gpu_count: int) -> Rental | None:
            barrier.wait()
            try:
                created = rent(renters[number], "race", gpu_count, f"{round_number}-{number}")
            except (Conflict, Unavailable):
                return None
            return read_rental(created.body)

        for round_number in range(ROUNDS):
            if round_number % 20 == 0:
                for host in hosts:
                    beat(host.host_id)
            sizes = [rng.choice((1, 1, 2, 4, 8)) for _ in range(THREADS)]
            started = list(pool.map(race, range(THREADS), [round_number] * THREADS, sizes))
            live = [rental for rental in started if rental is not None]
            won, lost = won + len(live), lost + THREADS - len(live)
            leased = [lease.gpu_uuid for rental in live for lease in rental.leases]
            assert len(leased) == len(set(leased)), "one GPU has two live leases"
            for rental in live:
                for lease in rental.leases:
                    epochs[lease.gpu_uuid].append(lease.epoch)
            list(pool.map(finish, live))

    for gpu_uuid, seen in epochs.items():
        assert seen == sorted(set(seen)), f"the epochs of {gpu_uuid} do not strictly rise: {seen}"
    assert won >= ROUNDS, "the race was no race"
    assert lost > 0, "nobody ever lost, so there was no contention"
    for host in hosts:
        rows = wiring.rental_ports().fleet.list_gpus(host.host_id)
        assert {row.lease_state for row in rows} == {"free"}
        stored = wiring.rental_ports().fleet.get_host(host.host_id)
        assert stored is not None
        assert stored.free_gpus == stored.gpu_count
    print(
        f"{won} starts won, {lost} lost, {len(epochs)} GPUs, highest epoch {max(map(max, epochs.values()))}"
    )


def finish(rental: Rental) -> None:
    """End the rental and acknowledge the wipe, as a renter and a host would."""
    ended = end_rental(wiring.rental_ports(), rental, "renter_requested", wiring.clock().now_ms(), "test")
    report = Report(rental.rental_id, ended.wipe_leases, "terminated", None, None, wiped=True)
    apply_report(wiring.meter_ports(), rental.host_id, report, wiring.clock().now_ms())


@pytest.mark.slow
def test_a_hundred_threads_with_one_idempotency_key_make_one_rental(wired: None) -> None:
    operator = become_operator()
    offer(operator, "once")
    add_host(operator, "once", 8)
    renter = add_renter(operator)
    barrier = Barrier(100)

    def start(_number: int) -> tuple[str, bool]:
        barrier.wait()
        created = rent(renter, "once", 1, "the-same-key")
        return created.body, created.replayed

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(start, range(100)))
    assert len({body for body, _ in answers}) == 1
    assert [replayed for _, replayed in answers].count(False) == 1
    page = wiring.rental_ports().store.list_rentals(renter.account_id, 200, None)
    assert len(page.items) == 1
    wallet = wiring.billing_ports().wallets.get_balance(renter.account_id)
    assert wallet is not None
    assert wallet.held_micros == PRICE_OF_ONE_HOLD


PRICE_OF_ONE_HOLD = 2_490_000 * 180 // 3600

"""Sixteen processes under lost replies, throttles and conflicts: their history is recorded and checked.

``make history SEED=n OPERATIONS=n`` runs it alone. A failure prints its seed and what of the history shows
it. Threads take turns as they like: a seed fixes what is asked and where faults fall, not the order.
"""

import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import pytest

from chalicelib import wiring
from chalicelib.billing.charging import charge_rental
from chalicelib.core.errors import DomainError
from chalicelib.core.principal import Principal
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.model import Rental
from chalicelib.rentals.ports import name_hold
from chalicelib.rentals.service import set_quota
from chalicelib.reservations.hosts import make_reservable
from chalicelib.reservations.model import Reservation
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import JournalItem, LegItem
from infra.local.cloud import EmbeddedCloud
from tests.integration.faults import inject
from tests.integration.fleet_setup import add_host, add_renter, become_operator, offer
from tests.integration.in_process import wire_to
from tests.integration.players import Player, Seen, Stage, list_promised
from tests.simulation.history import check_history
from tests.simulation.records import (
    FINAL_STATES,
    SLOT_MS,
    Bill,
    EndedRental,
    Held,
    KeptReservation,
    Rest,
)

OPERATIONS = int(os.environ.get("HISTORY_OPERATIONS", "5000"))
SEED = int(os.environ.get("HISTORY_SEED", "20261123"))
PROCESSES = 16
HOSTS = (8, 8, 8, 8, 4, 2)
#: Kept for reservations.
RESERVABLE_HOSTS = (8, 8, 8, 8, 4)
RENTERS = 6
#: So few that renters are refused for it, too.
MAX_GPUS = 14
ROUNDS_TO_REST = 40


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


@pytest.mark.slow
def test_no_history_of_sixteen_processes_breaks_a_rule(wired: None) -> None:
    operator, gpu_type = become_operator(), f"history-{SEED}"
    offer(operator, gpu_type)
    offer(operator, gpu_type, "reserved")
    hosts = [add_host(operator, gpu_type, gpus) for gpus in (*HOSTS, *RESERVABLE_HOSTS)]
    for host in hosts[len(HOSTS) :]:
        make_reservable(wiring.reservation_ports(), operator, host.host_id)
    renters = [add_renter(operator) for _ in range(RENTERS)]
    for renter in renters:
        set_quota(wiring.rental_ports(), operator, renter.account_id, MAX_GPUS)
    started = time.monotonic()
    with inject(SEED) as faults:
        stage = Stage(gpu_type, renters, [host.host_id for host in hosts], faults)
        players = [Player(stage, number, SEED) for number in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            list(pool.map(lambda player: player.play(OPERATIONS // PROCESSES), players))
        played = len(stage.operations)
        took = time.monotonic() - started
        rentals = come_to_rest(stage)
    rest = read_rest(stage, rentals)
    counts = Counter((each.kind, each.outcome) for each in stage.operations[:played])
    print(f"seed {SEED}: {played} operations in {took:.0f} s, {len(rentals)} rentals, {dict(faults.counts)}")
    print("  " + ", ".join(f"{kind} {outcome} {n}" for (kind, outcome), n in sorted(counts.items())))
    refused = Counter((each.kind, each.detail) for each in stage.operations if each.outcome == "fail")
    print(f"  refused: {dict(refused)}")
    unknown = Counter((each.kind, each.detail[:40]) for each in stage.operations if each.outcome == "info")
    print(f"  without an answer: {dict(unknown)}")
    objections = check_history(stage.operations, rest)
    assert not objections, f"seed {SEED}, {len(objections)} objections:\n" + "\n".join(
        map(str, objections[:10])
    )
    # A history in which nothing happens, or nothing fails, shows nothing.
    assert played >= OPERATIONS - PROCESSES
    for kind in ("rent", "stop", "terminate", "resume", "beat", "charge", "fail_over", "book", "cancel"):
        assert counts[kind, "ok"], kind
    assert counts["rent", "info"]
    assert min(faults.counts[kind] for kind in ("lost reply", "throttle", "conflict")) >= OPERATIONS // 100
    assert faults.counts["lost reply of TransactWriteItems"]
    epochs = max(epoch for _, epoch in rest.gpus.values())
    stays = sum(len(each.segments) for each in rest.rentals)
    posted = sum(bill.posted_micros for each in rest.rentals for bill in each.bills)
    assert posted > 0
    states = Counter(each.state for each in rest.reservations)
    redeemed = sum(len(each.segments) for each in rest.rentals if each.reservation_id is not None)
    assert states["cancelled"]
    print(f"  {stays} stays, highest epoch {epochs}, {posted} micros posted")
    print(f"  reservations {dict(states)}, redeemed by {redeemed} stays")
    assert stays > OPERATIONS // 50
    assert redeemed > OPERATIONS // 500


def come_to_rest(stage: Stage) -> list[Rental]:
    """End every rental, acknowledge every wipe, post every charge; return all that there are."""
    rng = random.Random(0)
    renters = {renter.account_id: renter for renter in stage.renters}

    def end(seen: Seen, rental: Rental) -> None:
        ended = terminate_rental(wiring.rental_ports(), renters[rental.account_id], rental.rental_id)
        seen.look_at(ended)

    for _ in range(ROUNDS_TO_REST):
        rentals = list_rentals(stage.renters)
        live = [rental for rental in rentals if rental.state not in FINAL_STATES]
        unsettled = [rental for rental in rentals if rental.placements and rental.billing_state != "settled"]
        if not live and not unsettled and is_free(stage):
            return rentals
        for rental in live:
            stage.record(-1, "terminate", rental.rental_id, partial(end, rental=rental))
        for host_id in stage.host_ids:
            stage.record(-1, "beat", host_id, partial(stage.beat, host_id, rng=rng))
        for rental in unsettled:
            stage.record(-1, "charge", rental.rental_id, lambda _seen, rental=rental: settle(rental))
    return list_rentals(stage.renters)


def settle(rental: Rental) -> None:
    try:
        charge_rental(wiring.billing_ports(), rental.rental_id)
    except DomainError:
        # The platform's own functions charge at the same time.
        time.sleep(0.05)
        raise


def is_free(stage: Stage) -> bool:
    fleet = wiring.rental_ports().fleet
    rows = [row for host_id in stage.host_ids for row in fleet.list_gpus(host_id)]
    return all(row.lease_state == "free" for row in rows)


def list_rentals(renters: list[Principal]) -> list[Rental]:
    found, store = [], wiring.rental_ports().store
    for renter in renters:
        start: str | None = None
        while True:
            page = store.list_rentals(renter.account_id, 200, start)
            found += [store.get_rental(each.rental_id) or each for each in page.items]
            start = page.next_key
            if start is None:
                break
    return found


def list_reservations(renters: list[Principal]) -> list[Reservation]:
    found, store = [], wiring.reservation_ports().store
    for renter in renters:
        start: str | None = None
        while True:
            page = store.list_reservations(renter.account_id, 200, start)
            found += [store.get_reservation(each.reservation_id) or each for each in page.items]
            start = page.next_key
            if start is None:
                break
    return found


def keep(reservation: Reservation) -> KeptReservation:
    return KeptReservation(
        reservation.reservation_id,
        reservation.label or "",
        reservation.state,
        list_promised(reservation),
        sum(booking.used_gpus for booking in reservation.bookings),
    )


def read_calendars(stage: Stage, at_ms: int) -> dict[tuple[str, int], int]:
    """Return the promised GPUs of each slot that begins at ``at_ms`` or later."""
    store, found = wiring.reservation_ports().store, {}
    for host_id in stage.host_ids:
        for day, counts in store.read_days(host_id, "0000", "9999").items():
            first = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1000 // SLOT_MS
            slots = enumerate(counts, first)
            found |= {(host_id, slot): gpus for slot, gpus in slots if gpus and slot * SLOT_MS >= at_ms}
    return found


def read_rest(stage: Stage, rentals: list[Rental]) -> Rest:
    ports = wiring.rental_ports()
    legs = {renter.account_id: list_legs(renter.account_id) for renter in stage.renters}
    posted = {account_id: group_postings(rows) for account_id, rows in legs.items()}
    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(lambda rental: read_end(rental, posted[rental.account_id]), rentals))
    wallets = {each: wiring.billing_ports().wallets.get_balance(each) for each in legs}
    booked = list(list_reservations(stage.renters))
    deposits: Counter[str] = Counter()
    for each in booked:
        deposits[each.account_id] += each.deposit_micros if each.state in {"confirmed", "active"} else 0
    now_ms = wiring.clock().now_ms()
    rows = {host_id: ports.fleet.list_gpus(host_id) for host_id in stage.host_ids}
    return Rest(
        rentals=tuple(ended),
        reservations=tuple(keep(each) for each in booked),
        host_gpus={each: frozenset(row.gpu.gpu_uuid for row in found) for each, found in rows.items()},
        calendars=read_calendars(stage, now_ms),
        at_ms=now_ms,
        ledger_sum_micros=sum_ledger({row.journal_key for rows in legs.values() for row in rows}),
        # Beside the deposits of what is still booked.
        held_micros={
            each: found.held_micros - deposits[each] for each, found in wallets.items() if found is not None
        },
        used_gpus={each: ports.scheduling.get_quota(each).used_gpus for each in legs},
        tickets=tuple(each.ticket_id for each in ports.scheduling.list_tickets(stage.pool, 100)),
        gpus={row.gpu.gpu_uuid: (row.lease_state, row.epoch) for found in rows.values() for row in found},
    )


def read_end(rental: Rental, posted: dict[tuple[str, int], list[tuple[int, int]]]) -> EndedRental:
    bills = []
    for meter in wiring.billing_ports().meters.list_meters(rental.rental_id):
        rows = posted.get((rental.rental_id, meter.segment), [])
        hold_id = name_hold(rental.rental_id, meter.segment)
        hold = wiring.billing_ports().wallets.get_hold(rental.account_id, hold_id)
        bills.append(
            Bill(
                meter.segment,
                meter.state,
                meter.charged_micros,
                sum(micros for _, micros in rows),
                tuple(number for number, _ in rows),
                "none" if hold is None else hold.state,
            )
        )
    held = tuple(
        Held(rental.rental_id, lease.gpu_uuid, lease.epoch)
        for stay in rental.placements
        for lease in stay.leases
    )
    return EndedRental(
        rental.rental_id,
        rental.label or "",
        rental.state,
        rental.billing_state,
        tuple(stay.segment for stay in rental.placements),
        held,
        rental.charge_micros,
        tuple(bills),
        rental.reservation_id,
    )


def list_legs(account_id: str) -> list[LegItem]:
    return list(LegItem.query(keys.chain(account_id), consistent_read=True))


def group_postings(legs: list[LegItem]) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """Return by stay what was posted: the number of the journal and its micros."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for leg in legs:
        usage = re.search(r"(rnt_[^:#]+):(\d+):(\d+)$", leg.journal_key)
        if usage is not None:
            stay = (usage[1], int(usage[2]))
            found.setdefault(stay, []).append((int(usage[3]), -leg.amount_micros))
    return found


def sum_ledger(journal_keys: set[str]) -> int:
    """Return the sum of the legs, as they stand in all accounts, of these journals."""

    def read(key: str) -> int:
        journal = JournalItem.get(keys.journal_of(key), keys.JOURNAL, consistent_read=True)
        legs = wiring.billing_ports().ledger.read_legs(journal.source, journal.source_id)
        assert len(legs) == len(journal.legs), f"{key} has legs that stand nowhere"
        return sum(leg.amount_micros for leg in legs)

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(read, sorted(journal_keys)))

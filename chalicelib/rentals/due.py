"""Does to rentals what is due by itself: announced ends, schedules, deadlines.

Each step is a transaction on what was read consistently, so that running twice, or late, changes nothing
more.
"""

from dataclasses import replace

from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.rentals.dispatch import announce_end, turn_away
from chalicelib.rentals.flexible import open_regions, start_as_planned
from chalicelib.rentals.life import build_ticket, end_rental, leave_line, resume, wait_in_line
from chalicelib.rentals.model import PlannedEnd, Rental
from chalicelib.rentals.policies import GRACE_MS
from chalicelib.rentals.ports import SYSTEM_ACTOR, RentalPorts, add_audit, add_event
from chalicelib.rentals.retention import DataHold, choose_hold, find_next_step
from chalicelib.rentals.rules import ACTIVE_STATES
from chalicelib.rentals.timing import find_due, list_ends
from chalicelib.rentals.volumes import end_hold

#: Index keys under which rentals that are due are listed (see `rentals.store.choose_due_shard`).
SHARDS = 8
PAGE = 50


def do_due(ports: RentalPorts, now_ms: int) -> int:
    """Look at every rental that is due, a page of each shard; return to how many something was done."""
    done = 0
    for shard in range(SHARDS):
        for listed in ports.store.list_due(f"DUE#{shard}", now_ms, PAGE):
            rental = ports.store.get_rental(listed.rental_id)
            due_at_ms = None if rental is None else find_due(rental)
            if rental is None or due_at_ms is None or due_at_ms > now_ms:
                continue
            try:
                done += act_on_due(ports, rental, now_ms)
            except (Unavailable, Conflict):
                # Somebody changed it at the same time; if it is still due, the next minute sees it.
                continue
    return done


def act_on_due(ports: RentalPorts, rental: Rental, now_ms: int) -> bool:
    """Do what is due to one rental; return whether anything was."""
    if rental.waiting is not None:
        _look_at_wait(ports, rental, now_ms)
        return True
    if rental.data_hold is not None and find_next_step(rental.data_hold) <= now_ms:
        _look_at_data_hold(ports, rental, rental.data_hold, now_ms)
        return True
    if rental.state in {"queued", "stopped"}:
        return _start_on_schedule(ports, rental, now_ms)
    if rental.state not in ACTIVE_STATES:
        return False
    if rental.planned_end is not None:
        # Its host was to end it and did not say that it has.
        end_rental(ports, rental, rental.planned_end.reason, rental.planned_end.at_ms, SYSTEM_ACTOR)
        return True
    ends_at_ms, reason = min(list_ends(rental))
    return announce_end(ports, rental, PlannedEnd(reason, now_ms, max(ends_at_ms, now_ms + GRACE_MS)))


def _look_at_wait(ports: RentalPorts, rental: Rental, now_ms: int) -> None:
    """End a wait whose deadline has passed; else it is one for the best region that is long enough."""
    expired = rental.deadline_at_ms is not None and rental.deadline_at_ms <= now_ms
    if expired or rental.start_plan is None:
        leave_line(ports, rental, "deadline_passed", now_ms, SYSTEM_ACTOR)
        return
    open_regions(ports, rental, rental.start_plan, now_ms)
    fresh = ports.store.get_rental(rental.rental_id)
    if fresh is not None and fresh.state == "queued" and fresh.waiting is None:
        _start_on_schedule(ports, fresh, now_ms)


def _look_at_data_hold(ports: RentalPorts, rental: Rental, hold: DataHold, now_ms: int) -> None:
    """Tell the renter that the data of a rental without money goes, or let it go; money keeps it."""
    following = choose_hold(hold, ports.wallets.find_data_hold_end(rental.account_id), now_ms)
    if following == hold:
        leave_line(ports, rental, "data_hold_ended", now_ms, SYSTEM_ACTOR)
        return
    after = end_hold(rental, now_ms) if following is None else replace(rental, data_hold=following)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, after)
    if following is not None and following.told:
        add_event(ports, tx, "rental.data_hold_ending", after)
    tx.commit()


def _start_on_schedule(ports: RentalPorts, rental: Rental, now_ms: int) -> bool:
    """Start a rental at its hour; without room it stands in line. Of a suspended account nothing starts."""
    if ports.standings.is_barred(rental.account_id):
        _refuse_start(ports, rental, now_ms)
        return True
    if rental.state == "queued" and rental.start_plan is not None:
        start_as_planned(ports, rental, rental.start_plan, now_ms)
        return True
    scheduled = replace(rental, policies=replace(rental.policies, start_at_ms=None))
    if rental.state == "stopped":
        tx = ports.transactions()
        ports.store.replace_rental(tx, rental, scheduled)
        tx.commit()
        fresh = ports.store.get_rental(rental.rental_id)
        assert fresh is not None, "it was just written"
        try:
            resume(ports, fresh, SYSTEM_ACTOR, wait=True)
        except DomainError as error:
            _note_missed_start(ports, fresh, error)
        return True
    ticket = build_ticket(ports, scheduled, now_ms, rental.priority)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, wait_in_line(scheduled, ticket, "no_capacity"))
    ports.scheduling.add_ticket(tx, ticket)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.queued")
    tx.commit()
    return True


def _refuse_start(ports: RentalPorts, rental: Rental, now_ms: int) -> None:
    if rental.state != "stopped":
        turn_away(ports, rental, now_ms)
        return
    tx = ports.transactions()
    missed = replace(rental, policies=replace(rental.policies, start_at_ms=None))
    ports.store.replace_rental(tx, rental, missed)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.scheduled_start_failed", {"code": "account_suspended"})
    tx.commit()


def _note_missed_start(ports: RentalPorts, rental: Rental, error: DomainError) -> None:
    tx = ports.transactions()
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.scheduled_start_failed", {"code": error.code})
    tx.commit()

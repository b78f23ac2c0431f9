"""Serves the lines before pools: whenever GPUs become free, and once a minute whatever happened.

Running twice, at the same time, or not for an hour gives the same: each start is one transaction that takes
its ticket away.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chalicelib.core.capacity import WhyNot
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import (
    AccountSuspended,
    Conflict,
    DomainError,
    InsufficientFunds,
    NotFound,
    Unavailable,
)
from chalicelib.fleet.model import HostCommand
from chalicelib.rentals.life import leave_line
from chalicelib.rentals.model import NOTICE_MS, PlannedEnd, Rental
from chalicelib.rentals.placing import Start, place_now
from chalicelib.rentals.ports import (
    SYSTEM_ACTOR,
    LineAhead,
    NoCapacity,
    QuotaExceeded,
    RentalPorts,
    add_audit,
    add_event,
    add_state_event,
)
from chalicelib.rentals.preemption import SpotStay, choose_victims
from chalicelib.rentals.queue import Ticket, blocks_others, is_expired, note_dispatch, order_tickets
from chalicelib.rentals.rules import WAITING_STATES
from chalicelib.rentals.volumes import begin_keeping

#: Tickets that are looked at in one go. What stands further back has its turn when these are served.
PAGE = 100
#: Hosts and spot stays that are looked at to make room.
MAX_STAYS = 200
MAX_HOSTS = 20
#: Larger than any rental.
MAX_GPUS = 1 << 16
#: From the notice until the room should be there: the notice, the stop, the wipe.
PREEMPTION_MS = NOTICE_MS + 60_000


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one look at a line has done."""

    started: int = 0
    expired: int = 0
    turned_away: int = 0
    preempted: int = 0
    waiting: int = 0
    #: Since when who has waited for longest has, of those that were looked at.
    oldest_since_ms: int | None = None


def dispatch_pool(ports: RentalPorts, pool: str) -> Dispatched:
    """Place whoever fits, in the order of the line; make room for who may preempt.

    Raises:
        Unavailable: the store did not answer; the next sweep goes on.
    """
    tickets = ports.scheduling.list_tickets(pool, PAGE)
    if not tickets:
        return Dispatched()
    now_ms = ports.clock.now_ms()
    accounts = {ticket.account_id for ticket in tickets}
    used = {account_id: ports.scheduling.get_quota(account_id).used_gpus for account_id in accounts}
    oldest_since_ms = min(ticket.since_ms for ticket in tickets)
    done, too_large = Dispatched(waiting=len(tickets), oldest_since_ms=oldest_since_ms), MAX_GPUS
    for ticket in order_tickets(tickets, used):
        without = _take_out(ports, ticket, done, now_ms)
        if without is not None:
            done = without
            continue
        if not ticket.is_bound and ticket.gpu_count >= too_large:
            continue
        why = serve_ticket(ports, ticket, pool)
        if why is None:
            done = replace(done, started=done.started + 1, waiting=done.waiting - 1)
            continue
        if why == "no_capacity" and (ticket.billing_class == "reserved" or ticket.pinned_host_id is None):
            done = replace(done, preempted=done.preempted + make_room(ports, ticket, pool))
        if why == "no_capacity" and not ticket.is_bound:
            # What is as large does not fit either; nodes of a cluster are counted apart.
            too_large = min(too_large, ticket.gpu_count) if ticket.node_count == 1 else too_large
            if blocks_others(ticket, now_ms):
                break
    if done.started:
        ports.scheduling.note_dispatch(pool, note_dispatch(ports.scheduling.get_line(pool), now_ms))
    return done


def serve_ticket(ports: RentalPorts, ticket: Ticket, pool: str) -> WhyNot | None:
    """Place what a ticket stands for, in this pool; return why not, or ``None``: it is no longer in line."""
    rentals = [ports.store.get_rental(rental_id) for rental_id in ticket.rental_ids]
    workloads = [ports.store.get_workload(rental_id) for rental_id in ticket.rental_ids]
    waiting = tuple(rental for rental in rentals if rental is not None and rental.state in WAITING_STATES)
    known = tuple(workload for workload in workloads if workload is not None)
    if len(waiting) < ticket.node_count or len(known) < ticket.node_count:
        # The end of a wait takes its ticket along: this read was older than the line.
        return None
    start = Start(
        waiting,
        known,
        SYSTEM_ACTOR,
        is_new=False,
        ticket=ticket,
        pinned_host_id=ticket.pinned_host_id,
    )
    try:
        place_now(ports, start, pool.partition("#")[2])
    except (NoCapacity, LineAhead):
        why: WhyNot = "no_capacity"
    except QuotaExceeded:
        why = "quota"
    except InsufficientFunds:
        why = "balance"
    except Unavailable:
        return "no_capacity"
    except AccountSuspended:
        _clear(ports, ticket, ports.clock.now_ms())
        return None
    except (Conflict, NotFound) as error:
        if error.code == "price_cap":
            why = "price_cap"
        else:
            # What it waited for is no more: its reservation was cancelled, or it was placed too often.
            _give_up(ports, waiting)
            return None
    else:
        return None
    _explain(ports, waiting, why)
    return why


def _give_up(ports: RentalPorts, waiting: tuple[Rental, ...]) -> None:
    try:
        leave_line(ports, waiting[0], "start_impossible", ports.clock.now_ms(), SYSTEM_ACTOR)
    except (Unavailable, Conflict):
        # Somebody else moved it: the next look knows more.
        return


def _explain(ports: RentalPorts, waiting: tuple[Rental, ...], why: WhyNot) -> None:
    for rental in waiting:
        if rental.waiting is None or rental.waiting.why == why:
            continue
        tx = ports.transactions()
        ports.store.replace_rental(tx, rental, replace(rental, waiting=replace(rental.waiting, why=why)))
        try:
            tx.commit()
        except DomainError:
            # Somebody changed it meanwhile: they know better.
            continue


def _take_out(ports: RentalPorts, ticket: Ticket, done: Dispatched, now_ms: int) -> Dispatched | None:
    """Take a ticket that is to be served no more out of line; ``None``: it may be served."""
    if is_expired(ticket, now_ms):
        _expire(ports, ticket, now_ms)
        return replace(done, expired=done.expired + 1, waiting=done.waiting - 1)
    if ports.standings.is_barred(ticket.account_id):
        _clear(ports, ticket, now_ms)
        return replace(done, turned_away=done.turned_away + 1, waiting=done.waiting - 1)
    return None


def _expire(ports: RentalPorts, ticket: Ticket, now_ms: int) -> None:
    for rental in _list_standing(ports, ticket):
        with contextlib.suppress(Unavailable, Conflict):
            leave_line(ports, rental, "deadline_passed", now_ms, SYSTEM_ACTOR)


def _clear(ports: RentalPorts, ticket: Ticket, now_ms: int) -> None:
    for rental in _list_standing(ports, ticket):
        with contextlib.suppress(Unavailable, Conflict):
            turn_away(ports, rental, now_ms)


def _list_standing(ports: RentalPorts, ticket: Ticket) -> Iterator[Rental]:
    """Yield who stands in line with a ticket, each as it is when its turn comes."""
    for rental_id in ticket.rental_ids:
        rental = ports.store.get_rental(rental_id)
        waiting = None if rental is None else rental.waiting
        if rental is not None and waiting is not None and waiting.ticket_key == ticket.ticket_key:
            yield rental


def turn_away(ports: RentalPorts, rental: Rental, now_ms: int) -> None:
    """Let a rental whose account may start nothing wait no longer, so that nobody stands behind it.

    It ends, as nothing of it is lost by that; one that keeps a volume stops, and can be resumed once the
    account may start something again.

    Raises:
        Unavailable: it changed at the same time.
    """
    if rental.volume_host_id is None:
        leave_line(ports, rental, "account_suspended", now_ms, SYSTEM_ACTOR)
        return
    stopped = replace(
        rental,
        state="stopped",
        desired_state="stopped",
        reason="account_suspended",
        waiting=None,
        policies=replace(rental.policies, start_at_ms=None),
    )
    if rental.state == "queued":
        # Since its stay was broken off the volume was kept for the place in line, and cost nothing.
        stopped = begin_keeping(stopped, now_ms)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, stopped)
    if rental.waiting is not None:
        ports.scheduling.remove_ticket(tx, rental.waiting.pools, rental.waiting.ticket_key)
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.start_refused", {"code": "account_suspended"})
    add_state_event(ports, tx, stopped)
    tx.commit()


def make_room(ports: RentalPorts, ticket: Ticket, pool: str) -> int:
    """Announce the end of the cheapest set of spot rentals that makes room for a ticket; return how many.

    Spot capacity itself preempts nobody. A ticket for which room is on its way asks for no more.
    """
    now_ms = ports.clock.now_ms()
    if ticket.billing_class == "spot" or ticket.preempting_until_ms > now_ms or ticket.node_count > 1:
        return 0
    stays = ports.scheduling.list_stays(pool, MAX_STAYS)
    hosts = {stay.host_id for stay in stays if ticket.pinned_host_id in {None, stay.host_id}}
    if ticket.fabric_id is not None:
        region = pool.partition("#")[2]
        fabric = ports.fleet.list_fabric(ticket.fabric_id, ticket.gpu_type, region, ticket.billing_class)
        hosts &= {each.host_id for each in fabric}
    found = {host_id: ports.fleet.get_candidate(host_id) for host_id in sorted(hosts)[:MAX_HOSTS]}
    free = {
        host_id: len(each.free_leases)
        for host_id, each in found.items()
        if each is not None and each.reservable == (ticket.billing_class == "reserved")
    }
    chosen = choose_victims(ticket.gpu_count, free, stays, now_ms)
    if chosen is None:
        return 0
    ports.scheduling.mark_preempting(ticket, now_ms + PREEMPTION_MS)
    return sum(preempt_stay(ports, stay, now_ms) for stay in chosen[1])


def preempt_stay(ports: RentalPorts, stay: SpotStay, now_ms: int) -> bool:
    """Tell a spot rental that it ends in `NOTICE_MS`; return whether it was told now."""
    rental = ports.store.get_rental(stay.rental_id)
    if rental is None or rental.host_id != stay.host_id:
        return False
    return announce_end(ports, rental, PlannedEnd("preempted", now_ms, now_ms + NOTICE_MS))


def announce_end(ports: RentalPorts, rental: Rental, end: PlannedEnd) -> bool:
    """Write an announced end into a rental and order its host to tell the workload; ``False``: too late.

    An end that was announced before is moved only to an earlier instant.
    """
    earlier = rental.planned_end
    if rental.state not in {"provisioning", "running"} or rental.host_id is None:
        return False
    if earlier is not None and earlier.at_ms <= end.at_ms:
        return False
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, replace(rental, planned_end=end))
    ports.fleet.add_command(
        tx,
        HostCommand(
            command_id=ports.ids.new_id("cmd"),
            kind="preempt",
            host_id=rental.host_id,
            rental_id=rental.rental_id,
            leases=rental.leases,
            issued_at_ms=ports.clock.now_ms(),
            deadline_at_ms=end.at_ms,
        ),
    )
    details = {"reason": end.reason, "at_ms": end.at_ms}
    add_audit(ports, tx, rental, SYSTEM_ACTOR, "rental.end_announced", details)
    announced = {"cause": end.reason, "ends_at": format_instant(end.at_ms)}
    add_event(ports, tx, "rental.interruption_announced", rental, announced)
    try:
        tx.commit()
    except Unavailable:
        return False
    return True

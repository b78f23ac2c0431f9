"""Ends, stops, resumes and restarts stays, and puts rentals in line. Each is one transaction.

Ending a stay gives its quota and its spread group back at once: the GPUs stay with the wipe.
"""

from collections.abc import Mapping
from dataclasses import replace

from chalicelib.core.capacity import WhyNot, name_pool
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import HostCommand
from chalicelib.rentals.model import (
    Placement,
    Rental,
    Waiting,
    begin_end,
    end_waiting,
    finish_end,
    keeps_volume,
    place,
    require_action,
)
from chalicelib.rentals.placing import (
    Start,
    add_start_command,
    build_hold,
    find_fabric,
    find_prices,
    find_reservation,
    place_now,
)
from chalicelib.rentals.ports import (
    GpuUnavailableOnResume,
    NoCapacity,
    RentalPorts,
    add_audit,
    add_state_event,
    get_rental,
    list_members,
)
from chalicelib.rentals.queue import RECOVERY_PRIORITY, Ticket, build_ticket_key, rank
from chalicelib.rentals.rules import ACTIVE_STATES, FINAL_STATES, Reason, State
from chalicelib.rentals.volumes import begin_keeping, list_kept

#: In how many pools a rental that takes any region stands in line: each is two writes.
MAX_POOLS_PER_TICKET = 8


def end_rental(ports: RentalPorts, rental: Rental, reason: Reason, at_ms: int, actor: str) -> Rental:
    """End the present stay: leases to the wiping epoch, the stop ordered, billable time fixed.

    Raises:
        Unavailable: the rental changed at the same time.
        StaleEpoch: somebody else ended it.
        Conflict: it has no stay that could end.
    """
    tx = ports.transactions()
    ended = add_end(ports, tx, rental, reason, at_ms, actor)
    tx.commit()
    return ended


def add_end(
    ports: RentalPorts,
    tx: Transaction,
    rental: Rental,
    reason: Reason,
    at_ms: int,
    actor: str,
    evidence: Mapping[str, object] | None = None,
) -> Rental:
    """Add to ``tx`` what `end_rental` does; ``evidence`` goes into the audit entry."""
    ended = begin_end(rental, reason, at_ms)
    ports.store.replace_rental(tx, rental, ended)
    add_stop(ports, tx, ended, keep_volume=keeps_volume(ended))
    add_audit(ports, tx, rental, actor, f"rental.ended.{reason}", evidence)
    return ended


def add_stop(ports: RentalPorts, tx: Transaction, ended: Rental, *, keep_volume: bool) -> None:
    """Add to ``tx``: leases to the wiping epoch, the order to the host, what the stay held given back."""
    placement = ended.placement
    assert placement is not None, "a stay ends on its host"
    ports.fleet.begin_wipe(tx, placement.host_id, ended.rental_id, placement.leases)
    ports.fleet.add_command(
        tx,
        HostCommand(
            command_id=ports.ids.new_id("cmd"),
            kind="stop",
            host_id=placement.host_id,
            rental_id=ended.rental_id,
            leases=placement.wipe_leases,
            issued_at_ms=ports.clock.now_ms(),
            keep_volume=keep_volume,
        ),
    )
    # A restart comes back to the same GPUs, and keeps its place.
    if ended.reason != "restart_requested":
        _give_back(ports, tx, ended, placement)


def _give_back(ports: RentalPorts, tx: Transaction, rental: Rental, placement: Placement) -> None:
    _release(ports, tx, rental, placement.host_id)
    ports.scheduling.give_back_quota(tx, rental.account_id, rental.gpu_count)
    if rental.spread_group is not None:
        ports.scheduling.give_back_spread(tx, rental.account_id, rental.spread_group, placement.host_id)
    if rental.billing_class == "spot":
        pool = name_pool(rental.gpu_type, placement.region)
        ports.scheduling.remove_stay(tx, pool, placement.host_id, rental.rental_id)


def _release(ports: RentalPorts, tx: Transaction, rental: Rental, host_id: str) -> None:
    """Give the reservation its GPUs back, unless it is over and knows of them no more."""
    if rental.reservation_id is None:
        return
    reservation = ports.reservations.get_reservation(rental.reservation_id)
    for booking in () if reservation is None else reservation.bookings:
        if booking.host_id == host_id and rental.rental_id in booking.uses:
            now_ms, gpus = ports.clock.now_ms(), rental.gpu_count
            ports.reservations.release(tx, rental.reservation_id, host_id, rental.rental_id, gpus, now_ms)


def finish_stay(
    ports: RentalPorts, tx: Transaction, rental: Rental, at_ms: int, *, before: Rental | None = None
) -> Rental:
    """Add to ``tx``: the stay is over, and the rental is what its reason makes of it.

    ``before`` is what is stored, where the end is written in the same transaction: the host has gone, and
    nothing waits for a wipe.

    Raises:
        Conflict: no stay is ending.
    """
    if rental.reason == "restart_requested" and rental.placement is not None:
        # It was to come back, and does not.
        _give_back(ports, tx, rental, rental.placement)
    again = rental.state == "stopping" and rental.desired_state == "running"
    ticket = build_ticket(ports, rental, at_ms, RECOVERY_PRIORITY) if again else None
    waiting = None if ticket is None else describe_wait(ticket)
    finished = begin_keeping(finish_end(rental, at_ms, waiting, lost=before is not None), at_ms)
    ports.store.replace_rental(tx, before or rental, finished)
    add_state_event(ports, tx, finished)
    if ticket is not None:
        pinned = finished.volume_host_id or ticket.pinned_host_id
        ports.scheduling.add_ticket(tx, replace(ticket, pinned_host_id=pinned))
    return finished


def restart_stay(ports: RentalPorts, tx: Transaction, rental: Rental, at_ms: int) -> Rental:
    """Add to ``tx``: the wipe of a restart is acknowledged; the same GPUs get the workload anew.

    A stay of its own: the leases move on, a new hold is taken, the price is the one it had.

    Raises:
        Conflict: the rental is not being restarted, or its workload is not known.
        InsufficientFunds: on commit, the wallet does not cover the new hold.
    """
    placement, price = rental.placement, rental.price_micros_per_gpu_hour
    workload = ports.store.get_workload(rental.rental_id)
    if rental.reason != "restart_requested" or placement is None or price is None or workload is None:
        raise Conflict("The rental is not being restarted.", code="invalid_transition")
    left = replace(finish_end(replace(rental, desired_state="stopped"), at_ms))
    leases = tuple(lease.advance() for lease in placement.wipe_leases)
    again = Placement(rental.segment + 1, placement.host_id, placement.region, leases)
    restarted = place(left, again, price, rental.reserved_until_ms)
    ports.store.replace_rental(tx, rental, restarted)
    ports.fleet.renew_leases(tx, placement.host_id, rental.rental_id, placement.wipe_leases)
    ports.wallets.add_holds(tx, rental.account_id, [build_hold(restarted)], at_ms)
    add_start_command(ports, tx, restarted, workload)
    return restarted


def return_gpus(ports: RentalPorts, tx: Transaction, placement: Placement, rental_id: str) -> bool:
    """Add to ``tx``: the GPUs of a stay that still owe their wipe have paid it; return whether any does.

    Those with a fault are offered to nobody.
    """
    rows = ports.fleet.list_gpus(placement.host_id)
    faulty = frozenset(row.gpu.gpu_uuid for row in rows if row.faulty)
    owed = {row.gpu.gpu_uuid for row in rows if row.lease_state == "wiping" and row.rental_id == rental_id}
    leases = [lease for lease in placement.wipe_leases if lease.gpu_uuid in owed]
    if leases:
        ports.fleet.free_leases(tx, placement.host_id, rental_id, leases, faulty)
    return bool(leases)


def build_ticket(ports: RentalPorts, rental: Rental, since_ms: int, priority: int) -> Ticket:
    """Return a place in line in every pool whose price the rental could pay, or may once it falls."""
    if rental.billing_class == "reserved":
        return _build_reserved_ticket(ports, rental, since_ms, priority)
    prices = ports.cached_catalog.ask(lambda catalog: find_prices(catalog, rental, since_ms))
    ranked = rank(priority, rental.billing_class)
    pools = tuple(name_pool(price.gpu_type, price.region) for price in prices[:MAX_POOLS_PER_TICKET])
    return Ticket(
        ticket_id=rental.rental_id,
        ticket_key=build_ticket_key(ranked, since_ms, rental.rental_id),
        rental_ids=(rental.rental_id,),
        account_id=rental.account_id,
        gpu_type=rental.gpu_type,
        pools=pools,
        gpu_count=rental.gpu_count,
        billing_class=rental.billing_class,
        priority=ranked,
        since_ms=since_ms,
        max_price_micros_per_gpu_hour=rental.max_price_micros_per_gpu_hour,
        deadline_at_ms=rental.deadline_at_ms,
        pinned_host_id=rental.volume_host_id,
        fabric_id=find_fabric(ports, rental),
    )


def _build_reserved_ticket(ports: RentalPorts, rental: Rental, since_ms: int, priority: int) -> Ticket:
    """Return a place in the line of the reservation's pool; its hosts are its own, so it holds nobody up."""
    reservation = find_reservation(ports, rental)
    ranked = rank(priority, rental.billing_class)
    hosts = [each.host_id for each in reservation.bookings if each.state == "open"]
    return Ticket(
        ticket_id=rental.rental_id,
        ticket_key=build_ticket_key(ranked, since_ms, rental.rental_id),
        rental_ids=(rental.rental_id,),
        account_id=rental.account_id,
        gpu_type=rental.gpu_type,
        pools=(name_pool(reservation.gpu_type, reservation.region),),
        gpu_count=rental.gpu_count,
        billing_class=rental.billing_class,
        priority=ranked,
        since_ms=since_ms,
        deadline_at_ms=reservation.ends_at_ms,
        pinned_host_id=hosts[0] if hosts else None,
    )


def describe_wait(ticket: Ticket, why: WhyNot = "no_capacity") -> Waiting:
    return Waiting(ticket.rental_ids, ticket.pools, ticket.ticket_key, ticket.since_ms, why)


def wait_in_line(rental: Rental, ticket: Ticket, why: WhyNot) -> Rental:
    """Return the rental that stands in line with ``ticket``."""
    waiting = describe_wait(ticket, why)
    state: State = "resuming" if rental.state == "stopped" else "queued"
    return replace(rental, state=state, desired_state="running", reason=None, waiting=waiting)


def terminate_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """End a rental for good; asking again while it ends, or after, answers the same.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        Conflict: it is locked, or an action is under way.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state in FINAL_STATES or rental.state == "terminating":
        return rental
    require_action(rental, "terminate")
    now_ms = ports.clock.now_ms()
    if rental.state in ACTIVE_STATES:
        return end_rental(ports, rental, "renter_requested", now_ms, principal.actor_id)
    return leave_line(ports, rental, "renter_requested", now_ms, principal.actor_id)


def leave_line(ports: RentalPorts, rental: Rental, reason: Reason, at_ms: int, actor: str) -> Rental:
    """End a rental that has no GPUs: one that waits, with all nodes of its cluster, or one that is stopped.

    Raises:
        Unavailable: it was placed at the same time.
    """
    tx = ports.transactions()
    ended = rental
    for member in list_members(ports, rental):
        left = replace(end_waiting(member, reason, at_ms), kept=list_kept(member, at_ms))
        if member.volume_host_id is not None:
            _discard_volume(ports, tx, member)
        ports.store.replace_rental(tx, member, left)
        add_audit(ports, tx, member, actor, f"rental.ended.{reason}")
        add_state_event(ports, tx, left)
        if member.rental_id == rental.rental_id:
            ended = left
    if rental.waiting is not None:
        ports.scheduling.remove_ticket(tx, rental.waiting.pools, rental.waiting.ticket_key)
    tx.commit()
    return ended


def _discard_volume(ports: RentalPorts, tx: Transaction, rental: Rental) -> None:
    """Order the host that keeps the volume to destroy it; nothing waits for its answer.

    The epochs are those of the last stay's wipe: they are the host's own, and start nothing.
    """
    last = rental.past[-1]
    ports.fleet.add_command(
        tx,
        HostCommand(
            command_id=ports.ids.new_id("cmd"),
            kind="stop",
            host_id=last.host_id,
            rental_id=rental.rental_id,
            leases=last.wipe_leases,
            issued_at_ms=ports.clock.now_ms(),
        ),
    )


def stop_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Stop the workload and give its GPUs back; the volume stays. Asking again answers the same.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        Conflict: it is locked, has not started, or is over.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state == "stopped" or (rental.state == "stopping" and rental.desired_state == "stopped"):
        return rental
    require_action(rental, "stop")
    now_ms = ports.clock.now_ms()
    if rental.state in ACTIVE_STATES:
        return end_rental(ports, rental, "stop_requested", now_ms, principal.actor_id)
    assert rental.waiting is not None, f"{rental.state} without a place in line"
    stopped = replace(rental, state="stopped", desired_state="stopped", waiting=None)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, stopped)
    ports.scheduling.remove_ticket(tx, rental.waiting.pools, rental.waiting.ticket_key)
    add_audit(ports, tx, rental, principal.actor_id, "rental.resume_withdrawn")
    add_state_event(ports, tx, stopped)
    tx.commit()
    return stopped


def restart_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Start the workload anew on the same GPUs.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        Conflict: it does not run, or is locked.
    """
    rental = get_rental(ports, principal, rental_id)
    require_action(rental, "restart")
    return end_rental(ports, rental, "restart_requested", ports.clock.now_ms(), principal.actor_id)


def resume_rental(ports: RentalPorts, principal: Principal, rental_id: str, *, wait: bool = False) -> Rental:
    """Place a stopped rental again: on the host that keeps its volume, or anywhere when it has none.

    ``wait``: stand in line when there is no room now.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        GpuUnavailableOnResume: the host of its volume has no room, and it was not asked to wait.
        NoCapacity: there is no room anywhere, and it was not asked to wait.
        Conflict: it is not stopped, or every price is above its cap.
        InsufficientFunds: the wallet cannot cover the hold.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state in {"provisioning", "resuming", "running"}:
        return rental
    require_action(rental, "resume")
    return resume(ports, rental, principal.actor_id, wait=wait)


def resume(ports: RentalPorts, rental: Rental, actor: str, *, wait: bool) -> Rental:
    """As `resume_rental`, for a rental that was read and may be resumed."""
    workload = ports.store.get_workload(rental.rental_id)
    if workload is None:
        raise Unavailable("What the rental runs is not known; try again.")
    start = Start((rental,), (workload,), actor, is_new=False, pinned_host_id=rental.volume_host_id)
    try:
        return place_now(ports, start)[0]
    except Conflict as conflict:
        if conflict.code not in {"no_capacity", "line_ahead", "price_cap"}:
            raise
        if not wait:
            _refuse_resume(rental, conflict)
        why: WhyNot = "price_cap" if conflict.code == "price_cap" else "no_capacity"
    ticket = build_ticket(ports, rental, ports.clock.now_ms(), rental.priority)
    waiting = wait_in_line(rental, ticket, why)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, waiting)
    ports.scheduling.add_ticket(tx, ticket)
    add_audit(ports, tx, rental, actor, "rental.queued")
    tx.commit()
    return waiting


def _refuse_resume(rental: Rental, conflict: Conflict) -> None:
    if conflict.code == "price_cap":
        raise conflict
    if rental.volume_host_id is not None:
        raise GpuUnavailableOnResume(
            "The host that keeps the volume has no free GPUs now. The volume is safe: ask again, or resume "
            'with "wait": true to stand in line for that host.',
            extra={"host_id": rental.volume_host_id},
        ) from conflict
    raise NoCapacity(
        'No host has that many free GPUs now; resume with "wait": true to stand in line.',
        extra={"why": "no_capacity"},
    ) from conflict

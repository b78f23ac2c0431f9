"""Use cases of rentals: create, look, change, quotas, logs. Placing, life and dispatch move GPUs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.catalog.templates import TemplatePorts, apply_template, read_template
from chalicelib.core.capacity import BillingClass, Quota, WhyNot
from chalicelib.core.errors import Conflict, DomainError, InvalidInput, NotFound, Unavailable
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.model import HostCommand
from chalicelib.organisations.projects import require_project
from chalicelib.rentals.flexibility import Flexibility
from chalicelib.rentals.flexible import describe, plan_start
from chalicelib.rentals.life import build_ticket, wait_in_line
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.model import Recovery, Rental
from chalicelib.rentals.placing import Start, find_prices, find_reservation, place_now
from chalicelib.rentals.policies import Policies
from chalicelib.rentals.ports import RentalPorts, add_audit, get_rental
from chalicelib.rentals.queue import Line, estimate_wait_ms
from chalicelib.rentals.rules import ACTIVE_STATES

HTTP_CREATED = 201
#: A position is counted up to here: further back it is "more than".
MAX_POSITION = 1000
#: Conflicts that standing in line can overcome.
_PASSING = frozenset({"no_capacity", "line_ahead", "price_cap"})


@dataclass(frozen=True, slots=True)
class RentalRequest:
    gpu_type: str
    gpu_count: int
    region: str
    workload: Workload
    max_price_micros_per_gpu_hour: int | None = None
    label: str | None = None
    billing_class: BillingClass = "on_demand"
    node_count: int = 1
    priority: int = 0
    deadline_at_ms: int | None = None
    #: Stand in line when there is no room now.
    waits: bool = True
    recovery: Recovery = "replace"
    spread_group: str | None = None
    reservation_id: str | None = None
    locked: bool = False
    policies: Policies = field(default_factory=Policies)
    #: When and where it starts is left to the platform.
    flexibility: Flexibility | None = None


@dataclass(frozen=True, slots=True)
class CreateRental:
    """A start as it was asked for. ``render`` gives the answer's bytes, stored for replays."""

    request: RentalRequest
    idempotency_key: str
    fingerprint: str
    render: Callable[[Sequence[Rental]], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Created:
    status: int
    body: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class LinePosition:
    """``position`` counts from 1; ``wait_ms``: an estimate, ``None`` when nothing is known."""

    position: int
    wait_ms: int | None


def complete_request(
    ports: TemplatePorts, principal: Principal, template_id: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the members of a start with a template's in place of those that were not given.

    Raises:
        NotFound: there is no such template, or it is another account's and private.
    """
    return apply_template(read_template(ports, principal, template_id), given)


def create_rental(ports: RentalPorts, principal: Principal, command: CreateRental) -> Created:
    """Place and start a rental, or put it in line, or replay the answer that this key got before.

    Raises:
        InvalidInput: ``unknown_gpu_type``, ``unknown_region`` or ``deadline_passed``; of a flexible start
            what `flexible.plan_start` raises too.
        NotFound, Conflict: ``project_not_found``, ``project_archived``: the label is a project's.
        NoCapacity: no live host has that many free GPUs, and the request does not wait.
        Conflict: ``price_cap`` when every offer costs more than the request allows, and it does not wait.
        QuotaExceeded: the account may not have that many GPUs.
        InsufficientFunds: the wallet cannot cover the hold.
        IdempotencyMismatch: the key was used for another request.
    """
    try:
        return _create(ports, principal, command)
    except AlreadyAnswered as answered:
        record = check_replay(answered.record, command.fingerprint)
        return Created(record.status, record.body, replayed=True)
    except DomainError:
        # A repeat may fail where the first one succeeded (it took the last GPU): its answer wins.
        now_ms = ports.clock.now_ms()
        found = ports.idempotency.find(principal.account_id, command.idempotency_key, now_ms)
        if found is None:
            raise
        record = check_replay(found, command.fingerprint)
        return Created(record.status, record.body, replayed=True)


def _create(ports: RentalPorts, principal: Principal, command: CreateRental) -> Created:
    request, now_ms = command.request, ports.clock.now_ms()
    if request.deadline_at_ms is not None and request.deadline_at_ms <= now_ms:
        raise InvalidInput("deadline_at has passed.", code="deadline_passed")
    require_project(ports.projects, principal.account_id, request.label)
    rentals = await_window(ports, build_rentals(ports, principal, request, now_ms), now_ms)
    if request.flexibility is not None:
        rentals = tuple(plan_start(ports, each, request.flexibility, now_ms) for each in rentals)
    bodies: list[str] = []

    def add(tx: Transaction, made: tuple[Rental, ...]) -> None:
        bodies.append(command.render(made))
        record = IdempotencyRecord(
            principal.account_id,
            command.idempotency_key,
            command.fingerprint,
            HTTP_CREATED,
            bodies[-1],
            now_ms + LIFETIME_MS,
        )
        ports.idempotency.add(tx, record, now_ms)

    workloads = (request.workload,) * len(rentals)
    start = Start(rentals, workloads, principal.actor_id, is_new=True, add=add)
    start_at_ms = rentals[0].policies.start_at_ms
    if start_at_ms is not None and start_at_ms > now_ms:
        _schedule(ports, start)
        return Created(HTTP_CREATED, bodies[-1], replayed=False)
    try:
        place_now(ports, start)
    except Conflict as conflict:
        if conflict.code not in _PASSING or not request.waits:
            raise
        why: WhyNot = "price_cap" if conflict.code == "price_cap" else "no_capacity"
        _queue(ports, start, why)
    return Created(HTTP_CREATED, bodies[-1], replayed=False)


def build_rentals(
    ports: RentalPorts, principal: Principal, request: RentalRequest, now_ms: int
) -> tuple[Rental, ...]:
    """Return what was asked for, not placed yet: one rental, or the nodes of a cluster."""
    cluster_id = ports.ids.new_id("cls") if request.node_count > 1 else None
    return tuple(
        Rental(
            rental_id=ports.ids.new_id("rnt"),
            account_id=principal.account_id,
            gpu_type=request.gpu_type,
            gpu_count=request.gpu_count,
            wanted_region=request.region,
            currency=ports.currency,
            created_at_ms=now_ms,
            billing_class=request.billing_class,
            label=request.label,
            max_price_micros_per_gpu_hour=request.max_price_micros_per_gpu_hour,
            priority=request.priority,
            deadline_at_ms=request.deadline_at_ms,
            recovery=request.recovery,
            locked=request.locked,
            spread_group=request.spread_group,
            cluster_id=cluster_id,
            reservation_id=request.reservation_id,
            has_volume=request.workload.volume is not None,
            volume_mib=0 if request.workload.volume is None else request.workload.volume.size_mib,
            policies=request.policies,
        )
        for _ in range(request.node_count)
    )


def await_window(ports: RentalPorts, rentals: tuple[Rental, ...], now_ms: int) -> tuple[Rental, ...]:
    """Return rentals that redeem a reservation as ones that start when its window begins, at the earliest.

    Raises:
        NotFound: there is no such reservation, or it is another account's.
        Conflict: ``reservation_not_redeemable``.
    """
    if rentals[0].billing_class != "reserved":
        return rentals
    starts_at_ms = find_reservation(ports, rentals[0]).starts_at_ms
    asked_ms = rentals[0].policies.start_at_ms or now_ms
    if max(starts_at_ms, asked_ms) <= now_ms:
        return rentals
    policies = replace(rentals[0].policies, start_at_ms=max(starts_at_ms, asked_ms))
    return tuple(replace(rental, policies=policies) for rental in rentals)


def _queue(ports: RentalPorts, start: Start, why: WhyNot) -> None:
    first, now_ms = start.first, ports.clock.now_ms()
    ids = tuple(rental.rental_id for rental in start.rentals)
    ticket = replace(build_ticket(ports, first, now_ms, first.priority), rental_ids=ids)
    waiting = tuple(wait_in_line(rental, ticket, why) for rental in start.rentals)
    tx = ports.transactions()
    assert start.add is not None, "a new rental answers its key"
    start.add(tx, waiting)
    for rental, workload in zip(waiting, start.workloads, strict=True):
        ports.store.add_rental(tx, rental, workload)
        add_audit(ports, tx, rental, start.actor, "rental.created", {"queued": why})
    ports.scheduling.add_ticket(tx, ticket)
    tx.commit()


def _schedule(ports: RentalPorts, start: Start) -> None:
    """Keep rentals until their hour; whatever stands against them then is told then."""
    if start.first.billing_class != "reserved":
        now_ms = ports.clock.now_ms()
        ports.cached_catalog.ask(lambda catalog: find_prices(catalog, start.first, now_ms))
    tx = ports.transactions()
    assert start.add is not None, "a new rental answers its key"
    start.add(tx, start.rentals)
    for rental, workload in zip(start.rentals, start.workloads, strict=True):
        ports.store.add_rental(tx, rental, workload)
        details: dict[str, object] = {"start_at_ms": rental.policies.start_at_ms}
        if rental.start_plan is not None:
            details = describe(rental.start_plan)
        add_audit(ports, tx, rental, start.actor, "rental.created", details)
    tx.commit()


def locate_in_line(ports: RentalPorts, rental: Rental) -> LinePosition | None:
    """Return where a waiting rental stands in the line in which it is furthest; ``None``: in none."""
    waiting = rental.waiting
    if waiting is None:
        return None
    now_ms = ports.clock.now_ms()
    found: list[tuple[int, Line]] = [
        (
            ports.scheduling.count_ahead(pool, waiting.ticket_key, MAX_POSITION) + 1,
            ports.scheduling.get_line(pool),
        )
        for pool in waiting.pools
    ]
    position, line = min(found, key=lambda each: each[0])
    return LinePosition(position, estimate_wait_ms(line, position, now_ms))


def change_rental(
    ports: RentalPorts,
    principal: Principal,
    rental_id: str,
    change: Callable[[Rental], Rental],
    action: str,
    check: Check[Rental] = accept_any,
) -> Rental:
    """Change what a renter may change of a rental: its label, lock, policies.

    Raises:
        PreconditionFailed: as ``check`` raises it.
        NotFound: there is no such rental, or it is another account's.
        Conflict: as ``change`` raises it; ``project_archived``: the new label is a project's.
        Unavailable: it changed at the same time; try again.
    """
    rental = get_rental(ports, principal, rental_id)
    check(rental)
    changed = change(rental)
    if changed == rental:
        return rental
    if changed.label != rental.label:
        require_project(ports.projects, rental.account_id, changed.label)
    tx = ports.transactions()
    ports.store.replace_rental(tx, rental, changed)
    add_audit(ports, tx, rental, principal.actor_id, action)
    try:
        tx.commit()
    except Unavailable:
        # Who named what it was is told that it no longer is.
        check(get_rental(ports, principal, rental_id))
        raise
    return changed


def set_quota(
    ports: RentalPorts,
    principal: Principal,
    account_id: str,
    max_gpus: int,
    check: Check[Quota] = accept_any,
) -> Quota:
    """Set how many GPUs an account may have at once; what runs goes on.

    Raises:
        Unavailable: the account started or ended something at the same time; try again.
    """
    old = ports.scheduling.get_quota(account_id)
    check(old)
    tx = ports.transactions()
    ports.scheduling.put_quota(tx, account_id, old, max_gpus)
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        account_id,
        principal.actor_id,
        "quota.set",
        account_id,
        ports.clock.now_ms(),
        {"max_gpus": max_gpus},
    )
    ports.audit.add_entry(tx, entry)
    tx.commit()
    return Quota(max_gpus, old.used_gpus, is_set=True)


def request_log(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Ask the rental's host for the end of its log; `read_log` shows it some seconds later.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        Conflict: it has no host now, and what it wrote was wiped.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state not in ACTIVE_STATES or rental.host_id is None:
        raise Conflict(f"The rental is {rental.state}; it has no log on a host.", code="log_wiped")
    tx, now_ms = ports.transactions(), ports.clock.now_ms()
    ports.fleet.add_command(
        tx,
        HostCommand(ports.ids.new_id("cmd"), "log", rental.host_id, rental_id, rental.leases, now_ms),
    )
    add_audit(ports, tx, rental, principal.actor_id, "rental.log_requested")
    tx.commit()
    return rental


def read_log(ports: RentalPorts, principal: Principal, rental_id: str) -> LogExcerpt:
    """Raises NotFound: there is no such rental, or (``log_not_fetched``) nobody asked or it did not come."""
    rental = get_rental(ports, principal, rental_id)
    excerpt = ports.store.get_log(rental.rental_id)
    if excerpt is None:
        raise NotFound("No log was fetched yet: POST here first, then ask again.", code="log_not_fetched")
    return excerpt

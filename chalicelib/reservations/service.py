"""Use cases of reservations: book, look, cancel, redeem.

A booking is one transaction: every slot of every host, the reservation, the key's answer, price and audit
entry. Losing a race for a slot tries another host, then reads the calendars again, a bounded number of times.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.catalog.model import Catalog, Price
from chalicelib.core.capacity import ANY_REGION, Quota
from chalicelib.core.errors import Conflict, DomainError, InvalidInput, Unavailable
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.fleet.service import CapacityTaken
from chalicelib.reservations import model
from chalicelib.reservations.calendars import Calendar, list_choices
from chalicelib.reservations.model import Booking, Reservation, Span
from chalicelib.reservations.ports import (
    CalendarMoved,
    NoRoom,
    ReservationPorts,
    add_audit,
    get_reservation,
)
from chalicelib.reservations.upkeep import finish_moves, give_back, read_calendar, replace_over, take_host

HTTP_CREATED = 201
#: Each round reads the calendars again and tries up to ATTEMPTS_PER_ROUND choices of hosts.
ROUNDS = 4
ATTEMPTS_PER_ROUND = 3
#: Hosts whose calendars are read at once; where one of them fits, no further are read.
PAGE_HOSTS = 32
#: A booking looks at this many hosts of the pool at most: its cost does not grow with the fleet.
MAX_HOSTS = 128
CANCEL_ATTEMPTS = 4
MAX_PREVIEW_MS = 7 * model.DAY_MS
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ReservationRequest:
    """``gpu_count`` GPUs on each of ``node_count`` hosts; several nodes take whole hosts of one fabric."""

    gpu_type: str
    region: str
    gpu_count: int
    starts_at_ms: int
    ends_at_ms: int
    node_count: int = 1
    label: str | None = None


@dataclass(frozen=True, slots=True)
class CreateReservation:
    """``render`` turns the reservation into the answer's body, which is stored with the key."""

    request: ReservationRequest
    idempotency_key: str
    fingerprint: str
    render: Callable[[Reservation], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Created:
    status: int
    body: str
    replayed: bool


@dataclass(frozen=True, slots=True)
class HourPreview:
    """``largest_gpus``: the most that one host could promise in every slot of an hour."""

    starts_at_ms: int
    largest_gpus: int


@dataclass(frozen=True, slots=True)
class Preview:
    """``fits``: one host could promise what was asked for over the whole window. All of it no promise."""

    hours: tuple[HourPreview, ...]
    fits: bool
    price_micros_per_gpu_hour: int


def create_reservation(ports: ReservationPorts, principal: Principal, command: CreateReservation) -> Created:
    """Book the window, or replay the answer that this key got before.

    Raises:
        InvalidInput: see `model.check_window`, `model.check_size` and `find_price`.
        NoRoom: no host can promise that many GPUs over the whole window.
        ReservedQuotaExceeded: the account may not have that many in reservations that are not over.
        InsufficientFunds: the wallet does not cover the deposit.
        IdempotencyMismatch: the key was used for another request.
    """
    try:
        return _create(ports, principal, command)
    except AlreadyAnswered as answered:
        record = check_replay(answered.record, command.fingerprint)
    except DomainError:
        # A repeat may fail where the first one succeeded (it took the last slot): its answer wins.
        found = ports.idempotency.find(principal.account_id, command.idempotency_key, ports.clock.now_ms())
        if found is None:
            raise
        record = check_replay(found, command.fingerprint)
    return Created(record.status, record.body, replayed=True)


def _create(ports: ReservationPorts, principal: Principal, command: CreateReservation) -> Created:
    request, now_ms = command.request, ports.clock.now_ms()
    model.check_window(request.starts_at_ms, request.ends_at_ms, now_ms)
    model.check_size(request.node_count, request.starts_at_ms, request.ends_at_ms)
    reservation_id = ports.ids.new_id("rsv")
    spans = model.list_spans(request.starts_at_ms, request.ends_at_ms)
    for round_number in range(ROUNDS):
        # A price that changed under us shows as a failed check: read the catalogue anew then.
        price = _read_price(ports, principal, request, fresh=round_number > 0)
        attempts = 0
        for hosts in _find_hosts(ports, request, spans, reservation_id):
            attempts += 1
            reservation = _build(ports, principal, request, price, hosts, reservation_id)
            try:
                return _commit(ports, principal, command, reservation, (price, hosts))
            except (CalendarMoved, CapacityTaken):
                if attempts >= ATTEMPTS_PER_ROUND:
                    break
            except Conflict as conflict:
                if conflict.code != "price_changed":
                    raise
                break
        if attempts == 0:
            break
    raise NoRoom("No host can promise that many GPUs over the whole window.", extra={"why": "no_capacity"})


def _read_price(
    ports: ReservationPorts, principal: Principal, request: ReservationRequest, *, fresh: bool
) -> Price:
    now_ms, account_id = ports.clock.now_ms(), principal.account_id
    return ports.cached_catalog.ask(
        lambda catalog: find_price(catalog.of_account(account_id), request.gpu_type, request.region, now_ms),
        fresh=fresh,
    )


def find_price(catalog: Catalog, gpu_type: str, region: str, now_ms: int) -> Price:
    """Return the price of the class ``reserved``.

    Raises:
        InvalidInput: ``unknown_gpu_type`` or ``unknown_region``.
    """
    if gpu_type not in catalog.gpu_types:
        raise InvalidInput("There is no such GPU type.", code="unknown_gpu_type")
    prices = [] if region == ANY_REGION else catalog.find_prices(gpu_type, region, "reserved", at_ms=now_ms)
    if not prices:
        raise InvalidInput("This GPU type cannot be reserved in that region.", code="unknown_region")
    return prices[0]


def _find_hosts(
    ports: ReservationPorts, request: ReservationRequest, spans: Sequence[Span], seed: str
) -> Iterator[tuple[Calendar, ...]]:
    seen: list[Calendar] = []
    for calendars in _read_calendars(ports, request.gpu_type, request.region, spans):
        # Nodes of one fabric may stand in different pages.
        seen = [*seen, *calendars] if request.node_count > 1 else calendars
        found = list(list_choices(seen, spans, request.gpu_count, request.node_count, seed))
        yield from found
        if found:
            return


def _read_calendars(
    ports: ReservationPorts, gpu_type: str, region: str, spans: Sequence[Span]
) -> Iterator[list[Calendar]]:
    hosts = ports.fleet.list_reservable(gpu_type, region, MAX_HOSTS)
    for start in range(0, len(hosts), PAGE_HOSTS):
        yield [read_calendar(ports, host, spans) for host in hosts[start : start + PAGE_HOSTS]]


def _build(
    ports: ReservationPorts,
    principal: Principal,
    request: ReservationRequest,
    price: Price,
    hosts: Sequence[Calendar],
    reservation_id: str,
) -> Reservation:
    reservation = Reservation(
        reservation_id=reservation_id,
        account_id=principal.account_id,
        gpu_type=request.gpu_type,
        region=request.region,
        gpu_count=request.gpu_count,
        node_count=request.node_count,
        bookings=tuple(Booking(host.host_id, request.gpu_count) for host in hosts),
        starts_at_ms=request.starts_at_ms,
        ends_at_ms=request.ends_at_ms,
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        currency=ports.currency,
        created_at_ms=ports.clock.now_ms(),
        label=request.label,
        quota_gpus=request.gpu_count * request.node_count,
    )
    return replace(reservation, deposit_micros=model.compute_deposit_micros(reservation))


def _commit(
    ports: ReservationPorts,
    principal: Principal,
    command: CreateReservation,
    reservation: Reservation,
    chosen: tuple[Price, tuple[Calendar, ...]],
) -> Created:
    (price, hosts), now_ms, body = chosen, ports.clock.now_ms(), command.render(reservation)
    tx = ports.transactions()
    # First, the idempotency key: of several failed conditions, the answered request explains the others.
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    ports.idempotency.add(tx, record, now_ms)
    ports.store.take_quota(tx, reservation.account_id, reservation.quota_gpus)
    ports.deposits.take(tx, reservation)
    spans = model.list_spans(reservation.starts_at_ms, reservation.ends_at_ms)
    for host in hosts:
        take_host(ports, tx, host, spans, reservation.gpu_count)
    ports.store.add_reservation(tx, reservation)
    ports.catalog.require_price(tx, price)
    details = {
        "host_ids": [host.host_id for host in hosts],
        "gpu_count": reservation.gpu_count,
        "deposit_micros": reservation.deposit_micros,
    }
    add_audit(ports, tx, reservation, principal.actor_id, "reservation.created", details)
    tx.commit()
    return Created(HTTP_CREATED, body, replayed=False)


def cancel_reservation(ports: ReservationPorts, principal: Principal, reservation_id: str) -> Reservation:
    """Cancel a reservation, charge its fee and give its coming slots back, once; again, it is shown as it is.

    Raises:
        NotFound: there is no such reservation, or it is another account's.
        Conflict: ``reservation_over``, or ``reservation_in_use`` by rentals, which are terminated first.
        Unavailable: reservation or wallet changed all the time; try again.
    """
    for _ in range(CANCEL_ATTEMPTS):
        reservation = get_reservation(ports, principal, reservation_id)
        if reservation.state == "cancelled":
            return reservation
        try:
            return _cancel(ports, principal, finish_moves(ports, reservation))
        except Unavailable:
            # Postings move the wallet every minute while the account has rentals.
            continue
    raise Unavailable("The account changes all the time; try again.")


def _cancel(ports: ReservationPorts, principal: Principal, reservation: Reservation) -> Reservation:
    now_ms = ports.clock.now_ms()
    model.check_open(reservation, now_ms)
    fee, tx = model.compute_cancel_fee(reservation, now_ms), ports.transactions()
    charged = ports.deposits.keep_fee(tx, reservation, fee, now_ms)
    cancelled = model.cancel(reservation, now_ms, charged)
    replace_over(ports, tx, reservation, cancelled, unused=True)
    for booking in reservation.open_bookings:
        give_back(ports, tx, reservation, booking, now_ms)
    details = {
        "begun_micros": fee.begun_micros,
        "kept_micros": fee.kept_micros,
        "charged_micros": charged,
    }
    add_audit(ports, tx, reservation, principal.actor_id, "reservation.cancelled", details)
    tx.commit()
    return cancelled


def redeem(
    ports: ReservationPorts,
    tx: Transaction,
    reservation: Reservation,
    host_id: str,
    rental_id: str,
    gpu_count: int,
    now_ms: int,
) -> None:
    """Add to a rental's transaction that it takes ``gpu_count`` of the reservation's GPUs on a host.

    Raises:
        NotRedeemable: when ``tx`` is committed: the window has not begun or is over, the reservation is not
            kept on this host, or its other GPUs are in use.
    """
    ports.store.redeem(tx, reservation.reservation_id, host_id, rental_id, gpu_count, now_ms)


def release(
    ports: ReservationPorts,
    tx: Transaction,
    reservation_id: str,
    host_id: str,
    rental_id: str,
    gpu_count: int,
) -> None:
    """Add to the transaction that ends a rental's stay that its GPUs may be redeemed again."""
    ports.store.release(tx, reservation_id, host_id, rental_id, gpu_count, ports.clock.now_ms())


def find_promise(ports: ReservationPorts, host_id: str, from_ms: int, to_ms: int) -> int:
    """Return the most GPUs of a host that are promised at once between two instants, redeemed or not."""
    spans = model.list_spans(model.floor_slot(from_ms), model.ceil_slot(to_ms))
    days = ports.store.read_days(host_id, spans[0].day, spans[-1].day) if spans else {}
    return Calendar(host_id, 0, days=days).find_peak(spans)


def preview(
    ports: ReservationPorts,
    account_id: str,
    *,
    gpu_type: str,
    region: str,
    from_ms: int,
    to_ms: int,
    gpu_count: int,
) -> Preview:
    """Return what could be promised now, hour by hour, over at most `PAGE_HOSTS` hosts, at its price.

    Raises:
        InvalidInput: see `model.check_window`; ``window_length`` also above 7 days.
    """
    now_ms = ports.clock.now_ms()
    model.check_window(from_ms, to_ms, now_ms)
    if to_ms - from_ms > MAX_PREVIEW_MS:
        raise InvalidInput("Availability is shown for 7 days at most at once.", code="window_length")
    price = ports.cached_catalog.ask(
        lambda catalog: find_price(catalog.of_account(account_id), gpu_type, region, now_ms)
    )
    spans = model.list_spans(from_ms, to_ms)
    calendars = next(_read_calendars(ports, gpu_type, region, spans), [])
    hours = []
    for start_ms in range(from_ms - from_ms % HOUR_MS, to_ms, HOUR_MS):
        hour = model.list_spans(max(start_ms, from_ms), min(start_ms + HOUR_MS, to_ms))
        largest = max((calendar.count_free(hour) for calendar in calendars), default=0)
        hours.append(HourPreview(max(start_ms, from_ms), largest))
    fits = any(calendar.count_free(spans) >= gpu_count for calendar in calendars)
    return Preview(tuple(hours), fits, price.price_micros_per_gpu_hour)


def set_quota(
    ports: ReservationPorts,
    principal: Principal,
    account_id: str,
    max_gpus: int,
    check: Check[Quota] = accept_any,
) -> Quota:
    """Set how many GPUs an account may have in reservations that are not over; what it has stays.

    Raises:
        Unavailable: the account booked or ended something at the same time; try again.
    """
    old = ports.store.get_quota(account_id)
    check(old)
    tx = ports.transactions()
    ports.store.put_quota(tx, account_id, old, max_gpus)
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        account_id,
        principal.actor_id,
        "reservation_quota.set",
        account_id,
        ports.clock.now_ms(),
        {"max_gpus": max_gpus},
    )
    ports.audit.add_entry(tx, entry)
    tx.commit()
    return Quota(max_gpus, old.used_gpus)

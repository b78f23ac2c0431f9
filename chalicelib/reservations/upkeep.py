"""What happens to reservations by themselves: they begin, end, and move when their host is lost.

Every step may come again, late, or twice at once: a reservation's version makes it happen once, and its state
is a function of its window, so an hour without the sweep changes nothing but when it is written down.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.fleet.incident import build_incident
from chalicelib.fleet.model import ReservableHost
from chalicelib.fleet.service import CapacityTaken
from chalicelib.reservations import model
from chalicelib.reservations.calendars import Calendar, list_choices
from chalicelib.reservations.model import Booking, Reservation, Span
from chalicelib.reservations.ports import (
    SHARDS,
    SYSTEM_ACTOR,
    CalendarMoved,
    ReservationPorts,
    add_audit,
)

#: Of one shard, in one sweep: the next one goes on.
MAX_DUE = 250
#: Bookings of one host that are moved by one call; the next one goes on.
MAX_MOVES = 100
MAX_HOSTS = 32
ATTEMPTS = 6

#: A reservation that fits nowhere is broken this long before its window: the host may come back before,
#: and whoever is told a day ahead can still book elsewhere.
BREAK_LEAD_MS = model.DAY_MS

#: ``waiting``: no other host has room, and it is too early to give up.
Fate = Literal["moved", "broken", "waiting", "unchanged"]


@dataclass(frozen=True, slots=True)
class Due:
    """``starting``: begin within the preemption lead, or have begun; ``ending``: end in it, or have ended."""

    starting: tuple[Reservation, ...]
    ending: tuple[Reservation, ...]


@dataclass(frozen=True, slots=True)
class Swept:
    begun: int
    ended: int
    #: Of those that changed at the same time; the next sweep sees to them.
    left: int


def take_host(
    ports: ReservationPorts, tx: Transaction, host: Calendar, spans: Sequence[Span], gpus: int
) -> None:
    """Add to ``tx`` that a host promises ``gpus`` over all spans, while it is reservable with its GPUs."""
    seen = ReservableHost(host.host_id, host.gpu_count, host.fabric_id, host.faulty_gpus)
    ports.fleet.require_reservable(tx, seen)
    ports.store.take_slots(tx, host.host_id, spans, gpus, host.sound_gpus, frozenset(host.days))


def read_calendar(ports: ReservationPorts, host: ReservableHost, spans: Sequence[Span]) -> Calendar:
    days = ports.store.read_days(host.host_id, spans[0].day, spans[-1].day)
    return Calendar(host.host_id, host.gpu_count, host.fabric_id, days, host.faulty_gpus)


def replace_over(
    ports: ReservationPorts, tx: Transaction, old: Reservation, new: Reservation, *, unused: bool = False
) -> None:
    """Add to ``tx`` that a reservation is over, by ``old``'s version once: its account's quota comes back."""
    ports.store.replace_reservation(tx, old, new, unused=unused)
    if old.quota_gpus:
        ports.store.give_back_quota(tx, old.account_id, old.quota_gpus)


def give_back(
    ports: ReservationPorts, tx: Transaction, reservation: Reservation, booking: Booking, at_ms: int
) -> None:
    """Add to ``tx`` that a booking's slots that have not begun are free again."""
    spans = model.list_future_spans(reservation, at_ms)
    ports.store.give_back_slots(tx, booking.host_id, spans, booking.gpu_count)


def find_due(ports: ReservationPorts, until_ms: int) -> list[Reservation]:
    """Return the reservations that begin or end by then, as they are stored now."""
    found = []
    for shard in SHARDS:
        for reservation_id in ports.store.list_boundaries(shard, until_ms, MAX_DUE):
            reservation = ports.store.get_reservation(reservation_id)
            boundary_ms = None if reservation is None else model.find_boundary(reservation)
            # The index lags behind: what has been seen to is not due.
            if reservation is not None and boundary_ms is not None and boundary_ms <= until_ms:
                found.append(reservation)
    return found


def list_due(ports: ReservationPorts, now_ms: int) -> Due:
    """Return what begins or ends so soon that work on its hosts must be told now."""
    until_ms = now_ms + model.PREEMPTION_LEAD_MS
    due = find_due(ports, until_ms)
    return Due(
        starting=tuple(each for each in due if each.state == "confirmed" and each.ends_at_ms > now_ms),
        ending=tuple(each for each in due if each.ends_at_ms <= until_ms),
    )


def count_starting(ports: ReservationPorts, gpu_type: str, region: str, until_ms: int) -> dict[str, int]:
    """Return the GPUs that reservations of a pool take when they begin, by then, on each of their hosts."""
    gpus: Counter[str] = Counter()
    for reservation in find_due(ports, until_ms):
        here = (reservation.gpu_type, reservation.region) == (gpu_type, region)
        if here and reservation.state == "confirmed":
            gpus.update({booking.host_id: booking.gpu_count for booking in reservation.open_bookings})
    return dict(gpus)


def sweep(ports: ReservationPorts, now_ms: int) -> Swept:
    """Write down what has begun and what has ended by now, whatever was missed before."""
    begun = ended = left = 0
    for reservation in find_due(ports, now_ms):
        try:
            state = pass_boundary(ports, reservation, now_ms).state
        except Unavailable:
            left += 1
            continue
        begun += state == "active"
        ended += state == "ended"
    return Swept(begun, ended, left)


def pass_boundary(ports: ReservationPorts, reservation: Reservation, now_ms: int) -> Reservation:
    """Raises Unavailable: it changed at the same time."""
    passed = model.pass_boundary(reservation, now_ms)
    if passed == reservation:
        return reservation
    tx = ports.transactions()
    if model.is_over(passed):
        replace_over(ports, tx, reservation, passed)
        ports.deposits.give_back(tx, reservation)
    else:
        ports.store.replace_reservation(tx, reservation, passed)
    action = "reservation.ended" if passed.state == "ended" else "reservation.begun"
    add_audit(ports, tx, reservation, SYSTEM_ACTOR, action)
    tx.commit()
    return passed


def rebook_host(
    ports: ReservationPorts, host_id: str, why: str = "was lost", break_lead_ms: int = BREAK_LEAD_MS
) -> dict[str, Fate]:
    """Move every booking of a host that has gone to other hosts; return what became of each reservation.

    Repeated until nothing is left: call it again while the host is lost, or after a failure.

    Raises:
        Unavailable: a reservation changed at the same time; call again.
    """
    return {
        reservation_id: rebook(ports, reservation_id, host_id, why, break_lead_ms)
        for reservation_id in ports.store.list_on_host(host_id, MAX_MOVES)
    }


def rebook(
    ports: ReservationPorts,
    reservation_id: str,
    host_id: str,
    why: str = "was lost",
    break_lead_ms: int | None = BREAK_LEAD_MS,
) -> Fate:
    """Move one reservation's booking of a host to another, if one has room.

    Where none has, the host may come back: the reservation is broken ``break_lead_ms`` before its window
    begins, or never if that is ``None``.

    Raises:
        Unavailable: it changed at the same time; try again.
    """
    for _ in range(ATTEMPTS):
        reservation, now_ms = ports.store.get_reservation(reservation_id), ports.clock.now_ms()
        if reservation is None:
            return "unchanged"
        reservation = finish_moves(ports, reservation)
        booked = [booking for booking in reservation.open_bookings if booking.host_id == host_id]
        if not booked or model.see_state(reservation, now_ms) not in {"confirmed", "active"}:
            return "unchanged"
        spans = model.list_spans(
            max(reservation.starts_at_ms, model.floor_slot(now_ms)), reservation.ends_at_ms
        )
        other = _find_other(ports, reservation, host_id, spans)
        if other is None:
            if break_lead_ms is None or reservation.starts_at_ms - now_ms > break_lead_ms:
                return "waiting"
            break_reservation(ports, reservation, f"host {host_id} {why}", host_id)
            return "broken"
        try:
            _move(ports, reservation, host_id, other, spans)
        except (CalendarMoved, CapacityTaken):
            continue
        return "moved"
    raise Unavailable("Too many bookings at the same time; try again.")


def _find_other(
    ports: ReservationPorts, reservation: Reservation, lost_host_id: str, spans: Sequence[Span]
) -> Calendar | None:
    """A host that was the reservation's before is not taken again: its booking there keeps its record."""
    known = {booking.host_id for booking in reservation.bookings}
    hosts = ports.fleet.list_reservable(reservation.gpu_type, reservation.region, MAX_HOSTS + len(known))
    lost = ports.fleet.get_host(lost_host_id)

    def is_fellow(host: ReservableHost) -> bool:
        """A node of a cluster is replaced by a whole host of its fabric."""
        if reservation.node_count == 1:
            return True
        joined = lost is not None and lost.fabric_id is not None and host.fabric_id == lost.fabric_id
        return joined and host.gpu_count == reservation.gpu_count

    calendars = [
        read_calendar(ports, host, spans) for host in hosts if host.host_id not in known and is_fellow(host)
    ]
    choices = list_choices(calendars, spans, reservation.gpu_count, 1, reservation.reservation_id)
    return next((host for (host,) in choices), None)


def _move(
    ports: ReservationPorts,
    reservation: Reservation,
    host_id: str,
    other: Calendar,
    spans: Sequence[Span],
) -> None:
    # Two transactions, as the days of two hosts may not fit into one. Until the second, the lost host's
    # calendar promises what nobody wants: the safe side.
    moved = model.move_booking(reservation, host_id, other.host_id)
    tx = ports.transactions()
    ports.store.replace_reservation(tx, reservation, moved)
    take_host(ports, tx, other, spans, reservation.gpu_count)
    details = {"from_host_id": host_id, "to_host_id": other.host_id}
    add_audit(ports, tx, reservation, SYSTEM_ACTOR, "reservation.moved", details)
    tx.commit()
    stored = ports.store.get_reservation(reservation.reservation_id)
    assert stored is not None, "it was just written"
    finish_moves(ports, stored)


def finish_moves(ports: ReservationPorts, reservation: Reservation) -> Reservation:
    """Give back what the hosts that a reservation was moved away from still promise; return it without them.

    Raises:
        Unavailable: it changed at the same time.
    """
    for booking in _list_moved(reservation):
        closed, tx = model.close_booking(reservation, booking.host_id), ports.transactions()
        ports.store.replace_reservation(tx, reservation, closed)
        give_back(ports, tx, reservation, booking, ports.clock.now_ms())
        details = {"host_id": booking.host_id}
        add_audit(ports, tx, reservation, SYSTEM_ACTOR, "reservation.slots_given_back", details)
        tx.commit()
        reservation = _reread(ports, reservation)
    return reservation


def _list_moved(reservation: Reservation) -> Iterable[Booking]:
    if reservation.state not in {"confirmed", "active"}:
        return ()
    return tuple(booking for booking in reservation.bookings if booking.state == "moved")


def _reread(ports: ReservationPorts, reservation: Reservation) -> Reservation:
    found = ports.store.get_reservation(reservation.reservation_id)
    assert found is not None, "reservations are never removed"
    return found


def break_reservation(
    ports: ReservationPorts, reservation: Reservation, why: str, host_id: str | None = None
) -> Reservation:
    """Give up what we cannot keep: its slots and its deposit come back, and what we owe is credited.

    Its account sees it as ``broken``; the operator gets an incident.

    Raises:
        Conflict: ``reservation_over``.
        Unavailable: it or its account's wallet changed at the same time.
    """
    now_ms = ports.clock.now_ms()
    if model.see_state(reservation, now_ms) not in {"confirmed", "active"}:
        raise Conflict(f"The reservation is {reservation.state}.", code="reservation_over")
    reservation = finish_moves(ports, reservation)
    broken = model.break_up(reservation, now_ms)
    tx = ports.transactions()
    replace_over(ports, tx, reservation, broken)
    ports.deposits.credit_broken(tx, broken, why, now_ms)
    for booking in reservation.open_bookings:
        give_back(ports, tx, reservation, booking, now_ms)
    details = {"why": why, "credit_due_micros": broken.credit_due_micros}
    add_audit(ports, tx, reservation, SYSTEM_ACTOR, "reservation.broken", details)
    told = {
        **details,
        "reservation_id": reservation.reservation_id,
        "account_id": reservation.account_id,
    }
    incident = build_incident(
        "reservation_broken",
        reservation.region,
        now_ms,
        told,
        host_id=host_id,
        cause=(reservation.reservation_id,),
    )
    ports.incidents.add_incident(tx, incident)
    tx.commit()
    return broken

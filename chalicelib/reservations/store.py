"""Reservations and hosts' calendars in DynamoDB.

Access: a reservation and its bookings by id; an account's by ``by_account``; what begins or ends by
``by_boundary``; a host's bookings by ``by_host``; a calendar's days by key range. Counters that parallel
bookings share (days, heads, bookings) are changed by arithmetic under conditions; the reservation by its
version.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, cast

from pynamodb.expressions.condition import Condition

from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import Conflict, DomainError
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.reservations.calendars import EMPTY_DAY, promise
from chalicelib.reservations.model import (
    DAY_MS,
    Booking,
    BookingState,
    Reservation,
    Span,
    State,
    find_boundary,
)
from chalicelib.reservations.ports import (
    SHARDS,
    CalendarMoved,
    NotRedeemable,
    ReservationInUse,
)
from chalicelib.reservations.quota_store import DynamoReservedQuotas
from chalicelib.storage import keys
from chalicelib.storage.tables.reservations import (
    BookingItem,
    CalendarHeadItem,
    DayItem,
    ReservationItem,
)
from chalicelib.storage.transaction import OnFailure, dynamo, unexpected

#: How long a day of a calendar is kept, for people who look into an incident.
DAY_RETENTION_MS = 90 * DAY_MS


class DynamoReservationStore(DynamoReservedQuotas):
    def get_reservation(self, reservation_id: str) -> Reservation | None:
        pk = keys.reservation(reservation_id)
        try:
            item = ReservationItem.get(pk, keys.RESERVATION, consistent_read=True)
        except ReservationItem.DoesNotExist:
            return None
        # Read after the reservation: bookings that are newer than it fail with its version.
        rows = BookingItem.query(pk, BookingItem.sk.startswith(keys.BOOKING_PREFIX), consistent_read=True)
        return _read(item, {row.host_id: row for row in rows})

    def list_reservations(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Reservation]:
        condition = None
        if start is not None:
            key = ReservationItem.created_key
            condition = key > start if oldest_first else key < start
        result = ReservationItem.by_account.query(
            account_id, range_key_condition=condition, scan_index_forward=oldest_first, limit=limit
        )
        items = list(result)
        wanted = [(item.pk, keys.booking(host_id)) for item in items for host_id in item.host_ids]
        rows = {(row.pk, row.host_id): row for row in BookingItem.batch_get(wanted)} if wanted else {}
        found = [
            _read(item, {host_id: row for (pk, host_id), row in rows.items() if pk == item.pk})
            for item in items
        ]
        more = result.last_evaluated_key is not None
        return Page(found, items[-1].created_key if more else None)

    def list_boundaries(self, shard: str, until_ms: int, limit: int) -> list[str]:
        found = ReservationItem.by_boundary.query(
            shard, ReservationItem.boundary_at_ms <= until_ms, limit=limit, page_size=limit
        )
        return [item.reservation_id for item in found]

    def list_on_host(self, host_id: str, limit: int) -> list[str]:
        found = BookingItem.by_host.query(host_id, limit=limit, page_size=limit)
        return [item.reservation_id for item in found]

    def read_days(self, host_id: str, first_day: str, last_day: str) -> dict[str, tuple[int, ...]]:
        between = DayItem.sk.between(keys.day(first_day), keys.day(last_day))
        rows = DayItem.query(keys.calendar(host_id), between, consistent_read=True)
        return {row.sk.removeprefix(keys.day("")): tuple(row.promised) for row in rows}

    def add_reservation(self, tx: Transaction, reservation: Reservation) -> None:
        item = ReservationItem(
            keys.reservation(reservation.reservation_id),
            keys.RESERVATION,
            reservation_id=reservation.reservation_id,
            account_id=reservation.account_id,
            created_key=keys.created(reservation.created_at_ms, reservation.reservation_id),
            gpu_type=reservation.gpu_type,
            region=reservation.region,
            gpu_count=reservation.gpu_count,
            node_count=reservation.node_count,
            starts_at_ms=reservation.starts_at_ms,
            ends_at_ms=reservation.ends_at_ms,
            price_micros_per_gpu_hour=reservation.price_micros_per_gpu_hour,
            currency=reservation.currency,
            created_at_ms=reservation.created_at_ms,
            label=reservation.label,
            quota_gpus=reservation.quota_gpus,
            deposit_micros=reservation.deposit_micros,
            version=reservation.version,
            **{name: value for name, value in _write_life(reservation).items() if value is not None},
        )
        dynamo(tx).put(item, ReservationItem.pk.does_not_exist(), unexpected("The reservation"))
        for booking in reservation.bookings:
            self._add_booking(tx, reservation, booking)

    def replace_reservation(
        self, tx: Transaction, old: Reservation, new: Reservation, *, unused: bool = False
    ) -> None:
        before = _write_life(old)
        actions: list[Any] = [ReservationItem.version.set(old.version + 1)]
        for name, value in _write_life(new).items():
            if value == before[name]:
                continue
            attribute: Any = getattr(ReservationItem, name)
            actions.append(attribute.remove() if value is None else attribute.set(value))
        dynamo(tx).update(
            ReservationItem,
            (keys.reservation(new.reservation_id), keys.RESERVATION),
            actions,
            ReservationItem.version == old.version,
            unexpected("The reservation"),
        )
        known = {booking.host_id: booking for booking in old.bookings}
        for booking in new.bookings:
            stored = known.get(booking.host_id)
            if stored is None:
                self._add_booking(tx, new, booking)
            elif stored.state != booking.state:
                self._change_booking(tx, new, stored, booking.state, unused=unused)

    def _add_booking(self, tx: Transaction, reservation: Reservation, booking: Booking) -> None:
        item = BookingItem(
            keys.reservation(reservation.reservation_id),
            keys.booking(booking.host_id),
            reservation_id=reservation.reservation_id,
            host_id=booking.host_id,
            gpu_count=booking.gpu_count,
            unused_gpus=booking.gpu_count,
            served_gpu_ms=booking.served_gpu_ms,
            state=booking.state,
            starts_at_ms=reservation.starts_at_ms,
            ends_at_ms=reservation.ends_at_ms,
            open_host_id=booking.host_id,
        )
        dynamo(tx).put(item, BookingItem.pk.does_not_exist(), unexpected("The booking"))
        _count_booking(tx, booking.host_id, 1)

    def _change_booking(
        self, tx: Transaction, reservation: Reservation, stored: Booking, state: BookingState, *, unused: bool
    ) -> None:
        def refuse(old: Any) -> DomainError:
            in_use = old is not None and old.unused_gpus != stored.gpu_count
            if unused and in_use and old.state == stored.state:
                return ReservationInUse("Terminate the rentals that use this reservation first.")
            return unexpected("The booking")(old)

        same: Condition = BookingItem.state == stored.state
        if unused:
            # A rental that came and went since it was read has changed the fee.
            same &= (BookingItem.unused_gpus == stored.gpu_count) & _served_as(stored)
        actions: list[Any] = [BookingItem.state.set(state)]
        if state == "closed":
            actions.append(BookingItem.open_host_id.remove())
        key = (keys.reservation(reservation.reservation_id), keys.booking(stored.host_id))
        dynamo(tx).update(BookingItem, key, actions, same, refuse)
        if stored.state == "open":
            _count_booking(tx, stored.host_id, -1)

    def take_slots(
        self,
        tx: Transaction,
        host_id: str,
        spans: Sequence[Span],
        gpus: int,
        capacity: int,
        known_days: frozenset[str],
    ) -> None:
        assert 0 < gpus <= capacity, "a host promises no more than it has"
        for span in spans:
            key = (keys.calendar(host_id), keys.day(span.day))
            if span.day in known_days:
                slots = [_slot(index) for index in range(span.first, span.end)]
                room = _all([slot <= capacity - gpus for slot in slots])
                dynamo(tx).update(DayItem, key, [slot.set(slot + gpus) for slot in slots], room, _moved)
                continue
            item = DayItem(
                *key,
                promised=list(promise(EMPTY_DAY, span, gpus)),
                expires_at=(parse_instant(f"{span.day}T00:00:00Z") + DAY_MS + DAY_RETENTION_MS) // 1000,
            )
            dynamo(tx).put(item, DayItem.pk.does_not_exist(), _moved)

    def give_back_slots(self, tx: Transaction, host_id: str, spans: Sequence[Span], gpus: int) -> None:
        for span in spans:
            slots = [_slot(index) for index in range(span.first, span.end)]
            promised = _all([slot >= gpus for slot in slots])
            dynamo(tx).update(
                DayItem,
                (keys.calendar(host_id), keys.day(span.day)),
                [slot.set(slot - gpus) for slot in slots],
                promised,
                unexpected("The calendar"),
            )

    def require_unbooked(self, tx: Transaction, host_id: str) -> None:
        def refuse(_old: Any) -> DomainError:
            return Conflict("The host has bookings; they end or are cancelled first.", code="host_booked")

        count: Any = CalendarHeadItem.open_bookings
        unbooked = count.does_not_exist() | (count == 0)
        key = keys.calendar(host_id)
        dynamo(tx).check(CalendarHeadItem, key, keys.CALENDAR_HEAD, unbooked, refuse)

    def redeem(
        self,
        tx: Transaction,
        reservation_id: str,
        host_id: str,
        rental_id: str,
        gpu_count: int,
        now_ms: int,
    ) -> None:
        path: Any = BookingItem.uses[rental_id]
        there: Condition = (BookingItem.state == "open") & (BookingItem.starts_at_ms <= now_ms)
        there &= (BookingItem.ends_at_ms > now_ms) & (BookingItem.unused_gpus >= gpu_count)
        dynamo(tx).update(
            BookingItem,
            (keys.reservation(reservation_id), keys.booking(host_id)),
            [
                BookingItem.unused_gpus.set(BookingItem.unused_gpus - gpu_count),
                path.set(gpu_count),
                _serve(-gpu_count * now_ms),
            ],
            there & path.does_not_exist(),
            _refuse("The reservation has not that many unused GPUs on this host now."),
        )

    def release(
        self,
        tx: Transaction,
        reservation_id: str,
        host_id: str,
        rental_id: str,
        gpu_count: int,
        now_ms: int,
    ) -> None:
        path: Any = BookingItem.uses[rental_id]
        dynamo(tx).update(
            BookingItem,
            (keys.reservation(reservation_id), keys.booking(host_id)),
            [
                BookingItem.unused_gpus.set(BookingItem.unused_gpus + gpu_count),
                path.remove(),
                _serve(gpu_count * now_ms),
            ],
            path == gpu_count,
            _refuse("The rental has redeemed nothing of this reservation on this host."),
        )


def choose_shard(reservation_id: str) -> str:
    """Return the index key of a reservation that begins or ends, by a digest of its id."""
    return SHARDS[hashlib.sha256(reservation_id.encode()).digest()[0] % len(SHARDS)]


def _slot(index: int) -> Any:
    return DayItem.promised[index]


def _all(conditions: Sequence[Condition]) -> Condition:
    """Join by AND as a balanced tree: a chain would nest 95 parentheses deep."""
    if len(conditions) == 1:
        return conditions[0]
    middle = len(conditions) // 2
    both: Condition = _all(conditions[:middle]) & _all(conditions[middle:])
    return both


def _moved(_old: Any) -> DomainError:
    return CalendarMoved("The slots were promised a moment ago.")


def _refuse(sentence: str) -> OnFailure:
    return lambda _old: NotRedeemable(sentence)


def _serve(gpu_ms: int) -> Any:
    return BookingItem.served_gpu_ms.add(gpu_ms)


def _served_as(stored: Booking) -> Condition:
    same: Condition = BookingItem.served_gpu_ms == stored.served_gpu_ms
    return same if stored.served_gpu_ms else same | BookingItem.served_gpu_ms.does_not_exist()


def _count_booking(tx: Transaction, host_id: str, change: int) -> None:
    dynamo(tx).update(
        CalendarHeadItem,
        (keys.calendar(host_id), keys.CALENDAR_HEAD),
        [CalendarHeadItem.open_bookings.add(change)],
        None,
        unexpected("The calendar"),
    )


def _write_life(reservation: Reservation) -> dict[str, Any]:
    """Return what changes in a reservation's life, by attribute; ``None``: the attribute is absent."""
    boundary_ms = find_boundary(reservation)
    return {
        "host_ids": [booking.host_id for booking in reservation.bookings],
        "state": reservation.state,
        "cancelled_at_ms": reservation.cancelled_at_ms,
        "cancel_fee_micros": reservation.cancel_fee_micros,
        "broken_at_ms": reservation.broken_at_ms,
        "credit_due_micros": reservation.credit_due_micros,
        "boundary_at_ms": boundary_ms,
        "boundary_shard": None if boundary_ms is None else choose_shard(reservation.reservation_id),
    }


def _read(item: ReservationItem, rows: dict[str, BookingItem]) -> Reservation:
    return Reservation(
        reservation_id=item.reservation_id,
        account_id=item.account_id,
        gpu_type=item.gpu_type,
        region=item.region,
        gpu_count=item.gpu_count,
        node_count=item.node_count,
        bookings=tuple(_read_booking(rows[host_id]) for host_id in item.host_ids if host_id in rows),
        starts_at_ms=item.starts_at_ms,
        ends_at_ms=item.ends_at_ms,
        price_micros_per_gpu_hour=item.price_micros_per_gpu_hour,
        currency=item.currency,
        created_at_ms=item.created_at_ms,
        state=cast("State", item.state),
        label=item.label,
        cancelled_at_ms=item.cancelled_at_ms,
        cancel_fee_micros=item.cancel_fee_micros,
        broken_at_ms=item.broken_at_ms,
        credit_due_micros=item.credit_due_micros,
        quota_gpus=item.quota_gpus or 0,
        deposit_micros=item.deposit_micros or 0,
        version=item.version,
    )


def _read_booking(row: BookingItem) -> Booking:
    uses: Any = row.uses
    return Booking(
        row.host_id,
        row.gpu_count,
        cast("BookingState", row.state),
        {rental_id: int(gpus) for rental_id, gpus in uses.as_dict().items()},
        row.served_gpu_ms or 0,
    )

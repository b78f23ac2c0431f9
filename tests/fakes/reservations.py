"""Reservations and calendars in memory, under the conditions that the DynamoDB store sets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.capacity import DEFAULT_MAX_GPUS, Quota
from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.reservations.calendars import EMPTY_DAY, promise
from chalicelib.reservations.model import Booking, Reservation, Span, find_boundary
from chalicelib.reservations.ports import (
    CalendarMoved,
    NotRedeemable,
    ReservationInUse,
    ReservedQuotaExceeded,
)
from chalicelib.reservations.store import choose_shard
from chalicelib.storage import keys
from tests.fakes.database import MemoryStore
from tests.fakes.pages import cut_page


class FakeReservationStore(MemoryStore):
    """Rows: reservations (id), days ((host_id, day)), heads (host_id -> open bookings)."""

    @property
    def rows(self) -> dict[str, Reservation]:
        return self.db.table("reservations")

    def get_reservation(self, reservation_id: str) -> Reservation | None:
        return self.rows.get(reservation_id)

    def list_reservations(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Reservation]:
        with self.db.lock:
            own = [row for row in self.rows.values() if row.account_id == account_id]
        rest = cut_page(own, start, _name, oldest_first=oldest_first)
        return Page(rest[:limit], _name(rest[limit - 1]) if len(rest) > limit else None)

    def list_boundaries(self, shard: str, until_ms: int, limit: int) -> list[str]:
        with self.db.lock:
            found = [
                (boundary_ms, row.reservation_id)
                for row in self.rows.values()
                if (boundary_ms := find_boundary(row)) is not None
                and boundary_ms <= until_ms
                and choose_shard(row.reservation_id) == shard
            ]
        return [reservation_id for _, reservation_id in sorted(found)[:limit]]

    def list_on_host(self, host_id: str, limit: int) -> list[str]:
        with self.db.lock:
            found = [
                (row.ends_at_ms, row.reservation_id)
                for row in self.rows.values()
                for booking in row.bookings
                if booking.host_id == host_id and booking.state != "closed"
            ]
        return [reservation_id for _, reservation_id in sorted(found)[:limit]]

    def read_days(self, host_id: str, first_day: str, last_day: str) -> dict[str, tuple[int, ...]]:
        with self.db.lock:
            return {
                day: promised
                for (host, day), promised in self.db.table("days").items()
                if host == host_id and first_day <= day <= last_day
            }

    def add_reservation(self, tx: Any, reservation: Reservation) -> None:
        tx.put_new("reservations", reservation.reservation_id, reservation, Unavailable("reservation"))
        for booking in reservation.bookings:
            tx.add(lambda: None, lambda host_id=booking.host_id: self._count(host_id, 1))

    def replace_reservation(
        self, tx: Any, old: Reservation, new: Reservation, *, unused: bool = False
    ) -> None:
        rows, key = self.rows, new.reservation_id

        def check() -> DomainError | None:
            return None if rows[key].version == old.version else Unavailable("reservation")

        def effect() -> None:
            stored = {booking.host_id: booking for booking in rows[key].bookings}
            bookings = tuple(_keep_uses(each, stored.get(each.host_id)) for each in new.bookings)
            rows[key] = replace(new, bookings=bookings, version=old.version + 1)

        tx.add(check, effect)
        known = {booking.host_id: booking for booking in old.bookings}
        for booking in new.bookings:
            before = known.get(booking.host_id)
            if before is None:
                tx.add(lambda: None, lambda host_id=booking.host_id: self._count(host_id, 1))
            elif before.state != booking.state:
                self._change_booking(tx, key, before, unused=unused)

    def _change_booking(self, tx: Any, reservation_id: str, before: Booking, *, unused: bool) -> None:
        def check() -> DomainError | None:
            stored = self._find_booking(reservation_id, before.host_id)
            if stored is None or stored.state != before.state:
                return Unavailable("booking")
            if unused and stored.uses:
                return ReservationInUse("in use")
            changed = unused and stored.served_gpu_ms != before.served_gpu_ms
            return Unavailable("served") if changed else None

        change = -1 if before.state == "open" else 0
        tx.add(check, lambda: self._count(before.host_id, change))

    def take_slots(
        self,
        tx: Any,
        host_id: str,
        spans: Sequence[Span],
        gpus: int,
        capacity: int,
        known_days: frozenset[str],
    ) -> None:
        assert 0 < gpus <= capacity
        for span in spans:

            def check(span: Span = span) -> DomainError | None:
                day = self.db.table("days").get((host_id, span.day))
                if (day is not None) != (span.day in known_days):
                    return CalendarMoved("day")
                full = day is not None and max(day[span.first : span.end]) > capacity - gpus
                return CalendarMoved("slots") if full else None

            tx.add(check, lambda span=span: self._promise(host_id, span, gpus))

    def give_back_slots(self, tx: Any, host_id: str, spans: Sequence[Span], gpus: int) -> None:
        for span in spans:

            def check(span: Span = span) -> DomainError | None:
                day = self.db.table("days").get((host_id, span.day))
                short = day is None or min(day[span.first : span.end]) < gpus
                return Unavailable("calendar") if short else None

            tx.add(check, lambda span=span: self._promise(host_id, span, -gpus))

    def get_quota(self, account_id: str) -> Quota:
        return self.db.table("reserved_quotas").get(account_id, Quota(DEFAULT_MAX_GPUS, 0))

    def put_quota(self, tx: Any, account_id: str, old: Quota, max_gpus: int) -> None:
        rows = self.db.table("reserved_quotas")
        tx.add(
            lambda: None if rows.get(account_id, old) == old else Unavailable("quota"),
            lambda: rows.update({account_id: Quota(max_gpus, old.used_gpus)}),
        )

    def take_quota(self, tx: Any, account_id: str, gpus: int) -> None:
        def check() -> DomainError | None:
            quota = self.get_quota(account_id)
            return None if quota.max_gpus - quota.used_gpus >= gpus else ReservedQuotaExceeded("quota")

        tx.add(check, lambda: self._use(account_id, gpus))

    def give_back_quota(self, tx: Any, account_id: str, gpus: int) -> None:
        rows = self.db.table("reserved_quotas")
        tx.add(
            lambda: None if account_id in rows else Unavailable("quota"),
            lambda: self._use(account_id, -gpus),
        )

    def _use(self, account_id: str, gpus: int) -> None:
        quota = self.get_quota(account_id)
        self.db.table("reserved_quotas")[account_id] = replace(quota, used_gpus=quota.used_gpus + gpus)

    def require_unbooked(self, tx: Any, host_id: str) -> None:
        def check() -> DomainError | None:
            booked = self.db.table("heads").get(host_id, 0)
            return Conflict("booked", code="host_booked") if booked else None

        tx.add(check, lambda: None)

    def redeem(
        self, tx: Any, reservation_id: str, host_id: str, rental_id: str, gpu_count: int, now_ms: int
    ) -> None:
        def check() -> DomainError | None:
            row, booking = self.rows.get(reservation_id), self._find_booking(reservation_id, host_id)
            if row is None or booking is None or booking.state != "open":
                return NotRedeemable("booking")
            inside = row.starts_at_ms <= now_ms < row.ends_at_ms
            room = booking.gpu_count - booking.used_gpus >= gpu_count
            return None if inside and room and rental_id not in booking.uses else NotRedeemable("room")

        def effect() -> None:
            booking = self._find_booking(reservation_id, host_id)
            assert booking is not None
            self._set_uses(
                reservation_id, host_id, {**booking.uses, rental_id: gpu_count}, -gpu_count * now_ms
            )

        tx.add(check, effect)

    def release(
        self, tx: Any, reservation_id: str, host_id: str, rental_id: str, gpu_count: int, now_ms: int
    ) -> None:
        def check() -> DomainError | None:
            booking = self._find_booking(reservation_id, host_id)
            held = booking is not None and booking.uses.get(rental_id) == gpu_count
            return None if held else NotRedeemable("nothing redeemed")

        def effect() -> None:
            booking = self._find_booking(reservation_id, host_id)
            assert booking is not None
            uses = {rental: gpus for rental, gpus in booking.uses.items() if rental != rental_id}
            self._set_uses(reservation_id, host_id, uses, gpu_count * now_ms)

        tx.add(check, effect)

    def _find_booking(self, reservation_id: str, host_id: str) -> Booking | None:
        row = self.rows.get(reservation_id)
        found = [] if row is None else [each for each in row.bookings if each.host_id == host_id]
        return found[0] if found else None

    def _set_uses(self, reservation_id: str, host_id: str, uses: Mapping[str, int], gpu_ms: int) -> None:
        row = self.rows[reservation_id]
        bookings = tuple(
            replace(each, uses=uses, served_gpu_ms=each.served_gpu_ms + gpu_ms)
            if each.host_id == host_id
            else each
            for each in row.bookings
        )
        self.rows[reservation_id] = replace(row, bookings=bookings)

    def _promise(self, host_id: str, span: Span, gpus: int) -> None:
        days = self.db.table("days")
        days[host_id, span.day] = promise(days.get((host_id, span.day), EMPTY_DAY), span, gpus)

    def _count(self, host_id: str, change: int) -> None:
        heads = self.db.table("heads")
        heads[host_id] = heads.get(host_id, 0) + change


def _name(reservation: Reservation) -> str:
    return keys.created(reservation.created_at_ms, reservation.reservation_id)


def _keep_uses(new: Booking, stored: Booking | None) -> Booking:
    """What is redeemed changes without the version: what is stored of it stays."""
    if stored is None:
        return new
    return replace(new, uses=stored.uses, served_gpu_ms=stored.served_gpu_ms)

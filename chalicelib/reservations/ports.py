"""What the use cases of reservations need, and what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.catalog.service import CachedCatalog, CatalogStore
from chalicelib.core.capacity import Quota
from chalicelib.core.errors import Conflict, Forbidden, NotFound
from chalicelib.core.idempotency import IdempotencyStore
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal
from chalicelib.fleet.service import FleetStore
from chalicelib.fleet.watch import IncidentStore
from chalicelib.reservations.model import CancelFee, Reservation, Span

SYSTEM_ACTOR = "system"
#: Index keys under which boundaries are listed.
SHARDS = tuple(f"BOUNDARY#{number}" for number in range(4))


class CalendarMoved(Conflict):
    """The slots were promised, or the host closed, since the calendar was read."""

    code = "slots_taken"


class NoRoom(Conflict):
    """No host has that many GPUs to promise over the whole window."""

    code = "no_capacity"


class NotRedeemable(Conflict):
    """The reservation has no such GPUs on this host now."""

    code = "reservation_not_redeemable"


class ReservationInUse(Conflict):
    code = "reservation_in_use"


class ReservedQuotaExceeded(Forbidden):
    """The account may not have that many GPUs in reservations that are not over."""

    code = "quota"


class ReservationStore(Protocol):
    def get_reservation(self, reservation_id: str) -> Reservation | None: ...
    def list_reservations(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Reservation]:
        """Newest first, unless the oldest are wanted."""
        ...

    def list_boundaries(self, shard: str, until_ms: int, limit: int) -> list[str]:
        """Ids of what begins or ends by then, most overdue first. An index: a hint."""
        ...

    def list_on_host(self, host_id: str, limit: int) -> list[str]:
        """Ids of reservations with a booking on the host that is not closed. An index: a hint."""
        ...

    def read_days(self, host_id: str, first_day: str, last_day: str) -> dict[str, tuple[int, ...]]:
        """The promised GPUs of each slot, of the days that have any promise."""
        ...

    def add_reservation(self, tx: Transaction, reservation: Reservation) -> None:
        """Write it with its bookings, and count those on their hosts."""

    def replace_reservation(
        self, tx: Transaction, old: Reservation, new: Reservation, *, unused: bool = False
    ) -> None:
        """Write what changed of it and its bookings. Fails with Unavailable when ``old`` is no longer stored.

        ``unused``: fails with ReservationInUse when a booking that is closed has been redeemed.
        """

    def take_slots(
        self,
        tx: Transaction,
        host_id: str,
        spans: Sequence[Span],
        gpus: int,
        capacity: int,
        known_days: frozenset[str],
    ) -> None:
        """Promise ``gpus`` more in every slot, up to ``capacity``. ``known_days`` are those that were there.

        Fails with CalendarMoved.
        """

    def give_back_slots(self, tx: Transaction, host_id: str, spans: Sequence[Span], gpus: int) -> None:
        """Fails with Unavailable, and gives nothing back, when fewer are promised."""

    def get_quota(self, account_id: str) -> Quota: ...
    def put_quota(self, tx: Transaction, account_id: str, old: Quota, max_gpus: int) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def take_quota(self, tx: Transaction, account_id: str, gpus: int) -> None:
        """Fails with ReservedQuotaExceeded."""

    def give_back_quota(self, tx: Transaction, account_id: str, gpus: int) -> None: ...
    def require_unbooked(self, tx: Transaction, host_id: str) -> None:
        """Fails with Conflict (``host_booked``) while a booking of the host is open."""

    def redeem(
        self,
        tx: Transaction,
        reservation_id: str,
        host_id: str,
        rental_id: str,
        gpu_count: int,
        now_ms: int,
    ) -> None:
        """Give GPUs of a booking to a rental, inside its window. Fails with NotRedeemable.

        One write per host: a transaction may redeem on several hosts, and once on each.
        """

    def release(
        self,
        tx: Transaction,
        reservation_id: str,
        host_id: str,
        rental_id: str,
        gpu_count: int,
        now_ms: int,
    ) -> None:
        """Take back what a rental had redeemed. Fails with NotRedeemable when it has not, or no longer."""


class Deposits(Protocol):
    """The money of reservations. Implemented by billing, which stands above.

    A deposit is held from the booking's transaction to the one that makes the reservation over: one of these
    three is added to it, once, as the hold must still be there. One without a deposit has no hold.
    """

    def take(self, tx: Transaction, reservation: Reservation) -> None:
        """Fails with InsufficientFunds."""

    def give_back(self, tx: Transaction, reservation: Reservation) -> None:
        """Fails with Unavailable when it is not held any more."""

    def keep_fee(self, tx: Transaction, reservation: Reservation, fee: CancelFee, now_ms: int) -> int:
        """Charge what deposit and wallet cover of ``fee``, give back the rest; return what was charged.

        Fails with Unavailable when the wallet moved or the deposit is not held any more.
        """
        ...

    def credit_broken(self, tx: Transaction, broken: Reservation, why: str, now_ms: int) -> None:
        """Give the deposit back, credit what is due, and tell the renter. Fails as `keep_fee`."""


@dataclass(frozen=True, slots=True)
class ReservationPorts:
    store: ReservationStore
    fleet: FleetStore
    catalog: CatalogStore
    cached_catalog: CachedCatalog
    idempotency: IdempotencyStore
    audit: AuditTrail
    incidents: IncidentStore
    deposits: Deposits
    transactions: Transactions
    clock: Clock
    ids: Ids
    currency: str


def get_reservation(ports: ReservationPorts, principal: Principal, reservation_id: str) -> Reservation:
    """Raises NotFound: there is no such reservation, or it is another account's."""
    reservation = ports.store.get_reservation(reservation_id)
    if reservation is None or reservation.account_id != principal.account_id:
        raise NotFound("There is no such reservation.")
    return reservation


def add_audit(
    ports: ReservationPorts,
    tx: Transaction,
    reservation: Reservation,
    actor: str,
    action: str,
    details: Mapping[str, object] | None = None,
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        reservation.account_id,
        actor,
        action,
        reservation.reservation_id,
        ports.clock.now_ms(),
        dict(details or {}),
    )
    ports.audit.add_entry(tx, entry)

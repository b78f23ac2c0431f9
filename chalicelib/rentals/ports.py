"""What the use cases of rentals need, and what they share."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.catalog.service import CachedCatalog, CatalogStore
from chalicelib.core.capacity import Quota
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Conflict, Forbidden, NotFound
from chalicelib.core.idempotency import IdempotencyStore
from chalicelib.core.money import StayHold
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.service import FleetStore
from chalicelib.organisations.projects import ProjectReader
from chalicelib.rentals.flexibility import Flexibility, StartChoice
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.model import Rental
from chalicelib.rentals.preemption import SpotStay
from chalicelib.rentals.queue import Line, Ticket
from chalicelib.rentals.ramp import Allowance, Step
from chalicelib.rentals.retention import DataHold
from chalicelib.rentals.rules import State
from chalicelib.reservations.ports import ReservationStore
from chalicelib.webhooks.model import Event, EventType
from chalicelib.webhooks.service import Outbox

SYSTEM_ACTOR = "system"


class NoCapacity(Conflict):
    code = "no_capacity"


class GpuUnavailableOnResume(Conflict):
    """The host that keeps the volume has no room now. Nothing is lost; ask again, or wait in line."""

    code = "gpu_unavailable_on_resume"


class LineAhead(Conflict):
    """Others wait for this pool: who comes now stands behind them."""

    code = "line_ahead"


class QuotaExceeded(Forbidden):
    code = "quota"


def explain_quota(maximum: int, available: int, needed: int, allowance: Allowance | None) -> QuotaExceeded:
    """Return the refusal of ``needed`` GPUs by a quota, or by what of it a new account has."""
    left = max(0, available)
    extra: dict[str, object] = {"max": maximum, "available": left, "needed": needed}
    advice = "End a rental or ask for a higher quota."
    if allowance is not None:
        rises_at_ms = allowance.rises_at_ms
        extra["rises_at"] = None if rises_at_ms is None else format_instant(rises_at_ms)
        rises = "with the first top-up" if rises_at_ms is None else f"at {extra['rises_at']}"
        advice = f"The account is new: it may have more {rises}."
    return QuotaExceeded(
        f"The account may have {maximum} GPUs at once; {left} are left. {advice}", extra=extra
    )


class SpreadTaken(Conflict):
    """Another rental of the same spread group is on this host."""

    code = "spread_taken"


class RentalStore(Protocol):
    def get_rental(self, rental_id: str) -> Rental | None: ...
    def get_workload(self, rental_id: str) -> Workload | None: ...
    def list_rentals(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[Rental]:
        """Newest first, unless the oldest are wanted."""
        ...

    def list_due(self, shard: str, now_ms: int, limit: int) -> list[Rental]:
        """Rentals to which something is to be done by itself by now, most overdue first. An index: a hint."""
        ...

    def list_kept(self, shard: str) -> Iterator[str]:
        """Rentals with a volume whose keeping is not charged to its end. An index: a hint."""
        ...

    def add_rental(self, tx: Transaction, rental: Rental, workload: Workload) -> None: ...
    def replace_rental(self, tx: Transaction, old: Rental, new: Rental) -> None:
        """Write the life-cycle facts. Fails with Unavailable when ``old`` is no longer what is stored."""

    def replace_messages(self, tx: Transaction, old: Rental, new: Rental) -> None:
        """Write interruption and warnings. Fails with Unavailable when ``old``'s are no longer the stored."""

    def get_log(self, rental_id: str) -> LogExcerpt | None: ...
    def keep_log(self, rental_id: str, excerpt: LogExcerpt) -> None:
        """Keep the newest."""

    def record_charge(
        self, tx: Transaction, rental_id: str, *, seconds: int, micros: int, settled_segment: int | None
    ) -> None:
        """Add to the totals; the meter's cursor in the same transaction makes it once only."""


class SchedulingStore(Protocol):
    """Lines before pools, who may be preempted, quotas, spread groups."""

    def list_tickets(self, pool: str, limit: int) -> list[Ticket]:
        """Highest priority first, then oldest."""
        ...

    def get_line(self, pool: str) -> Line: ...
    def count_ahead(self, pool: str, ticket_key: str, limit: int) -> int: ...
    def note_dispatch(self, pool: str, line: Line) -> None:
        """Keep the rate. A statistic: the last writer wins."""

    def mark_preempting(self, ticket: Ticket, until_ms: int) -> None:
        """Nothing happens when the ticket has been served."""

    def add_ticket(self, tx: Transaction, ticket: Ticket) -> None: ...
    def remove_ticket(self, tx: Transaction, pools: Sequence[str], ticket_key: str) -> None:
        """Fails with Unavailable when it is not there any more."""

    def require_no_line(self, tx: Transaction, pool: str) -> None:
        """Fails with LineAhead."""

    def list_stays(self, pool: str, limit: int) -> list[SpotStay]: ...
    def add_stay(self, tx: Transaction, pool: str, stay: SpotStay) -> None: ...
    def remove_stay(self, tx: Transaction, pool: str, host_id: str, rental_id: str) -> None: ...
    def get_quota(self, account_id: str) -> Quota: ...
    def put_quota(self, tx: Transaction, account_id: str, old: Quota, max_gpus: int) -> None: ...
    def take_quota(
        self, tx: Transaction, account_id: str, gpus: int, allowance: Allowance | None = None
    ) -> None:
        """Fails with QuotaExceeded, by the quota or by ``allowance``."""

    def give_back_quota(self, tx: Transaction, account_id: str, gpus: int) -> None: ...
    def take_spread(self, tx: Transaction, account_id: str, group: str, host_id: str, rental_id: str) -> None:
        """Fails with SpreadTaken."""

    def give_back_spread(self, tx: Transaction, account_id: str, group: str, host_id: str) -> None: ...


class Wallets(Protocol):
    """Implemented by billing, which stands above."""

    def add_holds(
        self,
        tx: Transaction,
        account_id: str,
        holds: Sequence[StayHold],
        now_ms: int,
        limit_micros_per_hour: int | None = None,
    ) -> None:
        """Set money aside, if the account's stays cost ``limit_micros_per_hour`` at most with these.

        Fails with InsufficientFunds, BudgetExhausted, SpendLimitReached, or Unavailable to come again.
        """

    def find_paid_since(self, account_id: str) -> int | None:
        """When the account paid first; promotional credit is no payment."""
        ...

    def find_data_hold_end(self, account_id: str) -> int | None:
        """Until when data is kept without money; ``None``: there is money, so nothing bounds it."""
        ...


class Standings(Protocol):
    def is_barred(self, account_id: str) -> bool:
        """Say whether an account is suspended or closed: nothing of it starts then. Kept for a moment."""
        ...

    def require(self, tx: Transaction, account_id: str) -> None:
        """Fails with AccountSuspended when it is so at that moment."""


class StartPlanner(Protocol):
    """Implemented by carbon, which stands above."""

    def plan_start(self, flexibility: Flexibility, regions: Sequence[str], now_ms: int) -> StartChoice:
        """Choose when and in which of the regions work starts, by what is known of their grids.

        Without a forecast it starts at once; the first of the flexibility's regions is home.
        """
        ...


@dataclass(frozen=True, slots=True)
class RentalPorts:
    store: RentalStore
    scheduling: SchedulingStore
    reservations: ReservationStore
    fleet: FleetStore
    catalog: CatalogStore
    cached_catalog: CachedCatalog
    wallets: Wallets
    standings: Standings
    planner: StartPlanner
    idempotency: IdempotencyStore
    projects: ProjectReader
    audit: AuditTrail
    outbox: Outbox
    transactions: Transactions
    clock: Clock
    ids: Ids
    currency: str
    #: What new accounts are held to, see `chalicelib.rentals.ramp`; empty: nothing but their quotas.
    ramp: tuple[Step, ...] = ()


def name_hold(rental_id: str, segment: int) -> str:
    """Each stay holds money of its own."""
    return f"{rental_id}#{segment:04d}"


def get_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Raises NotFound: there is no such rental, or it is another account's."""
    rental = ports.store.get_rental(rental_id)
    if rental is None or rental.account_id != principal.account_id:
        raise NotFound("There is no such rental.")
    return rental


def list_members(ports: RentalPorts, rental: Rental) -> list[Rental]:
    """Return who waits together with ``rental``: the nodes of its cluster, itself among them."""
    if rental.waiting is None or len(rental.waiting.rental_ids) == 1:
        return [rental]
    found = [ports.store.get_rental(rental_id) for rental_id in rental.waiting.rental_ids]
    return [member for member in found if member is not None]


def add_audit(
    ports: RentalPorts,
    tx: Transaction,
    rental: Rental,
    actor: str,
    action: str,
    details: Mapping[str, object] | None = None,
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        rental.account_id,
        actor,
        action,
        rental.rental_id,
        ports.clock.now_ms(),
        dict(details or {}),
    )
    ports.audit.add_entry(tx, entry)


#: The states that renters are told of.
_TOLD: Mapping[State, EventType] = {
    "running": "rental.running",
    "stopped": "rental.stopped",
    "terminated": "rental.terminated",
    "failed": "rental.failed",
}


def _describe_hold(hold: DataHold) -> dict[str, object]:
    return {"data_kept_until": format_instant(hold.until_ms)}


def add_event(
    ports: RentalPorts,
    tx: Transaction,
    kind: EventType,
    rental: Rental,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add to ``tx``: the renter is told of ``rental`` as it is after the transaction."""
    data = {
        "rental_id": rental.rental_id,
        "state": rental.state,
        "reason": rental.reason,
        "segment": rental.segment,
        **({} if rental.data_hold is None else _describe_hold(rental.data_hold)),
        **(details or {}),
    }
    now_ms = ports.clock.now_ms()
    ports.outbox.add_event(tx, Event(ports.ids.new_id("evt"), rental.account_id, kind, now_ms, data))


def add_state_event(ports: RentalPorts, tx: Transaction, after: Rental) -> None:
    """Add to ``tx``: the renter is told of the state that the rental has now, if it is one to tell of."""
    kind = _TOLD.get(after.state)
    if kind is not None:
        add_event(ports, tx, kind, after)

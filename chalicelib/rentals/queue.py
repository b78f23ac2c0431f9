"""The line before a pool: who is next, how long it takes. All pure.

Order: priority, then fair share (of two accounts the one with fewer GPUs in use), then age. Who is further
back and fits may go first (backfill) unless somebody ahead has waited for `BLOCKS_AFTER_MS`: then nothing
behind is placed in this pool until that one is, so that a large rental is not starved by small ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.capacity import BillingClass

#: Lower sorts first; renters choose 0 to 100, what was preempted or lost its host comes before them.
MAX_PRIORITY = 100
RECOVERY_PRIORITY = 150
TOP_PRIORITY = 999
#: Whoever pays the full price goes before spot, which it may preempt.
FULL_PRICE_PRIORITY = 200
BLOCKS_AFTER_MS = 10 * 60_000
#: Of the smoothed time between two dispatches: the part of the newest one, in percent.
SMOOTHING_PERCENT = 20


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in line for one rental, or for all nodes of a cluster, in every pool that would do."""

    ticket_id: str
    ticket_key: str
    rental_ids: tuple[str, ...]
    account_id: str
    gpu_type: str
    pools: tuple[str, ...]
    gpu_count: int
    billing_class: BillingClass
    priority: int
    since_ms: int
    max_price_micros_per_gpu_hour: int | None = None
    deadline_at_ms: int | None = None
    #: Only this host will do: it keeps the rental's volume, or has its reservation.
    pinned_host_id: str | None = None
    #: Only hosts of this fabric will do: the other nodes of its cluster are there.
    fabric_id: str | None = None
    #: Room was asked for, and is on its way until then.
    preempting_until_ms: int = 0

    @property
    def node_count(self) -> int:
        return len(self.rental_ids)

    @property
    def is_bound(self) -> bool:
        """It can go to some hosts only: that they are full says nothing of the pool."""
        only = self.pinned_host_id is not None or self.fabric_id is not None
        return only or self.billing_class == "reserved"

    @property
    def total_gpus(self) -> int:
        return self.gpu_count * self.node_count


@dataclass(frozen=True, slots=True)
class Line:
    """What is kept of a line beside its tickets. ``interval_ms``, between two dispatches, is smoothed."""

    tickets: int = 0
    interval_ms: int | None = None
    last_dispatch_at_ms: int | None = None


def rank(priority: int, billing_class: BillingClass) -> int:
    """Return the priority with which a ticket stands in line."""
    return priority if billing_class == "spot" else priority + FULL_PRICE_PRIORITY


def build_ticket_key(priority: int, since_ms: int, ticket_id: str) -> str:
    """Sorts by priority (highest first), then by age."""
    return f"{TOP_PRIORITY - min(priority, TOP_PRIORITY):03d}#{since_ms:013d}#{ticket_id}"


def order_tickets(tickets: Sequence[Ticket], gpus_in_use: Mapping[str, int]) -> list[Ticket]:
    """Return the tickets as they are to be served.

    ``gpus_in_use`` is by account. Each ticket that comes before another of its account counts as used: two
    accounts with many tickets take turns.
    """
    ordered: list[Ticket] = []
    for priority in sorted({ticket.priority for ticket in tickets}, reverse=True):
        used = dict(gpus_in_use)
        waiting: dict[str, list[Ticket]] = {}
        for ticket in sorted(tickets, key=lambda each: (each.since_ms, each.ticket_id)):
            if ticket.priority == priority:
                waiting.setdefault(ticket.account_id, []).append(ticket)
        while waiting:
            account_id = min(waiting, key=lambda each: (used.get(each, 0), waiting[each][0].since_ms, each))
            ticket = waiting[account_id].pop(0)
            used[account_id] = used.get(account_id, 0) + ticket.total_gpus
            ordered.append(ticket)
            if not waiting[account_id]:
                del waiting[account_id]
    return ordered


def blocks_others(ticket: Ticket, now_ms: int) -> bool:
    """Say whether nothing behind this ticket may be placed before it.

    One that can go to some hosts only holds nobody else up.
    """
    return not ticket.is_bound and now_ms - ticket.since_ms >= BLOCKS_AFTER_MS


def is_expired(ticket: Ticket, now_ms: int) -> bool:
    return ticket.deadline_at_ms is not None and now_ms >= ticket.deadline_at_ms


def note_dispatch(line: Line, now_ms: int) -> Line:
    """Return the line after one of its tickets was served (its count is kept elsewhere)."""
    if line.last_dispatch_at_ms is None:
        return Line(line.tickets, line.interval_ms, now_ms)
    elapsed_ms = max(0, now_ms - line.last_dispatch_at_ms)
    before = elapsed_ms if line.interval_ms is None else line.interval_ms
    smoothed = (before * (100 - SMOOTHING_PERCENT) + elapsed_ms * SMOOTHING_PERCENT) // 100
    return Line(line.tickets, smoothed, now_ms)


def estimate_wait_ms(line: Line, position: int, now_ms: int) -> int | None:
    """Return about how long the ticket at ``position`` (1 is next) waits; ``None``: nothing is known.

    The rate of the past goes on; a line that stands still for longer than its rate gets slower.
    """
    if line.interval_ms is None or line.last_dispatch_at_ms is None:
        return None
    return max(line.interval_ms, now_ms - line.last_dispatch_at_ms) * position

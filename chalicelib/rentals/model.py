"""A rental: four separate facts, the places where it has been, pure transitions.

`desired_state` is what the renter wants, `state` what is, `health` how the workload fares, `billing_state`
what the meter does. A rental keeps its id while it is stopped, queued and placed again: each stay on a host
is a segment, with leases, a meter and a hold of its own. No transition reads a clock.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.core.capacity import BillingClass, WhyNot
from chalicelib.core.errors import Conflict
from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Endpoint
from chalicelib.rentals.flexibility import StartPlan
from chalicelib.rentals.messages import GpuWarning, Interruption, count_warning
from chalicelib.rentals.policies import Policies, find_end
from chalicelib.rentals.retention import DataHold, Keeping
from chalicelib.rentals.rules import (
    ACTIONS,
    ACTIVE_STATES,
    REASONS,
    WAITING_STATES,
    Action,
    Outcome,
    Reason,
    State,
    explain_refusal,
)

DesiredState = Literal["running", "stopped", "terminated"]
Health = Literal["unknown", "healthy", "unhealthy"]
BillingState = Literal["not_started", "metering", "closed", "settled"]
Recovery = Literal["replace", "fail"]

#: The notice that is published for spot capacity: what fails in the last two minutes fails because of it.
NOTICE_MS = 120_000
#: A rental that has been placed this often is not placed again: its record must stay readable.
MAX_SEGMENTS = 100

#: Seconds of price held before a start: 60 s charge tick + 45 s lease + 60 s to stop + 15 s slack.
RUNWAY_SECONDS = 180


@dataclass(frozen=True, slots=True)
class PlannedEnd:
    """This stay ends at ``at_ms``, for a reason of ours; the workload was told with a notice."""

    reason: Reason
    notice_at_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Placement:
    """One stay on a host. ``leases`` carry the epochs under which it may use its GPUs; they never change."""

    segment: int
    host_id: str
    region: str
    leases: tuple[Lease, ...]
    #: The host was given up: its wipe may still be acknowledged, and nothing waits for it.
    lost: bool = False

    @property
    def wipe_leases(self) -> tuple[Lease, ...]:
        """The epochs that a stop and its acknowledgement carry."""
        return tuple(lease.advance() for lease in self.leases)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where a rental stands in line: the ticket's key in the queue of each pool that could serve it.

    ``rental_ids``: all nodes of its cluster, which leave the line together.
    """

    rental_ids: tuple[str, ...]
    pools: tuple[str, ...]
    ticket_key: str
    since_ms: int
    why: WhyNot = "no_capacity"


@dataclass(frozen=True, slots=True)
class Rental:
    """``placement`` is the present stay, or the last one of a rental that has ended."""

    rental_id: str
    account_id: str
    gpu_type: str
    gpu_count: int
    #: A region, or ``any``.
    wanted_region: str
    currency: str
    created_at_ms: int
    billing_class: BillingClass = "on_demand"
    label: str | None = None
    state: State = "queued"
    desired_state: DesiredState = "running"
    health: Health = "unknown"
    billing_state: BillingState = "not_started"
    reason: Reason | None = None
    placement: Placement | None = None
    past: tuple[Placement, ...] = ()
    #: Frozen when it is placed.
    price_micros_per_gpu_hour: int | None = None
    max_price_micros_per_gpu_hour: int | None = None
    waiting: Waiting | None = None
    priority: int = 0
    deadline_at_ms: int | None = None
    recovery: Recovery = "replace"
    locked: bool = False
    #: No two rentals of an account with the same group share a host.
    spread_group: str | None = None
    cluster_id: str | None = None
    reservation_id: str | None = None
    has_volume: bool = False
    policies: Policies = field(default_factory=Policies)
    #: Of one that was left to start when and where its grid is clean.
    start_plan: StartPlan | None = None
    #: Set when it runs: when its policies end this stay.
    ends_at_ms: int | None = None
    #: When the reservation that this stay redeems is over.
    reserved_until_ms: int | None = None
    #: The host that keeps the volume of a rental that has no stay.
    volume_host_id: str | None = None
    volume_lost_at_ms: int | None = None
    #: Of one that was stopped because the wallet was empty (see `rentals.retention`).
    data_hold: DataHold | None = None
    volume_mib: int = 0
    #: Of a GiB of its volume, an hour, while it is stopped. Frozen when it is placed.
    volume_price_micros_per_gib_hour: int = 0
    #: Stretches of keeping the volume that are not charged to their end.
    kept: tuple[Keeping, ...] = ()
    planned_end: PlannedEnd | None = None
    running_at_ms: int | None = None
    stop_requested_at_ms: int | None = None
    terminated_at_ms: int | None = None
    billed_seconds: int = 0
    charge_micros: int = 0
    endpoints: tuple[Endpoint, ...] = ()
    interruption: Interruption | None = None
    warnings: tuple[GpuWarning, ...] = ()
    #: Rises with every change of the interruption and the warnings.
    messages_version: int = 0
    #: Rises with every change of the life cycle.
    version: int = 0

    @property
    def region(self) -> str:
        return self.wanted_region if self.placement is None else self.placement.region

    @property
    def host_id(self) -> str | None:
        return None if self.placement is None else self.placement.host_id

    @property
    def leases(self) -> tuple[Lease, ...]:
        return () if self.placement is None else self.placement.leases

    @property
    def wipe_leases(self) -> tuple[Lease, ...]:
        return () if self.placement is None else self.placement.wipe_leases

    @property
    def segment(self) -> int:
        """The number of the present or last stay; 0 before the first."""
        if self.placement is not None:
            return self.placement.segment
        return self.past[-1].segment if self.past else 0

    @property
    def open_regions(self) -> tuple[str, ...] | None:
        """Where a start that was planned may lead, the best first; ``None``: wherever it wants to go."""
        plan = self.start_plan
        if plan is None:
            return None
        return plan.choice.regions if self.segment else plan.open_regions

    @property
    def placements(self) -> tuple[Placement, ...]:
        return self.past if self.placement is None else (*self.past, self.placement)


@dataclass(frozen=True, slots=True)
class ActionState:
    """Whether an action may be taken now and, if not, why not."""

    available: bool
    reason_code: str | None = None


def list_actions(rental: Rental) -> dict[Action, ActionState]:
    refusals = {action: explain_refusal(rental.state, action, locked=rental.locked) for action in ACTIONS}
    return {action: ActionState(refusal is None, refusal) for action, refusal in refusals.items()}


def require_action(rental: Rental, action: Action) -> None:
    """Raises Conflict with the reason code when the action may not be taken now."""
    refusal = explain_refusal(rental.state, action, locked=rental.locked)
    if refusal is not None:
        raise Conflict(f"A rental that is {rental.state} cannot take '{action}' now.", code=refusal)


def place(
    rental: Rental,
    placement: Placement,
    price_micros_per_gpu_hour: int,
    reserved_until_ms: int | None = None,
) -> Rental:
    """Return the rental on its GPUs; what it pays for this stay is fixed here.

    Raises:
        Conflict: it does not wait for GPUs, or was placed too often.
    """
    if rental.state not in WAITING_STATES and rental.state != "stopped":
        raise Conflict(f"A rental that is {rental.state} is not placed.", code="invalid_transition")
    if placement.segment > MAX_SEGMENTS:
        raise Conflict("The rental was placed too often; create a new one.", code="too_many_segments")
    return replace(
        rental,
        state="provisioning",
        desired_state="running",
        health="unknown",
        billing_state="not_started",
        reason=None,
        placement=placement,
        price_micros_per_gpu_hour=price_micros_per_gpu_hour,
        waiting=None,
        planned_end=None,
        volume_host_id=None,
        data_hold=None,
        ends_at_ms=None,
        reserved_until_ms=reserved_until_ms,
        running_at_ms=None,
        stop_requested_at_ms=None,
        endpoints=(),
    )


def mark_running(rental: Rental, at_ms: int, endpoints: tuple[Endpoint, ...] = ()) -> Rental:
    """Return the rental whose workload runs; what its maximum duration leaves is counted from here.

    Raises:
        Conflict: it is not provisioning.
    """
    if rental.state != "provisioning":
        raise Conflict(f"A rental that is {rental.state} does not start.", code="invalid_transition")
    return replace(
        rental,
        ends_at_ms=find_end(rental.policies, at_ms, rental.billed_seconds),
        state="running",
        health="healthy",
        billing_state="metering",
        running_at_ms=at_ms,
        endpoints=endpoints,
    )


def choose_outcome(rental: Rental, reason: Reason) -> Outcome:
    """Return what ending the present stay for ``reason`` leads to."""
    rule = REASONS[reason]
    if rule.retry and rental.recovery == "replace" and rental.segment < MAX_SEGMENTS:
        return "queued"
    idle = rental.policies.idle
    if reason == "idle" and idle is not None and idle.action == "terminate":
        return "terminated"
    if reason in {"balance_exhausted", "budget_exhausted"} and not rental.has_volume:
        # There is nothing that would be worth keeping.
        return "terminated"
    return rule.outcome


def begin_end(rental: Rental, reason: Reason, at_ms: int) -> Rental:
    """Return the rental whose stay ends; what comes after ``at_ms`` is not the renter's.

    Raises:
        Conflict: it has no stay that could end.
    """
    if rental.state not in ACTIVE_STATES:
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    outcome = choose_outcome(rental, reason)
    wanted: dict[Outcome, tuple[State, DesiredState]] = {
        "terminated": ("terminating", "terminated"),
        "failed": ("terminating", "terminated"),
        "stopped": ("stopping", "stopped"),
        "queued": ("stopping", "running"),
        "restarted": ("stopping", "running"),
    }
    state, desired_state = wanted[outcome]
    return replace(
        rental, state=state, desired_state=desired_state, reason=reason, stop_requested_at_ms=at_ms
    )


def keeps_volume(rental: Rental) -> bool:
    """Say whether the stay that is ending leaves the volume on its host."""
    return rental.has_volume and rental.state == "stopping"


def end_waiting(rental: Rental, reason: Reason, at_ms: int) -> Rental:
    """Return a rental that has no stay and gets none any more.

    Raises:
        Conflict: it has a stay, or is over.
    """
    if rental.state not in WAITING_STATES and rental.state != "stopped":
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    return replace(
        rental,
        state="failed" if REASONS[reason].outcome == "failed" else "terminated",
        desired_state="terminated",
        reason=reason,
        waiting=None,
        volume_host_id=None,
        data_hold=None,
        terminated_at_ms=at_ms,
    )


def finish_end(rental: Rental, at_ms: int, waiting: Waiting | None = None, *, lost: bool = False) -> Rental:
    """Return the rental whose GPUs are wiped, or ``lost`` with their host, as its reason has it.

    ``waiting`` is its place in line, for one that is to be placed again.

    Raises:
        Conflict: no stay is ending.
    """
    if rental.state not in {"terminating", "stopping"} or rental.reason is None or rental.placement is None:
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    stay = replace(rental.placement, lost=lost)
    over = replace(
        rental,
        placement=stay,
        health="unknown",
        billing_state="closed",
        planned_end=None,
        ends_at_ms=None,
        endpoints=(),
    )
    if rental.state == "terminating":
        failed = REASONS[rental.reason].outcome not in {"terminated", "stopped"}
        return replace(over, state="failed" if failed else "terminated", terminated_at_ms=at_ms)
    left = replace(over, placement=None, past=(*rental.past, stay))
    if rental.desired_state == "stopped":
        # A host that was given up may come back with the volume; once it is retired, it is lost.
        return replace(left, state="stopped", volume_host_id=stay.host_id if rental.has_volume else None)
    assert waiting is not None, "who is to run again stands in line"
    if rental.has_volume:
        left = replace(
            left,
            volume_host_id=None if lost else stay.host_id,
            volume_lost_at_ms=at_ms if lost else rental.volume_lost_at_ms,
        )
    return replace(left, state="queued", waiting=waiting)


def mark_settled(rental: Rental, segment: int) -> Rental:
    """Return the rental after all charges of its stays up to ``segment`` were posted."""
    if segment == 0 or segment < rental.segment or rental.billing_state != "closed":
        return rental
    return replace(rental, billing_state="settled")


def acknowledge_wipe(rental: Rental, stay: Placement) -> Rental:
    """Return the rental after a host that was given up has wiped what a stay left there."""

    def settle(each: Placement) -> Placement:
        return replace(each, lost=False) if each == stay else each

    return replace(
        rental,
        placement=None if rental.placement is None else settle(rental.placement),
        past=tuple(settle(each) for each in rental.past),
    )


def list_unwiped_hosts(rental: Rental) -> frozenset[str]:
    """Return the hosts that still owe the rental a wipe: it does not go back there before."""
    return frozenset(stay.host_id for stay in rental.placements if stay.lost)


def add_warning(rental: Rental, warning: GpuWarning, first_sequence: int) -> Rental:
    """Return the rental with ``warning`` counted (see `messages.count_warning`)."""
    return replace(rental, warnings=count_warning(rental.warnings, warning, first_sequence))

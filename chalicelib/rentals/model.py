"""A rental: four separate facts, one reason table, pure transitions.

`desired_state` is what the renter wants, `state` what is, `health` how the workload fares, `billing_state`
what the meter does. No transition reads a clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.errors import Conflict
from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Endpoint

State = Literal["provisioning", "running", "terminating", "terminated", "failed"]
DesiredState = Literal["running", "terminated"]
Health = Literal["unknown", "healthy", "unhealthy"]
BillingState = Literal["not_started", "metering", "closed", "settled"]
Reason = Literal[
    "renter_requested",
    "workload_exited",
    "workload_failed",
    "start_failed",
    "balance_exhausted",
    "gpu_failed",
    "host_interrupted",
]
InterruptionReason = Literal["spot_interruption", "scheduled_event"]

ACTIVE_STATES: frozenset[State] = frozenset({"provisioning", "running"})

#: The notice that is published for spot capacity: what fails in the last two minutes fails because of it.
NOTICE_MS = 120_000
#: GPU and code; more kinds of the tenant's own errors are not told apart.
MAX_WARNINGS = 16

#: Seconds of price held before a start: 60 s charge tick + 45 s lease + 60 s to stop + 15 s slack.
RUNWAY_SECONDS = 180


@dataclass(frozen=True, slots=True)
class ReasonRule:
    """What ending for this reason means. Billable time always ends with the last proof of life."""

    final_state: State
    billable: bool


REASONS: Mapping[Reason, ReasonRule] = {
    "renter_requested": ReasonRule("terminated", billable=True),
    "workload_exited": ReasonRule("terminated", billable=True),
    "workload_failed": ReasonRule("failed", billable=True),
    "start_failed": ReasonRule("failed", billable=False),
    "balance_exhausted": ReasonRule("terminated", billable=True),
    # Billed to the first evidence.
    "gpu_failed": ReasonRule("failed", billable=True),
    "host_interrupted": ReasonRule("failed", billable=True),
}


@dataclass(frozen=True, slots=True)
class Interruption:
    """The host will go, or be rebooted, at ``ends_at_ms``; ``None``: no time is known."""

    reason: InterruptionReason
    notice_at_ms: int
    ends_at_ms: int | None


@dataclass(frozen=True, slots=True)
class GpuWarning:
    """An error of a GPU that the rental's own program causes, counted. ``last_at_ms`` is server time.

    ``kernel_boot_id`` and ``last_sequence`` say which kernel record was counted last.
    """

    gpu_uuid: str
    code: int
    error_class: str
    count: int
    last_at_ms: int
    kernel_boot_id: str
    last_sequence: int


@dataclass(frozen=True, slots=True)
class LogExcerpt:
    """The end of what a workload wrote, as its host last told it."""

    taken_at_ms: int
    text: str
    #: There was more before.
    truncated: bool


@dataclass(frozen=True, slots=True)
class Rental:
    """``leases`` carry the epochs under which the rental may use its GPUs; they never change."""

    rental_id: str
    account_id: str
    gpu_type: str
    region: str
    host_id: str
    leases: tuple[Lease, ...]
    price_micros_per_gpu_hour: int
    currency: str
    created_at_ms: int
    label: str | None = None
    state: State = "provisioning"
    desired_state: DesiredState = "running"
    health: Health = "unknown"
    billing_state: BillingState = "not_started"
    reason: Reason | None = None
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

    @property
    def gpu_count(self) -> int:
        return len(self.leases)

    @property
    def wipe_leases(self) -> tuple[Lease, ...]:
        """The epochs that a stop and its acknowledgement carry."""
        return tuple(lease.advance() for lease in self.leases)


@dataclass(frozen=True, slots=True)
class ActionState:
    """Whether an action may be taken now and, if not, why not."""

    available: bool
    reason_code: str | None = None


def list_actions(rental: Rental) -> dict[str, ActionState]:
    if rental.state in ACTIVE_STATES:
        return {"terminate": ActionState(available=True)}
    code = "already_terminating" if rental.state == "terminating" else "already_terminated"
    return {"terminate": ActionState(available=False, reason_code=code)}


def mark_running(rental: Rental, at_ms: int, endpoints: tuple[Endpoint, ...] = ()) -> Rental:
    """Raises Conflict unless the rental is provisioning."""
    if rental.state != "provisioning":
        raise Conflict(f"A rental that is {rental.state} does not start.", code="invalid_transition")
    return replace(
        rental,
        state="running",
        health="healthy",
        billing_state="metering",
        running_at_ms=at_ms,
        endpoints=endpoints,
    )


def begin_termination(rental: Rental, reason: Reason, at_ms: int) -> Rental:
    """Billable time ends here: what comes after ``at_ms`` is not the renter's.

    Raises:
        Conflict: the rental is ending or has ended.
    """
    if rental.state not in ACTIVE_STATES:
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    return replace(
        rental, state="terminating", desired_state="terminated", reason=reason, stop_requested_at_ms=at_ms
    )


def finish_termination(rental: Rental, at_ms: int) -> Rental:
    """Raises Conflict unless the rental is terminating."""
    if rental.state != "terminating" or rental.reason is None:
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    return replace(
        rental,
        state=REASONS[rental.reason].final_state,
        health="unknown",
        billing_state="closed",
        terminated_at_ms=at_ms,
    )


def is_imminent(rental: Rental, at_ms: int) -> bool:
    """Say whether the host goes within the notice from ``at_ms``, or has gone."""
    ends_at_ms = None if rental.interruption is None else rental.interruption.ends_at_ms
    return ends_at_ms is not None and at_ms >= ends_at_ms - NOTICE_MS


def explain_failure(rental: Rental, at_ms: int) -> Reason:
    """Return why a workload that was running failed at ``at_ms``."""
    return "host_interrupted" if is_imminent(rental, at_ms) else "workload_failed"


def add_warning(rental: Rental, warning: GpuWarning, first_sequence: int) -> Rental:
    """Return the rental with ``warning`` counted; what was counted before, or is older, changes nothing.

    ``first_sequence`` is the first kernel record of the errors that it counts. A report that goes on from
    one that was counted adds at most the records that lie between.
    """
    for index, before in enumerate(rental.warnings):
        if (before.gpu_uuid, before.code) != (warning.gpu_uuid, warning.code):
            continue
        added = warning.count
        if before.kernel_boot_id == warning.kernel_boot_id:
            if warning.last_sequence <= before.last_sequence:
                return rental
            if first_sequence <= before.last_sequence:
                added = min(added, warning.last_sequence - before.last_sequence)
        elif warning.last_at_ms <= before.last_at_ms:
            return rental
        counted = replace(warning, count=before.count + added)
        return replace(rental, warnings=(*rental.warnings[:index], counted, *rental.warnings[index + 1 :]))
    if len(rental.warnings) == MAX_WARNINGS:
        return rental
    return replace(rental, warnings=(*rental.warnings, warning))

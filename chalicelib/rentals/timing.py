"""When a rental ends, or is looked at, by itself, and why a workload that ended did. All pure."""

from dataclasses import replace

from chalicelib.core.errors import Conflict
from chalicelib.rentals.model import NOTICE_MS, Rental
from chalicelib.rentals.policies import GRACE_MS, Policies, find_end
from chalicelib.rentals.retention import find_next_step
from chalicelib.rentals.rules import ACTIVE_STATES, WAITING_STATES, Reason


def change_policies(rental: Rental, policies: Policies) -> Rental:
    """Return the rental under other policies; a maximum duration counts what ran before.

    Raises:
        Conflict: ``start_is_planned``: its start and duration are the plan's until it has GPUs.
    """
    if policies == rental.policies:
        return rental
    planned = rental.start_plan is not None and not rental.segment
    if planned and replace(policies, idle=None, stop_at_ms=None) != replace(
        rental.policies, idle=None, stop_at_ms=None
    ):
        raise Conflict(
            "When it starts, and how long it runs, is planned; end it and ask anew to change that.",
            code="start_is_planned",
        )
    ends_at_ms = rental.ends_at_ms
    if rental.state == "running" and rental.running_at_ms is not None:
        before = rental.policies.max_duration_seconds
        left = rental.billed_seconds
        if ends_at_ms is not None and before is not None:
            left = before - (ends_at_ms - rental.running_at_ms) // 1000
        ends_at_ms = find_end(policies, rental.running_at_ms, left)
    return replace(rental, policies=policies, ends_at_ms=ends_at_ms)


def find_due(rental: Rental) -> int | None:
    """Return when something is to be done to the rental by itself; ``None``: not until something happens."""
    if rental.state in WAITING_STATES and rental.waiting is not None:
        steps = (rental.deadline_at_ms, _find_widening(rental))
        return min((at_ms for at_ms in steps if at_ms is not None), default=None)
    if rental.state in {"queued", "stopped"}:
        # One that waits for its hour stands in no line yet.
        hold_at_ms = None if rental.data_hold is None else find_next_step(rental.data_hold)
        starts = (rental.policies.start_at_ms, hold_at_ms)
        return min((at_ms for at_ms in starts if at_ms is not None), default=None)
    if rental.state not in ACTIVE_STATES:
        return None
    if rental.planned_end is not None:
        # The host ends it by then; whoever comes later sees to it that it has.
        return rental.planned_end.at_ms + GRACE_MS
    ends = list_ends(rental)
    return min(ends)[0] - GRACE_MS if ends else None


def _find_widening(rental: Rental) -> int | None:
    """Return when one that waits for its best region takes any that is allowed."""
    plan = rental.start_plan
    return None if plan is None or plan.widened or rental.segment else plan.widens_at_ms


def list_ends(rental: Rental) -> list[tuple[int, Reason]]:
    """Return when the present stay ends by itself, and why."""
    ends: tuple[tuple[int | None, Reason], ...] = (
        (rental.ends_at_ms, "max_duration_reached"),
        (rental.policies.stop_at_ms, "stop_scheduled"),
        (rental.reserved_until_ms, "reservation_ended"),
    )
    return [(at_ms, reason) for at_ms, reason in ends if at_ms is not None]


def is_imminent(rental: Rental, at_ms: int) -> bool:
    """Say whether the host goes within the notice from ``at_ms``, or has gone."""
    ends_at_ms = None if rental.interruption is None else rental.interruption.ends_at_ms
    return ends_at_ms is not None and at_ms >= ends_at_ms - NOTICE_MS


def explain_failure(rental: Rental, at_ms: int) -> Reason:
    """Return why a workload that was running failed at ``at_ms``."""
    if rental.planned_end is not None and at_ms >= rental.planned_end.at_ms - NOTICE_MS:
        return rental.planned_end.reason
    return "host_interrupted" if is_imminent(rental, at_ms) else "workload_failed"


def explain_preemption(rental: Rental) -> Reason | None:
    """Return why a host has ended the workload as was announced; ``None``: nothing was."""
    if rental.planned_end is not None:
        return rental.planned_end.reason
    return None if rental.interruption is None else "host_interrupted"

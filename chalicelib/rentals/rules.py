"""The tables of a rental's life: what each reason means, and what may be done in each state. All data.

Every pair of state and action is decided here, and every reason says how it ends, whether the time until
then is billed, whether it is the platform's fault, and whether the rental is tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal[
    "queued",
    "allocating",
    "provisioning",
    "running",
    "stopping",
    "stopped",
    "resuming",
    "terminating",
    "terminated",
    "failed",
]
Action = Literal["terminate", "stop", "resume", "restart"]
#: What makes a rental cost less.
ENDINGS: frozenset[Action] = frozenset({"terminate", "stop"})
Reason = Literal[
    "renter_requested",
    "stop_requested",
    "restart_requested",
    "workload_exited",
    "workload_failed",
    "start_failed",
    "balance_exhausted",
    "budget_exhausted",
    "data_hold_ended",
    "max_duration_reached",
    "stop_scheduled",
    "idle",
    "preempted",
    "reservation_ended",
    "deadline_passed",
    "start_impossible",
    "account_suspended",
    "gpu_failed",
    "host_interrupted",
    "host_lost",
    "operator_forced",
]
#: What a wipe that was ordered leads to.
Outcome = Literal["terminated", "failed", "stopped", "queued", "restarted"]

STATES: tuple[State, ...] = (
    "queued",
    "allocating",
    "provisioning",
    "running",
    "stopping",
    "stopped",
    "resuming",
    "terminating",
    "terminated",
    "failed",
)
ACTIONS: tuple[Action, ...] = ("terminate", "stop", "resume", "restart")
#: It has GPUs, and its workload is to run on them.
ACTIVE_STATES: frozenset[State] = frozenset({"provisioning", "running"})
#: It waits for GPUs; ``allocating``: room is being made for it.
WAITING_STATES: frozenset[State] = frozenset({"queued", "allocating", "resuming"})
FINAL_STATES: frozenset[State] = frozenset({"terminated", "failed"})


@dataclass(frozen=True, slots=True)
class ReasonRule:
    """What ending a stay on a host for this reason means.

    Billable time always ends with the last proof of life. ``retry``: the rental is placed again, if it asks
    for that. ``credit``: the platform failed, and owes something for it.
    """

    outcome: Outcome
    billable: bool = True
    credit: bool = False
    retry: bool = False


REASONS: Mapping[Reason, ReasonRule] = {
    "renter_requested": ReasonRule("terminated"),
    "stop_requested": ReasonRule("stopped"),
    "restart_requested": ReasonRule("restarted"),
    "workload_exited": ReasonRule("terminated"),
    "workload_failed": ReasonRule("failed"),
    "start_failed": ReasonRule("failed", billable=False),
    "balance_exhausted": ReasonRule("stopped"),
    "budget_exhausted": ReasonRule("stopped"),
    # It had no GPU any more, and no money came in time.
    "data_hold_ended": ReasonRule("terminated", billable=False),
    "max_duration_reached": ReasonRule("terminated"),
    "stop_scheduled": ReasonRule("stopped"),
    "idle": ReasonRule("stopped"),
    "preempted": ReasonRule("failed", retry=True),
    "reservation_ended": ReasonRule("terminated"),
    # It never had a GPU.
    "deadline_passed": ReasonRule("failed", billable=False),
    # What it waited for cannot come any more.
    "start_impossible": ReasonRule("failed", billable=False),
    # Its account may start nothing. One that keeps a volume stops instead, see `rentals.dispatch`.
    "account_suspended": ReasonRule("failed", billable=False),
    # Billed to the first evidence.
    "gpu_failed": ReasonRule("failed", credit=True, retry=True),
    "host_interrupted": ReasonRule("failed", credit=True, retry=True),
    "host_lost": ReasonRule("failed", credit=True, retry=True),
    "operator_forced": ReasonRule("failed", credit=True),
}

#: Of each state: what may be done (``None``), or why not.
ALLOWED: Mapping[State, Mapping[Action, str | None]] = {
    "queued": {
        "terminate": None,
        "stop": "not_started",
        "resume": "not_stopped",
        "restart": "not_started",
    },
    "allocating": {
        "terminate": None,
        "stop": "not_started",
        "resume": "not_stopped",
        "restart": "not_started",
    },
    "provisioning": {"terminate": None, "stop": None, "resume": "not_stopped", "restart": "not_running"},
    "running": {"terminate": None, "stop": None, "resume": "not_stopped", "restart": None},
    "stopping": {
        "terminate": "action_in_progress",
        "stop": "action_in_progress",
        "resume": "action_in_progress",
        "restart": "action_in_progress",
    },
    "stopped": {"terminate": None, "stop": "already_stopped", "resume": None, "restart": "not_running"},
    "resuming": {"terminate": None, "stop": None, "resume": "action_in_progress", "restart": "not_running"},
    "terminating": dict.fromkeys(ACTIONS, "already_terminating"),
    "terminated": dict.fromkeys(ACTIONS, "already_terminated"),
    "failed": dict.fromkeys(ACTIONS, "already_terminated"),
}
#: What a lock forbids: all that interrupts the work.
LOCKED_ACTIONS: frozenset[Action] = frozenset({"terminate", "stop", "restart"})


def explain_refusal(state: State, action: Action, *, locked: bool) -> str | None:
    """Return why ``action`` may not be taken now, or ``None``: it may."""
    refusal = ALLOWED[state][action]
    if refusal is None and locked and action in LOCKED_ACTIONS:
        return "locked"
    return refusal

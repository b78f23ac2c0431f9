"""What ends or starts a rental by itself: how long it may run, idleness, a schedule. All pure.

Idleness needs evidence: a stretch that telemetry does not cover counts as active.
"""

from dataclasses import dataclass, replace
from typing import Literal

#: Time to save between the notice and the end. The published notice of spot capacity is as long.
GRACE_MS = 120_000
#: Between two samples of a GPU; a longer hole counts as active. Telemetry comes once a minute.
MAX_SAMPLE_GAP_MS = 150_000
MIN_IDLE_SECONDS = 300
MAX_IDLE_SECONDS = 7 * 86_400
MAX_DURATION_SECONDS = 366 * 86_400


@dataclass(frozen=True, slots=True)
class IdlePolicy:
    """Ends a stay once every GPU has stayed at or below ``max_utilization_percent`` for ``idle_seconds``."""

    idle_seconds: int
    max_utilization_percent: int
    action: Literal["stop", "terminate"] = "stop"


@dataclass(frozen=True, slots=True)
class Policies:
    """Instants are in ms since the epoch. ``max_duration_seconds`` is of running time alone."""

    max_duration_seconds: int | None = None
    idle: IdlePolicy | None = None
    start_at_ms: int | None = None
    stop_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """What telemetry has shown of one stay. ``idle_since_ms``: nothing above the limit since; ``None``: busy.

    ``gpus`` is how many of its GPUs the stretch covers.
    """

    segment: int
    observed_through_ms: int
    idle_since_ms: int | None


@dataclass(frozen=True, slots=True)
class Observation:
    """The highest utilisation of any of a stay's GPUs over a stretch; ``complete``: each GPU was sampled."""

    segment: int
    from_ms: int
    through_ms: int
    max_utilization_percent: int
    complete: bool


def observe(before: Activity | None, seen: Observation, policy: IdlePolicy) -> Activity:
    """Return what is known after ``seen``; an older or repeated observation changes nothing."""
    if before is not None and before.segment > seen.segment:
        return before
    if before is None or before.segment < seen.segment:
        before = Activity(seen.segment, seen.from_ms, None)
    if seen.through_ms <= before.observed_through_ms:
        return before
    idle = seen.complete and seen.max_utilization_percent <= policy.max_utilization_percent
    if not idle:
        return replace(before, observed_through_ms=seen.through_ms, idle_since_ms=None)
    joined = seen.from_ms - before.observed_through_ms <= MAX_SAMPLE_GAP_MS
    since = before.idle_since_ms if joined else None
    return replace(
        before,
        observed_through_ms=seen.through_ms,
        idle_since_ms=seen.from_ms if since is None else since,
    )


def is_idle(activity: Activity | None, policy: IdlePolicy, segment: int, now_ms: int) -> bool:
    """Say whether a stay has been idle for long enough, up to now, with nothing missing."""
    if activity is None or activity.segment != segment or activity.idle_since_ms is None:
        return False
    if now_ms - activity.observed_through_ms > MAX_SAMPLE_GAP_MS:
        return False
    return activity.observed_through_ms - activity.idle_since_ms >= policy.idle_seconds * 1000


def find_end(policies: Policies, running_at_ms: int, billed_seconds_before: int) -> int | None:
    """Return when a stay has used up what earlier ones left of the maximum duration, if there is one."""
    if policies.max_duration_seconds is None:
        return None
    return running_at_ms + max(0, policies.max_duration_seconds - billed_seconds_before) * 1000

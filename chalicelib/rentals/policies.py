"""What ends or starts a rental by itself: how long it may run, idleness, a schedule. All pure."""

from dataclasses import dataclass
from typing import Literal

#: Time to save between the notice and the end. The published notice of spot capacity is as long.
GRACE_MS = 120_000
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


def find_end(policies: Policies, running_at_ms: int, billed_seconds_before: int) -> int | None:
    """Return when a stay has used up what earlier ones left of the maximum duration, if there is one."""
    if policies.max_duration_seconds is None:
        return None
    return running_at_ms + max(0, policies.max_duration_seconds - billed_seconds_before) * 1000

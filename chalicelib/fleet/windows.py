"""Announced maintenance of a host: from when to when, what is done, when the host closes for it. All pure."""

from dataclasses import dataclass
from typing import Literal

from chalicelib.fleet.health import HostNotice

MaintenanceCategory = Literal["power", "network", "disk", "gpu", "software", "other"]
WindowState = Literal["scheduled", "cancelled", "done"]

#: A host closes this long before its window unless the window says otherwise.
DEFAULT_LEAD_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """``lead_ms`` before it starts the host gets no new lease: what is placed later could not finish."""

    window_id: str
    host_id: str
    category: MaintenanceCategory
    reason: str
    starts_at_ms: int
    ends_at_ms: int
    lead_ms: int
    created_at_ms: int
    state: WindowState = "scheduled"

    @property
    def closes_at_ms(self) -> int:
        return self.starts_at_ms - self.lead_ms

    def find_due_ms(self, now_ms: int) -> int:
        """Return the instant of the window's next step: the host closes, or it is over."""
        return self.closes_at_ms if now_ms < self.closes_at_ms else self.ends_at_ms


@dataclass(frozen=True, slots=True)
class PlannedMaintenance:
    """A host's next window as the host itself carries it; ``closed`` once no new lease is given."""

    window_id: str
    category: MaintenanceCategory
    starts_at_ms: int
    ends_at_ms: int
    noticed_at_ms: int
    closed: bool = False

    @property
    def notice(self) -> HostNotice:
        """What renters on the host are told: their work ends when the window starts."""
        action = f"maintenance-{self.category}"
        return HostNotice("scheduled_event", action, self.noticed_at_ms, self.starts_at_ms)


def choose_next(windows: list[MaintenanceWindow], now_ms: int) -> PlannedMaintenance | None:
    """Return the earliest window that is neither over nor cancelled, as the host is to carry it now."""
    open_ones = [each for each in windows if each.state == "scheduled" and each.ends_at_ms > now_ms]
    if not open_ones:
        return None
    window = min(open_ones, key=lambda each: (each.starts_at_ms, each.window_id))
    return PlannedMaintenance(
        window.window_id,
        window.category,
        window.starts_at_ms,
        window.ends_at_ms,
        window.created_at_ms,
        closed=any(each.closes_at_ms <= now_ms for each in open_ones),
    )

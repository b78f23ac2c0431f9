"""What a renter leaves open of a start, and what was planned of it (ADR 38). All pure.

Instants are in ms since the epoch, intensities in mg CO2e per kWh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.errors import InvalidInput

#: As of `carbon.policies`; what pauses is not among them: a rental that starts runs to its end.
Policy = Literal["none", "window", "threshold"]
#: As of `carbon.policies`, and two for want of a forecast.
Why = Literal[
    "immediate",
    "no_slack",
    "already_lowest",
    "lower_later",
    "below_bound",
    "deadline",
    "no_forecast",
    "forecast_too_short",
]

HOUR_MS = 3_600_000
#: From the request until it has to be done. Forecasts reach four days ahead at best.
MAX_WINDOW_MS = 14 * 24 * HOUR_MS
MIN_DURATION_SECONDS = 60
MAX_DURATION_SECONDS = MAX_WINDOW_MS // 1000
#: As many as a ticket has pools.
MAX_REGIONS = 8
#: Providers forecast anew each hour at best.
REPLAN_AFTER_MS = HOUR_MS
#: Each is kept in the rental's record; who was planned that often starts.
MAX_REPLANS = 48
#: So long before the latest start whoever waits for one region takes any that is allowed.
WIDEN_LEAD_MS = 15 * 60_000
PERMILLE = 1000

_TEXTS: Mapping[Why, str] = {
    "immediate": "It starts at once, where the grid is forecast to be cleanest.",
    "no_slack": "It starts at once: the deadline leaves nothing to choose.",
    "already_lowest": "It starts at once: no later start is forecast to be cleaner.",
    "lower_later": "The grid is forecast to be cleanest then.",
    "below_bound": "The grid is forecast to be at or below the threshold then.",
    "deadline": "The grid is not forecast to fall to the threshold in time: it starts as late as it may.",
    "no_forecast": "It starts at once: nothing is forecast of the grid of any allowed region.",
    "forecast_too_short": "It starts at once: no forecast reaches as far as the work would run.",
}
_SHORT = " The forecast ends before the deadline; what comes after it is not known."


@dataclass(frozen=True, slots=True)
class Flexibility:
    """``regions``: where it may run, home first; empty until the catalogue says where it is sold."""

    policy: Policy
    duration_seconds: int
    latest_start_ms: int
    regions: tuple[str, ...] = ()
    threshold_mg_per_kwh: int | None = None

    @property
    def finish_by_ms(self) -> int:
        return self.latest_start_ms + self.duration_seconds * 1000


@dataclass(frozen=True, slots=True)
class UsedForecast:
    """What the choice was made by. ``mg_co2e_per_kwh``: the mean while it runs.

    ``immediate_mg_co2e_per_kwh``: of a start at home when it was asked for; ``None``: nothing was forecast.
    """

    provider: str
    zone: str
    generated_at_ms: int
    covers_until_ms: int
    mg_co2e_per_kwh: int
    immediate_mg_co2e_per_kwh: int | None

    @property
    def saving_permille(self) -> int | None:
        """Rounded down; negative: the start at once would be better."""
        before = self.immediate_mg_co2e_per_kwh
        return None if before is None else compute_permille(before - self.mg_co2e_per_kwh, before)


def compute_permille(part: int, whole: int) -> int:
    """Return ``part`` of ``whole``, rounded down; 0 of nothing."""
    return part * PERMILLE // whole if whole else 0


@dataclass(frozen=True, slots=True)
class StartChoice:
    """When to start, and where: all allowed regions, the best first."""

    start_at_ms: int
    regions: tuple[str, ...]
    why: Why
    forecast: UsedForecast | None = None


@dataclass(frozen=True, slots=True)
class Replan:
    """What was chosen when the plan was looked at again."""

    at_ms: int
    start_at_ms: int
    region: str
    why: Why


@dataclass(frozen=True, slots=True)
class StartPlan:
    """``widened``: it no longer waits for the best region, and takes any that is allowed."""

    flexibility: Flexibility
    choice: StartChoice
    planned_at_ms: int
    replans: tuple[Replan, ...] = ()
    widened: bool = False

    @property
    def widens_at_ms(self) -> int:
        return self.flexibility.latest_start_ms - WIDEN_LEAD_MS

    @property
    def open_regions(self) -> tuple[str, ...]:
        """Where it would start now, the best first."""
        return self.choice.regions if self.widened else self.choice.regions[:1]


def check_window(flexibility: Flexibility, now_ms: int) -> None:
    """Raises InvalidInput: ``deadline_passed``, ``deadline_too_early`` or ``window_too_long``."""
    if flexibility.finish_by_ms <= now_ms:
        raise InvalidInput("The deadline has passed.", code="deadline_passed")
    if flexibility.latest_start_ms < now_ms:
        raise InvalidInput(
            "The deadline is too early: even at once the work would not be done by then.",
            code="deadline_too_early",
        )
    if flexibility.finish_by_ms - now_ms > MAX_WINDOW_MS:
        days = MAX_WINDOW_MS // (24 * HOUR_MS)
        raise InvalidInput(f"The work has to be done within {days} days.", code="window_too_long")


def begin_plan(flexibility: Flexibility, choice: StartChoice, now_ms: int) -> StartPlan:
    """Return the first plan of a start."""
    return _widen_if_due(StartPlan(flexibility, _bound(flexibility, choice, now_ms), now_ms), now_ms)


def may_replan(plan: StartPlan, now_ms: int) -> bool:
    """Say whether a start that is due may still move to a later instant."""
    rested = now_ms - plan.planned_at_ms >= REPLAN_AFTER_MS
    slack = now_ms < plan.flexibility.latest_start_ms
    return rested and slack and not plan.widened and len(plan.replans) < MAX_REPLANS


def replan(plan: StartPlan, choice: StartChoice, now_ms: int) -> StartPlan:
    """Return the plan with what is chosen now; savings stay against the start when it was asked for."""
    bounded = _bound(plan.flexibility, choice, now_ms)
    before, used = plan.choice.forecast, bounded.forecast
    if before is not None and used is not None:
        used = replace(used, immediate_mg_co2e_per_kwh=before.immediate_mg_co2e_per_kwh)
        bounded = replace(bounded, forecast=used)
    step = Replan(now_ms, bounded.start_at_ms, bounded.regions[0], bounded.why)
    moved = replace(plan, choice=bounded, planned_at_ms=now_ms, replans=(*plan.replans, step))
    return _widen_if_due(moved, now_ms)


def widen(plan: StartPlan) -> StartPlan:
    return replace(plan, widened=True)


def explain(plan: StartPlan) -> str:
    """Return why it starts then, for people."""
    used = plan.choice.forecast
    short = used is not None and used.covers_until_ms < plan.flexibility.finish_by_ms
    return _TEXTS[plan.choice.why] + (_SHORT if short else "")


def _bound(flexibility: Flexibility, choice: StartChoice, now_ms: int) -> StartChoice:
    """Return the choice not before now, not after the latest start, and with every allowed region."""
    start_at_ms = max(now_ms, min(choice.start_at_ms, flexibility.latest_start_ms))
    named = [each for each in choice.regions if each in flexibility.regions]
    regions = tuple(dict.fromkeys([*named, *flexibility.regions]))
    return replace(choice, start_at_ms=start_at_ms, regions=regions)


def _widen_if_due(plan: StartPlan, now_ms: int) -> StartPlan:
    """Whoever starts at once whatever the grid, or knows nothing of it, has no region to wait for."""
    indifferent = plan.flexibility.policy == "none" or plan.choice.forecast is None
    near = max(now_ms, plan.choice.start_at_ms) >= plan.widens_at_ms
    single = len(plan.choice.regions) == 1
    return widen(plan) if indifferent or near or single else plan


def list_allowed(asked: Sequence[str], offered: Sequence[str]) -> tuple[str, ...]:
    """Return the regions in which it may run: those asked for, or where it is sold, the cheapest first.

    Raises:
        InvalidInput: ``unknown_region``: it is not sold in one of them.
    """
    missing = [each for each in asked if each not in offered]
    if missing:
        raise InvalidInput(f"This GPU type is not offered in {', '.join(missing)}.", code="unknown_region")
    return tuple(asked) or tuple(offered[:MAX_REGIONS])

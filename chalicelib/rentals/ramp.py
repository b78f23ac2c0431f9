"""How much a new account may have at once: more once it has paid, and is older. Pure.

Whoever rents with a stolen card, or for a day only, comes with a new account and wants much at once. Time is
what that costs most: a payment that will be disputed is disputed in days.
"""

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Step:
    """Bounds that hold until an account is ``until_age_ms`` old and paid first ``until_paid_ms`` ago."""

    max_gpus: int
    spend_limit_micros_per_hour: int
    until_age_ms: int
    until_paid_ms: int


#: After the last step the quota alone bounds GPUs. A board costs 2 to 6 units of the currency an hour.
RAMP = (
    Step(4, 40_000_000, until_age_ms=DAY_MS, until_paid_ms=0),
    Step(16, 160_000_000, until_age_ms=7 * DAY_MS, until_paid_ms=DAY_MS),
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the step on which an account stands allows.

    ``rises_at_ms``: when it reaches the next; ``None`` before its first payment, which that needs.
    """

    max_gpus: int
    spend_limit_micros_per_hour: int
    rises_at_ms: int | None


def choose_allowance(
    steps: Sequence[Step], created_at_ms: int, paid_since_ms: int | None, now_ms: int
) -> Allowance | None:
    """``None``: the account has climbed all steps."""
    for step in steps:
        rises_at_ms = (
            None
            if paid_since_ms is None
            else max(created_at_ms + step.until_age_ms, paid_since_ms + step.until_paid_ms)
        )
        if rises_at_ms is None or now_ms < rises_at_ms:
            return Allowance(step.max_gpus, step.spend_limit_micros_per_hour, rises_at_ms)
    return None

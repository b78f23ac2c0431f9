"""Budgets: what an account, a label or one rental may spend, in a month or in all. Pure.

A budget with a hard stop is a wallet within the wallet: a start sets its runway aside there too, a charge
never goes beyond it, and who would eat into the runway is stopped. Invariant: ``remaining`` is always
``limit - spent - held``, and with a hard stop it is not below zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from chalicelib.billing.model import Hold

Scope = Literal["account", "label", "rental"]
Period = Literal["month", "total"]
TOTAL = "total"
MAX_BUDGETS = 50
DEFAULT_ALERTS = (50, 80, 100)


@dataclass(frozen=True, slots=True)
class Budget:
    """``scope_value``: the label or the rental's id, empty for an account's. ``period_key``: ``yyyy-mm``.

    ``alert_percents`` rise; ``alerted_percent`` is the last that was told in this period, 0 for none.
    """

    budget_id: str
    account_id: str
    name: str
    scope: Scope
    scope_value: str
    period: Period
    limit_micros: int
    hard_stop: bool
    alert_percents: tuple[int, ...]
    period_key: str
    created_at_ms: int
    spent_micros: int = 0
    held_micros: int = 0
    remaining_micros: int = 0
    alerted_percent: int = 0

    def covers(self, hold: Hold) -> bool:
        """Say whether the stay that has ``hold`` counts here."""
        if self.scope == "account":
            return True
        return self.scope_value == (hold.label if self.scope == "label" else hold.rental_id)


def name_period(period: Period, at_ms: int) -> str:
    if period == "total":
        return TOTAL
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")


def find_spent(budget: Budget, at_ms: int) -> int:
    """Return what was spent in the period of ``at_ms``: a new month begins with nothing."""
    return budget.spent_micros if budget.period_key == name_period(budget.period, at_ms) else 0


def find_remaining(budget: Budget, at_ms: int) -> int:
    return budget.remaining_micros + budget.spent_micros - find_spent(budget, at_ms)


def find_alert(budget: Budget, spent_micros: int, alerted_percent: int) -> int:
    """Return the highest alert that ``spent_micros`` reaches, never below ``alerted_percent``."""
    reached = [each for each in budget.alert_percents if spent_micros * 100 >= each * budget.limit_micros]
    return max([alerted_percent, *reached])


def list_covering(budgets: Sequence[Budget], hold: Hold) -> list[Budget]:
    return [budget for budget in budgets if budget.covers(hold)]

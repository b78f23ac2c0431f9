"""Budgets in DynamoDB; the balance of their account counts them.

What starts and charges share (held, remaining) is changed by arithmetic under a condition; what only charges
change, which come one after the other, under the old value.
"""

from collections.abc import Sequence
from typing import Any, cast

from pynamodb.expressions.update import Action

from chalicelib.billing.budget import (
    MAX_BUDGETS,
    Budget,
    Period,
    Scope,
    find_remaining,
    find_spent,
    name_period,
)
from chalicelib.core.errors import BudgetExhausted, Conflict, DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BalanceItem, BudgetItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoBudgetStore:
    def add_budget(self, tx: Transaction, budget: Budget, currency: str) -> None:
        item = BudgetItem(
            *_key(budget), **_write(budget), held_micros=0, remaining_micros=budget.limit_micros
        )
        dynamo(tx).put(item, BudgetItem.pk.does_not_exist(), unexpected("The budget"))
        _count(tx, budget.account_id, 1, currency)

    def replace_budget(self, tx: Transaction, old: Budget, new: Budget, *, exact: bool = False) -> None:
        held = new.held_micros - old.held_micros
        remaining = new.remaining_micros - old.remaining_micros
        condition = _unchanged(old, exact=exact)
        if new.hard_stop and remaining < 0 and new.limit_micros == old.limit_micros:
            condition &= BudgetItem.remaining_micros >= -remaining
        actions: list[Action] = [
            getattr(BudgetItem, name).set(value) for name, value in _write(new).items() if name != "budget_id"
        ]
        actions += [
            BudgetItem.held_micros.set(BudgetItem.held_micros + held),
            BudgetItem.remaining_micros.set(BudgetItem.remaining_micros + remaining),
        ]
        dynamo(tx).update(BudgetItem, _key(old), actions, condition, unexpected("The budget"))

    def remove_budget(self, tx: Transaction, budget: Budget, currency: str, *, exact: bool = False) -> None:
        condition = _unchanged(budget, exact=True) if exact else BudgetItem.pk.exists()
        dynamo(tx).delete(BudgetItem, _key(budget), condition, unexpected("The budget"))
        _count(tx, budget.account_id, -1, currency)


def _unchanged(old: Budget, *, exact: bool) -> Any:
    """The condition that all that a change writes is as it was read; ``exact``: what starts hold too."""
    condition: Any = (
        (BudgetItem.spent_micros == old.spent_micros)
        & (BudgetItem.limit_micros == old.limit_micros)
        & (BudgetItem.hard_stop == int(old.hard_stop))
        & (BudgetItem.alert_percents == list(old.alert_percents))
    )
    if exact:
        condition &= (BudgetItem.held_micros == old.held_micros) & (
            BudgetItem.remaining_micros == old.remaining_micros
        )
    return condition


def list_budgets(account_id: str) -> list[Budget]:
    rows = BudgetItem.query(keys.account(account_id), consistent_read=True)
    return [_read(item) for item in rows]


def reserve(tx: Transaction, budget: Budget, amount_micros: int, at_ms: int) -> None:
    """Add to ``tx``: a start sets its runway aside.

    Fails with BudgetExhausted, or with Unavailable when a charge or a change came between.
    """
    spent = find_spent(budget, at_ms)
    #: A new month gives back what the old one spent.
    given_back = budget.spent_micros - spent
    remaining = BudgetItem.remaining_micros

    def refuse(old: Any) -> DomainError:
        if old is None or (old.spent_micros, old.limit_micros) != (budget.spent_micros, budget.limit_micros):
            return Unavailable("The budget changed at the same time; try again.")
        return BudgetExhausted(
            f"The budget '{budget.name}' does not cover the hold for a start; raise it.",
            extra={
                "budget_id": budget.budget_id,
                "needed_micros": amount_micros,
                "remaining_micros": max(0, find_remaining(_read(old), at_ms)),
            },
        )

    dynamo(tx).update(
        BudgetItem,
        _key(budget),
        [
            BudgetItem.held_micros.set(BudgetItem.held_micros + amount_micros),
            remaining.set(remaining + (given_back - amount_micros)),
            BudgetItem.spent_micros.set(spent),
            BudgetItem.period_key.set(name_period(budget.period, at_ms)),
            BudgetItem.alerted_percent.set(budget.alerted_percent if not given_back else 0),
        ],
        (remaining >= amount_micros - given_back)
        & (BudgetItem.spent_micros == budget.spent_micros)
        & (BudgetItem.limit_micros == budget.limit_micros),
        refuse,
    )


def _key(budget: Budget) -> tuple[str, str]:
    return keys.account(budget.account_id), budget.budget_id


def _count(tx: Transaction, account_id: str, change: int, currency: str) -> None:
    """The balance, which may not exist yet, says how many budgets there are."""

    def refuse(_old: Any) -> DomainError:
        return Conflict(f"An account has at most {MAX_BUDGETS} budgets.", code="too_many_budgets")

    count = BalanceItem.budget_count
    empty = [
        each.set(each | 0)
        for each in (
            BalanceItem.posted_micros,
            BalanceItem.held_micros,
            BalanceItem.available_micros,
            BalanceItem.burn_micros_per_hour,
        )
    ]
    dynamo(tx).update(
        BalanceItem,
        (keys.account(account_id), keys.BALANCE),
        [
            *empty,
            BalanceItem.account_id.set(account_id),
            BalanceItem.currency.set(BalanceItem.currency | currency),
            count.set((count | 0) + change),
        ],
        count.does_not_exist() | (count < MAX_BUDGETS) if change > 0 else count > 0,
        refuse,
    )


def _write(budget: Budget) -> dict[str, Any]:
    return {
        "budget_id": budget.budget_id,
        "account_id": budget.account_id,
        "name": budget.name,
        "scope": budget.scope,
        "scope_value": budget.scope_value,
        "period": budget.period,
        "period_key": budget.period_key,
        "limit_micros": budget.limit_micros,
        "hard_stop": int(budget.hard_stop),
        "alert_percents": list(budget.alert_percents),
        "alerted_percent": budget.alerted_percent,
        "spent_micros": budget.spent_micros,
        "created_at_ms": budget.created_at_ms,
    }


def _read(item: BudgetItem) -> Budget:
    return Budget(
        item.budget_id,
        item.account_id,
        item.name,
        cast("Scope", item.scope),
        item.scope_value,
        cast("Period", item.period),
        item.limit_micros,
        bool(item.hard_stop),
        _read_percents(item.alert_percents),
        item.period_key,
        item.created_at_ms,
        item.spent_micros,
        item.held_micros,
        item.remaining_micros,
        item.alerted_percent,
    )


def _read_percents(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(values)

"""Wallets and holds in DynamoDB.

What starts and charges share in a wallet is changed by arithmetic under conditions, the rest by its version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.billing.budget import Budget, list_covering
from chalicelib.billing.budget_store import list_budgets, reserve
from chalicelib.billing.model import Balance, Hold
from chalicelib.billing.ports import Wallet, find_data_hold_end, find_paid_since
from chalicelib.billing.wallet_rows import get_row, read_balance, read_hold, read_number
from chalicelib.core.errors import DomainError, InsufficientFunds, SpendLimitReached, Unavailable
from chalicelib.core.money import StayHold
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BalanceItem, HoldItem
from chalicelib.storage.transaction import OnFailure, dynamo, unexpected

#: Stands where an account has no spend limit: more than any fleet costs in an hour.
NO_LIMIT_MICROS = 10**15
DUE_SHARDS = 4


@dataclass(frozen=True, slots=True)
class DynamoWalletStore:
    """``budgeted``: accounts that were seen to have budgets. Only a hint, which a condition guards."""

    budgeted: set[str] = field(default_factory=set)
    #: By account, and for ever.
    paid_since_ms: dict[str, int] = field(default_factory=dict)

    def get_balance(self, account_id: str) -> Balance | None:
        row = get_row(account_id, keys.BALANCE)
        return None if row is None else read_balance(account_id, row)

    def get_wallet(self, account_id: str) -> Wallet | None:
        row = get_row(account_id, keys.BALANCE)
        if row is None:
            return None
        budgets = list_budgets(account_id) if read_number(row, "budget_count") else ()
        return Wallet(read_balance(account_id, row), tuple(budgets))

    def get_hold(self, account_id: str, hold_id: str) -> Hold | None:
        row = get_row(account_id, keys.hold(hold_id))
        return None if row is None else read_hold(hold_id, row)

    def list_due(self, now_ms: int, limit: int) -> list[str]:
        found: list[str] = []
        for shard in range(DUE_SHARDS):
            rows = BalanceItem.by_due.query(str(shard), BalanceItem.due_at_ms <= now_ms, limit=limit)
            found += [item.account_id for item in rows]
        return found

    def move_balance(
        self, tx: Transaction, before: Balance, after: Balance, *, may_overdraw: bool = False
    ) -> None:
        posted, held = after.posted_micros - before.posted_micros, after.held_micros - before.held_micros
        burn = after.burn_micros_per_hour - before.burn_micros_per_hour
        available = posted - held
        actions = _move(before, posted, held, burn)
        condition = _is_version(before) & _is_month(before)
        if after.leg_version != before.leg_version:
            actions += [
                BalanceItem.leg_version.set(after.leg_version),
                BalanceItem.chain_hash.set(after.chain_hash),
            ]
        if after.grants != before.grants:
            actions += _write_grants(after)
        if after.alert_level != before.alert_level:
            actions.append(BalanceItem.alert_level.set(after.alert_level))
        if after.exhausted_at_ms != before.exhausted_at_ms:
            at_ms, exhausted = after.exhausted_at_ms, BalanceItem.exhausted_at_ms
            actions.append(exhausted.remove() if at_ms is None else exhausted.set(at_ms))
        if after.paid_since_ms != before.paid_since_ms and after.paid_since_ms is not None:
            actions.append(BalanceItem.paid_since_ms.set(after.paid_since_ms))
        if after.month != before.month:
            actions.append(BalanceItem.month.set(after.month))
        if available < 0 and not may_overdraw:
            # Never on credits: a refund must reach an account that is below zero.
            condition &= BalanceItem.available_micros >= -available
        dynamo(tx).update(
            BalanceItem,
            (keys.account(before.account_id), keys.BALANCE),
            actions,
            condition,
            unexpected("The balance"),
        )

    def set_spend_limit(self, tx: Transaction, balance: Balance, limit_micros_per_hour: int | None) -> None:
        old = balance.spend_limit_micros_per_hour
        limit, was = limit_micros_per_hour or NO_LIMIT_MICROS, old or NO_LIMIT_MICROS
        moved = BalanceItem.spend_headroom_micros_per_hour | NO_LIMIT_MICROS
        actions = [
            *_move(balance, 0, 0, 0),
            BalanceItem.spend_headroom_micros_per_hour.set(moved + (limit - was)),
            BalanceItem.spend_limit_micros_per_hour.set(limit_micros_per_hour)
            if limit_micros_per_hour is not None
            else BalanceItem.spend_limit_micros_per_hour.remove(),
        ]
        same: Condition = (
            BalanceItem.spend_limit_micros_per_hour.does_not_exist()
            if old is None
            else BalanceItem.spend_limit_micros_per_hour == old
        )
        dynamo(tx).update(
            BalanceItem,
            (keys.account(balance.account_id), keys.BALANCE),
            actions,
            same,
            unexpected("The spend limit"),
        )

    def change_hold(self, tx: Transaction, account_id: str, old: Hold, new: Hold) -> None:
        dynamo(tx).update(
            HoldItem,
            (keys.account(account_id), keys.hold(old.hold_id)),
            [
                HoldItem.amount_micros.set(new.amount_micros),
                HoldItem.captured_micros.set(new.captured_micros),
                HoldItem.state.set(new.state),
                HoldItem.budget_ids.set(list(new.budget_ids)),
            ],
            (HoldItem.amount_micros == old.amount_micros) & (HoldItem.state == old.state),
            unexpected("The hold"),
        )

    def find_paid_since(self, account_id: str) -> int | None:
        if account_id not in self.paid_since_ms:
            balance = self.get_balance(account_id)
            paid_since_ms = None if balance is None else find_paid_since(balance)
            if paid_since_ms is None:
                return None
            self.paid_since_ms[account_id] = paid_since_ms
        return self.paid_since_ms[account_id]

    def add_holds(
        self,
        tx: Transaction,
        account_id: str,
        holds: Sequence[StayHold],
        now_ms: int,
        limit_micros_per_hour: int | None = None,
    ) -> None:
        budgets = list_budgets(account_id) if account_id in self.budgeted else []
        kept = [_set_aside(each, budgets) for each in holds]
        amount_micros = sum(hold.amount_micros for hold in kept)
        rate = sum(hold.rate_micros_per_hour for hold in kept)

        def refuse(old: Any) -> DomainError:
            if old is not None and (old.budget_count or 0) != len(budgets):
                # Seen now: the next attempt reads them.
                self.budgeted.add(account_id)
                return Unavailable("The account's budgets changed at the same time; try again.")
            available = 0 if old is None else old.available_micros
            if old is not None and available >= amount_micros:
                return SpendLimitReached(
                    "The start would spend more in an hour than the account's limit.",
                    extra={
                        "needed_micros_per_hour": rate,
                        "left_micros_per_hour": _find_headroom(old, limit_micros_per_hour),
                    },
                )
            return InsufficientFunds(
                "The wallet does not cover the hold for a start; add credit.",
                extra={"needed_micros": amount_micros, "available_micros": available},
            )

        headroom = BalanceItem.spend_headroom_micros_per_hour
        counted = BalanceItem.budget_count == len(budgets)
        condition: Condition = (
            (BalanceItem.available_micros >= amount_micros)
            & (headroom.does_not_exist() | (headroom >= rate))
            & (counted if budgets else BalanceItem.budget_count.does_not_exist() | counted)
        )
        if limit_micros_per_hour is not None:
            condition &= BalanceItem.burn_micros_per_hour <= limit_micros_per_hour - rate
        # Arithmetic under a condition: parallel starts never spend the same money, and never conflict
        # with a posting over a version.
        dynamo(tx).update(
            BalanceItem,
            (keys.account(account_id), keys.BALANCE),
            [
                BalanceItem.held_micros.set(BalanceItem.held_micros + amount_micros),
                BalanceItem.available_micros.set(BalanceItem.available_micros - amount_micros),
                BalanceItem.burn_micros_per_hour.set((BalanceItem.burn_micros_per_hour | 0) + rate),
                headroom.set((headroom | NO_LIMIT_MICROS) - rate),
            ],
            condition,
            refuse,
        )
        for budget in budgets:
            own = [hold for hold in kept if budget.budget_id in hold.budget_ids]
            if own:
                reserve(tx, budget, sum(hold.amount_micros for hold in own), now_ms)
        for hold in kept:
            dynamo(tx).put(
                _write_hold(account_id, hold), HoldItem.pk.does_not_exist(), unexpected("The hold")
            )

    def require_nothing_held(self, tx: Transaction, account_id: str) -> None:
        dynamo(tx).check(
            BalanceItem,
            keys.account(account_id),
            keys.BALANCE,
            BalanceItem.pk.does_not_exist() | (BalanceItem.held_micros == 0),
            lambda _: Unavailable("Something of the account was started at the same time; try again."),
        )

    def find_data_hold_end(self, account_id: str) -> int | None:
        balance = self.get_balance(account_id)
        return None if balance is None else find_data_hold_end(balance)

    def add_deposit(self, tx: Transaction, account_id: str, deposit: Hold) -> None:
        amount = deposit.amount_micros

        def refuse(old: Any) -> DomainError:
            return InsufficientFunds(
                "The wallet does not cover the deposit of this reservation; add credit.",
                extra={
                    "needed_micros": amount,
                    "available_micros": 0 if old is None else old.available_micros,
                },
            )

        enough: Condition = BalanceItem.available_micros >= amount
        _set_apart(tx, account_id, amount, enough, refuse)
        item = _write_hold(account_id, deposit)
        dynamo(tx).put(item, HoldItem.pk.does_not_exist(), unexpected("The deposit"))

    def void_deposit(self, tx: Transaction, account_id: str, deposit: Hold) -> None:
        # First the hold: of several failed conditions, it says that the deposit was given back already.
        self.change_hold(tx, account_id, deposit, replace(deposit, amount_micros=0, state="void"))
        held: Condition = BalanceItem.held_micros >= deposit.amount_micros
        _set_apart(tx, account_id, -deposit.amount_micros, held, unexpected("The balance"))


def _set_apart(
    tx: Transaction, account_id: str, amount_micros: int, condition: Condition, refuse: OnFailure
) -> None:
    """Hold so much more of a wallet, or less: arithmetic, so that it conflicts with no posting's version."""
    actions: list[Action] = [
        BalanceItem.held_micros.set(BalanceItem.held_micros + amount_micros),
        BalanceItem.available_micros.set(BalanceItem.available_micros - amount_micros),
    ]
    dynamo(tx).update(BalanceItem, (keys.account(account_id), keys.BALANCE), actions, condition, refuse)


def _find_headroom(item: Any, limit_micros_per_hour: int | None) -> int | None:
    own: int | None = item.spend_headroom_micros_per_hour
    if limit_micros_per_hour is None:
        return own
    ours: int = limit_micros_per_hour - item.burn_micros_per_hour
    return max(0, ours if own is None else min(own, ours))


def _set_aside(asked: StayHold, budgets: Sequence[Budget]) -> Hold:
    hold = Hold(
        asked.hold_id,
        asked.amount_micros,
        "pending",
        asked.rate_micros_per_hour,
        asked.rental_id,
        asked.gpu_type,
        asked.label,
    )
    covering = [each.budget_id for each in list_covering(budgets, hold) if each.hard_stop]
    return replace(hold, budget_ids=tuple(covering))


def _write_hold(account_id: str, hold: Hold) -> HoldItem:
    return HoldItem(
        keys.account(account_id),
        keys.hold(hold.hold_id),
        hold_id=hold.hold_id,
        amount_micros=hold.amount_micros,
        captured_micros=hold.captured_micros,
        state=hold.state,
        rate_micros_per_hour=hold.rate_micros_per_hour,
        rental_id=hold.rental_id,
        gpu_type=hold.gpu_type,
        label=hold.label,
        budget_ids=list(hold.budget_ids),
    )


def _move(balance: Balance, posted: int, held: int, burn: int) -> list[Action]:
    """Return the arithmetic on a balance; one that does not exist begins empty."""
    names = BalanceItem
    moves: list[tuple[Any, int]] = [
        (names.posted_micros, posted),
        (names.held_micros, held),
        (names.available_micros, posted - held),
        (names.burn_micros_per_hour, burn),
    ]
    actions: list[Action] = [
        attribute.add(moved) for attribute, moved in moves if moved or balance.leg_version == 0
    ]
    if burn:
        headroom = names.spend_headroom_micros_per_hour
        actions.append(headroom.set((headroom | NO_LIMIT_MICROS) - burn))
    if balance.leg_version == 0:
        # It may not exist yet.
        actions += [
            names.account_id.set(balance.account_id),
            names.currency.set(balance.currency),
        ]
    return actions


def _is_version(balance: Balance) -> Condition:
    version = BalanceItem.leg_version
    if balance.leg_version:
        same: Condition = version == balance.leg_version
        return same
    unversioned: Condition = version.does_not_exist() | (version == 0)
    return unversioned


def _is_month(balance: Balance) -> Condition:
    """The turn of a month changes no version."""
    same: Condition = (
        BalanceItem.month == balance.month if balance.month else BalanceItem.month.does_not_exist()
    )
    return same


def _write_grants(balance: Balance) -> list[Action]:
    expiries = [each.expires_at_ms for each in balance.grants if each.expires_at_ms is not None]
    rows = [[each.grant_id, each.remaining_micros, each.expires_at_ms] for each in balance.grants]
    due: list[Action]
    if not expiries:
        due = [BalanceItem.due_shard.remove(), BalanceItem.due_at_ms.remove()]
    else:
        shard = sum(balance.account_id.encode()) % DUE_SHARDS
        due = [BalanceItem.due_shard.set(str(shard)), BalanceItem.due_at_ms.set(min(expiries))]
    return [BalanceItem.grants.set(rows), *due]

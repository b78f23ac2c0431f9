"""The ledger, wallets, budgets and usage lines in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.billing.budget import Budget, find_remaining, find_spent, list_covering, name_period
from chalicelib.billing.model import Balance, ChainedLeg, Entry, Hold, Journal, Leg
from chalicelib.billing.ports import (
    AlreadyPosted,
    PostingMismatch,
    UsageLine,
    Wallet,
    find_data_hold_end,
    find_paid_since,
)
from chalicelib.core.errors import (
    BudgetExhausted,
    Conflict,
    DomainError,
    InsufficientFunds,
    SpendLimitReached,
    Unavailable,
)
from chalicelib.core.money import Mark, StayHold
from chalicelib.core.paging import Page
from chalicelib.statements.model import Head
from tests.fakes.database import MemoryStore


class FakeLedgerStore(MemoryStore):
    """Rows: journals, legs ((ledger account, sort key)), chains ((account, version)).

    A customer's legs stand under ``cust:<account>`` by version, with their stored hash.
    """

    def get_journal(self, source: str, source_id: str) -> Journal | None:
        return self.db.table("journals").get((source, source_id))

    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        key = f"{source}#{source_id}"
        return [leg for leg, journal_key in self.db.table("legs").values() if journal_key == key]

    def list_journals(self, journal_keys: Sequence[str]) -> dict[str, Journal]:
        rows = self.db.table("journals").values()
        return {row.key: row for row in rows if row.key in set(journal_keys)}

    def list_chain(self, account_id: str, limit: int, start: str | None) -> Page[tuple[ChainedLeg, str]]:
        rows = sorted(self._list_chain(account_id), key=lambda row: row[0].version)
        rest = [row for row in rows if start is None or row[0].version > int(start)]
        return Page(rest[:limit], str(rest[limit - 1][0].version) if len(rest) > limit else None)

    def list_entries(self, account_id: str, limit: int, start: str | None) -> Page[ChainedLeg]:
        legs = sorted((leg for leg, _ in self._list_chain(account_id)), key=lambda leg: -leg.version)
        rest = [leg for leg in legs if start is None or leg.version < int(start)]
        return Page(rest[:limit], str(rest[limit - 1].version) if len(rest) > limit else None)

    def _list_chain(self, account_id: str) -> list[tuple[ChainedLeg, str]]:
        return [row for (owner, _), row in self.db.table("chains").items() if owner == account_id]

    def add_journal(self, tx: Any, journal: Journal, chained: Sequence[ChainedLeg]) -> None:
        rows, key = self.db.table("journals"), (journal.source, journal.source_id)

        def check() -> DomainError | None:
            if key not in rows:
                return None
            same = rows[key].fingerprint == journal.fingerprint
            return AlreadyPosted("journal") if same else PostingMismatch("journal")

        tx.add(check, lambda: rows.__setitem__(key, journal))
        chain = {leg.ledger_account: leg for leg in chained}
        for leg in journal.legs:
            link = chain.get(leg.ledger_account)
            row_key: tuple[str, Any] = (leg.ledger_account, journal.key)
            if link is not None:
                row_key = (f"cust:{journal.account_id}", link.version)
                row = (link, link.hash)
                tx.put_new("chains", (journal.account_id, link.version), row, Unavailable("leg"))
            tx.put_new("legs", row_key, (leg, journal.key), Unavailable("leg"))


class FakeWalletStore(MemoryStore):
    """Rows: balances, holds ((account, hold))."""

    def get_balance(self, account_id: str) -> Balance | None:
        return self.db.table("balances").get(account_id)

    def get_wallet(self, account_id: str) -> Wallet | None:
        balance = self.db.table("balances").get(account_id)
        budgets = self._list_budgets(account_id)
        return None if balance is None else Wallet(balance, budgets)

    def _list_budgets(self, account_id: str) -> tuple[Budget, ...]:
        return tuple(row for (owner, _), row in self.db.table("budgets").items() if owner == account_id)

    def get_hold(self, account_id: str, hold_id: str) -> Hold | None:
        return self.db.table("holds").get((account_id, hold_id))

    def list_due(self, now_ms: int, limit: int) -> list[str]:
        found = []
        for account_id, balance in self.db.table("balances").items():
            expiries = [each.expires_at_ms for each in balance.grants if each.expires_at_ms is not None]
            if expiries and min(expiries) <= now_ms:
                found.append(account_id)
        return found[:limit]

    def move_balance(self, tx: Any, before: Balance, after: Balance, *, may_overdraw: bool = False) -> None:
        rows, key = self.db.table("balances"), before.account_id
        posted, held = after.posted_micros - before.posted_micros, after.held_micros - before.held_micros
        burn, available = after.burn_micros_per_hour - before.burn_micros_per_hour, posted - held
        empty = Balance(key, before.currency)

        def check() -> DomainError | None:
            row = rows.get(key, empty)
            short = available < 0 and not may_overdraw and row.available_micros < -available
            moved = (row.leg_version, row.month) != (before.leg_version, before.month)
            return Unavailable("balance") if short or moved else None

        def effect() -> None:
            row = rows.get(key, empty)
            rows[key] = replace(
                row,
                posted_micros=row.posted_micros + posted,
                held_micros=row.held_micros + held,
                available_micros=row.available_micros + available,
                burn_micros_per_hour=row.burn_micros_per_hour + burn,
                leg_version=after.leg_version,
                chain_hash=after.chain_hash,
                grants=after.grants,
                alert_level=after.alert_level,
                month=after.month,
                exhausted_at_ms=after.exhausted_at_ms,
                paid_since_ms=after.paid_since_ms,
            )

        tx.add(check, effect)

    def set_spend_limit(self, tx: Any, balance: Balance, limit_micros_per_hour: int | None) -> None:
        rows, key = self.db.table("balances"), balance.account_id

        def check() -> DomainError | None:
            row = rows.get(key, balance)
            same = row.spend_limit_micros_per_hour == balance.spend_limit_micros_per_hour
            return None if same else Unavailable("limit")

        def effect() -> None:
            row = rows.get(key, Balance(key, balance.currency))
            rows[key] = replace(row, spend_limit_micros_per_hour=limit_micros_per_hour)

        tx.add(check, effect)

    def change_hold(self, tx: Any, account_id: str, old: Hold, new: Hold) -> None:
        rows, key = self.db.table("holds"), (account_id, old.hold_id)
        tx.add(
            lambda: None if rows.get(key) == old else Unavailable("hold"), lambda: rows.__setitem__(key, new)
        )

    def add_deposit(self, tx: Any, account_id: str, deposit: Hold) -> None:
        rows = self.db.table("balances")

        def check() -> DomainError | None:
            row = rows.get(account_id)
            covered = row is not None and row.available_micros >= deposit.amount_micros
            return None if covered else InsufficientFunds("deposit")

        tx.add(check, lambda: self._set_apart(account_id, deposit.amount_micros))
        tx.put_new("holds", (account_id, deposit.hold_id), deposit, Unavailable("deposit"))

    def void_deposit(self, tx: Any, account_id: str, deposit: Hold) -> None:
        self.change_hold(tx, account_id, deposit, replace(deposit, amount_micros=0, state="void"))
        tx.add(lambda: None, lambda: self._set_apart(account_id, -deposit.amount_micros))

    def _set_apart(self, account_id: str, amount: int) -> None:
        rows = self.db.table("balances")
        row = rows[account_id]
        rows[account_id] = replace(
            row, held_micros=row.held_micros + amount, available_micros=row.available_micros - amount
        )

    def find_paid_since(self, account_id: str) -> int | None:
        balance = self.get_balance(account_id)
        return None if balance is None else find_paid_since(balance)

    def add_holds(
        self,
        tx: Any,
        account_id: str,
        holds: Sequence[StayHold],
        now_ms: int,
        limit_micros_per_hour: int | None = None,
    ) -> None:
        rows = self.db.table("balances")
        budgets = self._list_budgets(account_id)
        kept = [_set_aside(each, budgets) for each in holds]
        amount = sum(hold.amount_micros for hold in kept)
        rate = sum(hold.rate_micros_per_hour for hold in kept)

        def check() -> DomainError | None:
            row = rows.get(account_id)
            if row is None or row.available_micros < amount:
                return InsufficientFunds("hold")
            limit = row.spend_limit_micros_per_hour
            if limit is not None and row.burn_micros_per_hour + rate > limit:
                return SpendLimitReached("limit")
            if limit_micros_per_hour is not None and row.burn_micros_per_hour + rate > limit_micros_per_hour:
                return SpendLimitReached("ramp")
            same = len(self._list_budgets(account_id)) == len(budgets)
            return None if same else Unavailable("budgets")

        def effect() -> None:
            row = rows[account_id]
            rows[account_id] = replace(
                row,
                held_micros=row.held_micros + amount,
                available_micros=row.available_micros - amount,
                burn_micros_per_hour=row.burn_micros_per_hour + rate,
            )

        tx.add(check, effect)
        for budget in budgets:
            own = [hold for hold in kept if budget.budget_id in hold.budget_ids]
            if own:
                self._reserve(tx, budget, sum(hold.amount_micros for hold in own), now_ms)
        for hold in kept:
            tx.put_new("holds", (account_id, hold.hold_id), hold, Unavailable("hold"))

    def require_nothing_held(self, tx: Any, account_id: str) -> None:
        def check() -> DomainError | None:
            row = self.db.table("balances").get(account_id)
            return Unavailable("held") if row is not None and row.held_micros else None

        tx.add(check, lambda: None)

    def find_data_hold_end(self, account_id: str) -> int | None:
        balance = self.get_balance(account_id)
        return None if balance is None else find_data_hold_end(balance)

    def _reserve(self, tx: Any, budget: Budget, amount: int, now_ms: int) -> None:
        rows, key = self.db.table("budgets"), (budget.account_id, budget.budget_id)

        def check() -> DomainError | None:
            row = rows.get(key)
            if row is None or row.spent_micros != budget.spent_micros:
                return Unavailable("budget")
            return None if find_remaining(row, now_ms) >= amount else BudgetExhausted("budget")

        def effect() -> None:
            row = rows[key]
            spent = find_spent(row, now_ms)
            rows[key] = replace(
                row,
                period_key=name_period(row.period, now_ms),
                alerted_percent=row.alerted_percent if spent == row.spent_micros else 0,
                held_micros=row.held_micros + amount,
                remaining_micros=find_remaining(row, now_ms) - amount,
                spent_micros=spent,
            )

        tx.add(check, effect)


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


class FakeBudgetStore(MemoryStore):
    def add_budget(self, tx: Any, budget: Budget, currency: str) -> None:
        balances = self.db.table("balances")
        tx.put_new("budgets", (budget.account_id, budget.budget_id), budget, Conflict("budget"))
        tx.add(
            lambda: None,
            lambda: balances.setdefault(budget.account_id, Balance(budget.account_id, currency)),
        )

    def replace_budget(self, tx: Any, old: Budget, new: Budget, *, exact: bool = False) -> None:
        rows, key = self.db.table("budgets"), (old.account_id, old.budget_id)
        held = new.held_micros - old.held_micros
        remaining = new.remaining_micros - old.remaining_micros

        def check() -> DomainError | None:
            row = rows.get(key)
            if row is None or not _is_unchanged(row, old, exact=exact):
                return Unavailable("budget")
            floor = new.hard_stop and remaining < 0 and new.limit_micros == old.limit_micros
            return Unavailable("budget") if floor and row.remaining_micros < -remaining else None

        def effect() -> None:
            row = rows[key]
            rows[key] = replace(
                new,
                held_micros=row.held_micros + held,
                remaining_micros=row.remaining_micros + remaining,
            )

        tx.add(check, effect)

    def remove_budget(self, tx: Any, budget: Budget, _currency: str, *, exact: bool = False) -> None:
        rows, key = self.db.table("budgets"), (budget.account_id, budget.budget_id)

        def check() -> DomainError | None:
            row = rows.get(key)
            known = row is not None and (not exact or _is_unchanged(row, budget, exact=True))
            return None if known else Unavailable("budget")

        tx.add(check, lambda: rows.pop(key))


def _is_unchanged(row: Budget, old: Budget, *, exact: bool) -> bool:
    names = ["spent_micros", "limit_micros", "hard_stop", "alert_percents"]
    names += ["held_micros", "remaining_micros"] if exact else []
    return all(getattr(row, name) == getattr(old, name) for name in names)


class FakeUsageStore(MemoryStore):
    """Rows: usage ((account, month, day, rental, segment)), entries ((account, month, version))."""

    def add_usage(self, tx: Any, line: UsageLine) -> None:
        rows = self.db.table("usage")
        key = (line.account_id, line.month, line.day, line.rental_id, line.segment)

        def effect() -> None:
            row = rows.get(key)
            if row is None:
                rows[key] = line
                return
            by_hour = {hour: (seconds, micros) for hour, seconds, micros in row.hours}
            for hour, more_seconds, more_micros in line.hours:
                seconds, micros = by_hour.get(hour, (0, 0))
                by_hour[hour] = (seconds + more_seconds, micros + more_micros)
            rows[key] = replace(
                row,
                seconds=row.seconds + line.seconds,
                micros=row.micros + line.micros,
                promo_micros=row.promo_micros + line.promo_micros,
                overrun_micros=row.overrun_micros + line.overrun_micros,
                hours=tuple((hour, *by_hour[hour]) for hour in sorted(by_hour)),
            )

        tx.add(lambda: None, effect)

    def add_entry(self, tx: Any, entry: Entry) -> None:
        tx.put_new("entries", (entry.account_id, entry.month, entry.leg_version), entry, Unavailable("entry"))

    def list_usage(self, account_id: str, month: str, first_day: str, last_day: str) -> Iterator[UsageLine]:
        for key in sorted(self.db.table("usage")):
            if key[:2] == (account_id, month) and first_day <= key[2] <= last_day:
                yield self.db.table("usage")[key]

    def list_month(self, account_id: str, month: str) -> Iterator[UsageLine | Entry]:
        for line in self.list_usage(account_id, month, "", "~"):
            yield replace(line, hours=())
        for key in sorted(self.db.table("entries")):
            if key[:2] == (account_id, month):
                yield self.db.table("entries")[key]


class FakeMonthStore(MemoryStore):
    """Rows: months ((account, month))."""

    def open_month(self, tx: Any, balance: Balance, month: str, opening: Mark, now_ms: int) -> None:
        row = Head(balance.account_id, month, balance.currency, "open", now_ms, opening)
        tx.put_new("months", (balance.account_id, month), row, Unavailable("month"))

    def close_month(self, tx: Any, balance: Balance, closing: Mark, now_ms: int) -> None:
        rows, key = self.db.table("months"), (balance.account_id, balance.month)

        def check() -> DomainError | None:
            return None if key in rows and rows[key].closing is None else Unavailable("month")

        tx.add(
            check,
            lambda: rows.__setitem__(
                key, replace(rows[key], state="closed", closing=closing, closed_at_ms=now_ms)
            ),
        )

    def list_months(self, account_id: str, since: str) -> list[str]:
        return sorted(
            month for owner, month in self.db.table("months") if owner == account_id and month >= since
        )

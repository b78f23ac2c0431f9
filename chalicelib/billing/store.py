"""Journal, legs, balances and holds in DynamoDB.

The ledger table is append only (IAM gives neither update nor delete, every put is conditional on absence).
A customer's legs are numbered; platform-side legs are keyed by their journal and touch no shared item.
"""

from collections.abc import Mapping
from typing import Any, cast

from pynamodb.expressions.condition import Condition

from chalicelib.billing.model import CUSTOMER_PREFIX, Balance, Hold, HoldState, Journal, Leg
from chalicelib.billing.service import AlreadyPosted
from chalicelib.core.errors import DomainError, InsufficientFunds
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BalanceItem, HoldItem, JournalItem, LegItem
from chalicelib.storage.transaction import dynamo, unexpected


def _posted(_old: Any) -> DomainError:
    return AlreadyPosted("The journal is posted already.")


class DynamoLedgerStore:
    def get_balance(self, account_id: str) -> Balance | None:
        try:
            item = BalanceItem.get(keys.account(account_id), keys.BALANCE, consistent_read=True)
        except BalanceItem.DoesNotExist:
            return None
        return Balance(
            account_id,
            item.currency,
            item.posted_micros,
            item.held_micros,
            item.available_micros,
            item.leg_version,
        )

    def get_hold(self, account_id: str, hold_id: str) -> Hold | None:
        try:
            item = HoldItem.get(keys.account(account_id), keys.hold(hold_id), consistent_read=True)
        except HoldItem.DoesNotExist:
            return None
        return Hold(hold_id, item.amount_micros, cast("HoldState", item.state))

    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        key = keys.journal(source, source_id)
        try:
            journal = JournalItem.get(key, keys.JOURNAL, consistent_read=True)
        except JournalItem.DoesNotExist:
            return []
        leg_keys = [
            (keys.legs(ledger_account), _sort_key(ledger_account, key, journal.leg_version))
            for ledger_account, _amount in journal.legs
        ]
        found = LegItem.batch_get(leg_keys, consistent_read=True)
        return [Leg(item.ledger_account, item.amount_micros) for item in found if item.journal_key == key]

    def add_journal(
        self, tx: Transaction, journal: Journal, *, leg_version: int, balance_after_micros: int
    ) -> None:
        key = keys.journal(journal.source, journal.source_id)
        item = JournalItem(
            key,
            keys.JOURNAL,
            source=journal.source,
            source_id=journal.source_id,
            kind=journal.kind,
            fingerprint=journal.fingerprint,
            legs=[[leg.ledger_account, leg.amount_micros] for leg in journal.legs],
            leg_version=leg_version,
            posted_at_ms=journal.posted_at_ms,
        )
        dynamo(tx).put(item, JournalItem.pk.does_not_exist(), _posted)
        for leg in journal.legs:
            is_customer = leg.ledger_account.startswith(CUSTOMER_PREFIX)
            row = LegItem(
                keys.legs(leg.ledger_account),
                _sort_key(leg.ledger_account, key, leg_version),
                ledger_account=leg.ledger_account,
                amount_micros=leg.amount_micros,
                currency=journal.currency,
                journal_key=key,
                posted_at_ms=journal.posted_at_ms,
                balance_after_micros=balance_after_micros if is_customer else None,
            )
            dynamo(tx).put(row, LegItem.pk.does_not_exist(), unexpected("The account"))

    def open_balance(self, tx: Transaction, balance: Balance) -> None:
        item = BalanceItem(
            keys.account(balance.account_id),
            keys.BALANCE,
            currency=balance.currency,
            posted_micros=balance.posted_micros,
            held_micros=balance.held_micros,
            available_micros=balance.available_micros,
            leg_version=balance.leg_version,
        )
        dynamo(tx).put(item, BalanceItem.pk.does_not_exist(), unexpected("The balance"))

    def move_balance(
        self, tx: Transaction, balance: Balance, *, posted: int, held: int, count_leg: bool
    ) -> None:
        available = posted - held
        actions: list[Any] = [
            BalanceItem.posted_micros.set(BalanceItem.posted_micros + posted),
            BalanceItem.held_micros.set(BalanceItem.held_micros + held),
            BalanceItem.available_micros.set(BalanceItem.available_micros + available),
        ]
        condition: Condition = BalanceItem.leg_version == balance.leg_version
        if count_leg:
            actions.append(BalanceItem.leg_version.set(balance.leg_version + 1))
        if available < 0:
            # Never on credits: a refund must reach an account that is below zero.
            condition &= BalanceItem.available_micros >= -available
        dynamo(tx).update(
            BalanceItem,
            (keys.account(balance.account_id), keys.BALANCE),
            actions,
            condition,
            unexpected("The balance"),
        )

    def change_hold(self, tx: Transaction, account_id: str, old: Hold, new: Hold) -> None:
        dynamo(tx).update(
            HoldItem,
            (keys.account(account_id), keys.hold(old.hold_id)),
            [HoldItem.amount_micros.set(new.amount_micros), HoldItem.state.set(new.state)],
            (HoldItem.amount_micros == old.amount_micros) & (HoldItem.state == old.state),
            unexpected("The hold"),
        )

    def add_holds(self, tx: Transaction, account_id: str, holds: Mapping[str, int]) -> None:
        amount_micros = sum(holds.values())

        def refuse(old: Any) -> DomainError:
            available = 0 if old is None else old.available_micros
            return InsufficientFunds(
                "The wallet does not cover the hold for a start; add credit.",
                extra={"needed_micros": amount_micros, "available_micros": available},
            )

        # Arithmetic under a condition: parallel starts never spend the same money, and never conflict
        # with a posting over a version.
        dynamo(tx).update(
            BalanceItem,
            (keys.account(account_id), keys.BALANCE),
            [
                BalanceItem.held_micros.set(BalanceItem.held_micros + amount_micros),
                BalanceItem.available_micros.set(BalanceItem.available_micros - amount_micros),
            ],
            BalanceItem.available_micros >= amount_micros,
            refuse,
        )
        for hold_id, hold_micros in holds.items():
            item = HoldItem(
                keys.account(account_id),
                keys.hold(hold_id),
                hold_id=hold_id,
                amount_micros=hold_micros,
                state="pending",
            )
            dynamo(tx).put(item, HoldItem.pk.does_not_exist(), unexpected("The hold"))


def _sort_key(ledger_account: str, journal_key: str, leg_version: int) -> str:
    if ledger_account.startswith(CUSTOMER_PREFIX):
        return keys.leg_version(leg_version)
    return journal_key

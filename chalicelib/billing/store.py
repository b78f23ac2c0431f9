"""Journals and legs in DynamoDB.

The ledger table is append only (IAM gives neither update nor delete, every put is conditional on absence).
A customer's legs are numbered and chained; platform-side legs are keyed by their journal and touch no shared
item.
"""

from collections.abc import Sequence
from typing import Any

from chalicelib.billing.model import (
    ChainedLeg,
    Journal,
    Leg,
)
from chalicelib.billing.ports import AlreadyPosted, PostingMismatch
from chalicelib.core.errors import DomainError
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import JournalItem, LegItem
from chalicelib.storage.transaction import OnFailure, dynamo, unexpected


def _posted(journal: Journal) -> OnFailure:
    def explain(old: Any) -> DomainError:
        if old is None or old.fingerprint == journal.fingerprint:
            return AlreadyPosted("The journal is posted already.")
        return PostingMismatch(f"Something else was posted as {journal.key}.")

    return explain


class DynamoLedgerStore:
    def get_journal(self, source: str, source_id: str) -> Journal | None:
        try:
            item = JournalItem.get(keys.journal(source, source_id), keys.JOURNAL, consistent_read=True)
        except JournalItem.DoesNotExist:
            return None
        return read_journal(item)

    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        key = keys.journal(source, source_id)
        try:
            journal = JournalItem.get(key, keys.JOURNAL, consistent_read=True)
        except JournalItem.DoesNotExist:
            return []
        found = LegItem.batch_get([tuple(each) for each in journal.leg_keys], consistent_read=True)
        return [
            Leg(item.ledger_account, item.amount_micros)
            for item in found
            if keys.journal_of(item.journal_key) == key
        ]

    def list_journals(self, journal_keys: Sequence[str]) -> dict[str, Journal]:
        wanted = [(keys.journal_of(each), keys.JOURNAL) for each in sorted(set(journal_keys))]
        if not wanted:
            return {}
        found = map(read_journal, JournalItem.batch_get(wanted, consistent_read=True))
        return {journal.key: journal for journal in found}

    def list_chain(self, account_id: str, limit: int, start: str | None) -> Page[tuple[ChainedLeg, str]]:
        items, more = _query_legs(account_id, limit, start, newest_first=False)
        return Page([(_read_leg(item), item.hash or "") for item in items], items[-1].sk if more else None)

    def list_entries(self, account_id: str, limit: int, start: str | None) -> Page[ChainedLeg]:
        items, more = _query_legs(account_id, limit, start, newest_first=True)
        return Page([_read_leg(item) for item in items], items[-1].sk if more else None)

    def add_journal(self, tx: Transaction, journal: Journal, chained: Sequence[ChainedLeg]) -> None:
        key = keys.journal(journal.source, journal.source_id)
        chain = {leg.ledger_account: leg for leg in chained}
        leg_keys = []
        rows = []
        for leg in journal.legs:
            link = chain.get(leg.ledger_account)
            own = (
                (keys.legs(leg.ledger_account), key)
                if link is None
                else (keys.chain(journal.account_id), keys.leg_version(link.version))
            )
            leg_keys.append(own)
            row = LegItem(
                *own,
                ledger_account=leg.ledger_account,
                amount_micros=leg.amount_micros,
                currency=journal.currency,
                journal_key=journal.key,
                posted_at_ms=journal.posted_at_ms,
            )
            if link is not None:
                row.version, row.balance_after_micros = link.version, link.balance_after_micros
                row.previous_hash, row.hash = link.previous_hash, link.hash
            rows.append(row)
        item = JournalItem(
            key,
            keys.JOURNAL,
            source=journal.source,
            source_id=journal.source_id,
            kind=journal.kind,
            account_id=journal.account_id,
            currency=journal.currency,
            fingerprint=journal.fingerprint,
            legs=[[leg.ledger_account, leg.amount_micros] for leg in journal.legs],
            leg_keys=[list(each) for each in leg_keys],
            details=dict(journal.details),
            reverses=journal.reverses,
            posted_at_ms=journal.posted_at_ms,
        )
        dynamo(tx).put(item, JournalItem.pk.does_not_exist(), _posted(journal))
        for row in rows:
            dynamo(tx).put(row, LegItem.pk.does_not_exist(), unexpected("The account"))


def read_journal(item: JournalItem) -> Journal:
    return Journal(
        item.source,
        item.source_id,
        item.kind,
        item.account_id,
        tuple(Leg(name, amount) for name, amount in item.legs),
        item.currency,
        item.posted_at_ms,
        item.details,
        item.reverses,
    )


def _query_legs(
    account_id: str, limit: int, start: str | None, *, newest_first: bool
) -> tuple[list[LegItem], bool]:
    condition = None
    if start is not None:
        condition = LegItem.sk < start if newest_first else LegItem.sk > start
    result = LegItem.query(
        keys.chain(account_id),
        condition,
        scan_index_forward=not newest_first,
        limit=limit,
        consistent_read=True,
    )
    items = list(result)
    return items, result.last_evaluated_key is not None and bool(items)


def _read_leg(item: LegItem) -> ChainedLeg:
    return ChainedLeg(
        item.version or 0,
        item.ledger_account,
        item.amount_micros,
        item.balance_after_micros or 0,
        item.journal_key,
        item.posted_at_ms,
        item.previous_hash or "",
    )

"""Statements, their numbers and billing details in DynamoDB. Months are opened and closed by postings."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

from chalicelib.core.clock import parse_instant
from chalicelib.core.money import Mark
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.statements.model import Head, Party, State
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BillingDetailsItem, NumbersItem, StatementItem
from chalicelib.storage.transaction import dynamo, unexpected

#: As postings write them (`billing.month_store`).
PENDING_SHARDS = 4
#: Months begin with a digit, whatever else is kept of an account does not.
FIRST_MONTH, LAST_MONTH = "0", "9~"
#: From the end of the calendar year, as commercial law of several countries counts it (HGB 257, AO 147).
KEPT_YEARS = 10


class DynamoStatementStore:
    def get_head(self, account_id: str, month: str) -> Head | None:
        try:
            item = StatementItem.get(keys.account(account_id), month, consistent_read=True)
        except StatementItem.DoesNotExist:
            return None
        return _read(account_id, item)

    def list_heads(self, account_id: str, limit: int, start: str | None) -> Page[Head]:
        result = StatementItem.query(
            keys.account(account_id),
            StatementItem.sk.between(FIRST_MONTH, LAST_MONTH) if start is None else StatementItem.sk < start,
            StatementItem.state != "empty",
            scan_index_forward=False,
            limit=limit,
            consistent_read=True,
        )
        items = list(result)
        last = result.last_evaluated_key
        return Page([_read(account_id, item) for item in items], None if last is None else last["sk"]["S"])

    def list_pending(self, before: str) -> Iterator[tuple[str, str]]:
        for shard in range(PENDING_SHARDS):
            for item in StatementItem.by_pending.query(str(shard), StatementItem.sk < before):
                yield keys.read_account(item.pk), item.sk

    def get_last_number(self, year: str) -> int:
        try:
            item = NumbersItem.get(keys.statement_numbers(year), keys.NUMBERS, consistent_read=True)
        except NumbersItem.DoesNotExist:
            return 0
        return item.last

    def give_number(self, tx: Transaction, head: Head, year: str, last: int) -> None:
        given = NumbersItem.last == last if last else NumbersItem.last.does_not_exist()
        dynamo(tx).update(
            NumbersItem,
            (keys.statement_numbers(year), keys.NUMBERS),
            [NumbersItem.last.set(last + 1)],
            given,
            unexpected("The numbers"),
        )
        assert head.number is not None
        assert head.numbered_at_ms is not None
        assert head.customer is not None
        dynamo(tx).update(
            StatementItem,
            (keys.account(head.account_id), head.month),
            [
                StatementItem.number.set(head.number),
                StatementItem.numbered_at_ms.set(head.numbered_at_ms),
                StatementItem.customer.set(asdict(head.customer)),
            ],
            (StatementItem.state == "closed") & StatementItem.number.does_not_exist(),
            unexpected("The statement"),
        )

    def keep_issued(self, tx: Transaction, head: Head) -> None:
        dynamo(tx).update(
            StatementItem,
            (keys.account(head.account_id), head.month),
            [
                StatementItem.state.set("issued"),
                StatementItem.digests.set(dict(head.digests)),
                StatementItem.expires_at.set(find_end_seconds(head.month)),
                StatementItem.pending_shard.remove(),
            ],
            (StatementItem.state == "closed") & (StatementItem.number == head.number),
            unexpected("The statement"),
        )

    def mark_empty(self, head: Head) -> None:
        StatementItem(keys.account(head.account_id), head.month).update(
            [StatementItem.state.set("empty"), StatementItem.pending_shard.remove()],
            (StatementItem.state == "closed") | (StatementItem.state == "empty"),
        )

    def get_details(self, account_id: str) -> Party | None:
        try:
            item = BillingDetailsItem.get(
                keys.account(account_id), keys.BILLING_DETAILS, consistent_read=True
            )
        except BillingDetailsItem.DoesNotExist:
            return None
        return _read_party(item.details)

    def put_details(self, tx: Transaction, account_id: str, details: Party, old: Party | None = None) -> None:
        condition: Any = None if old is None else BillingDetailsItem.details == asdict(old)
        if old == Party():
            condition |= BillingDetailsItem.pk.does_not_exist()
        item = BillingDetailsItem(keys.account(account_id), keys.BILLING_DETAILS, details=asdict(details))
        dynamo(tx).put(item, condition, unexpected("The billing details"))


def find_end_seconds(month: str) -> int:
    """Return when a statement goes by itself: `KEPT_YEARS` after the end of its year."""
    return parse_instant(f"{int(month[:4]) + 1 + KEPT_YEARS}-01-01T00:00:00Z") // 1000


def _read(account_id: str, item: StatementItem) -> Head:
    return Head(
        account_id,
        item.sk,
        item.currency,
        cast("State", item.state),
        item.opened_at_ms,
        Mark(*item.opening),
        item.closed_at_ms,
        None if item.closing is None else Mark(*item.closing),
        item.number,
        item.numbered_at_ms,
        None if item.customer is None else _read_party(item.customer),
        item.digests or {},
    )


def _read_party(row: dict[str, Any]) -> Party:
    return Party(**row | {"address_lines": tuple(row["address_lines"])})

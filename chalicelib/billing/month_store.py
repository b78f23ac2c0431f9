"""The months of accounts' books in DynamoDB: opened and closed by postings, issued as statements."""

from chalicelib.billing.model import Balance
from chalicelib.core.money import Mark
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import StatementItem
from chalicelib.storage.transaction import dynamo, unexpected

PENDING_SHARDS = 4


class DynamoMonthStore:
    def open_month(self, tx: Transaction, balance: Balance, month: str, opening: Mark, now_ms: int) -> None:
        row = StatementItem(
            keys.account(balance.account_id),
            month,
            currency=balance.currency,
            state="open",
            opened_at_ms=now_ms,
            opening=_write(opening),
            pending_shard=str(sum(balance.account_id.encode()) % PENDING_SHARDS),
        )
        dynamo(tx).put(row, StatementItem.pk.does_not_exist(), unexpected("The month"))

    def close_month(self, tx: Transaction, balance: Balance, closing: Mark, now_ms: int) -> None:
        dynamo(tx).update(
            StatementItem,
            (keys.account(balance.account_id), balance.month),
            [
                StatementItem.state.set("closed"),
                StatementItem.closed_at_ms.set(now_ms),
                StatementItem.closing.set(_write(closing)),
            ],
            StatementItem.state == "open",
            unexpected("The month"),
        )

    def list_months(self, account_id: str, since: str) -> list[str]:
        # Months begin with a digit, whatever else is kept of an account does not.
        within = StatementItem.sk.between(since, "9~")
        rows = StatementItem.query(
            keys.account(account_id), within, consistent_read=True, attributes_to_get=["sk"]
        )
        return [row.sk for row in rows]


def _write(mark: Mark) -> list[object]:
    return [mark.leg_version, mark.chain_hash, mark.paid_micros, mark.promo_micros]

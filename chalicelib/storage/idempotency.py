"""Idempotency records in DynamoDB. Expiry is checked in code: TTL deletes late."""

from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.idempotency import AlreadyAnswered, IdempotencyRecord
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.records import IdempotencyItem
from chalicelib.storage.transaction import dynamo


class DynamoIdempotencyStore:
    def find(self, account_id: str, key: str, now_ms: int) -> IdempotencyRecord | None:
        try:
            item = IdempotencyItem.get(keys.idempotency(account_id, key), keys.RESPONSE, consistent_read=True)
        except IdempotencyItem.DoesNotExist:
            return None
        record = _read(account_id, key, item)
        return record if record.expires_at_ms > now_ms else None

    def add(self, tx: Transaction, record: IdempotencyRecord, now_ms: int) -> None:
        def answered(old: Any) -> DomainError:
            if old is None:
                return Unavailable("Try again.")
            return AlreadyAnswered(_read(record.account_id, record.key, old))

        item = IdempotencyItem(
            keys.idempotency(record.account_id, record.key),
            keys.RESPONSE,
            account_id=record.account_id,
            fingerprint=record.fingerprint,
            status=record.status,
            body=record.body,
            expires_at=record.expires_at_ms // 1000,
        )
        free = IdempotencyItem.pk.does_not_exist() | (IdempotencyItem.expires_at <= now_ms // 1000)
        dynamo(tx).put(item, free, answered)


def _read(account_id: str, key: str, item: IdempotencyItem) -> IdempotencyRecord:
    return IdempotencyRecord(
        account_id, key, item.fingerprint, item.status, item.body, item.expires_at * 1000
    )

"""Top-ups, customers and Stripe's events in DynamoDB."""

import zlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

from pynamodb.exceptions import PutError

from chalicelib.core.errors import DomainError
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.payments.model import Movement, StripeEvent, TopUp, TopUpKind, TopUpState
from chalicelib.payments.orders import AutoTopUp, PauseReason
from chalicelib.payments.ports import AlreadyReconciled, Cursor, KeyTaken
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.payments import (
    CursorItem,
    CustomerItem,
    MovementItem,
    OrderItem,
    ReconciledItem,
    StripeEventItem,
    TopUpItem,
    TopUpKeyItem,
    UnmatchedItem,
)
from chalicelib.storage.transaction import dynamo, unexpected

#: Stripe tells of an event for 3 days and lists it for 30; after that nobody asks whether it was done.
EVENT_LIFETIME_SECONDS = 60 * 86_400
#: Partitions of the list of orders, which is read each minute.
ORDER_SHARDS = 4


class DynamoPaymentStore:
    def get_top_up(self, top_up_id: str) -> TopUp | None:
        try:
            item = TopUpItem.get(keys.top_up(top_up_id), keys.TOP_UP, consistent_read=True)
        except TopUpItem.DoesNotExist:
            return None
        return _read(item)

    def list_top_ups(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[TopUp]:
        condition = None
        if start is not None:
            key = TopUpItem.created_key
            condition = key > start if oldest_first else key < start
        result = TopUpItem.by_account.query(
            account_id, condition, scan_index_forward=oldest_first, limit=limit
        )
        items = list(result)
        more = result.last_evaluated_key is not None and bool(items)
        return Page([_read(item) for item in items], items[-1].created_key if more else None)

    def find_key(self, account_id: str, key: str) -> KeyTaken | None:
        try:
            item = TopUpKeyItem.get(keys.top_up_key(account_id, key), keys.KEY, consistent_read=True)
        except TopUpKeyItem.DoesNotExist:
            return None
        return KeyTaken(item.top_up_id, item.fingerprint)

    def add_top_up(self, tx: Transaction, top_up: TopUp, key: str, fingerprint: str) -> None:
        def refuse(old: Any) -> DomainError:
            return KeyTaken(old.top_up_id, old.fingerprint)

        held = TopUpKeyItem(
            keys.top_up_key(top_up.account_id, key),
            keys.KEY,
            top_up_id=top_up.top_up_id,
            fingerprint=fingerprint,
        )
        dynamo(tx).put(held, TopUpKeyItem.pk.does_not_exist(), refuse)
        dynamo(tx).put(_write(top_up, 0), TopUpItem.pk.does_not_exist(), unexpected("The top-up"))

    def replace_top_up(self, tx: Transaction, old: TopUp, new: TopUp) -> None:
        item = _write(new, old.version + 1)
        dynamo(tx).put(item, TopUpItem.version == old.version, unexpected("The top-up"))

    def get_order(self, account_id: str) -> AutoTopUp | None:
        key = keys.order(account_id)
        try:
            item = OrderItem.get(key, key, consistent_read=True)
        except OrderItem.DoesNotExist:
            return None
        return AutoTopUp(
            account_id,
            item.currency,
            item.threshold_micros,
            item.amount_micros,
            item.monthly_limit_micros,
            item.method_id,
            bool(item.enabled),
            cast("PauseReason | None", item.paused),
            item.open_top_up_id,
            item.open_method_id,
            item.attempted_at_ms,
            item.month or "",
            item.month_micros,
            item.version,
        )

    def list_orders(self) -> Iterator[str]:
        for shard in range(ORDER_SHARDS):
            for item in OrderItem.by_order.query(str(shard)):
                yield keys.read_order(item.sk)

    def put_order(self, tx: Transaction, old: AutoTopUp | None, new: AutoTopUp) -> None:
        key = keys.order(new.account_id)
        listed = new.open_top_up_id is not None or (new.enabled and new.paused is None)
        facts = asdict(new) | {"version": new.version + 1, "enabled": int(new.enabled)}
        del facts["account_id"]
        item = OrderItem(
            key,
            key,
            order_shard=str(zlib.crc32(new.account_id.encode()) % ORDER_SHARDS) if listed else None,
            **facts | {"month": new.month or None},
        )
        condition = OrderItem.pk.does_not_exist() if old is None else OrderItem.version == old.version
        dynamo(tx).put(item, condition, unexpected("The auto top-up"))

    def get_customer(self, account_id: str) -> str | None:
        try:
            return CustomerItem.get(keys.account(account_id), keys.CUSTOMER, consistent_read=True).customer_id
        except CustomerItem.DoesNotExist:
            return None

    def keep_customer(self, account_id: str, customer_id: str) -> None:
        _save_once(CustomerItem(keys.account(account_id), keys.CUSTOMER, customer_id=customer_id))

    def get_event(self, event_id: str) -> StripeEvent | None:
        try:
            item = StripeEventItem.get(keys.event(event_id), keys.EVENT, consistent_read=True)
        except StripeEventItem.DoesNotExist:
            return None
        return StripeEvent(
            event_id, item.type, item.subject_id or "", item.received_at_ms, done=bool(item.done)
        )

    def keep_event(self, event: StripeEvent) -> None:
        item = StripeEventItem(
            keys.event(event.event_id),
            keys.EVENT,
            type=event.type,
            subject_id=event.subject_id or None,
            received_at_ms=event.received_at_ms,
            done=int(event.done),
            expires_at=event.received_at_ms // 1000 + EVENT_LIFETIME_SECONDS,
        )
        _save_once(item)

    def mark_done(self, event_id: str) -> None:
        StripeEventItem(keys.event(event_id), keys.EVENT).update(actions=[StripeEventItem.done.set(1)])

    def get_cursor(self, of: Cursor) -> int:
        try:
            return CursorItem.get(keys.STRIPE_CURSOR, of, consistent_read=True).at_ms
        except CursorItem.DoesNotExist:
            return 0

    def keep_cursor(self, of: Cursor, at_ms: int) -> None:
        CursorItem(keys.STRIPE_CURSOR, of, at_ms=at_ms).save()

    def count_movement(self, tx: Transaction, movement: Movement) -> None:
        def refuse(_old: Any) -> DomainError:
            return AlreadyReconciled("The movement is counted already.")

        item = MovementItem(
            keys.movement(movement.movement_id),
            keys.MOVEMENT,
            kind=movement.kind,
            source_id=movement.source_id,
            amount_cents=movement.amount_cents,
            fee_cents=movement.fee_cents,
        )
        dynamo(tx).put(item, MovementItem.pk.does_not_exist(), refuse)
        dynamo(tx).update(
            ReconciledItem,
            (keys.RECONCILED, keys.RECONCILED),
            [ReconciledItem.total_cents.add(movement.net_cents)],
            None,
            unexpected("The total"),
        )

    def is_counted(self, movement_id: str) -> bool:
        try:
            MovementItem.get(keys.movement(movement_id), keys.MOVEMENT, consistent_read=True)
        except MovementItem.DoesNotExist:
            return False
        return True

    def list_unmatched(self) -> list[Movement]:
        rows = UnmatchedItem.query(keys.UNMATCHED, consistent_read=True)
        return [
            Movement(row.sk, row.kind, row.currency, row.amount_cents, row.fee_cents, row.source_id)
            for row in rows
        ]

    def keep_unmatched(self, movement: Movement) -> None:
        UnmatchedItem(
            keys.UNMATCHED,
            movement.movement_id,
            kind=movement.kind,
            currency=movement.currency,
            source_id=movement.source_id,
            amount_cents=movement.amount_cents,
            fee_cents=movement.fee_cents,
        ).save()

    def forget_unmatched(self, movement_id: str) -> None:
        UnmatchedItem(keys.UNMATCHED, movement_id).delete()

    def get_reconciled_cents(self) -> int:
        try:
            found = ReconciledItem.get(keys.RECONCILED, keys.RECONCILED, consistent_read=True)
        except ReconciledItem.DoesNotExist:
            return 0
        return found.total_cents


def _save_once(item: CustomerItem | StripeEventItem) -> None:
    try:
        item.save(type(item).pk.does_not_exist())
    except PutError as error:
        if not is_condition_failure(error):
            raise


def _write(top_up: TopUp, version: int) -> TopUpItem:
    facts = asdict(top_up) | {"version": version}
    created_key = keys.created(top_up.created_at_ms, top_up.top_up_id)
    return TopUpItem(keys.top_up(top_up.top_up_id), keys.TOP_UP, created_key=created_key, **facts)


def _read(item: TopUpItem) -> TopUp:
    return TopUp(
        item.top_up_id,
        item.account_id,
        cast("TopUpKind", item.kind),
        item.amount_micros,
        item.currency,
        item.created_at_ms,
        cast("TopUpState", item.state),
        item.attempt,
        item.checkout_url,
        item.session_id,
        item.payment_id,
        item.failure_code,
        item.receipt_url,
        item.tax_micros,
        item.refunded_micros,
        item.disputed_micros,
        item.version,
    )

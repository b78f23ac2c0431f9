"""Endpoints and events in DynamoDB. Access: by account; what is due by ``by_due``, in shards."""

import zlib
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, cast

from pynamodb.exceptions import PutError
from pynamodb.expressions.condition import Condition
from pynamodb.models import Model

from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.webhooks import EndpointsItem, EventItem
from chalicelib.storage.transaction import dynamo, unexpected
from chalicelib.webhooks.dispatch import SHARDS
from chalicelib.webhooks.model import (
    EVENT_LIFETIME_MS,
    Attempt,
    Delivery,
    Endpoint,
    Endpoints,
    Event,
    EventType,
)


class DynamoWebhookStore:
    def add_event(self, tx: Transaction, event: Event) -> None:
        dynamo(tx).put(_build_event(event), EventItem.pk.does_not_exist(), unexpected("The event"))

    def get_endpoints(self, account_id: str) -> Endpoints:
        try:
            item = EndpointsItem.get(keys.account(account_id), keys.ENDPOINTS, consistent_read=True)
        except EndpointsItem.DoesNotExist:
            return Endpoints(account_id)
        return Endpoints(account_id, tuple(_read_endpoint(each) for each in item.endpoints), item.version)

    def replace_endpoints(self, tx: Transaction, old: Endpoints, new: Endpoints) -> None:
        dynamo(tx).put(_build_endpoints(new), _same_endpoints(old), unexpected("The endpoints"))

    def keep_endpoints(self, old: Endpoints, new: Endpoints) -> bool:
        return _save(_build_endpoints(new), _same_endpoints(old))

    def get_event(self, account_id: str, event_id: str) -> Event | None:
        try:
            item = EventItem.get(keys.account(account_id), keys.event(event_id), consistent_read=True)
        except EventItem.DoesNotExist:
            return None
        return _read_event(item)

    def list_events(self, account_id: str, limit: int, start: str | None) -> Page[Event]:
        # Both ends lie within the events: the account's endpoints are another item.
        first, last = keys.event(""), keys.event("~") if start is None else keys.event(start)
        rows = EventItem.query(
            keys.account(account_id),
            EventItem.sk.between(first, last),
            scan_index_forward=False,
            limit=limit + 2,
            page_size=limit + 2,
        )
        found = [_read_event(item) for item in rows]
        older = [each for each in found if start is None or each.event_id < start]
        return Page(older[:limit], older[limit - 1].event_id if len(older) > limit else None)

    def list_due(self, shard: int, now_ms: int, limit: int) -> list[tuple[str, str]]:
        rows = EventItem.by_due.query(
            name_shard(shard), EventItem.due_at_ms <= now_ms, limit=limit, page_size=limit
        )
        return [(keys.read_account(item.pk), keys.read_event(item.sk)) for item in rows]

    def find_oldest_due_ms(self, shard: int) -> int | None:
        rows = EventItem.by_due.query(name_shard(shard), limit=1, page_size=1)
        return next((item.due_at_ms for item in rows), None)

    def replace_event(self, tx: Transaction, old: Event, new: Event) -> None:
        dynamo(tx).put(_build_event(new), EventItem.version == old.version, unexpected("The event"))

    def keep_event(self, old: Event, new: Event) -> bool:
        return _save(_build_event(new), EventItem.version == old.version)


def name_shard(number: int) -> str:
    return f"DUE#{number}"


def choose_shard(event_id: str) -> str:
    return name_shard(zlib.crc32(event_id.encode()) % SHARDS)


def _same_endpoints(old: Endpoints) -> Condition:
    if old.version == 0:
        return EndpointsItem.pk.does_not_exist()
    return cast("Condition", EndpointsItem.version == old.version)


def _save(item: Model, condition: Condition) -> bool:
    try:
        item.save(condition)
    except PutError as error:
        if is_condition_failure(error):
            return False
        raise
    return True


def _build_endpoints(endpoints: Endpoints) -> EndpointsItem:
    return EndpointsItem(
        keys.account(endpoints.account_id),
        keys.ENDPOINTS,
        endpoints=[asdict(each) | {"event_types": sorted(each.event_types)} for each in endpoints.items],
        version=endpoints.version,
    )


def _read_endpoint(stored: dict[str, Any]) -> Endpoint:
    return Endpoint(**stored | {"event_types": frozenset(stored["event_types"])})


def _build_event(event: Event) -> EventItem:
    due_at_ms = event.due_at_ms
    return EventItem(
        keys.account(event.account_id),
        keys.event(event.event_id),
        type=event.type,
        created_at_ms=event.created_at_ms,
        data=event.data,
        only_endpoint_id=event.only_endpoint_id,
        deliveries=None if event.deliveries is None else [asdict(each) for each in event.deliveries],
        version=event.version,
        due_shard=None if due_at_ms is None else choose_shard(event.event_id),
        due_at_ms=due_at_ms,
        expires_at=(event.created_at_ms + EVENT_LIFETIME_MS) // 1000,
    )


def _read_event(item: EventItem) -> Event:
    return Event(
        event_id=keys.read_event(item.sk),
        account_id=keys.read_account(item.pk),
        type=cast("EventType", item.type),
        created_at_ms=item.created_at_ms,
        data=dict(item.data),
        only_endpoint_id=item.only_endpoint_id,
        deliveries=None if item.deliveries is None else tuple(_read_deliveries(item.deliveries)),
        version=item.version,
    )


def _read_deliveries(stored: Iterable[dict[str, Any]]) -> Iterable[Delivery]:
    for each in stored:
        attempts = tuple(Attempt(**attempt) for attempt in each["attempts"])
        yield Delivery(**each | {"attempts": attempts})

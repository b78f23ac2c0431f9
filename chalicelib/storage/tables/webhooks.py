"""Renters' endpoints, and events with their deliveries: the outbox."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class EventsByDue(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_due"
        # An event is read again by its key before anything is done.
        projection = KeysOnlyProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    due_at_ms = IntegerAttribute(range_key=True)


class WebhooksTable(Table):
    class Meta(TableMeta):
        table_name = "webhooks"


class EndpointsItem(WebhooksTable):
    """All endpoints of an account: ten at most, so that one read says who gets an event."""

    endpoints: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()


class EventItem(WebhooksTable):
    """``deliveries`` is absent until the event is dispatched; the stream says that there is a new one."""

    type = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    data: JSONAttribute = JSONAttribute()
    only_endpoint_id = UnicodeAttribute(null=True)
    deliveries: JSONAttribute = JSONAttribute(null=True)
    version = IntegerAttribute()
    #: Sparse: present while something is to be done.
    due_shard = UnicodeAttribute(null=True)
    due_at_ms = IntegerAttribute(null=True)
    by_due = EventsByDue()
    expires_at = IntegerAttribute()

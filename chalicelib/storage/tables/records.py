"""Answers for repeated requests, the audit trail, incidents and maintenance windows."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class IdempotencyByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = KeysOnlyProjection()

    account_id = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class IdempotencyItem(Table):
    class Meta(TableMeta):
        table_name = "idempotency"

    #: Erasure finds by it what has not expired.
    account_id = UnicodeAttribute(null=True)
    by_account = IdempotencyByAccount()
    fingerprint = UnicodeAttribute()
    status = IntegerAttribute()
    body = UnicodeAttribute()
    expires_at = IntegerAttribute()


class AuditBySubject(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_subject"
        projection = AllProjection()

    subject = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AuditByActor(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_actor"
        projection = AllProjection()

    indexed_actor = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AuditByHour(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_hour"
        projection = KeysOnlyProjection()

    hour_shard = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class AuditItem(Table):
    class Meta(TableMeta):
        table_name = "audit"

    audit_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    actor = UnicodeAttribute()
    action = UnicodeAttribute()
    subject = UnicodeAttribute()
    by_subject = AuditBySubject()
    #: Sparse: absent where the platform acts by itself, which would all fall on one key.
    indexed_actor = UnicodeAttribute(null=True)
    by_actor = AuditByActor()
    hour_shard = UnicodeAttribute(null=True)
    by_hour = AuditByHour()
    at_ms = IntegerAttribute()
    details: JSONAttribute = JSONAttribute()


class IncidentsByHost(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_host"
        projection = AllProjection()

    host_id = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)


class IncidentItem(Table):
    """One partition a month; ``host_id`` is there when the incident is one host's."""

    class Meta(TableMeta):
        table_name = "incidents"

    incident_id = UnicodeAttribute()
    kind = UnicodeAttribute()
    region = UnicodeAttribute()
    at_ms = IntegerAttribute()
    host_id = UnicodeAttribute(null=True)
    by_host = IncidentsByHost()
    details: JSONAttribute = JSONAttribute()
    expires_at = IntegerAttribute()


class WindowsByHost(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_host"
        projection = AllProjection()

    host_id = UnicodeAttribute(hash_key=True)
    window_id = UnicodeAttribute(range_key=True)


class OpenWindows(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_open"
        projection = AllProjection()

    open_key = UnicodeAttribute(hash_key=True)
    due_at_ms = IntegerAttribute(range_key=True)


class WindowItem(Table):
    class Meta(TableMeta):
        table_name = "maintenance"

    window_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    by_host = WindowsByHost()
    category = UnicodeAttribute()
    reason = UnicodeAttribute()
    starts_at_ms = IntegerAttribute()
    ends_at_ms = IntegerAttribute()
    lead_ms = IntegerAttribute()
    created_at_ms = IntegerAttribute()
    state = UnicodeAttribute()
    #: Sparse: present until the window is done or cancelled, with the instant of its next step.
    open_key = UnicodeAttribute(null=True)
    due_at_ms = IntegerAttribute(null=True)
    by_open = OpenWindows()

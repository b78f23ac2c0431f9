"""Answers for repeated requests, and the audit trail."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class IdempotencyItem(Table):
    class Meta(TableMeta):
        table_name = "idempotency"

    fingerprint = UnicodeAttribute()
    status = IntegerAttribute()
    body = UnicodeAttribute()
    expires_at = IntegerAttribute()


class AuditItem(Table):
    class Meta(TableMeta):
        table_name = "audit"

    audit_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    actor = UnicodeAttribute()
    action = UnicodeAttribute()
    subject = UnicodeAttribute()
    at_ms = IntegerAttribute()
    details: JSONAttribute = JSONAttribute()

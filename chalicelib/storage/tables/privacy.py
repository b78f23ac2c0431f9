"""Data keys of persons, what people ask of their data, what they agreed to."""

from typing import Any

from pynamodb.attributes import BinaryAttribute, BooleanAttribute, JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class PersonKeyItem(Table):
    """In a table that cannot be restored to an earlier moment: that would bring a destroyed key back."""

    class Meta(TableMeta):
        table_name = "person-keys"

    #: None: destroyed.
    wrapped = BinaryAttribute(null=True, legacy_encoding=False)
    created_at_ms = IntegerAttribute()
    destroyed_at_ms = IntegerAttribute(null=True)


class RequestsByOpen(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_open"
        projection = AllProjection()

    open_shard = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class PrivacyTable(Table):
    class Meta(TableMeta):
        table_name = "privacy"


class PrivacyRequestItem(PrivacyTable):
    request_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    subject_id = UnicodeAttribute()
    requested_by = UnicodeAttribute()
    kind = UnicodeAttribute()
    state = UnicodeAttribute()
    reasons: JSONAttribute = JSONAttribute()
    created_at_ms = IntegerAttribute()
    due_at_ms = IntegerAttribute()
    started_at_ms = IntegerAttribute(null=True)
    completed_at_ms = IntegerAttribute(null=True)
    step = IntegerAttribute()
    document_key = UnicodeAttribute(null=True)
    export_expires_at_ms = IntegerAttribute(null=True)
    tried_at_ms = IntegerAttribute(null=True)
    #: Sparse: present until it is done with.
    open_shard = UnicodeAttribute(null=True)
    created_key = UnicodeAttribute()
    by_open = RequestsByOpen()
    version = IntegerAttribute()


class OpenRequestItem(PrivacyTable):
    """Which request of a subject is dealt with; an erasure stays for ever."""

    request_id = UnicodeAttribute()
    kind = UnicodeAttribute()


class ConsentItem(PrivacyTable):
    account_id = UnicodeAttribute()
    actor = UnicodeAttribute()
    purpose = UnicodeAttribute()
    given = BooleanAttribute()
    version = UnicodeAttribute()
    at_ms = IntegerAttribute()

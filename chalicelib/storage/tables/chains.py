"""The chains of the audit trail: links and anchors, append only; marks of what is to be done stand apart."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta
from chalicelib.storage.tables.reports import MarksTable


class ChainTable(Table):
    class Meta(TableMeta):
        table_name = "chain"


class LinkItem(ChainTable):
    audit_id = UnicodeAttribute()
    at_ms = IntegerAttribute()
    linked_at_ms = IntegerAttribute()
    digest = UnicodeAttribute()
    previous_hash = UnicodeAttribute()
    hash = UnicodeAttribute()


class LinkedEntryItem(ChainTable):
    """That an entry is linked, once for ever."""

    account_id = UnicodeAttribute()
    sequence = IntegerAttribute()


class AnchorItem(ChainTable):
    at_ms = IntegerAttribute()
    previous_root = UnicodeAttribute()
    size = IntegerAttribute()
    tree_root = UnicodeAttribute()


class AnchoredItem(ChainTable):
    number = IntegerAttribute()
    hash = UnicodeAttribute()


class MovedItem(MarksTable):
    """A head that no anchor holds yet. Who links puts it, who anchors takes it away."""

    sequence = IntegerAttribute()
    hash = UnicodeAttribute()


class AuditProgressItem(MarksTable):
    hour = IntegerAttribute(null=True)
    newest = IntegerAttribute(null=True)
    round = IntegerAttribute(null=True)
    new_at: JSONAttribute = JSONAttribute(null=True)
    round_at: JSONAttribute = JSONAttribute(null=True)
    finished_at_ms = IntegerAttribute(null=True)

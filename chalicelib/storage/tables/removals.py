"""Statements of capture, what of them is whose, batches of credits and their certificates; the register."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class RemovalsTable(Table):
    class Meta(TableMeta):
        table_name = "removals"


class RemovalItem(RemovalsTable):
    """A revision of a unit's day. ``content`` as `chalicelib.removals.model.Content`."""

    state = UnicodeAttribute()
    version = IntegerAttribute()
    content: JSONAttribute = JSONAttribute()
    created_at_ms = IntegerAttribute()
    issued_before_mg = IntegerAttribute()
    issued_mg = IntegerAttribute()
    evidence = UnicodeAttribute(null=True)
    decided_by = UnicodeAttribute(null=True)
    decided_at_ms = IntegerAttribute(null=True)
    superseded_by = IntegerAttribute(null=True)
    serial = UnicodeAttribute(null=True)


class ShareItem(RemovalsTable):
    mass_mg = IntegerAttribute()
    state = UnicodeAttribute()
    serial = UnicodeAttribute(null=True)


class BatchItem(RemovalsTable):
    serial = UnicodeAttribute()
    host_id = UnicodeAttribute()
    unit_id = UnicodeAttribute()
    day = UnicodeAttribute()
    revision = IntegerAttribute()
    region = UnicodeAttribute()
    issued_mg = IntegerAttribute()
    buffer_mg = IntegerAttribute()
    allocated_mg = IntegerAttribute()
    sold_mg = IntegerAttribute()
    #: Stored because a condition cannot subtract: always issued - allocated - sold - buffer.
    free_mg = IntegerAttribute()
    retired_mg = IntegerAttribute()
    issued_at_ms = IntegerAttribute()
    children = IntegerAttribute()
    entries = IntegerAttribute()
    chain_hash = UnicodeAttribute()
    #: 1 once what was left has been shared out.
    shared_out = IntegerAttribute()


class CertificateItem(RemovalsTable):
    serial = UnicodeAttribute()
    parent = UnicodeAttribute()
    kind = UnicodeAttribute()
    holder = UnicodeAttribute()
    mass_mg = IntegerAttribute()
    created_at_ms = IntegerAttribute()
    state = UnicodeAttribute()
    children: JSONAttribute = JSONAttribute(null=True)
    beneficiary = UnicodeAttribute(null=True)
    retired_at_ms = IntegerAttribute(null=True)


class RegisterItem(Table):
    """Append only: the functions' roles may put and read here, never update or delete."""

    class Meta(TableMeta):
        table_name = "register"

    act = UnicodeAttribute()
    serial = UnicodeAttribute()
    mass_mg = IntegerAttribute()
    at_ms = IntegerAttribute()
    details: JSONAttribute = JSONAttribute()
    previous_hash = UnicodeAttribute()
    hash = UnicodeAttribute()

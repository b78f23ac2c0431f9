"""Data keys of persons."""

from pynamodb.attributes import BinaryAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class PersonKeyItem(Table):
    """In a table that cannot be restored to an earlier moment: that would bring a destroyed key back."""

    class Meta(TableMeta):
        table_name = "person-keys"

    #: None: destroyed.
    wrapped = BinaryAttribute(null=True, legacy_encoding=False)
    created_at_ms = IntegerAttribute()
    destroyed_at_ms = IntegerAttribute(null=True)

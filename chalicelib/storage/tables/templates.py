"""Templates of rentals."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class TemplatesByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class PublicTemplates(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_public"
        projection = AllProjection()

    public = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class TemplateItem(Table):
    """Of a removed template, what is not ``null=True`` and ``expires_at`` are left."""

    class Meta(TableMeta):
        table_name = "templates"

    account_id = UnicodeAttribute()
    version = IntegerAttribute()
    #: Absent once removed: it then leaves both indexes.
    created_key = UnicodeAttribute(null=True)
    by_account = TemplatesByAccount()
    #: Present while it is public.
    public = UnicodeAttribute(null=True)
    by_public = PublicTemplates()
    template_id = UnicodeAttribute(null=True)
    name = UnicodeAttribute(null=True)
    workload: JSONAttribute = JSONAttribute(null=True)
    gpu_type = UnicodeAttribute(null=True)
    gpu_count = IntegerAttribute(null=True)
    created_at_ms = IntegerAttribute(null=True)
    updated_at_ms = IntegerAttribute(null=True)
    expires_at = IntegerAttribute(null=True)

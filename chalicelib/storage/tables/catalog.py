"""GPU types and prices."""

from pynamodb.attributes import UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class CatalogTable(Table):
    class Meta(TableMeta):
        table_name = "catalog"


class CatalogItem(CatalogTable):
    """A GPU type or a price, told apart by the sort key: the partition is read whole by one query."""

    gpu_type = UnicodeAttribute()
    architecture = UnicodeAttribute(null=True)
    memory_mib = IntegerAttribute(null=True)
    power_limit_watts = IntegerAttribute(null=True)
    region = UnicodeAttribute(null=True)
    price_micros_per_gpu_hour = IntegerAttribute(null=True)
    version = IntegerAttribute(null=True)

"""GPU types, prices in force and announced, and the history of prices."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class CatalogTable(Table):
    class Meta(TableMeta):
        table_name = "catalog"


class CatalogItem(CatalogTable):
    """A GPU type, the prices of a pool and class or an account's agreement: one query reads them all."""

    #: Empty for an agreement and the price of volumes.
    gpu_type = UnicodeAttribute()
    architecture = UnicodeAttribute(null=True)
    memory_mib = IntegerAttribute(null=True)
    power_limit_watts = IntegerAttribute(null=True)
    interconnect = UnicodeAttribute(null=True)
    mig_profile = UnicodeAttribute(null=True)
    parent_gpu_type = UnicodeAttribute(null=True)
    region = UnicodeAttribute(null=True)
    billing_class = UnicodeAttribute(null=True)
    #: ``[from_ms, price_micros_per_gpu_hour, version]`` each, rising in time.
    points: JSONAttribute = JSONAttribute(null=True)
    version = IntegerAttribute(null=True)
    price_micros_per_gib_hour = IntegerAttribute(null=True)
    spot_floor_ppm = IntegerAttribute(null=True)
    spot_cap_ppm = IntegerAttribute(null=True)
    moved_step = IntegerAttribute(null=True)
    #: Of an agreement: a map each, as `chalicelib.catalog.model.Term`.
    terms: JSONAttribute = JSONAttribute(null=True)


class PriceHistoryItem(Table):
    """One price that was set, for ever."""

    class Meta(TableMeta):
        table_name = "prices"

    from_ms = IntegerAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    version = IntegerAttribute()
    set_at_ms = IntegerAttribute()
    origin = UnicodeAttribute()

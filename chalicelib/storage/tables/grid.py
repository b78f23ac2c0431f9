"""Grid intensity: what was measured, what was forecast when, how the last attempts went."""

from pynamodb.attributes import BooleanAttribute, JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class GridTable(Table):
    class Meta(TableMeta):
        table_name = "grid"


class IntensityItem(GridTable):
    """One revision of one interval; written once and never changed."""

    valid_from_ms = IntegerAttribute()
    valid_until_ms = IntegerAttribute()
    mg_co2e_per_kwh = IntegerAttribute()
    method = UnicodeAttribute()
    source = UnicodeAttribute()
    dataset = UnicodeAttribute()
    fetched_at_ms = IntegerAttribute()
    estimated = BooleanAttribute()
    revision = IntegerAttribute()


class ForecastItem(GridTable):
    """What was forecast at one instant; written once. ``points``: from, until, mg per kWh."""

    generated_at_ms = IntegerAttribute()
    fetched_at_ms = IntegerAttribute()
    method = UnicodeAttribute()
    source = UnicodeAttribute()
    dataset = UnicodeAttribute()
    points: JSONAttribute = JSONAttribute()
    expires_at = IntegerAttribute()


class FetchStateItem(GridTable):
    provider = UnicodeAttribute()
    zone = UnicodeAttribute()
    signal = UnicodeAttribute()
    accounting = UnicodeAttribute()
    kind = UnicodeAttribute()
    attempted_at_ms = IntegerAttribute()
    next_attempt_ms = IntegerAttribute()
    failures = IntegerAttribute()
    succeeded_at_ms = IntegerAttribute(null=True)
    reason = UnicodeAttribute(null=True)

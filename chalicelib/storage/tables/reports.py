"""Energy by the day and reports of it: what was rolled up, what is due, what was made."""

from pynamodb.attributes import BooleanAttribute, JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ReportsTable(Table):
    class Meta(TableMeta):
        table_name = "reports"


class MarksTable(Table):
    """What is to be done, taken away by who has done it: apart, for nobody may take a report away."""

    class Meta(TableMeta):
        table_name = "marks"


class StayDayItem(ReportsTable):
    """``hours``: hour, millijoules, of them estimated, GPU-milliseconds covered and expected."""

    rental_id = UnicodeAttribute()
    segment = IntegerAttribute()
    host_id = UnicodeAttribute()
    region = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    label = UnicodeAttribute(null=True)
    hours: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()


class SiteDayItem(ReportsTable):
    host_id = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    rented: JSONAttribute = JSONAttribute()
    platform: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()


class ProgressItem(MarksTable):
    day = UnicodeAttribute()
    host_id = UnicodeAttribute(null=True)


class DueItem(MarksTable):
    marked_at_ms = IntegerAttribute()


class LateSiteItem(MarksTable):
    """A host's day to roll up again. Metering puts it, who rolls up takes it away."""

    marked_at_ms = IntegerAttribute()


class ReportItem(ReportsTable):
    period = UnicodeAttribute()
    version = IntegerAttribute()
    created_at_ms = IntegerAttribute()
    digest = UnicodeAttribute()
    energy_millijoules = IntegerAttribute()
    operational_mg = IntegerAttribute()
    estimated = BooleanAttribute()

"""Lines before pools, spot stays by pool, quotas, spread groups."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class SchedulingTable(Table):
    class Meta(TableMeta):
        table_name = "scheduling"


class TicketItem(SchedulingTable):
    """One place in the line of one pool; a ticket stands in several."""

    ticket_id = UnicodeAttribute()
    rental_ids: JSONAttribute = JSONAttribute()
    account_id = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    pools: JSONAttribute = JSONAttribute()
    gpu_count = IntegerAttribute()
    billing_class = UnicodeAttribute()
    priority = IntegerAttribute()
    since_ms = IntegerAttribute()
    max_price_micros_per_gpu_hour = IntegerAttribute(null=True)
    deadline_at_ms = IntegerAttribute(null=True)
    pinned_host_id = UnicodeAttribute(null=True)
    fabric_id = UnicodeAttribute(null=True)
    preempting_until_ms = IntegerAttribute()


class LineItem(SchedulingTable):
    """How many tickets stand before a pool, kept by arithmetic, and how fast they are served."""

    tickets = IntegerAttribute(null=True)
    interval_ms = IntegerAttribute(null=True)
    last_dispatch_at_ms = IntegerAttribute(null=True)


class SpotStayItem(SchedulingTable):
    rental_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    started_at_ms = IntegerAttribute()


class QuotaItem(SchedulingTable):
    max_gpus = IntegerAttribute()
    #: Stored because a condition cannot subtract: always max_gpus - used.
    available_gpus = IntegerAttribute()
    #: 1: an operator set it.
    is_set = IntegerAttribute(null=True)


class SpreadItem(SchedulingTable):
    rental_id = UnicodeAttribute()

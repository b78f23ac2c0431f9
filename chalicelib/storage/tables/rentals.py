"""Rentals and what belongs to one."""

from typing import Any

from pynamodb.attributes import BooleanAttribute, JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class RentalsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class RentalItem(Table):
    class Meta(TableMeta):
        table_name = "rentals"

    rental_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    created_key = UnicodeAttribute()
    by_account = RentalsByAccount()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    host_id = UnicodeAttribute()
    leases: JSONAttribute = JSONAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    currency = UnicodeAttribute()
    label = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    desired_state = UnicodeAttribute()
    health = UnicodeAttribute()
    billing_state = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    created_at_ms = IntegerAttribute()
    running_at_ms = IntegerAttribute(null=True)
    stop_requested_at_ms = IntegerAttribute(null=True)
    terminated_at_ms = IntegerAttribute(null=True)
    billed_seconds = IntegerAttribute()
    charge_micros = IntegerAttribute()
    endpoints: JSONAttribute = JSONAttribute(null=True)
    interruption: JSONAttribute = JSONAttribute(null=True)
    warnings: JSONAttribute = JSONAttribute(null=True)
    messages_version = IntegerAttribute(null=True)


class LogItem(Table):
    """The end of a rental's log, as it was last asked for."""

    class Meta(TableMeta):
        table_name = "rentals"

    taken_at_ms = IntegerAttribute()
    text = UnicodeAttribute()
    truncated = BooleanAttribute()

"""Rentals and what belongs to one."""

from typing import Any

from pynamodb.attributes import BooleanAttribute, JSONAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class RentalsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class RentalsByDue(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_due"
        projection = AllProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    due_at_ms = IntegerAttribute(range_key=True)


class RentalsByKept(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_kept"
        projection = KeysOnlyProjection()

    kept_shard = UnicodeAttribute(hash_key=True)
    rental_id = UnicodeAttribute(range_key=True)


class RentalsTable(Table):
    class Meta(TableMeta):
        table_name = "rentals"


class RentalItem(RentalsTable):
    rental_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    created_key = UnicodeAttribute()
    by_account = RentalsByAccount()
    gpu_type = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    wanted_region = UnicodeAttribute()
    currency = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    billing_class = UnicodeAttribute()
    label = UnicodeAttribute(null=True)
    state = UnicodeAttribute()
    desired_state = UnicodeAttribute()
    health = UnicodeAttribute()
    billing_state = UnicodeAttribute()
    reason = UnicodeAttribute(null=True)
    placement: JSONAttribute = JSONAttribute(null=True)
    past: JSONAttribute = JSONAttribute(null=True)
    price_micros_per_gpu_hour = IntegerAttribute(null=True)
    max_price_micros_per_gpu_hour = IntegerAttribute(null=True)
    waiting: JSONAttribute = JSONAttribute(null=True)
    priority = IntegerAttribute()
    deadline_at_ms = IntegerAttribute(null=True)
    recovery = UnicodeAttribute()
    locked = BooleanAttribute()
    spread_group = UnicodeAttribute(null=True)
    cluster_id = UnicodeAttribute(null=True)
    reservation_id = UnicodeAttribute(null=True)
    has_volume = BooleanAttribute()
    volume_host_id = UnicodeAttribute(null=True)
    volume_lost_at_ms = IntegerAttribute(null=True)
    volume_mib = IntegerAttribute(null=True)
    volume_price_micros_per_gib_hour = IntegerAttribute(null=True)
    kept: JSONAttribute = JSONAttribute(null=True)
    data_hold: JSONAttribute = JSONAttribute(null=True)
    policies: JSONAttribute = JSONAttribute(null=True)
    start_plan: JSONAttribute = JSONAttribute(null=True)
    planned_end: JSONAttribute = JSONAttribute(null=True)
    ends_at_ms = IntegerAttribute(null=True)
    reserved_until_ms = IntegerAttribute(null=True)
    running_at_ms = IntegerAttribute(null=True)
    stop_requested_at_ms = IntegerAttribute(null=True)
    terminated_at_ms = IntegerAttribute(null=True)
    billed_seconds = IntegerAttribute()
    charge_micros = IntegerAttribute()
    #: The last stay whose charges are all posted.
    settled_segment = IntegerAttribute()
    endpoints: JSONAttribute = JSONAttribute(null=True)
    interruption: JSONAttribute = JSONAttribute(null=True)
    warnings: JSONAttribute = JSONAttribute(null=True)
    messages_version = IntegerAttribute(null=True)
    version = IntegerAttribute()
    #: Sparse: present while something is to be done to the rental by itself.
    due_shard = UnicodeAttribute(null=True)
    due_at_ms = IntegerAttribute(null=True)
    by_due = RentalsByDue()
    #: Sparse: present while the keeping of its volume is to be charged.
    kept_shard = UnicodeAttribute(null=True)
    by_kept = RentalsByKept()


class WorkloadItem(RentalsTable):
    """What a rental runs: needed whenever it is placed."""

    workload: JSONAttribute = JSONAttribute()


class LogItem(RentalsTable):
    """The end of a rental's log, as it was last asked for."""

    taken_at_ms = IntegerAttribute()
    text = UnicodeAttribute()
    truncated = BooleanAttribute()
    expires_at = IntegerAttribute(null=True)

"""Reservations with their bookings, and hosts' calendars."""

from typing import Any

from pynamodb.attributes import JSONAttribute, ListAttribute, MapAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ReservationsByAccount(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_account"
        projection = AllProjection()

    account_id = UnicodeAttribute(hash_key=True)
    created_key = UnicodeAttribute(range_key=True)


class ByBoundary(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_boundary"
        projection = AllProjection()

    boundary_shard = UnicodeAttribute(hash_key=True)
    boundary_at_ms = IntegerAttribute(range_key=True)


class ByHost(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_host"
        projection = AllProjection()

    open_host_id = UnicodeAttribute(hash_key=True)
    ends_at_ms = IntegerAttribute(range_key=True)


class ReservationsTable(Table):
    class Meta(TableMeta):
        table_name = "reservations"


class ReservationItem(ReservationsTable):
    reservation_id = UnicodeAttribute()
    account_id = UnicodeAttribute()
    created_key = UnicodeAttribute()
    by_account = ReservationsByAccount()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    node_count = IntegerAttribute()
    #: Of every booking, closed ones too: where to find them without a query.
    host_ids: JSONAttribute = JSONAttribute()
    starts_at_ms = IntegerAttribute()
    ends_at_ms = IntegerAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    currency = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    state = UnicodeAttribute()
    label = UnicodeAttribute(null=True)
    cancelled_at_ms = IntegerAttribute(null=True)
    cancel_fee_micros = IntegerAttribute(null=True)
    broken_at_ms = IntegerAttribute(null=True)
    credit_due_micros = IntegerAttribute(null=True)
    #: Absent where it was booked before there was a quota.
    quota_gpus = IntegerAttribute(null=True)
    #: Absent where it was booked before there were deposits.
    deposit_micros = IntegerAttribute(null=True)
    version = IntegerAttribute()
    #: Sparse: present while it is to begin or to end.
    boundary_shard = UnicodeAttribute(null=True)
    boundary_at_ms = IntegerAttribute(null=True)
    by_boundary = ByBoundary()


class BookingItem(ReservationsTable):
    """``uses`` maps the rental that has GPUs of the booking to their number."""

    reservation_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    #: Stored because a condition cannot add up: always gpu_count less the sum of ``uses``.
    unused_gpus = IntegerAttribute()
    uses: MapAttribute[str, Any] = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    #: See `reservations.model.Booking`; absent where it was booked before that was counted.
    served_gpu_ms = IntegerAttribute(null=True)
    state = UnicodeAttribute()
    starts_at_ms = IntegerAttribute()
    ends_at_ms = IntegerAttribute()
    #: Sparse: present until the booking is closed.
    open_host_id = UnicodeAttribute(null=True)
    by_host = ByHost()


class CalendarHeadItem(ReservationsTable):
    """How many open bookings a host has, kept by arithmetic."""

    open_bookings = IntegerAttribute(null=True)


class DayItem(ReservationsTable):
    """The promised GPUs of each of the 96 slots of a host's UTC day."""

    promised: ListAttribute[Any] = ListAttribute(of=IntegerAttribute)
    expires_at = IntegerAttribute()


class ReservedQuotaItem(ReservationsTable):
    max_gpus = IntegerAttribute()
    #: Stored because a condition cannot subtract: always max_gpus - used.
    available_gpus = IntegerAttribute()

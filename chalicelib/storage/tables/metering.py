"""Meters, energy, capture units, raw telemetry."""

from typing import Any

from pynamodb.attributes import JSONAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ByOpen(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_open"
        # What each heartbeat changes is not kept in it.
        projection = IncludeProjection(["account_id"])

    open_shard = UnicodeAttribute(hash_key=True)
    rental_id = UnicodeAttribute(range_key=True)


class ByDay(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_day"
        projection = KeysOnlyProjection()

    day_shard = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class MeteringTable(Table):
    class Meta(TableMeta):
        table_name = "metering"


class MeterItem(MeteringTable):
    rental_id = UnicodeAttribute()
    segment = IntegerAttribute()
    account_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    region = UnicodeAttribute()
    leases: JSONAttribute = JSONAttribute()
    gpu_count = IntegerAttribute()
    price_micros_per_gpu_hour = IntegerAttribute()
    state = UnicodeAttribute()
    started_at_ms = IntegerAttribute()
    alive_through_ms = IntegerAttribute()
    unproven_ms = IntegerAttribute()
    charge_seq = IntegerAttribute()
    charged_seconds = IntegerAttribute()
    charged_micros = IntegerAttribute()
    end_reason = UnicodeAttribute(null=True)
    #: Sparse: present until the last charge is posted, so the index lists what is still to be charged.
    open_shard = UnicodeAttribute(null=True)
    by_open = ByOpen()
    slowed_hours = UnicodeSetAttribute(null=True)
    slowed_at_ms = IntegerAttribute(null=True)
    slowdown_micros = IntegerAttribute(null=True)
    #: Of a stay with an idle policy: what telemetry has shown so far.
    observed_through_ms = IntegerAttribute(null=True)
    idle_since_ms = IntegerAttribute(null=True)


class EnergyItem(MeteringTable):
    gpu_uuid = UnicodeAttribute()
    epoch = IntegerAttribute()
    hour = UnicodeAttribute()
    energy_millijoules = IntegerAttribute()
    estimated_millijoules = IntegerAttribute()
    intervals = IntegerAttribute()
    intervals_expected = IntegerAttribute(null=True)
    thermal_slowdown_ms = IntegerAttribute(null=True)
    power_brake_ms = IntegerAttribute(null=True)
    slowdown_source = UnicodeAttribute(null=True)
    slowdown_micros = IntegerAttribute(null=True)


class SiteEnergyItem(MeteringTable):
    """An hour of a host. For each user it has ``e<user>``, ``x<user>`` where some is estimated, ``c<user>``.

    Millijoules, of them estimated, GPU-milliseconds covered. A user is account, rental and stay.
    """

    day_shard = UnicodeAttribute()
    by_day = ByDay()


class DuplicatesItem(MeteringTable):
    duplicates = IntegerAttribute()


class CaptureItem(MeteringTable):
    """One datapoint of a capture unit; written once and never changed."""

    value = IntegerAttribute()
    standard_deviation = IntegerAttribute()
    unit = UnicodeAttribute()
    received_at_ms = IntegerAttribute()


class TelemetryTable(Table):
    class Meta(TableMeta):
        table_name = "telemetry"


class TelemetryItem(TelemetryTable):
    host_id = UnicodeAttribute()
    record = UnicodeAttribute()
    sha256 = UnicodeAttribute()
    sent_at_ms = IntegerAttribute()
    expires_at = IntegerAttribute()


class TelemetryPartItem(TelemetryTable):
    """Energy of a part of a record was added, and the record is still to come."""

    expires_at = IntegerAttribute()

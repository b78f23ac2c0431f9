"""Hosts, GPUs with their leases, enrolments, heartbeats, and the outbox of commands."""

from typing import Any

from pynamodb.attributes import BooleanAttribute, JSONAttribute, MapAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ByPool(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_pool"
        projection = AllProjection()

    pool = UnicodeAttribute(hash_key=True)
    free_gpus = IntegerAttribute(range_key=True)


class FleetTable(Table):
    class Meta(TableMeta):
        table_name = "fleet"


class EnrolmentItem(FleetTable):
    digest = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    expires_at_ms = IntegerAttribute()
    host_id = UnicodeAttribute()
    install_id = UnicodeAttribute(null=True)


class HostItem(FleetTable):
    """``free_leases`` maps the UUID of each free GPU to its epoch, so one index read is enough to place."""

    host_id = UnicodeAttribute()
    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    state = UnicodeAttribute()
    gpu_count = IntegerAttribute()
    free_gpus = IntegerAttribute()
    free_leases: MapAttribute[str, Any] = MapAttribute(default=dict)  # type: ignore[no-untyped-call]
    install_id = UnicodeAttribute()
    agent_version = UnicodeAttribute()
    created_at_ms = IntegerAttribute()
    commands_queue_url = UnicodeAttribute()
    api_key_id = UnicodeAttribute()
    #: `keys.pool` or `keys.reservable_pool` while it may be offered, `keys.closed_pool` while it drains.
    pool = UnicodeAttribute(null=True)
    by_pool = ByPool()
    notice: JSONAttribute = JSONAttribute(null=True)
    draining = BooleanAttribute(null=True)
    health_version = IntegerAttribute(null=True)
    reservable = BooleanAttribute(null=True)
    fabric_id = UnicodeAttribute(null=True)


class GpuItem(FleetTable):
    gpu_uuid = UnicodeAttribute()
    pci_bus_id = UnicodeAttribute()
    model = UnicodeAttribute()
    memory_mib = IntegerAttribute()
    parent_uuid = UnicodeAttribute(null=True)
    slices = IntegerAttribute(null=True)
    lease_state = UnicodeAttribute()
    epoch = IntegerAttribute()
    rental_id = UnicodeAttribute(null=True)
    capabilities: JSONAttribute = JSONAttribute(null=True)
    capabilities_at_ms = IntegerAttribute(null=True)
    fault: JSONAttribute = JSONAttribute(null=True)
    #: Present while the fault is open: what a condition can ask.
    faulty = IntegerAttribute(null=True)


class HeartbeatItem(FleetTable):
    last_seen_at_ms = IntegerAttribute()
    boot_id = UnicodeAttribute()
    agent_version = UnicodeAttribute()
    gpus_ok = IntegerAttribute()
    spool_records = IntegerAttribute()
    records_lost = IntegerAttribute()
    conditions: JSONAttribute = JSONAttribute(null=True)
    #: GPUs of the host in the state ``withheld``; counted here because every heartbeat reads it.
    withheld_gpus = IntegerAttribute(null=True)
    announced = UnicodeAttribute(null=True)
    clock_offset_ms = IntegerAttribute(null=True)


class CommandItem(Table):
    """Outbox: the table's stream delivers each new item to the host's own queue."""

    class Meta(TableMeta):
        table_name = "commands"

    command_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    command = UnicodeAttribute()
    expires_at = IntegerAttribute()

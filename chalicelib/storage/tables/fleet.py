"""Hosts, GPUs with their leases, enrolments, heartbeats, pools' totals, and the outbox of commands."""

from typing import Any

from pynamodb.attributes import BooleanAttribute, JSONAttribute, MapAttribute, UnicodeAttribute
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, KeysOnlyProjection

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ByPool(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_pool"
        projection = AllProjection()

    pool = UnicodeAttribute(hash_key=True)
    free_rank = IntegerAttribute(range_key=True)


class BySilence(GlobalSecondaryIndex[Any]):
    class Meta:
        index_name = "by_silence"
        # Every heartbeat moves its entry: what it holds beside the keys would be written each time.
        projection = KeysOnlyProjection()

    watch_key = UnicodeAttribute(hash_key=True)
    last_seen_at_ms = IntegerAttribute(range_key=True)


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
    #: `placement.compute_rank`: moves together with ``free_gpus``, always.
    free_rank = IntegerAttribute()
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
    lost: JSONAttribute = JSONAttribute(null=True)
    cordon: JSONAttribute = JSONAttribute(null=True)
    maintenance: JSONAttribute = JSONAttribute(null=True)
    faulty_gpus = IntegerAttribute(null=True)
    #: Milliseconds of silence by UTC day, and instants of hardware incidents: of the last 30 days.
    downtime: JSONAttribute = JSONAttribute(null=True)
    hardware_incidents: JSONAttribute = JSONAttribute(null=True)
    past_maintenance: JSONAttribute = JSONAttribute(null=True)
    reservable = BooleanAttribute(null=True)
    #: GPUs that are lent to nobody until an instant: a reservation begins.
    kept_gpus = IntegerAttribute(null=True)
    kept_until_ms = IntegerAttribute(null=True)
    fabric_id = UnicodeAttribute(null=True)
    #: See `placement.pack_groups`; absent where there is nothing to choose.
    link_groups: JSONAttribute = JSONAttribute(null=True)


class FabricHostItem(FleetTable):
    """A host that a fabric joins to others; written when it enrols, and never changed."""

    host_id = UnicodeAttribute()


class GpuItem(FleetTable):
    gpu_uuid = UnicodeAttribute()
    pci_bus_id = UnicodeAttribute()
    model = UnicodeAttribute()
    memory_mib = IntegerAttribute()
    parent_uuid = UnicodeAttribute(null=True)
    slices = IntegerAttribute(null=True)
    link_group = UnicodeAttribute(null=True)
    lease_state = UnicodeAttribute()
    epoch = IntegerAttribute()
    rental_id = UnicodeAttribute(null=True)
    capabilities: JSONAttribute = JSONAttribute(null=True)
    capabilities_at_ms = IntegerAttribute(null=True)
    fault: JSONAttribute = JSONAttribute(null=True)
    #: Present while the fault is open: what a condition can ask.
    faulty = IntegerAttribute(null=True)


class HeartbeatItem(Table):
    """``pk`` is the host's. Written with every heartbeat: it has a table and an index of its own."""

    class Meta(TableMeta):
        table_name = "liveness"

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
    #: Sparse: `fleet.detector.choose_watch` while somebody watches whether the host is heard.
    watch_key = UnicodeAttribute(null=True)
    by_silence = BySilence()
    #: Present from the SUSPECT of a silence to its end: when the host was last heard before.
    suspect_since_ms = IntegerAttribute(null=True)


class RegionWatchItem(FleetTable):
    """What the watch of a region remembers between two ticks."""

    blind_since_ms = IntegerAttribute(null=True)
    clear_since_ms = IntegerAttribute(null=True)
    brake_since_ms = IntegerAttribute(null=True)
    version = IntegerAttribute()


class PoolTotalsItem(FleetTable):
    """Hosts and GPUs of a shard of a pool by the state of the host; changed by arithmetic only."""

    hosts_active = IntegerAttribute(null=True)
    hosts_draining = IntegerAttribute(null=True)
    hosts_lost = IntegerAttribute(null=True)
    gpus_active = IntegerAttribute(null=True)
    gpus_draining = IntegerAttribute(null=True)
    gpus_lost = IntegerAttribute(null=True)
    closed_maintenance = IntegerAttribute(null=True)
    closed_unhealthy = IntegerAttribute(null=True)


class PoolScoreItem(FleetTable):
    reliability_ppm = IntegerAttribute()
    gpus = IntegerAttribute()
    computed_at_ms = IntegerAttribute()


class CommandItem(Table):
    """Outbox: the table's stream delivers each new item to the host's own queue."""

    class Meta(TableMeta):
        table_name = "commands"

    command_id = UnicodeAttribute()
    host_id = UnicodeAttribute()
    command = UnicodeAttribute()
    expires_at = IntegerAttribute()

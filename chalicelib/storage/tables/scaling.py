"""Pools that scale by themselves, their minute, and their launches."""

from pynamodb.attributes import JSONAttribute, UnicodeAttribute

from chalicelib.storage.tables.base import IntegerAttribute, Table, TableMeta


class ScalingTable(Table):
    class Meta(TableMeta):
        table_name = "scaling"


class PoolItem(ScalingTable):
    """Settings. All pools stand in one partition: they are few, and written by people."""

    gpu_type = UnicodeAttribute()
    region = UnicodeAttribute()
    min_hosts = IntegerAttribute()
    max_hosts = IntegerAttribute()
    warm_gpus = IntegerAttribute()
    scale_in_after_seconds = IntegerAttribute()
    options: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()


class PoolStateItem(ScalingTable):
    last_action_at_ms = IntegerAttribute(null=True)
    surplus_since_ms = IntegerAttribute(null=True)
    blind_since_ms = IntegerAttribute(null=True)
    idle_since_ms: JSONAttribute = JSONAttribute()
    version = IntegerAttribute()


class LaunchItem(ScalingTable):
    """Open launches and ended ones have different sort keys: what a minute reads is what is open."""

    launch_id = UnicodeAttribute()
    region = UnicodeAttribute()
    host_id = UnicodeAttribute()
    option: JSONAttribute = JSONAttribute()
    state = UnicodeAttribute()
    requested_at_ms = IntegerAttribute()
    changed_at_ms = IntegerAttribute()
    instance_id = UnicodeAttribute(null=True)
    ending_since_ms = IntegerAttribute(null=True)
    ended_at_ms = IntegerAttribute(null=True)
    attempts = IntegerAttribute()
    last_error = UnicodeAttribute(null=True)
    missing_since_ms = IntegerAttribute(null=True)
    version = IntegerAttribute()
    #: Of an ended one: when it may be removed.
    expires_at = IntegerAttribute(null=True)


class HostLaunchItem(ScalingTable):
    """Which launch a host came from."""

    pool = UnicodeAttribute()
    launch_id = UnicodeAttribute()

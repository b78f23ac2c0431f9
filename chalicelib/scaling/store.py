"""Pools and launches in DynamoDB.

Access: pools by one query of their partition; a pool's open launches by one, its ended ones by another,
newest first (ids sort by time); everything by key. A launch that ends changes its key in one transaction.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from chalicelib.core.ports import Transaction
from chalicelib.scaling.model import ENDED, Launch, LaunchOption, LaunchState, PoolSettings, PoolState
from chalicelib.storage import keys
from chalicelib.storage.tables.scaling import HostLaunchItem, LaunchItem, PoolItem, PoolStateItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Ended launches are kept for those who look into a bill or an incident.
ENDED_RETENTION_SECONDS = 90 * 86_400


class DynamoScalingStore:
    def list_pools(self) -> list[PoolSettings]:
        return [_read_pool(row) for row in PoolItem.query(keys.POOLS, consistent_read=True)]

    def get_pool(self, gpu_type: str, region: str) -> PoolSettings | None:
        try:
            return _read_pool(PoolItem.get(keys.POOLS, keys.pool(gpu_type, region), consistent_read=True))
        except PoolItem.DoesNotExist:
            return None

    def put_pool(self, tx: Transaction, settings: PoolSettings) -> None:
        item = PoolItem(
            keys.POOLS,
            keys.pool(settings.gpu_type, settings.region),
            gpu_type=settings.gpu_type,
            region=settings.region,
            min_hosts=settings.min_hosts,
            max_hosts=settings.max_hosts,
            warm_gpus=settings.warm_gpus,
            scale_in_after_seconds=settings.scale_in_after_seconds,
            options=[asdict(option) for option in settings.options],
            version=settings.version,
        )
        first: Any = PoolItem.pk.does_not_exist()
        follows: Any = PoolItem.version == settings.version - 1
        dynamo(tx).put(item, first if settings.version == 1 else follows, unexpected("The pool"))

    def get_state(self, pool: str) -> PoolState:
        try:
            item = PoolStateItem.get(keys.scaling_pool(pool), keys.POOL_STATE, consistent_read=True)
        except PoolStateItem.DoesNotExist:
            return PoolState()
        idle: Mapping[str, int] = item.idle_since_ms
        return PoolState(
            item.last_action_at_ms, item.surplus_since_ms, dict(idle), item.blind_since_ms, item.version
        )

    def replace_state(self, tx: Transaction, pool: str, old: PoolState, new: PoolState) -> None:
        item = PoolStateItem(
            keys.scaling_pool(pool),
            keys.POOL_STATE,
            last_action_at_ms=new.last_action_at_ms,
            surplus_since_ms=new.surplus_since_ms,
            blind_since_ms=new.blind_since_ms,
            idle_since_ms=dict(new.idle_since_ms),
            version=old.version + 1,
        )
        first: Any = PoolStateItem.pk.does_not_exist()
        same: Any = PoolStateItem.version == old.version
        dynamo(tx).put(item, same if old.version else first, unexpected("The pool"))

    def list_open(self, pool: str) -> list[Launch]:
        rows = LaunchItem.query(
            keys.scaling_pool(pool), LaunchItem.sk.startswith(keys.OPEN_PREFIX), consistent_read=True
        )
        return [_read_launch(pool, row) for row in rows]

    def list_ended(self, pool: str, limit: int) -> list[Launch]:
        rows = LaunchItem.query(
            keys.scaling_pool(pool),
            LaunchItem.sk.startswith(keys.ENDED_PREFIX),
            scan_index_forward=False,
            limit=limit,
            page_size=limit,
        )
        return [_read_launch(pool, row) for row in rows]

    def get_launch(self, pool: str, launch_id: str) -> Launch | None:
        for ended in (False, True):
            key = (keys.scaling_pool(pool), keys.launch(launch_id, ended=ended))
            try:
                return _read_launch(pool, LaunchItem.get(*key, consistent_read=True))
            except LaunchItem.DoesNotExist:
                continue
        return None

    def find_by_host(self, host_id: str) -> Launch | None:
        try:
            item = HostLaunchItem.get(keys.host(host_id), keys.LAUNCH, consistent_read=True)
        except HostLaunchItem.DoesNotExist:
            return None
        return self.get_launch(item.pool, item.launch_id)

    def add_launch(self, tx: Transaction, launch: Launch) -> None:
        item = _build_item(launch, launch.version)
        dynamo(tx).put(item, LaunchItem.pk.does_not_exist(), unexpected("The launch"))
        if not launch.is_orphan:
            of_host = HostLaunchItem(
                keys.host(launch.host_id), keys.LAUNCH, pool=launch.pool, launch_id=launch.launch_id
            )
            dynamo(tx).put(of_host, None, unexpected("The launch"))

    def replace_launch(self, tx: Transaction, old: Launch, new: Launch) -> None:
        same: Any = LaunchItem.version == old.version
        item = _build_item(new, old.version + 1)
        if new.state not in ENDED:
            dynamo(tx).put(item, same, unexpected("The launch"))
            return
        key = (keys.scaling_pool(old.pool), keys.launch(old.launch_id, ended=False))
        dynamo(tx).delete(LaunchItem, key, same, unexpected("The launch"))
        dynamo(tx).put(item, LaunchItem.pk.does_not_exist(), unexpected("The launch"))


def _build_item(launch: Launch, version: int) -> LaunchItem:
    ended_at_ms = launch.ended_at_ms
    return LaunchItem(
        keys.scaling_pool(launch.pool),
        keys.launch(launch.launch_id, ended=launch.state in ENDED),
        launch_id=launch.launch_id,
        region=launch.region,
        host_id=launch.host_id,
        option=asdict(launch.option),
        state=launch.state,
        requested_at_ms=launch.requested_at_ms,
        changed_at_ms=launch.changed_at_ms,
        instance_id=launch.instance_id,
        ending_since_ms=launch.ending_since_ms,
        ended_at_ms=ended_at_ms,
        attempts=launch.attempts,
        last_error=launch.last_error,
        missing_since_ms=launch.missing_since_ms,
        version=version,
        expires_at=None if ended_at_ms is None else ended_at_ms // 1000 + ENDED_RETENTION_SECONDS,
    )


def _read_launch(pool: str, row: LaunchItem) -> Launch:
    return Launch(
        launch_id=row.launch_id,
        pool=pool,
        region=row.region,
        host_id=row.host_id,
        option=LaunchOption(**cast("dict[str, Any]", row.option)),
        state=cast("LaunchState", row.state),
        requested_at_ms=row.requested_at_ms,
        changed_at_ms=row.changed_at_ms,
        instance_id=row.instance_id,
        ending_since_ms=row.ending_since_ms,
        ended_at_ms=row.ended_at_ms,
        attempts=row.attempts,
        last_error=row.last_error,
        missing_since_ms=row.missing_since_ms,
        version=row.version,
    )


def _read_pool(row: PoolItem) -> PoolSettings:
    options = cast("list[dict[str, Any]]", row.options)
    return PoolSettings(
        gpu_type=row.gpu_type,
        region=row.region,
        min_hosts=row.min_hosts,
        max_hosts=row.max_hosts,
        warm_gpus=row.warm_gpus,
        scale_in_after_seconds=row.scale_in_after_seconds,
        options=tuple(LaunchOption(**option) for option in options),
        version=row.version,
    )

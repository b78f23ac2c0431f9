"""The watch, the pools' totals and the incidents in DynamoDB.

Access: silent hosts by ``by_silence`` (region and shard, last heard), bounded; totals of a region by one
query; incidents by month, or by host through ``by_host``.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

from pynamodb.exceptions import UpdateError
from pynamodb.expressions.condition import Condition

from chalicelib.core.capacity import ClosedCause
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.fleet.detector import (
    WATCH_SHARDS,
    RegionWatch,
    SilentHost,
    choose_watch,
    choose_watch_shard,
    name_lost,
    name_watch,
)
from chalicelib.fleet.incident import RETENTION_MS, Incident, list_months, name_month
from chalicelib.fleet.model import Host, HostState, count_closed
from chalicelib.fleet.watch import HoldsBack, NotLost, PoolScore, PoolTotals
from chalicelib.storage import keys
from chalicelib.storage.failures import find_code, is_condition_failure
from chalicelib.storage.tables.fleet import (
    HeartbeatItem,
    HostItem,
    PoolScoreItem,
    PoolTotalsItem,
    RegionWatchItem,
)
from chalicelib.storage.tables.records import IncidentItem
from chalicelib.storage.transaction import dynamo, unexpected

#: Silent hosts that are read of a shard. With more the region's brake goes on.
MAX_SILENT = 1_000
MAX_LOST = 200
#: 400 days begin in one of so many months.
RETENTION_MONTHS = 14


def put_incident(tx: Transaction, incident: Incident) -> None:
    item = IncidentItem(
        keys.incidents(name_month(incident.at_ms)),
        keys.created(incident.at_ms, incident.incident_id),
        incident_id=incident.incident_id,
        kind=incident.kind,
        region=incident.region,
        at_ms=incident.at_ms,
        host_id=incident.host_id,
        details=dict(incident.details),
        expires_at=(incident.at_ms + RETENTION_MS) // 1000,
    )
    dynamo(tx).put(item, IncidentItem.pk.does_not_exist(), unexpected("The incident"))


def move_totals(tx: Transaction, old: Host | None, new: Host) -> None:
    """Count a host under its new state; ``old`` is ``None`` for one that has just come."""
    before, after = Counter() if old is None else _count(old), _count(new)
    moved = {name: after[name] - before[name] for name in before | after if after[name] != before[name]}
    if not moved:
        return
    actions = [getattr(PoolTotalsItem, name).add(step) for name, step in moved.items()]
    shard = choose_watch_shard(new.host_id)
    key = (keys.totals(new.region), keys.pool_totals(new.gpu_type, shard))
    dynamo(tx).update(PoolTotalsItem, key, actions, None, unexpected("The pool's totals"))


def _count(host: Host) -> Counter[str]:
    """What a host adds to its pool's totals, by attribute."""
    if host.state == "retired":
        return Counter()
    counts = Counter({f"hosts_{host.state}": 1, f"gpus_{host.state}": host.gpu_count})
    counts.update({f"closed_{cause}": gpus for cause, gpus in count_closed(host).items()})
    return counts


class DynamoWatchStore:
    def find_watermark(self, region: str) -> int | None:
        newest = [
            item.last_seen_at_ms
            for shard in range(WATCH_SHARDS)
            for item in HeartbeatItem.by_silence.query(
                name_watch(region, shard), scan_index_forward=False, limit=1
            )
        ]
        return max(newest, default=None)

    def list_silent(self, region: str, heard_before_ms: int) -> tuple[list[SilentHost], bool]:
        silent, crowded = [], False
        for shard in range(WATCH_SHARDS):
            found = _query(name_watch(region, shard), MAX_SILENT, heard_before_ms)
            silent += found
            crowded = crowded or len(found) == MAX_SILENT
        return silent, crowded

    def list_lost(self, region: str) -> list[SilentHost]:
        names = [name_lost(name_watch(region, shard)) for shard in range(WATCH_SHARDS)]
        return [host for name in names for host in _query(name, MAX_LOST)]

    def get_region_watch(self, region: str) -> RegionWatch:
        try:
            item = RegionWatchItem.get(keys.region(region), keys.WATCH, consistent_read=True)
        except RegionWatchItem.DoesNotExist:
            return RegionWatch()
        return RegionWatch(item.blind_since_ms, item.clear_since_ms, item.brake_since_ms, item.version)

    def replace_region_watch(self, tx: Transaction, region: str, old: RegionWatch, new: RegionWatch) -> None:
        item = RegionWatchItem(
            keys.region(region),
            keys.WATCH,
            blind_since_ms=new.blind_since_ms,
            clear_since_ms=new.clear_since_ms,
            brake_since_ms=new.brake_since_ms,
            version=old.version + 1,
        )
        version: Any = RegionWatchItem.version
        same = version == old.version if old.version else version.does_not_exist()
        dynamo(tx).put(item, same, unexpected("The watch of the region"))

    def require_sight(self, tx: Transaction, region: str) -> None:
        def held(_old: Any) -> DomainError:
            return HoldsBack("The region's watch holds: nobody is given up for silence.")

        free: Condition = (
            RegionWatchItem.blind_since_ms.does_not_exist() & RegionWatchItem.brake_since_ms.does_not_exist()
        )
        dynamo(tx).check(RegionWatchItem, keys.region(region), keys.WATCH, free, held)

    def mark_suspect(self, host_id: str, last_seen_at_ms: int) -> None:
        _update_heartbeat(
            host_id,
            [
                HeartbeatItem.suspect_since_ms.set(last_seen_at_ms),
                HeartbeatItem.announced.set(""),
            ],
            (HeartbeatItem.last_seen_at_ms == last_seen_at_ms)
            & HeartbeatItem.suspect_since_ms.does_not_exist(),
        )

    def end_watch(self, tx: Transaction, host_id: str, region: str, last_seen_at_ms: int) -> None:
        since: Any = HeartbeatItem.suspect_since_ms
        dynamo(tx).update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [
                HeartbeatItem.watch_key.set(name_lost(choose_watch(region, host_id))),
                HeartbeatItem.announced.set(""),
                since.set(since | last_seen_at_ms),
            ],
            HeartbeatItem.last_seen_at_ms == last_seen_at_ms,
            unexpected("The heartbeat"),
        )

    def drop_watch(self, tx: Transaction, host_id: str) -> None:
        watched: Any = HeartbeatItem.watch_key
        dynamo(tx).update(
            HeartbeatItem,
            (keys.host(host_id), keys.HEARTBEAT),
            [watched.remove(), HeartbeatItem.announced.set("")],
            HeartbeatItem.pk.exists(),
            unexpected("The heartbeat"),
        )

    def forget_lost(self, lost: SilentHost, region: str) -> None:
        key = name_lost(choose_watch(region, lost.host_id))
        _update_heartbeat(
            lost.host_id,
            [HeartbeatItem.watch_key.remove()],
            (HeartbeatItem.watch_key == key) & (HeartbeatItem.last_seen_at_ms == lost.last_seen_at_ms),
        )

    def require_lost(self, tx: Transaction, host_id: str) -> None:
        def back(_old: Any) -> DomainError:
            return NotLost("The host is back.")

        dynamo(tx).check(HostItem, keys.host(host_id), keys.HOST, HostItem.state == "lost", back)

    def get_pool_totals(self, gpu_type: str, region: str) -> PoolTotals:
        pools = _read_totals(region, keys.pool_totals(gpu_type))
        return pools.get(gpu_type, PoolTotals(gpu_type, region, {}, {}, {}))

    def list_region_totals(self, region: str) -> list[PoolTotals]:
        return list(_read_totals(region, keys.POOL_TOTALS_PREFIX).values())

    def put_pool_score(self, score: PoolScore) -> None:
        PoolScoreItem(
            keys.totals(score.region),
            keys.pool_score(score.gpu_type),
            reliability_ppm=score.reliability_ppm,
            gpus=score.gpus,
            computed_at_ms=score.computed_at_ms,
        ).save()

    def get_pool_score(self, gpu_type: str, region: str) -> PoolScore | None:
        try:
            item = PoolScoreItem.get(keys.totals(region), keys.pool_score(gpu_type))
        except PoolScoreItem.DoesNotExist:
            return None
        return PoolScore(gpu_type, region, item.reliability_ppm, item.gpus, item.computed_at_ms)

    def add_incident(self, tx: Transaction, incident: Incident) -> None:
        put_incident(tx, incident)

    def list_incidents(
        self, host_id: str | None, limit: int, start: str | None, now_ms: int
    ) -> Page[Incident]:
        # Expiry is a condition of the read: TTL deletes late.
        oldest = keys.created(max(0, now_ms - RETENTION_MS), "")
        newest = keys.created(now_ms + RETENTION_MS, "") if start is None else start
        if newest <= oldest:
            return Page([])
        between = IncidentItem.sk.between(oldest, newest)
        rows: list[IncidentItem] = []
        if host_id is not None:
            rows += IncidentItem.by_host.query(host_id, between, scan_index_forward=False, limit=limit + 2)
        else:
            for month in _list_months_from(start, now_ms):
                rows += IncidentItem.query(
                    keys.incidents(month),
                    between,
                    scan_index_forward=False,
                    limit=limit + 2 - len(rows),
                )
                if len(rows) > limit + 1:
                    break
        # ``between`` includes the cursor's own row.
        rows = [row for row in rows if row.sk != start]
        items = [_read_incident(row) for row in rows[:limit]]
        return Page(items, rows[limit - 1].sk if len(rows) > limit else None)


def _list_months_from(start: str | None, now_ms: int) -> list[str]:
    months = list_months(now_ms, RETENTION_MONTHS)
    if start is None or not start[:13].isdigit():
        return months
    newest = name_month(int(start[:13]))
    return [month for month in months if month <= newest]


def _read_incident(row: IncidentItem) -> Incident:
    kind: Any = row.kind
    return Incident(row.incident_id, kind, row.region, row.at_ms, row.host_id, row.details)


def _read_totals(region: str, prefix: str) -> dict[str, PoolTotals]:
    rows = PoolTotalsItem.query(
        keys.totals(region), PoolTotalsItem.sk.startswith(prefix), consistent_read=True
    )
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        counts = counted.setdefault(keys.read_pool_totals(row.sk), Counter())
        counts.update({name: getattr(row, name) or 0 for name in _COUNTERS})
    return {name: _build_totals(name, region, counts) for name, counts in counted.items()}


def _build_totals(gpu_type: str, region: str, counts: Mapping[str, int]) -> PoolTotals:
    return PoolTotals(
        gpu_type,
        region,
        {state: counts[f"hosts_{state}"] for state in _COUNTED},
        {state: counts[f"gpus_{state}"] for state in _COUNTED},
        {cause: counts[f"closed_{cause}"] for cause in _CAUSES},
    )


_COUNTED: tuple[HostState, ...] = tuple(state for state in get_args(HostState) if state != "retired")
_CAUSES: tuple[ClosedCause, ...] = get_args(ClosedCause)
_COUNTERS = (
    *(f"{what}_{state}" for what in ("hosts", "gpus") for state in _COUNTED),
    *(f"closed_{cause}" for cause in _CAUSES),
)


def _query(watch_key: str, limit: int, heard_before_ms: int | None = None) -> list[SilentHost]:
    before: Any = None
    if heard_before_ms is not None:
        before = HeartbeatItem.last_seen_at_ms < heard_before_ms
    found = HeartbeatItem.by_silence.query(watch_key, before, limit=limit)
    return [SilentHost(keys.read_host(item.pk), item.last_seen_at_ms) for item in found]


def _update_heartbeat(host_id: str, actions: list[Any], condition: Condition) -> None:
    """Write when the condition holds; when it does not there is nothing to do."""
    try:
        HeartbeatItem(keys.host(host_id), keys.HEARTBEAT).update(actions, condition)
    except UpdateError as error:
        if find_code(error) == "TransactionConflictException":
            raise Unavailable("The heartbeat changed at the same time; try again.") from error
        if not is_condition_failure(error):
            raise

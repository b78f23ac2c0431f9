"""The watch, the pools' totals and the incidents in memory."""

from collections import Counter
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.fleet.detector import RegionWatch, SilentHost, choose_watch, name_lost
from chalicelib.fleet.incident import RETENTION_MS, Incident
from chalicelib.fleet.model import Host, Liveness, count_closed
from chalicelib.fleet.watch import HoldsBack, NotLost, PoolScore, PoolTotals
from chalicelib.fleet.windows import MaintenanceWindow
from tests.fakes.database import MemoryDatabase, MemoryStore


def put_incident(tx: Any, incident: Incident) -> None:
    key = f"{incident.at_ms:013d}#{incident.incident_id}"
    tx.put_new("incidents", key, incident, Unavailable("incident"))


def move_totals(tx: Any, db: MemoryDatabase, old: Host | None, new: Host) -> None:
    rows = db.table("totals")

    def effect() -> None:
        for host, step in ((old, -1), (new, 1)):
            if host is not None and host.state != "retired":
                key = (host.region, host.gpu_type)
                hosts, gpus, closed = rows.setdefault(key, (Counter(), Counter(), Counter()))
                hosts[host.state] += step
                gpus[host.state] += step * host.gpu_count
                closed.update({cause: step * count for cause, count in count_closed(host).items()})

    tx.add(lambda: None, effect)


class FakeWatchStore(MemoryStore):
    """Rows: liveness and hosts of the fleet; region_watches (region), totals ((region, type)), incidents."""

    def _list_watched(self, region: str, *, lost: bool = False) -> list[SilentHost]:
        found = []
        for host_id, row in self.db.table("liveness").items():
            watched = choose_watch(region, host_id)
            if row.watch_key == (name_lost(watched) if lost else watched):
                found.append(SilentHost(host_id, row.last_seen_at_ms))
        return sorted(found, key=lambda host: host.last_seen_at_ms)

    def find_watermark(self, region: str) -> int | None:
        return max((host.last_seen_at_ms for host in self._list_watched(region)), default=None)

    def list_silent(self, region: str, heard_before_ms: int) -> tuple[list[SilentHost], bool]:
        found = [host for host in self._list_watched(region) if host.last_seen_at_ms < heard_before_ms]
        return found, False

    def list_lost(self, region: str) -> list[SilentHost]:
        return self._list_watched(region, lost=True)

    def get_region_watch(self, region: str) -> RegionWatch:
        return self.db.table("region_watches").get(region, RegionWatch())

    def replace_region_watch(self, tx: Any, region: str, old: RegionWatch, new: RegionWatch) -> None:
        def check() -> DomainError | None:
            same = self.get_region_watch(region).version == old.version
            return None if same else Unavailable("watch")

        row = replace(new, version=old.version + 1)
        tx.add(check, lambda: self.db.table("region_watches").__setitem__(region, row))

    def require_sight(self, tx: Any, region: str) -> None:
        tx.add(lambda: HoldsBack("held") if self.get_region_watch(region).holds else None, lambda: None)

    def mark_suspect(self, host_id: str, last_seen_at_ms: int) -> None:
        with self.db.lock:
            row: Liveness = self.db.table("liveness")[host_id]
            if row.last_seen_at_ms == last_seen_at_ms and row.suspect_since_ms is None:
                marked = replace(row, suspect_since_ms=last_seen_at_ms, announced="")
                self.db.table("liveness")[host_id] = marked

    def end_watch(self, tx: Any, host_id: str, region: str, last_seen_at_ms: int) -> None:
        rows = self.db.table("liveness")

        def check() -> DomainError | None:
            same = rows[host_id].last_seen_at_ms == last_seen_at_ms
            return None if same else Unavailable("heartbeat")

        def effect() -> None:
            since_ms = rows[host_id].suspect_since_ms
            rows[host_id] = replace(
                rows[host_id],
                watch_key=name_lost(choose_watch(region, host_id)),
                announced="",
                suspect_since_ms=last_seen_at_ms if since_ms is None else since_ms,
            )

        tx.add(check, effect)

    def drop_watch(self, tx: Any, host_id: str) -> None:
        rows = self.db.table("liveness")

        def effect() -> None:
            rows[host_id] = replace(rows[host_id], watch_key="", announced="")

        tx.add(lambda: None if host_id in rows else Unavailable("heartbeat"), effect)

    def forget_lost(self, lost: SilentHost, region: str) -> None:
        if lost in self._list_watched(region, lost=True):
            rows = self.db.table("liveness")
            rows[lost.host_id] = replace(rows[lost.host_id], watch_key="")

    def require_lost(self, tx: Any, host_id: str) -> None:
        def check() -> DomainError | None:
            lost = self.db.table("hosts")[host_id].state == "lost"
            return None if lost else NotLost("back")

        tx.add(check, lambda: None)

    def get_pool_totals(self, gpu_type: str, region: str) -> PoolTotals:
        empty: tuple[Counter[Any], ...] = (Counter(), Counter(), Counter())
        hosts, gpus, closed = self.db.table("totals").get((region, gpu_type), empty)
        return PoolTotals(gpu_type, region, dict(hosts), dict(gpus), dict(closed))

    def list_region_totals(self, region: str) -> list[PoolTotals]:
        found = [key for key in self.db.table("totals") if key[0] == region]
        return [self.get_pool_totals(gpu_type, region) for _, gpu_type in found]

    def put_pool_score(self, score: PoolScore) -> None:
        self.db.table("pool_scores")[score.region, score.gpu_type] = score

    def get_pool_score(self, gpu_type: str, region: str) -> PoolScore | None:
        return self.db.table("pool_scores").get((region, gpu_type))

    def add_incident(self, tx: Any, incident: Incident) -> None:
        put_incident(tx, incident)

    def list_incidents(
        self, host_id: str | None, limit: int, start: str | None, now_ms: int
    ) -> Page[Incident]:
        rows = sorted(self.db.table("incidents").items(), reverse=True)
        rows = [
            (key, row)
            for key, row in rows
            if (host_id is None or row.host_id == host_id)
            and (start is None or key < start)
            and row.at_ms + RETENTION_MS > now_ms
        ]
        items = [row for _, row in rows[:limit]]
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    @property
    def incidents(self) -> list[Incident]:
        return [row for _, row in sorted(self.db.table("incidents").items())]


class FakeMaintenanceStore(MemoryStore):
    """Rows: windows (window_id) as (window, due_at_ms)."""

    def _list(self) -> list[tuple[MaintenanceWindow, int]]:
        return sorted(self.db.table("windows").values(), key=lambda row: (row[1], row[0].window_id))

    def get_window(self, window_id: str) -> MaintenanceWindow | None:
        row = self.db.table("windows").get(window_id)
        return None if row is None else row[0]

    def list_host_windows(
        self, host_id: str, limit: int, start: str | None = None
    ) -> Page[MaintenanceWindow]:
        rows = [window for window, _ in self._list() if window.host_id == host_id]
        rows.sort(key=lambda window: window.window_id, reverse=True)
        rows = [window for window in rows if start is None or window.window_id < start]
        return Page(rows[:limit], rows[limit - 1].window_id if len(rows) > limit else None)

    def list_scheduled(self, host_id: str, limit: int) -> list[MaintenanceWindow]:
        rows = [window for window, _ in self._list() if window.host_id == host_id]
        return [window for window in rows if window.state == "scheduled"][:limit]

    def list_open_windows(self, limit: int, start: str | None = None) -> Page[MaintenanceWindow]:
        rows = [
            (f"{due_at_ms:013d}#{window.window_id}", window)
            for window, due_at_ms in self._list()
            if window.state == "scheduled"
        ]
        rows = [row for row in rows if start is None or row[0] > start]
        return Page([window for _, window in rows[:limit]], rows[limit - 1][0] if len(rows) > limit else None)

    def list_due_windows(self, now_ms: int, limit: int) -> list[MaintenanceWindow]:
        rows = [window for window, due in self._list() if due <= now_ms and window.state == "scheduled"]
        return rows[:limit]

    def add_window(self, tx: Any, window: MaintenanceWindow, due_at_ms: int) -> None:
        tx.put_new("windows", window.window_id, (window, due_at_ms), Unavailable("window"))

    def replace_window(self, tx: Any, old: MaintenanceWindow, new: MaintenanceWindow, due_at_ms: int) -> None:
        rows = self.db.table("windows")

        def check() -> DomainError | None:
            return None if rows[old.window_id][0].state == old.state else Unavailable("window")

        tx.add(check, lambda: rows.__setitem__(new.window_id, (new, due_at_ms)))

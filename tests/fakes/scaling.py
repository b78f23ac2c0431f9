"""Pools and launches in memory, under the conditions that the DynamoDB store sets."""

from dataclasses import replace
from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.scaling.model import ENDED, Launch, PoolSettings, PoolState
from tests.fakes.database import MemoryStore


class FakeScalingStore(MemoryStore):
    """Rows: pools ((gpu_type, region)), pool_states (pool), open and ended launches ((pool, id))."""

    def list_pools(self) -> list[PoolSettings]:
        return list(self.db.table("pools").values())

    def get_pool(self, gpu_type: str, region: str) -> PoolSettings | None:
        return self.db.table("pools").get((gpu_type, region))

    def put_pool(self, tx: Any, settings: PoolSettings) -> None:
        rows, key = self.db.table("pools"), (settings.gpu_type, settings.region)

        def check() -> DomainError | None:
            version = rows[key].version if key in rows else 0
            return None if version == settings.version - 1 else Unavailable("pool")

        tx.add(check, lambda: rows.__setitem__(key, settings))

    def get_state(self, pool: str) -> PoolState:
        return self.db.table("pool_states").get(pool, PoolState())

    def replace_state(self, tx: Any, pool: str, old: PoolState, new: PoolState) -> None:
        rows = self.db.table("pool_states")
        tx.add(
            lambda: None if self.get_state(pool).version == old.version else Unavailable("state"),
            lambda: rows.__setitem__(pool, replace(new, version=old.version + 1)),
        )

    def list_open(self, pool: str) -> list[Launch]:
        rows = self.db.table("open_launches")
        return [row for (where, _), row in sorted(rows.items()) if where == pool]

    def list_ended(self, pool: str, limit: int) -> list[Launch]:
        rows = self.db.table("ended_launches")
        return [row for (where, _), row in sorted(rows.items(), reverse=True) if where == pool][:limit]

    def get_launch(self, pool: str, launch_id: str) -> Launch | None:
        found = self.db.table("open_launches").get((pool, launch_id))
        return found or self.db.table("ended_launches").get((pool, launch_id))

    def find_by_host(self, host_id: str) -> Launch | None:
        key = self.db.table("launches_of_hosts").get(host_id)
        return None if key is None else self.get_launch(*key)

    def add_launch(self, tx: Any, launch: Launch) -> None:
        key = (launch.pool, launch.launch_id)
        tx.put_new("open_launches", key, launch, Unavailable("launch"))
        if not launch.is_orphan:
            by_host = self.db.table("launches_of_hosts")
            tx.add(lambda: None, lambda: by_host.__setitem__(launch.host_id, key))

    def replace_launch(self, tx: Any, old: Launch, new: Launch) -> None:
        rows, key = self.db.table("open_launches"), (old.pool, old.launch_id)
        ended = self.db.table("ended_launches")

        def check() -> DomainError | None:
            if key not in rows or rows[key].version != old.version:
                return Unavailable("launch")
            return Unavailable("launch") if new.state in ENDED and key in ended else None

        def effect() -> None:
            written = replace(new, version=old.version + 1)
            if new.state in ENDED:
                del rows[key]
                ended[key] = written
            else:
                rows[key] = written

        tx.add(check, effect)

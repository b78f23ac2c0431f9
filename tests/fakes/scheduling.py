"""Lines, spot stays, quotas and spread groups in memory."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.capacity import DEFAULT_MAX_GPUS, Quota
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.rentals.ports import LineAhead, SpreadTaken, explain_quota
from chalicelib.rentals.preemption import SpotStay
from chalicelib.rentals.queue import Line, Ticket
from chalicelib.rentals.ramp import Allowance
from tests.fakes.database import MemoryStore


class FakeSchedulingStore(MemoryStore):
    """Rows: tickets ((pool, key)), lines, stays ((pool, host, rental)), quotas, spreads."""

    def list_tickets(self, pool: str, limit: int) -> list[Ticket]:
        with self.db.lock:
            found = sorted(
                (key, row) for (where, key), row in self.db.table("tickets").items() if where == pool
            )
        return [row for _, row in found[:limit]]

    def get_line(self, pool: str) -> Line:
        tickets = sum(where == pool for where, _ in self.db.table("tickets"))
        return replace(self.db.table("lines").get(pool, Line()), tickets=tickets)

    def count_ahead(self, pool: str, ticket_key: str, limit: int) -> int:
        return min(limit, sum(where == pool and key < ticket_key for where, key in self.db.table("tickets")))

    def note_dispatch(self, pool: str, line: Line) -> None:
        self.db.table("lines")[pool] = line

    def mark_preempting(self, ticket: Ticket, until_ms: int) -> None:
        rows = self.db.table("tickets")
        for pool in ticket.pools:
            if (pool, ticket.ticket_key) in rows:
                rows[pool, ticket.ticket_key] = replace(
                    rows[pool, ticket.ticket_key], preempting_until_ms=until_ms
                )

    def add_ticket(self, tx: Any, ticket: Ticket) -> None:
        for pool in ticket.pools:
            tx.put_new("tickets", (pool, ticket.ticket_key), ticket, Unavailable("line"))

    def remove_ticket(self, tx: Any, pools: Sequence[str], ticket_key: str) -> None:
        rows = self.db.table("tickets")
        for pool in pools:
            _remove(tx, rows, (pool, ticket_key), Unavailable("line"))

    def require_no_line(self, tx: Any, pool: str) -> None:
        rows = self.db.table("tickets")
        tx.add(lambda: LineAhead("line") if any(where == pool for where, _ in rows) else None, lambda: None)

    def list_stays(self, pool: str, limit: int) -> list[SpotStay]:
        return [row for (where, *_), row in self.db.table("stays").items() if where == pool][:limit]

    def add_stay(self, tx: Any, pool: str, stay: SpotStay) -> None:
        tx.put_new("stays", (pool, stay.host_id, stay.rental_id), stay, Unavailable("stay"))

    def remove_stay(self, tx: Any, pool: str, host_id: str, rental_id: str) -> None:
        _remove(tx, self.db.table("stays"), (pool, host_id, rental_id), Unavailable("stay"))

    def get_quota(self, account_id: str) -> Quota:
        return self.db.table("quotas").get(account_id, Quota(DEFAULT_MAX_GPUS, 0))

    def put_quota(self, tx: Any, account_id: str, old: Quota, max_gpus: int) -> None:
        rows = self.db.table("quotas")
        tx.add(
            lambda: None if rows.get(account_id, old) == old else Unavailable("quota"),
            lambda: rows.__setitem__(account_id, Quota(max_gpus, old.used_gpus, is_set=True)),
        )

    def take_quota(self, tx: Any, account_id: str, gpus: int, allowance: Allowance | None = None) -> None:
        def check() -> DomainError | None:
            quota = self.get_quota(account_id)
            maximum = quota.max_gpus if allowance is None else min(quota.max_gpus, allowance.max_gpus)
            left = maximum - quota.used_gpus
            return None if left >= gpus else explain_quota(maximum, left, gpus, allowance)

        tx.add(check, lambda: self._use(account_id, gpus))

    def give_back_quota(self, tx: Any, account_id: str, gpus: int) -> None:
        rows = self.db.table("quotas")
        tx.add(
            lambda: None if account_id in rows else Unavailable("quota"),
            lambda: self._use(account_id, -gpus),
        )

    def _use(self, account_id: str, gpus: int) -> None:
        quota = self.get_quota(account_id)
        self.db.table("quotas")[account_id] = replace(quota, used_gpus=quota.used_gpus + gpus)

    def take_spread(self, tx: Any, account_id: str, group: str, host_id: str, rental_id: str) -> None:
        tx.put_new("spreads", (account_id, group, host_id), rental_id, SpreadTaken("spread"))

    def give_back_spread(self, tx: Any, account_id: str, group: str, host_id: str) -> None:
        _remove(tx, self.db.table("spreads"), (account_id, group, host_id), Unavailable("spread"))


def _remove(tx: Any, rows: dict[Any, Any], key: Any, error: DomainError) -> None:
    tx.add(lambda: None if key in rows else error, lambda: rows.pop(key))

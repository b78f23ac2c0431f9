"""Statements of removal, shares, batches and certificates in memory, with the conditions of the tables."""

from dataclasses import replace
from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.removals.certificates import Batch, BatchExhausted, Certificate, Entry
from chalicelib.removals.model import Share, Statement, Window
from tests.fakes.database import MemoryStore


class FakeRemovalStore(MemoryStore):
    """Rows: removals ((window, revision)), shares ((account, window, revision))."""

    def get_latest(self, window: Window) -> Statement | None:
        rows = [row for (of, _), row in list(self.db.table("removals").items()) if of == window]
        return max(rows, key=lambda row: row.revision, default=None)

    def get_revision(self, window: Window, revision: int) -> Statement | None:
        return self.db.table("removals").get((window, revision))

    def list_statements(self, host_id: str, unit_id: str, limit: int, start: str | None) -> Page[Statement]:
        rows = {
            f"{window.day}#{revision:04d}": row
            for (window, revision), row in self.db.table("removals").items()
            if (window.host_id, window.unit_id) == (host_id, unit_id)
        }
        return _page(rows, limit, start)

    def add_statement(self, tx: Any, statement: Statement) -> None:
        key = (statement.window, statement.revision)
        tx.put_new("removals", key, statement, Unavailable("statement"))

    def replace_statement(self, tx: Any, old: Statement, new: Statement) -> None:
        rows, key = self.db.table("removals"), (old.window, old.revision)
        tx.add(
            lambda: None if rows[key].version == old.version else Unavailable("statement"),
            lambda: rows.__setitem__(key, new),
        )

    def put_share(self, tx: Any, share: Share) -> None:
        rows, key = self.db.table("shares"), (share.account_id, share.window, share.revision)
        tx.add(lambda: None, lambda: rows.__setitem__(key, share))

    def list_shares(self, account_id: str, limit: int, start: str | None) -> Page[Share]:
        rows = {
            f"{window.day}#{window.host_id}#{window.unit_id}#{revision:04d}": row
            for (owner, window, revision), row in self.db.table("shares").items()
            if owner == account_id
        }
        return _page(rows, limit, start)

    def list_day_shares(self, account_id: str, day: str) -> list[Share]:
        rows = self.db.table("shares").items()
        return [row for (owner, window, _), row in rows if (owner, window.day) == (account_id, day)]


class FakeCertificateStore(MemoryStore):
    """Rows: batches (serial), certificates (serial), register ((batch, number))."""

    def get_batch(self, serial: str) -> Batch | None:
        return self.db.table("batches").get(serial)

    def get_certificate(self, serial: str) -> Certificate | None:
        return self.db.table("certificates").get(serial)

    def list_entries(self, batch_serial: str) -> list[tuple[Entry, str]]:
        rows = list(self.db.table("register").items())
        return [row for (serial, _), row in sorted(rows, key=lambda each: each[0]) if serial == batch_serial]

    def add_batch(self, tx: Any, batch: Batch) -> None:
        tx.put_new("batches", batch.serial, batch, Unavailable("batch"))

    def move_batch(self, tx: Any, before: Batch, after: Batch) -> None:
        rows, taken = self.db.table("batches"), before.free_mg - after.free_mg

        def check() -> DomainError | None:
            row = rows[before.serial]
            if row.free_mg < taken:
                return BatchExhausted("batch")
            return None if row.entries == before.entries else Unavailable("batch")

        def effect() -> None:
            row = rows[before.serial]
            rows[before.serial] = replace(
                after,
                allocated_mg=row.allocated_mg + after.allocated_mg - before.allocated_mg,
                sold_mg=row.sold_mg + after.sold_mg - before.sold_mg,
                retired_mg=row.retired_mg + after.retired_mg - before.retired_mg,
            )

        tx.add(check, effect)

    def add_entry(self, tx: Any, entry: Entry) -> None:
        key = (entry.batch_serial, entry.number)
        tx.put_new("register", key, (entry, entry.hash), Unavailable("entry"))

    def add_certificate(self, tx: Any, certificate: Certificate) -> None:
        tx.put_new("certificates", certificate.serial, certificate, Unavailable("certificate"))

    def change_certificate(self, tx: Any, new: Certificate) -> None:
        rows = self.db.table("certificates")
        tx.add(
            lambda: None if rows[new.serial].state == "active" else Unavailable("certificate"),
            lambda: rows.__setitem__(new.serial, new),
        )


def _page(rows: dict[str, Any], limit: int, start: str | None) -> Page[Any]:
    order = sorted((key for key in rows if start is None or key < start), reverse=True)
    return Page([rows[key] for key in order[:limit]], order[limit - 1] if len(order) > limit else None)

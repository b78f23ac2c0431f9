"""Statements and their documents in memory. Months are those of `tests.fakes.ledger.FakeMonthStore`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, BinaryIO

from chalicelib.core.errors import DomainError, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.statements.model import Head, Party
from chalicelib.statements.ports import Link
from tests.fakes.database import MemoryStore


class FakeStatementStore(MemoryStore):
    """Rows: months ((account, month)), numbers (year), details (account)."""

    def get_head(self, account_id: str, month: str) -> Head | None:
        return self.db.table("months").get((account_id, month))

    def list_heads(self, account_id: str, limit: int, start: str | None) -> Page[Head]:
        rows = [row for (owner, _), row in self.db.table("months").items() if owner == account_id]
        later = sorted(rows, key=lambda row: row.month, reverse=True)
        rest = [row for row in later if start is None or row.month < start]
        page = [row for row in rest[:limit] if row.state != "empty"]
        return Page(page, rest[limit - 1].month if len(rest) > limit else None)

    def list_pending(self, before: str) -> Iterator[tuple[str, str]]:
        rows = list(self.db.table("months").values())
        for row in rows:
            if row.state in ("open", "closed") and row.month < before:
                yield row.account_id, row.month

    def get_last_number(self, year: str) -> int:
        return self.db.table("numbers").get(year, 0)

    def give_number(self, tx: Any, head: Head, year: str, last: int) -> None:
        numbers, rows, key = self.db.table("numbers"), self.db.table("months"), (head.account_id, head.month)

        def check() -> DomainError | None:
            row = rows[key]
            same = numbers.get(year, 0) == last and row.state == "closed" and row.number is None
            return None if same else Unavailable("number")

        def effect() -> None:
            numbers[year] = last + 1
            rows[key] = replace(
                rows[key],
                number=head.number,
                numbered_at_ms=head.numbered_at_ms,
                customer=head.customer,
            )

        tx.add(check, effect)

    def keep_issued(self, tx: Any, head: Head) -> None:
        rows, key = self.db.table("months"), (head.account_id, head.month)

        def check() -> DomainError | None:
            row = rows[key]
            return None if (row.state, row.number) == ("closed", head.number) else Unavailable("statement")

        tx.add(check, lambda: rows.__setitem__(key, replace(rows[key], state="issued", digests=head.digests)))

    def mark_empty(self, head: Head) -> None:
        rows, key = self.db.table("months"), (head.account_id, head.month)
        rows[key] = replace(rows[key], state="empty")

    def get_details(self, account_id: str) -> Party | None:
        return self.db.table("details").get(account_id)

    def put_details(self, tx: Any, account_id: str, details: Party, old: Party | None = None) -> None:
        rows = self.db.table("details")

        def check() -> DomainError | None:
            return None if old is None or rows.get(account_id, Party()) == old else Unavailable("details")

        tx.add(check, lambda: rows.__setitem__(account_id, details))


@dataclass
class FakeDocuments:
    """``fails``: the next so many documents cannot be kept."""

    files: dict[str, bytes] = field(default_factory=dict)
    fails: int = 0

    def keep(self, key: str, file: BinaryIO, content_type: str) -> str:
        body = file.read()
        if self.fails:
            self.fails -= 1
            raise Unavailable("document")
        self.files[key] = body
        return hashlib.sha256(body).hexdigest()

    def read(self, key: str) -> BinaryIO:
        if key not in self.files:
            raise NotFound("document")
        return BytesIO(self.files[key])

    def link(self, key: str, file_name: str) -> Link:
        assert key in self.files
        return Link(f"https://documents.test/{key}?name={file_name}", 0)

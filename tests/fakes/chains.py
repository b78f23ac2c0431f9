"""Chains of the audit trail in memory, and a table whose rows a test may spoil."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.compliance.anchors import Anchor
from chalicelib.compliance.linking import HOUR_MS
from chalicelib.compliance.model import EMPTY, AccountHead, Head, Link
from chalicelib.compliance.ports import AlreadyAnchored, AnchoredHead, EntryKey, LinkTaken, Progress
from chalicelib.core.ports import AuditEntry
from tests.fakes.database import MemoryStore


class FakeChainStore(MemoryStore):
    """Rows: links and anchored (account, number), linked (entry), moved (account), anchors (number).

    Entries are those of `tests.fakes.records`. ``unlisted``: what the index of hours does not know yet.
    """

    unlisted: frozenset[str] = frozenset()

    def get_head(self, account_id: str) -> Head:
        numbers = [number for owner, number in self.db.table("links") if owner == account_id]
        link: Link | None = self.db.table("links")[account_id, max(numbers)] if numbers else None
        return EMPTY if link is None else link.head

    def find_linked(self, audit_ids: Sequence[str]) -> Mapping[str, int]:
        rows = self.db.table("linked")
        return {each: rows[each] for each in audit_ids if each in rows}

    def add_links(self, tx: Any, links: Sequence[Link]) -> None:
        for link in links:
            tx.put_new("links", (link.account_id, link.sequence), link, LinkTaken("link"))
            tx.put_new("linked", link.audit_id, link.sequence, LinkTaken("entry"))
        head = AccountHead(links[-1].account_id, links[-1].sequence, links[-1].hash)
        tx.add(lambda: None, lambda: self.db.table("moved").__setitem__(head.account_id, head))

    def list_links(self, account_id: str, first: int, last: int | None = None) -> Iterator[Link]:
        rows = self.db.table("links")
        numbers = sorted(number for owner, number in rows if owner == account_id)
        yield from (
            rows[account_id, number]
            for number in numbers
            if number >= first and (last is None or number <= last)
        )

    def find_hashes(self, heads: Sequence[AccountHead]) -> Mapping[tuple[str, int], str]:
        rows = self.db.table("links")
        keys = [(head.account_id, head.sequence) for head in heads]
        return {key: rows[key].hash for key in keys if key in rows}

    def find_entries(self, wanted: Sequence[EntryKey]) -> Mapping[str, AuditEntry]:
        rows = self.db.table("audit")
        found = {each.audit_id: rows[each.audit_id] for each in wanted if each.audit_id in rows}
        # A row that stands under a key that is not its own is none.
        return {audit_id: entry for audit_id, entry in found.items() if entry.audit_id == audit_id}

    def list_entries(self, account_id: str, from_ms: int, to_ms: int | None) -> Iterator[AuditEntry]:
        mine = [entry for entry in self.db.table("audit").values() if entry.account_id == account_id]
        for entry in sorted(mine, key=lambda each: (each.at_ms, each.audit_id)):
            if from_ms <= entry.at_ms and (to_ms is None or entry.at_ms < to_ms):
                yield entry

    def list_hour(self, hour: int) -> Iterator[EntryKey]:
        for entry in list(self.db.table("audit").values()):
            if entry.at_ms // HOUR_MS == hour and entry.audit_id not in self.unlisted:
                yield EntryKey(entry.account_id, entry.at_ms, entry.audit_id)

    def get_swept_hour(self) -> int | None:
        return self.db.table("marks_of_audit").get("swept")

    def put_swept_hour(self, hour: int) -> None:
        self.db.table("marks_of_audit")["swept"] = hour

    def list_moved(self, limit: int) -> list[AccountHead]:
        return list(self.db.table("moved").values())[:limit]

    def forget_moved(self, head: AccountHead) -> None:
        if self.db.table("moved").get(head.account_id) == head:
            del self.db.table("moved")[head.account_id]

    def get_last_anchor(self) -> Anchor | None:
        rows = self.db.table("anchors")
        return rows[max(rows)] if rows else None

    def get_anchor(self, number: int) -> Anchor | None:
        return self.db.table("anchors").get(number)

    def add_anchor(self, tx: Any, anchor: Anchor) -> None:
        tx.put_new("anchors", anchor.number, anchor, AlreadyAnchored("anchor"))

    def add_anchored(self, tx: Any, head: AccountHead, number: int) -> None:
        row = AnchoredHead(Head(head.sequence, head.hash), number)
        tx.put_new("anchored", (head.account_id, head.sequence), row, AlreadyAnchored("head"))

    def find_anchored(self, account_id: str, *, from_sequence: int = 0) -> AnchoredHead | None:
        rows = self._list_anchored(account_id)
        return next((row for row in rows if row.head.sequence >= from_sequence), None)

    def find_last_anchored(self, account_id: str, below: int | None = None) -> AnchoredHead | None:
        rows = self._list_anchored(account_id)
        return next((row for row in reversed(rows) if below is None or row.head.sequence < below), None)

    def get_progress(self) -> Progress:
        found: Progress = self.db.table("marks_of_audit").get("verified", Progress())
        return found

    def put_progress(self, progress: Progress) -> None:
        self.db.table("marks_of_audit")["verified"] = progress

    def _list_anchored(self, account_id: str) -> list[AnchoredHead]:
        rows = self.db.table("anchored")
        return [rows[key] for key in sorted(rows) if key[0] == account_id]

"""Seals, the heads that they seal, and the vault, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.billing.sealing import AlreadySealed, Kept
from chalicelib.billing.seals import ChainHead, Seal, choose_part
from chalicelib.billing.tampering import AlreadyRecorded, Tampering
from tests.fakes.database import Crash, MemoryStore


class FakeSealStore(MemoryStore):
    """Rows: seals (day), tamperings (event). Wallets are those of `tests.fakes.ledger`.

    ``unlisted``: accounts that the index does not know yet.
    """

    unlisted: frozenset[str] = frozenset()

    def get_last_seal(self) -> Seal | None:
        rows = self.db.table("seals")
        return rows[max(rows)] if rows else None

    def get_seal(self, day: str) -> Seal | None:
        return self.db.table("seals").get(day)

    def add_seal(self, tx: Any, seal: Seal) -> None:
        tx.put_new("seals", seal.day, seal, AlreadySealed("seal"))

    def list_wallets(self, part: int) -> list[str]:
        rows = self.db.table("months").values()
        owners = {row.account_id for row in rows if row.state in ("open", "closed")}
        return sorted(each for each in owners - self.unlisted if choose_part(each) == part)

    def list_heads(self, account_ids: Sequence[str]) -> list[ChainHead]:
        rows = self.db.table("balances")
        found = [rows[each] for each in account_ids if each in rows]
        return [ChainHead(row.account_id, row.leg_version, row.chain_hash) for row in found]

    def list_stored(self, heads: Sequence[ChainHead]) -> list[ChainHead]:
        rows = self.db.table("chains")
        keys = [(head.account_id, head.version) for head in heads]
        return [ChainHead(*key, rows[key][1]) for key in keys if key in rows]

    def add_tampering(self, tx: Any, found: Tampering) -> None:
        tx.put_new("tamperings", found.event_id, found, AlreadyRecorded("tampering"))


@dataclass
class FakeVault:
    """Dies before or after the write of a number. ``covered``: names over which something was put."""

    files: dict[str, bytes] = field(default_factory=dict)
    covered: set[str] = field(default_factory=set)
    writes: int = 0
    crash_before: int | None = None
    crash_after: int | None = None

    def read(self, name: str) -> Kept | None:
        return Kept(self.files[name], name in self.covered) if name in self.files else None

    def keep(self, name: str, body: bytes) -> bytes:
        number = self.writes
        self.writes += 1
        if number == self.crash_before:
            raise Crash
        standing = self.files.setdefault(name, body)
        if number == self.crash_after:
            raise Crash
        return standing

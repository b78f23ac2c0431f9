"""Accounts, idempotency keys and the audit trail in memory."""

from dataclasses import replace
from typing import Any

from chalicelib.accounts.model import Account, ApiKey, Installation
from chalicelib.compliance.service import EVERYTHING, AuditFilters
from chalicelib.core.errors import AccountSuspended, Conflict, DomainError, Unavailable
from chalicelib.core.idempotency import AlreadyAnswered, IdempotencyRecord
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry
from tests.fakes.database import MemoryStore


class FakeAuditTrail(MemoryStore):
    def add_entry(self, tx: Any, entry: AuditEntry) -> None:
        tx.put_new("audit", entry.audit_id, entry, Unavailable("audit"))

    def list_by_account(
        self, account_id: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        mine = [entry for entry in self.entries if entry.account_id == account_id]
        return self._list(mine, filters, limit, start)

    def list_by_target(
        self, target: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        return self._list([each for each in self.entries if each.subject == target], filters, limit, start)

    def list_by_actor(
        self, actor: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        return self._list([each for each in self.entries if each.actor == actor], filters, limit, start)

    def _list(
        self, entries: list[AuditEntry], filters: AuditFilters, limit: int, start: str | None
    ) -> Page[AuditEntry]:
        by_key = {
            f"{entry.at_ms:013d}#{entry.audit_id}": entry
            for entry in entries
            if filters.fits(entry.actor, entry.action, entry.subject)
            and entry.at_ms >= (filters.from_ms or 0)
            and (filters.to_ms is None or entry.at_ms < filters.to_ms)
        }
        order = sorted((key for key in by_key if start is None or key < start), reverse=True)
        last = order[limit - 1] if len(order) > limit else None
        return Page([by_key[key] for key in order[:limit]], last)

    @property
    def entries(self) -> list[AuditEntry]:
        return list(self.db.table("audit").values())


class FakeIdempotencyStore(MemoryStore):
    def find(self, account_id: str, key: str, now_ms: int) -> IdempotencyRecord | None:
        record = self.db.table("idempotency").get((account_id, key))
        return record if record is not None and record.expires_at_ms > now_ms else None

    def add(self, tx: Any, record: IdempotencyRecord, now_ms: int) -> None:
        assert type(record.status) is int, "the table takes no subclass"
        key = (record.account_id, record.key)
        assert type(record.status) is int, "an integer attribute takes no other type"

        def check() -> DomainError | None:
            found = self.find(*key, now_ms)
            return None if found is None else AlreadyAnswered(found)

        tx.add(check, lambda: self.db.table("idempotency").__setitem__(key, record))


class FakeStandings(MemoryStore):
    """As `chalicelib.accounts.standing.Standings`, and forgets at once."""

    def is_barred(self, account_id: str) -> bool:
        account = self.db.table("accounts").get(account_id)
        return account is None or account.is_barred

    def require(self, tx: Any, account_id: str) -> None:
        FakeAccountStore(self.db).require_standing(tx, account_id)


class FakeAccountStore(MemoryStore):
    def require_standing(self, tx: Any, account_id: str) -> None:
        def check() -> DomainError | None:
            account = self.get_account(account_id)
            return AccountSuspended("barred") if account is not None and account.is_barred else None

        tx.add(check, lambda: None)

    def get_installation(self) -> Installation | None:
        return self.db.table("installation").get("it")

    def get_account(self, account_id: str) -> Account | None:
        return self.db.table("accounts").get(account_id)

    def get_key(self, key_id: str) -> ApiKey | None:
        return self.db.table("keys").get(key_id)

    def list_keys(self, account_id: str, limit: int, start: str | None) -> Page[ApiKey]:
        rows = sorted(
            (key for key in self.db.table("keys").values() if key.account_id == account_id),
            key=lambda key: key.key_id,
        )
        rest = [row for row in rows if start is None or row.key_id > start]
        return Page(rest[:limit], rest[limit - 1].key_id if len(rest) > limit else None)

    def add_installation(self, tx: Any, installation: Installation) -> None:
        tx.put_new("installation", "it", installation, Conflict("there", code="already_bootstrapped"))

    def replace_operator_key(self, tx: Any, installation: Installation, key_id: str) -> None:
        def check() -> DomainError | None:
            same = self.get_installation() == installation
            return None if same else Conflict("moved", code="already_bootstrapped")

        new = replace(installation, operator_key_id=key_id)
        tx.add(check, lambda: self.db.table("installation").__setitem__("it", new))

    def add_account(self, tx: Any, account: Account) -> None:
        tx.put_new("accounts", account.account_id, account, Unavailable("account"))

    def replace_account(self, tx: Any, old: Account, new: Account) -> None:
        rows, key = self.db.table("accounts"), old.account_id
        same = lambda: None if rows.get(key) == old else Unavailable("account")  # noqa: E731
        tx.add(same, lambda: rows.__setitem__(key, new))

    def add_key(self, tx: Any, key: ApiKey) -> None:
        tx.put_new("keys", key.key_id, key, Unavailable("key"))
        if key.issued_by is not None:
            note = (key.account_id, key.issued_by, key.key_id)
            tx.put_new("issued_keys", note, key.key_id, Unavailable("key"))

    def list_issued_keys(self, account_id: str, issuer_id: str) -> list[ApiKey]:
        notes = sorted(note for note in self.db.table("issued_keys") if note[:2] == (account_id, issuer_id))
        return [self.db.table("keys")[key_id] for _, _, key_id in notes]

    def forget_issued(self, tx: Any, key: ApiKey) -> None:
        note = (key.account_id, key.issued_by, key.key_id)
        tx.add(lambda: None, lambda: self.db.table("issued_keys").pop(note, None))

    def revoke_key(self, tx: Any, key_id: str, at_ms: int) -> None:
        rows = self.db.table("keys")

        def effect() -> None:
            rows[key_id] = replace(rows[key_id], revoked_at_ms=at_ms)

        tx.add(lambda: None if key_id in rows else Unavailable("key"), effect)

    def revoke_leaked_key(self, tx: Any, key_id: str, at_ms: int) -> None:
        rows = self.db.table("keys")

        def check() -> DomainError | None:
            return None if rows[key_id].revoked_at_ms is None else Conflict("dead", code="key_not_live")

        tx.add(check, lambda: rows.__setitem__(key_id, replace(rows[key_id], revoked_at_ms=at_ms)))

    def retire_key(self, tx: Any, key_id: str, successor_id: str, expires_at_ms: int) -> None:
        rows = self.db.table("keys")

        def check() -> DomainError | None:
            if rows[key_id].successor_id is not None:
                return Conflict("rotated", code="already_rotated")
            return None if rows[key_id].revoked_at_ms is None else Conflict("dead", code="key_not_live")

        def effect() -> None:
            limits = replace(rows[key_id].limits, expires_at_ms=expires_at_ms)
            rows[key_id] = replace(rows[key_id], successor_id=successor_id, limits=limits)

        tx.add(check, effect)

    def note_use(self, key_id: str, day_start_ms: int, now_ms: int) -> None:
        key = self.db.table("keys")[key_id]
        if key.last_used_at_ms is None or key.last_used_at_ms < day_start_ms:
            self.db.table("keys")[key_id] = replace(key, last_used_at_ms=now_ms)
            self.db.table("uses").setdefault(key_id, []).append(now_ms)

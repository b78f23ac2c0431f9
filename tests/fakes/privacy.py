"""A vault that seals nothing from anybody, requests, records and documents over one database in memory."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from chalicelib.core.errors import Conflict, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Clock
from chalicelib.privacy.fields import ERASED
from chalicelib.privacy.model import PersonKey
from chalicelib.privacy.requests import Consent, PrivacyRequest, Reason, Record, RequestKind
from chalicelib.privacy.service import Link
from tests.fakes.database import Crash, MemoryStore, MemoryTransaction


@dataclass
class FakeVault:
    """`PersonVault`: what it seals is readable only by its rules, not by eye."""

    living: set[str] = field(default_factory=set)
    destroyed: set[str] = field(default_factory=set)

    def ensure_key(self, user_id: str) -> None:
        if user_id in self.destroyed:
            raise Conflict("The person was erased.", code="person_erased")
        self.living.add(user_id)

    def seal(self, user_id: str, field: str, text: str) -> str:
        if user_id not in self.living:
            raise NotFound("There is no such person.")
        return "fake." + b64encode(f"{user_id}\0{field}\0{text}".encode()).decode()

    def open(self, user_id: str, field: str, sealed: str) -> str | None:
        if user_id not in self.living:
            return None
        owner, name, text = b64decode(sealed.removeprefix("fake.")).decode().split("\0", 2)
        assert (owner, name) == (user_id, field), "sealed for another person or field"
        return text

    def destroy_key(self, user_id: str) -> None:
        self.living.discard(user_id)
        self.destroyed.add(user_id)


@dataclass
class MemoryPersonKeys:
    rows: dict[str, PersonKey] = field(default_factory=dict)
    reads: int = 0

    def get_key(self, user_id: str) -> PersonKey | None:
        self.reads += 1
        return self.rows.get(user_id)

    def add_key(self, key: PersonKey) -> bool:
        if key.user_id in self.rows:
            return False
        self.rows[key.user_id] = key
        return True

    def destroy_key(self, user_id: str, at_ms: int) -> None:
        standing = self.rows.get(user_id) or PersonKey(user_id, None, at_ms)
        destroyed_at_ms = at_ms if standing.destroyed_at_ms is None else standing.destroyed_at_ms
        self.rows[user_id] = replace(standing, wrapped=None, destroyed_at_ms=destroyed_at_ms)


@dataclass
class FakeKeyService:
    """KMS with a counter for keys; what is wrapped names its person."""

    made: int = 0
    unwrapped: int = 0

    def make_key(self, user_id: str) -> tuple[bytes, bytes]:
        self.made += 1
        plain = self.made.to_bytes(32)
        return plain, user_id.encode() + b"\0" + plain

    def unwrap_key(self, user_id: str, wrapped: bytes) -> bytes:
        self.unwrapped += 1
        owner, _, plain = wrapped.partition(b"\0")
        assert owner.decode() == user_id, "the encryption context differs"
        return plain


CHANGED = Unavailable("It changed at the same time; try again.")


class FakeRequestStore(MemoryStore):
    def get_request(self, account_id: str, request_id: str) -> PrivacyRequest | None:
        return self._rows().get((account_id, request_id))

    def list_requests(self, account_id: str, limit: int, start: str | None) -> Page[PrivacyRequest]:
        found = sorted(
            (row for key, row in self._rows().items() if key[0] == account_id),
            key=lambda row: row.request_id,
            reverse=True,
        )
        older = [row for row in found if start is None or row.request_id < start]
        return Page(older[:limit], older[limit - 1].request_id if len(older) > limit else None)

    def list_open(self) -> Iterator[tuple[str, str]]:
        rows = sorted(self._rows().values(), key=lambda row: (row.tried_at_ms or 0, row.created_at_ms))
        return iter([(row.account_id, row.request_id) for row in rows if row.is_open])

    def find_latest(self, subject_id: str) -> tuple[str, RequestKind] | None:
        return self.db.table("privacy locks").get(subject_id)

    def add_request(
        self, tx: MemoryTransaction, request: PrivacyRequest, before: tuple[str, RequestKind] | None
    ) -> None:
        key = (request.account_id, request.request_id)
        tx.put_new("privacy requests", key, request, CHANGED)
        locks = self.db.table("privacy locks")
        tx.add(
            lambda: None if locks.get(request.subject_id) == before else CHANGED,
            lambda: locks.__setitem__(request.subject_id, (request.request_id, request.kind)),
        )

    def replace_request(self, tx: MemoryTransaction, old: PrivacyRequest, new: PrivacyRequest) -> None:
        rows, key = self._rows(), (old.account_id, old.request_id)
        tx.add(
            lambda: None if rows[key].version == old.version else CHANGED,
            lambda: rows.__setitem__(key, replace(new, version=old.version + 1)),
        )

    def check_lock(self, tx: MemoryTransaction, request: PrivacyRequest) -> None:
        tx.add(
            lambda: None if self.find_latest(request.subject_id)[0] == request.request_id else CHANGED,
            lambda: None,
        )

    def _rows(self) -> dict[tuple[str, str], PrivacyRequest]:
        return self.db.table("privacy requests")


class FakeConsentStore(MemoryStore):
    def add_consent(self, tx: MemoryTransaction, consent: Consent) -> None:
        tx.put_new("consents", consent.consent_id, consent, CHANGED)

    def list_consents(self, account_id: str) -> list[Consent]:
        rows = self.db.table("consents").values()
        return sorted(
            (row for row in rows if row.account_id == account_id), key=lambda row: (row.purpose, row.at_ms)
        )


@dataclass
class FakeRecords:
    """``rows``: (account, item, sk) -> values. Each write may be the last before a crash."""

    rows: dict[tuple[str, str, str], dict[str, object]] = field(default_factory=dict)
    reasons: set[Reason] = field(default_factory=set)
    writes: int = 0
    crash_after: int | None = None

    def list_records(self, account_id: str, item: str) -> Iterator[Record]:
        for key, values in sorted(self.rows.items()):
            if key[:2] == (account_id, item):
                yield Record(item, account_id, key[2], dict(values))

    def clear(self, record: Record, names: list[str]) -> None:
        row = self.rows[record.pk, record.item, record.sk]
        self.rows[record.pk, record.item, record.sk] = row | dict.fromkeys(names, ERASED)
        self._count()

    def delete(self, record: Record) -> None:
        self.rows.pop((record.pk, record.item, record.sk), None)
        self._count()

    def list_reasons(self, account_id: str, now_ms: int) -> tuple[Reason, ...]:
        return tuple(sorted(self.reasons))

    def _count(self) -> None:
        self.writes += 1
        if self.crash_after == self.writes:
            raise Crash


@dataclass
class FakePeople:
    """``members``: person -> account; what is kept of each is sealed by ``vault``."""

    vault: FakeVault
    members: dict[str, str] = field(default_factory=dict)
    sealed: dict[str, dict[str, str]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)

    def list_records(self, user_id: str) -> Iterator[Record]:
        opened = {
            name: self.vault.open(user_id, name, text) for name, text in self.sealed.get(user_id, {}).items()
        }
        yield Record("UserItem", user_id, "USER", dict(opened))

    def list_account_users(self, account_id: str) -> Iterator[str]:
        return iter([user for user, account in self.members.items() if account == account_id])

    def list_reasons(self, user_id: str) -> tuple[Reason, ...]:
        return ()

    def prepare(self, user_id: str) -> None:
        """There are no keys."""

    def mark_erased(self, tx: MemoryTransaction, user_id: str) -> None:
        def effect() -> None:
            self.erased.add(user_id)
            self.members.pop(user_id, None)

        tx.add(lambda: None, effect)

    def forget(self, user_id: str, deadline_ms: int) -> bool:
        """All that is kept is sealed."""
        return True

    def end_memberships(self, account_id: str, deadline_ms: int) -> bool:
        self.members = {user: account for user, account in self.members.items() if account != account_id}
        return True


@dataclass
class FakeArchive:
    clock: Clock
    documents: dict[str, bytes] = field(default_factory=dict)

    def keep(self, key: str, file: BinaryIO) -> None:
        self.documents[key] = file.read()

    def fetch(self, key: str, file: BinaryIO) -> None:
        file.write(self.documents.get(key, b""))

    def link(self, key: str, file_name: str) -> Link:
        return Link(f"https://documents.example/{key}", self.clock.now_ms() + 300_000)

    def remove_all(self, prefix: str) -> int:
        found = [key for key in self.documents if key.startswith(prefix)]
        for key in found:
            del self.documents[key]
        return len(found)

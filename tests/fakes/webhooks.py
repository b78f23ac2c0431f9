"""Endpoints and events in memory, and a receiver that answers as it is told."""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.webhooks.model import EVENT_ID_HEADER, Endpoints, Event, Outcome
from tests.fakes.database import MemoryDatabase, MemoryStore


class FakeWebhookStore(MemoryStore):
    """Rows: endpoints (account), events (account, event). Each write by itself is a commit of its own."""

    def add_event(self, tx: Any, event: Event) -> None:
        tx.put_new("events", (event.account_id, event.event_id), event, Unavailable("event"))

    def get_endpoints(self, account_id: str) -> Endpoints:
        return self.db.table("endpoints").get(account_id, Endpoints(account_id))

    def replace_endpoints(self, tx: Any, old: Endpoints, new: Endpoints) -> None:
        def check() -> DomainError | None:
            same = self.get_endpoints(old.account_id).version == old.version
            return None if same else Unavailable("endpoints")

        tx.add(check, lambda: self.db.table("endpoints").__setitem__(old.account_id, new))

    def keep_endpoints(self, old: Endpoints, new: Endpoints) -> bool:
        return _commit(self.db, lambda tx: self.replace_endpoints(tx, old, new))

    def get_event(self, account_id: str, event_id: str) -> Event | None:
        return self.db.table("events").get((account_id, event_id))

    def list_events(self, account_id: str, limit: int, start: str | None) -> Page[Event]:
        mine = [each for each in self.db.table("events").values() if each.account_id == account_id]
        rest = [each for each in mine if start is None or each.event_id < start]
        page = sorted(rest, key=lambda each: each.event_id, reverse=True)
        return Page(page[:limit], page[limit - 1].event_id if len(page) > limit else None)

    def list_due(self, shard: int, now_ms: int, limit: int) -> list[tuple[str, str]]:
        due = [(at_ms, key) for at_ms, key in self._list_waiting(shard) if at_ms <= now_ms]
        return [key for _, key in sorted(due)[:limit]]

    def find_oldest_due_ms(self, shard: int) -> int | None:
        return min((at_ms for at_ms, _ in self._list_waiting(shard)), default=None)

    def _list_waiting(self, shard: int) -> list[tuple[int, tuple[str, str]]]:
        # All in the first shard.
        events = self.db.table("events").items() if shard == 0 else ()
        return [(event.due_at_ms, key) for key, event in events if event.due_at_ms is not None]

    def replace_event(self, tx: Any, old: Event, new: Event) -> None:
        key = (old.account_id, old.event_id)

        def check() -> DomainError | None:
            current = self.get_event(*key)
            same = current is not None and current.version == old.version
            return None if same else Unavailable("event")

        tx.add(check, lambda: self.db.table("events").__setitem__(key, new))

    def keep_event(self, old: Event, new: Event) -> bool:
        return _commit(self.db, lambda tx: self.replace_event(tx, old, new))

    @property
    def events(self) -> list[Event]:
        return sorted(self.db.table("events").values(), key=lambda each: each.event_id)


def _commit(db: MemoryDatabase, write: Callable[[Any], None]) -> bool:
    tx = db.begin()
    write(tx)
    try:
        tx.commit()
    except Unavailable:
        return False
    return True


class FakeSender:
    """``answer`` decides by URL; what was posted is kept."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.answer: Callable[[str], Outcome] = lambda _url: Outcome(10, 200)

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        self.posted.append((url, body, headers))
        return self.answer(url)

    def list_ids(self, url: str | None = None) -> list[str]:
        return [headers[EVENT_ID_HEADER] for to, _, headers in self.posted if url in (None, to)]

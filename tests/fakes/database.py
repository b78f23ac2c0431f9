"""A serialisable in-memory database with crash points, a clock and ids.

A crash before a commit loses it; a crash after a commit has it and loses the reply. Both raise `Crash`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.errors import DomainError
from chalicelib.core.ids import build_id

START_MS = 1_800_000_000_000


class Crash(BaseException):
    """The process died here. Not an Exception: no code may catch it and go on."""


class FakeClock:
    def __init__(self, now_ms: int = START_MS) -> None:
        self.value_ms = now_ms

    def now_ms(self) -> int:
        return self.value_ms

    def advance_seconds(self, seconds: float) -> int:
        self.value_ms += int(seconds * 1000)
        return self.value_ms


class FakeIds:
    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def _next(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def new_id(self, prefix: str) -> str:
        count = self._next()
        return build_id(prefix, now_ms=START_MS + count, randomness=count.to_bytes(10))

    def new_secret(self) -> str:
        return f"{self._next():032d}"


Check = Callable[[], DomainError | None]


class MemoryDatabase:
    """Tables are dicts of immutable values; commits are serial."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {}
        self.lock = threading.RLock()
        self.commits = 0
        self.crash_before: int | None = None
        self.crash_after: int | None = None
        #: Called before each commit: whatever it does comes between a use case's reads and its writes.
        self.interlude: Callable[[], None] | None = None
        #: Of items in one transaction, where a test sees to it that no more are asked for.
        self.max_items: int | None = None

    def table(self, name: str) -> dict[Any, Any]:
        return self.tables.setdefault(name, {})

    def begin(self) -> "MemoryTransaction":
        return MemoryTransaction(self)


@dataclass
class MemoryTransaction:
    database: MemoryDatabase
    checks: list[Check] = field(default_factory=list)
    effects: list[Callable[[], None]] = field(default_factory=list)

    def add(self, check: Check, effect: Callable[[], None]) -> None:
        self.checks.append(check)
        self.effects.append(effect)

    def put_new(self, table: str, key: Any, value: Any, error: DomainError) -> None:
        rows = self.database.table(table)
        self.add(lambda: error if key in rows else None, lambda: rows.__setitem__(key, value))

    def commit(self) -> None:
        most = self.database.max_items
        assert most is None or len(self.checks) <= most, "more than DynamoDB takes"
        if self.database.interlude is not None:
            self.database.interlude()
        with self.database.lock:
            number = self.database.commits
            self.database.commits += 1
            if self.database.crash_before == number:
                raise Crash
            for check in self.checks:
                error = check()
                if error is not None:
                    raise error
            for effect in self.effects:
                effect()
            if self.database.crash_after == number:
                raise Crash


@dataclass
class MemoryStore:
    db: MemoryDatabase

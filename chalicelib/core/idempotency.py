"""Idempotency keys: the record is written in the transaction of the effect, and holds the answer.

A repeated request finds the record and gets the same bytes; the same key with another request is refused.
Concurrent repeats need no "in flight" state: one transaction wins, the others find its record.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.errors import DomainError, IdempotencyMismatch
from chalicelib.core.ports import Transaction

#: The IETF draft leaves the time to the server; Stripe keeps 24 h at least.
LIFETIME_MS = 48 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """``fingerprint`` is of operation and body; ``status`` and ``body`` are what was answered."""

    account_id: str
    key: str
    fingerprint: str
    status: int
    body: str
    expires_at_ms: int


class AlreadyAnswered(DomainError):
    """Not a failure: another request with this key has done the work. Carries its record."""

    code = "already_answered"

    def __init__(self, record: IdempotencyRecord) -> None:
        super().__init__("This key was used before.")
        self.record = record


class IdempotencyStore(Protocol):
    def find(self, account_id: str, key: str, now_ms: int) -> IdempotencyRecord | None: ...
    def add(self, tx: Transaction, record: IdempotencyRecord, now_ms: int) -> None:
        """Fails with AlreadyAnswered when a record that has not expired is there."""


def compute_fingerprint(operation: str, body: bytes) -> str:
    return hashlib.sha256(operation.encode() + b"\0" + body).hexdigest()


def check_replay(record: IdempotencyRecord, fingerprint: str) -> IdempotencyRecord:
    """Raises IdempotencyMismatch when the key belongs to another request."""
    if record.fingerprint != fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used for a different request.")
    return record

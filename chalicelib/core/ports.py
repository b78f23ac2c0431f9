"""Ports that every slice takes as parameters: time, identifiers, transactions, the audit trail."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        ...


class Ids(Protocol):
    def new_id(self, prefix: str) -> str:
        """A fresh identifier, see `chalicelib.core.ids`."""
        ...

    def new_secret(self) -> str:
        """A fresh secret of at least 190 bits, in base 62."""
        ...


class Transaction(Protocol):
    """Writes that become visible all together or not at all.

    Each slice's store adds its own writes together with its own reading of a failed condition. A failed
    commit raises the `DomainError` that the first failed write asked for and changes nothing.
    """

    def commit(self) -> None:
        """Raises DomainError: a condition did not hold, or ``Unavailable`` after bounded retries."""
        ...


Transactions = Callable[[], Transaction]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One mutating act on ``subject`` (an id); ``details`` hold nothing personal or secret."""

    audit_id: str
    account_id: str
    actor: str
    action: str
    subject: str
    at_ms: int
    details: dict[str, object] = field(default_factory=dict)


class AuditTrail(Protocol):
    def add_entry(self, tx: Transaction, entry: AuditEntry) -> None:
        """Write ``entry`` in the same transaction as its effect."""
        ...


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to one person, as plain text."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    def send(self, mail: Mail) -> None:
        """Raises Unavailable: it was not taken; the same may be sent again."""


class PersonVault(Protocol):
    """Seals what is personal under a key of the person's own.

    Once the key is destroyed, nothing opens it again, wherever copies of it are.
    """

    def ensure_key(self, user_id: str) -> None:
        """Make the person's key unless there is one. Raises Conflict: it was destroyed."""

    def seal(self, user_id: str, field: str, text: str) -> str:
        """Return ``text`` sealed; it opens for the same person and field alone. Raises NotFound: no key."""
        ...

    def open(self, user_id: str, field: str, sealed: str) -> str | None:
        """``None``: the key was destroyed."""
        ...

    def destroy_key(self, user_id: str) -> None:
        """For ever; a repeat changes nothing."""


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """What is asked for twice within five minutes under one ``deduplication_id`` is done once."""

    account_id: str
    rental_id: str
    deduplication_id: str

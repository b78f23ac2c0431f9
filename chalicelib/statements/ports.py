"""What the use cases of statements need."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from chalicelib.billing.ports import BillingPorts
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.statements.model import Head, Party, Statement


class StatementStore(Protocol):
    """Months are opened and closed by postings (`billing.ports.MonthStore`)."""

    def get_head(self, account_id: str, month: str) -> Head | None: ...
    def list_heads(self, account_id: str, limit: int, start: str | None) -> Page[Head]:
        """Newest first, without those that are empty: a page may have fewer than ``limit``."""
        ...

    def list_pending(self, before: str) -> Iterator[tuple[str, str]]:
        """Yield (account, month) of months before ``before`` that are not done with. An index: a hint."""
        ...

    def get_last_number(self, year: str) -> int:
        """0 at first."""
        ...

    def give_number(self, tx: Transaction, head: Head, year: str, last: int) -> None:
        """Write number, instant and customer of ``head``, and that ``last`` + 1 is given.

        Fails with Unavailable when another number was given since, or the month has one.
        """

    def keep_issued(self, tx: Transaction, head: Head) -> None:
        """Write state and digests. Fails with Unavailable when it is issued already."""

    def mark_empty(self, head: Head) -> None:
        """It is over and says nothing: it gets no number, and is not pending any more."""

    def get_details(self, account_id: str) -> Party | None: ...
    def put_details(self, tx: Transaction, account_id: str, details: Party, old: Party | None = None) -> None:
        """Fails with Unavailable when ``old`` is given and is not what is stored; empty: or nothing is."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a document can be fetched by whoever has the link, until ``expires_at_ms``."""

    url: str
    expires_at_ms: int


class Documents(Protocol):
    """What is kept as files."""

    def keep(self, key: str, file: BinaryIO, content_type: str) -> str:
        """Keep a document, from where ``file`` is on; return its SHA-256 in hexadecimal.

        Raises:
            Unavailable: try again.
        """
        ...

    def read(self, key: str) -> BinaryIO:
        """Raises NotFound; Unavailable: try again."""
        ...

    def link(self, key: str, file_name: str) -> Link: ...


@dataclass(frozen=True, slots=True)
class StatementPorts:
    store: StatementStore
    documents: Documents
    billing: BillingPorts
    seller: Party
    #: Called only where one is printed: what it returns loads a library.
    connect_printer: Callable[[], Callable[[Statement], bytes]]

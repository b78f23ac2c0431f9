"""Issues what is over: ends the month, checks that it adds up, numbers it, keeps its documents, tells.

Each step stands by itself and is found done by whoever comes next. A number is given before the documents
that bear it are written, and never twice: numbers have no gaps.
"""

from dataclasses import dataclass, replace
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from chalicelib.billing.posting import add_event
from chalicelib.billing.service import end_month
from chalicelib.core.clock import name_month
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.statements.assembling import assemble
from chalicelib.statements.model import Head, Statement, check_adds_up, name_number
from chalicelib.statements.ports import StatementPorts
from chalicelib.statements.service import name_document

MAX_ATTEMPTS = 8
#: Up to this a CSV is held in memory.
SPOOL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Issued:
    """``failed``: (account, month, code) of what was left for another time. ``left``: time ran out."""

    issued: int
    empty: int
    failed: tuple[tuple[str, str, str], ...]
    left: bool


def issue_statements(ports: StatementPorts, deadline_ms: int) -> Issued:
    """Issue every statement of a month that is over, until ``deadline_ms``.

    One that cannot be issued does not keep the others back.
    """
    clock = ports.billing.rentals.clock
    issued = empty = 0
    failed: list[tuple[str, str, str]] = []
    for account_id, month in ports.store.list_pending(name_month(clock.now_ms())):
        if clock.now_ms() >= deadline_ms:
            return Issued(issued, empty, tuple(failed), left=True)
        try:
            head = issue(ports, account_id, month)
        except DomainError as error:
            failed.append((account_id, month, error.code))
            continue
        issued += head is not None and head.state == "issued"
        empty += head is not None and head.state == "empty"
    return Issued(issued, empty, tuple(failed), left=False)


def issue(ports: StatementPorts, account_id: str, month: str) -> Head | None:
    """Issue one statement, or go on where another run stopped; return it, ``None`` if it is not over.

    Raises:
        StatementMismatch: its lines do not lead to its closing balance.
        Unavailable: too much contention; try again.
    """
    head = ports.store.get_head(account_id, month)
    if head is not None and head.state == "open":
        end_month(ports.billing, account_id, ports.billing.rentals.clock.now_ms())
        head = ports.store.get_head(account_id, month)
    if head is None or head.closing is None or head.state in ("issued", "empty"):
        return head if head is not None and head.closing is not None else None
    with open_file() as rows:
        statement = assemble(ports, head, rows)
        check_adds_up(statement)
        if statement.is_empty:
            ports.store.mark_empty(head)
            return replace(head, state="empty")
        if head.number is None:
            head = _give_number(ports, statement)
            statement = replace(statement, head=head, customer=head.customer or statement.customer)
        digests = {
            "csv": keep_csv(ports, rows, name_document(head, "csv")),
            "pdf": keep_pdf(ports, statement, name_document(head, "pdf")),
        }
    head = replace(head, state="issued", digests=digests)
    tx = ports.billing.rentals.transactions()
    ports.store.keep_issued(tx, head)
    told = {"month": month, "number": head.number, "charged_micros": statement.charged_micros}
    add_event(ports.billing, tx, account_id, "statement.issued", told)
    tx.commit()
    return head


def open_file() -> BinaryIO:
    """Return a file that is on disk only while it is large, and then goes by itself."""
    return cast("BinaryIO", SpooledTemporaryFile(max_size=SPOOL_BYTES))


def keep_csv(ports: StatementPorts, rows: BinaryIO, key: str) -> str:
    """Keep what `assemble` wrote under ``key``; return its SHA-256."""
    rows.seek(0)
    return ports.documents.keep(key, rows, "text/csv; charset=utf-8")


def keep_pdf(ports: StatementPorts, statement: Statement, key: str) -> str:
    """Print a statement and keep it under ``key``; return its SHA-256."""
    return ports.documents.keep(key, BytesIO(ports.connect_printer()(statement)), "application/pdf")


def _give_number(ports: StatementPorts, statement: Statement) -> Head:
    """Give the next number of the year in which this happens. Raises Unavailable."""
    rentals = ports.billing.rentals
    now_ms = rentals.clock.now_ms()
    year = name_month(now_ms)[:4]
    for _ in range(MAX_ATTEMPTS):
        last = ports.store.get_last_number(year)
        head = replace(
            statement.head,
            number=name_number(year, last + 1),
            numbered_at_ms=now_ms,
            customer=statement.customer,
        )
        tx = rentals.transactions()
        ports.store.give_number(tx, head, year, last)
        try:
            tx.commit()
        except Unavailable:
            stored = ports.store.get_head(head.account_id, head.month)
            if stored is not None and stored.number is not None:
                return stored
            continue
        return head
    raise Unavailable("Many statements are numbered at once; try again.")

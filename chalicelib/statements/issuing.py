"""Issues what is over: ends the month, checks that it adds up, numbers it, keeps its documents, tells.

Each step stands by itself and is found done by whoever comes next. A number is given before the documents
that bear it are written, and never twice: numbers have no gaps.
"""

from dataclasses import dataclass, replace

from chalicelib.billing.posting import add_event
from chalicelib.billing.service import end_month
from chalicelib.core.clock import name_month
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.statements.assembling import assemble, write_csv
from chalicelib.statements.model import FORMATS, Format, Head, Statement, check_adds_up, name_number
from chalicelib.statements.ports import CONTENT_TYPES, StatementPorts
from chalicelib.statements.service import name_document

MAX_ATTEMPTS = 8


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
    statement = assemble(ports, head)
    check_adds_up(statement)
    if statement.is_empty:
        ports.store.mark_empty(head)
        return replace(head, state="empty")
    if head.number is None:
        head = _give_number(ports, statement)
        statement = replace(statement, head=head, customer=head.customer or statement.customer)
    digests: dict[str, str] = {}
    for form in FORMATS:
        digests[form] = keep_document(ports, statement, form, name_document(head, form))
    head = replace(head, state="issued", digests=digests)
    tx = ports.billing.rentals.transactions()
    ports.store.keep_issued(tx, head)
    told = {"month": month, "number": head.number, "charged_micros": statement.charged_micros}
    add_event(ports.billing, tx, account_id, "statement.issued", told)
    tx.commit()
    return head


def keep_document(ports: StatementPorts, statement: Statement, form: Format, key: str) -> str:
    """Write one document and keep it under ``key``; return its SHA-256."""
    printed = write_csv(ports, statement.head) if form == "csv" else [ports.connect_printer()(statement)]
    return ports.documents.keep(key, printed, CONTENT_TYPES[form])


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

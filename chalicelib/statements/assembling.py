"""A statement out of the books: read, summed, and written as CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

from chalicelib.billing.model import Entry
from chalicelib.billing.ports import UsageLine
from chalicelib.core.clock import format_instant
from chalicelib.statements.model import (
    Head,
    Movement,
    Party,
    Statement,
    StatementMismatch,
    StayCharge,
)
from chalicelib.statements.ports import StatementPorts

COLUMNS = (
    "statement",
    "kind",
    "posted_at",
    "day",
    "rental_id",
    "segment",
    "gpu_type",
    "gpu_count",
    "region",
    "label",
    "price_micros_per_gpu_hour",
    "seconds",
    "gpu_seconds",
    "charge_micros",
    "borne_by_platform_micros",
    "tax_micros",
    "paid_micros",
    "promo_micros",
    "currency",
    "journal_key",
    "note",
)
ROWS_PER_CHUNK = 500


def assemble(ports: StatementPorts, head: Head) -> Statement:
    """Return the statement as the books have it now. Of an open month, what is posted meanwhile may lack."""
    account_id, month = head.account_id, head.month
    stays: dict[tuple[str, int], StayCharge] = {}
    days: dict[str, int] = {}
    for line in ports.billing.usage.list_days(account_id, month):
        key = (line.rental_id, line.segment)
        known = stays.get(key)
        stays[key] = _begin_stay(line) if known is None else _add_line(known, line)
        days[line.day] = days.get(line.day, 0) + line.micros
    entries = ports.billing.usage.list_entries(account_id, month)
    customer = head.customer or ports.store.get_details(account_id) or Party()
    return Statement(
        head,
        ports.seller,
        customer,
        tuple(stays.values()),
        tuple(sorted(days.items())),
        tuple(_read_movement(entry) for entry in entries),
    )


def _begin_stay(line: UsageLine) -> StayCharge:
    return StayCharge(
        line.rental_id,
        line.segment,
        line.gpu_type,
        line.gpu_count,
        line.region,
        line.label,
        line.price_micros_per_gpu_hour,
        line.day,
        line.day,
        line.seconds,
        line.micros,
        line.promo_micros,
        line.overrun_micros,
    )


def _add_line(stay: StayCharge, line: UsageLine) -> StayCharge:
    return replace(
        stay,
        last_day=line.day,
        seconds=stay.seconds + line.seconds,
        micros=stay.micros + line.micros,
        promo_micros=stay.promo_micros + line.promo_micros,
        overrun_micros=stay.overrun_micros + line.overrun_micros,
    )


def _read_movement(entry: Entry) -> Movement:
    tax = entry.details.get("tax_micros")
    return Movement(
        entry.posted_at_ms,
        entry.kind,
        entry.paid_micros,
        entry.promo_micros,
        tax if isinstance(tax, int) else 0,
        entry.journal_key,
        _describe(entry),
    )


def _describe(entry: Entry) -> str:
    """Return what a person wants to know of it: why, and for which rental or payment."""
    names = ("reason", "rental_id", "top_up_id", "grant_id")
    found = [str(entry.details[name]) for name in names if name in entry.details]
    undone = entry.details.get("journal_key")
    return ", ".join([*found, *([f"of {undone}"] if undone else [])])


def write_csv(ports: StatementPorts, head: Head) -> Iterator[bytes]:
    """Yield the month line by line as it is read: one a stay and day, one a journal of another kind.

    ``paid_micros`` and ``promo_micros`` are changes of the wallet: they sum to what it moved by.

    Raises:
        StatementMismatch: of a month that is over, they do not.
    """
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, restval="")
    writer.writeheader()
    paid = promo = 0
    for number, row in enumerate(_list_rows(ports, head), start=1):
        paid, promo = paid + int(row["paid_micros"]), promo + int(row["promo_micros"])
        writer.writerow({name: _disarm(value) for name, value in row.items()})
        if number % ROWS_PER_CHUNK == 0:
            yield _take(buffer)
    if head.closing is not None:
        moved = (
            head.closing.paid_micros - head.opening.paid_micros,
            head.closing.promo_micros - head.opening.promo_micros,
        )
        if (paid, promo) != moved:
            raise StatementMismatch(f"The rows of {head.month} of {head.account_id} do not sum to {moved}.")
    yield _take(buffer)


def _take(buffer: io.StringIO) -> bytes:
    chunk = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return chunk


def _disarm(value: str | int) -> str | int:
    """Keep a spreadsheet from taking a text for a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


def _list_rows(ports: StatementPorts, head: Head) -> Iterator[dict[str, str | int]]:
    common: dict[str, str | int] = {"statement": head.number or "", "currency": head.currency}
    for line in ports.billing.usage.list_days(head.account_id, head.month):
        yield common | {
            "kind": "usage",
            "day": line.day,
            "rental_id": line.rental_id,
            "segment": line.segment,
            "gpu_type": line.gpu_type,
            "gpu_count": line.gpu_count,
            "region": line.region,
            "label": line.label or "",
            "price_micros_per_gpu_hour": line.price_micros_per_gpu_hour,
            "seconds": line.seconds,
            "gpu_seconds": line.seconds * line.gpu_count,
            "charge_micros": line.micros,
            "borne_by_platform_micros": line.overrun_micros,
            "paid_micros": -line.paid_micros,
            "promo_micros": -line.promo_micros,
        }
    for entry in ports.billing.usage.list_entries(head.account_id, head.month):
        movement = _read_movement(entry)
        yield common | {
            "kind": movement.kind,
            "posted_at": format_instant(movement.posted_at_ms),
            "tax_micros": movement.tax_micros,
            "paid_micros": movement.paid_micros,
            "promo_micros": movement.promo_micros,
            "journal_key": movement.journal_key,
            "note": movement.note,
        }

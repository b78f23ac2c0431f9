"""A statement out of the books: read, summed, and written as CSV."""

import csv
import io
from operator import itemgetter
from typing import BinaryIO

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

#: What a formula begins with.
_FORMULAS = ("=", "+", "-", "@", "\t")
COLUMNS = (
    "month",
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
_order = itemgetter(*COLUMNS)


def assemble(ports: StatementPorts, head: Head, csv_file: BinaryIO | None = None) -> Statement:
    """Return the statement as the books have it now. Of an open month, what is posted meanwhile may lack.

    They are read once: into ``csv_file``, if there is one, the same goes row by row.

    Raises:
        StatementMismatch: of a month that is over, the rows do not sum to what the wallet moved by.
    """
    account_id, month = head.account_id, head.month
    rows = None if csv_file is None else RowWriter(head, csv_file)
    stays: dict[tuple[str, int], _Sum] = {}
    days: dict[str, int] = {}
    movements: list[Movement] = []
    for each in ports.billing.usage.list_month(account_id, month):
        if isinstance(each, Entry):
            movements.append(_read_movement(each))
            if rows is not None:
                rows.write_movement(movements[-1])
            continue
        key = (each.rental_id, each.segment)
        if key not in stays:
            stays[key] = _Sum(each)
        stays[key].add(each)
        days[each.day] = days.get(each.day, 0) + each.micros
        if rows is not None:
            rows.write_line(each)
    if rows is not None:
        rows.finish()
    customer = head.customer or ports.store.get_details(account_id) or Party()
    charges = tuple(each.render() for each in stays.values())
    return Statement(head, ports.seller, customer, charges, tuple(sorted(days.items())), tuple(movements))


class _Sum:
    """What the lines of one stay, which come by day, add up to."""

    def __init__(self, first: UsageLine) -> None:
        self.first, self.last_day = first, first.day
        self.seconds = self.micros = self.promo_micros = self.overrun_micros = 0

    def add(self, line: UsageLine) -> None:
        self.last_day = line.day
        self.seconds += line.seconds
        self.micros += line.micros
        self.promo_micros += line.promo_micros
        self.overrun_micros += line.overrun_micros

    def render(self) -> StayCharge:
        line = self.first
        return StayCharge(
            line.rental_id,
            line.segment,
            line.gpu_type,
            line.gpu_count,
            line.region,
            line.label,
            line.price_micros_per_gpu_hour,
            line.day,
            self.last_day,
            self.seconds,
            self.micros,
            self.promo_micros,
            self.overrun_micros,
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


class RowWriter:
    """Writes the month as CSV while it is read: one row a stay and day, one a journal of another kind.

    ``paid_micros`` and ``promo_micros`` are changes of the wallet: they sum to what it moved by.
    """

    def __init__(self, head: Head, file: BinaryIO) -> None:
        self.head = head
        self.text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self.writer = csv.writer(self.text)
        self.writer.writerow(COLUMNS)
        self.blank = dict.fromkeys(COLUMNS, "") | {"month": head.month, "currency": head.currency}
        self.paid_micros = self.promo_micros = 0

    def write_line(self, line: UsageLine) -> None:
        self._write(
            {
                "kind": "usage",
                "day": line.day,
                "rental_id": line.rental_id,
                "segment": line.segment,
                "gpu_type": disarm(line.gpu_type),
                "gpu_count": line.gpu_count,
                "region": disarm(line.region),
                "label": disarm(line.label or ""),
                "price_micros_per_gpu_hour": line.price_micros_per_gpu_hour,
                "seconds": line.seconds,
                "gpu_seconds": line.seconds * line.gpu_count,
                "charge_micros": line.micros,
                "borne_by_platform_micros": line.overrun_micros,
            },
            -line.paid_micros,
            -line.promo_micros,
        )

    def write_movement(self, movement: Movement) -> None:
        self._write(
            {
                "kind": movement.kind,
                "posted_at": format_instant(movement.posted_at_ms),
                "tax_micros": movement.tax_micros,
                "journal_key": disarm(movement.journal_key),
                "note": disarm(movement.note),
            },
            movement.paid_micros,
            movement.promo_micros,
        )

    def _write(self, row: dict[str, str | int], paid_micros: int, promo_micros: int) -> None:
        self.paid_micros += paid_micros
        self.promo_micros += promo_micros
        self.writer.writerow(
            _order(self.blank | row | {"paid_micros": paid_micros, "promo_micros": promo_micros})
        )

    def finish(self) -> None:
        """Raises StatementMismatch: the rows of an ended month do not sum to what the wallet moved by."""
        head = self.head
        # Else the wrapper closes the file when it goes.
        self.text.detach()
        if head.closing is None:
            return
        moved = (
            head.closing.paid_micros - head.opening.paid_micros,
            head.closing.promo_micros - head.opening.promo_micros,
        )
        if (self.paid_micros, self.promo_micros) != moved:
            raise StatementMismatch(f"The rows of {head.month} of {head.account_id} do not sum to {moved}.")


def disarm(value: str | int) -> str | int:
    """Keep a spreadsheet from taking a text for a formula (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value

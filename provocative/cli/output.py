"""Tables and facts for people: as wide as the terminal, whole when piped, exact about money.

A table that is too wide first leaves out its least important columns, and only then folds text. Ids and
figures are never cut. rich is imported when something is printed, and not before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

MICROS_PER_UNIT = 1_000_000
_MIN_DECIMALS = 2
_GAP = 2
_MIB_PER_GIB = 1024
_MIN_FOLDED = 12
#: Wide enough for anything: who reads through a pipe wants whole lines.
_PIPED_WIDTH = 10_000

STYLES: Mapping[str, str] = {
    "running": "green",
    "active": "green",
    "HIGH": "green",
    "free": "green",
    "queued": "yellow",
    "allocating": "yellow",
    "provisioning": "yellow",
    "resuming": "yellow",
    "stopping": "yellow",
    "terminating": "yellow",
    "draining": "yellow",
    "suspect": "yellow",
    "LOW": "yellow",
    "failed": "red",
    "lost": "red",
    "unhealthy": "red",
    "NONE": "red",
    "stopped": "dim",
    "terminated": "dim",
    "retired": "dim",
}


@dataclass(frozen=True, slots=True)
class Column:
    """``rank``: 0 is always shown; of the others, the highest is left out first. ``folds``: free text."""

    title: str
    rank: int = 0
    right: bool = False
    folds: bool = False


def open_console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    probe = Console(stderr=stderr, highlight=False, emoji=False, markup=False)
    if probe.is_terminal or "COLUMNS" in probe._environ:  # noqa: SLF001
        return probe
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, width=_PIPED_WIDTH)


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """``empty`` is what is said in place of a table without rows."""
    from rich.table import Table
    from rich.text import Text

    console = open_console()
    if not rows:
        console.print(empty)
        return
    kept = choose_columns(columns, rows, console.width)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for index in kept:
        column = columns[index]
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.folds,
            overflow="fold",
            min_width=None if column.folds else _measure(index, columns, rows),
        )
    for row in rows:
        table.add_row(*(Text(row[index], style=STYLES.get(row[index], "")) for index in kept))
    console.print(table)


def choose_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the columns that fit into ``width``, in their order."""
    widths = [_measure(index, columns, rows) for index in range(len(columns))]
    # One that folds can do with less, but not with nothing.
    needs = [
        min(each, max(len(column.title), _MIN_FOLDED)) if column.folds else each
        for each, column in zip(widths, columns, strict=True)
    ]
    kept = [
        index
        for index, column in enumerate(columns)
        if not column.rank or any(row[index] not in {"", "-"} for row in rows)
    ]
    while sum(needs[index] + _GAP for index in kept) - _GAP > width:
        last = max(kept, key=lambda index: (columns[index].rank, index))
        if not columns[last].rank:
            break
        kept.remove(last)
    return kept


def _measure(index: int, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    return max(len(columns[index].title), *(len(row[index]) for row in rows))


def print_facts(facts: Iterable[tuple[str, str | None]]) -> None:
    """Print names and values below one another; what is ``None`` is left out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            table.add_row(name, Text(value, style=STYLES.get(value, "")))
    open_console().print(table)


def print_line(text: str) -> None:
    open_console().print(text, soft_wrap=True)


def format_micros(micros: int | None, currency: str = "") -> str:
    """Return the exact amount, at least two decimals: ``2.49 USD``, ``-0.0048 USD``."""
    if micros is None:
        return "-"
    whole, fraction = divmod(abs(micros), MICROS_PER_UNIT)
    decimals = f"{fraction:06d}".rstrip("0").ljust(_MIN_DECIMALS, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals} {currency}".rstrip()


def format_duration(seconds: int) -> str:
    """Return the two largest units: ``2d3h``, ``2h30m``, ``45s``."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return "".join(parts[:2]) or "0s"


def format_exact_duration(seconds: int) -> str:
    """Return every unit, for what is paid by the second: ``1d2h3m4s``."""
    text = ""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def read_instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def format_instant(text: str | None) -> str:
    """Return an instant in UTC to the second: ``2026-11-23 09:00:00Z``."""
    if text is None:
        return "-"
    return read_instant(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def format_known(text: str | None) -> str | None:
    """Return an instant as `format_instant` does, ``None`` for none: a fact that is not shown."""
    return None if text is None else format_instant(text)


def format_age(text: str | None, now: datetime) -> str:
    if text is None:
        return "-"
    return format_duration(max(0, int((now - read_instant(text)).total_seconds())))


def format_memory(mib: int) -> str:
    """Return GiB, as whole as cards are named: 81,559 MiB is ``80GiB``."""
    return f"{round(mib / _MIB_PER_GIB)}GiB" if mib >= _MIB_PER_GIB else f"{mib}MiB"


def format_share(ppm: int | None) -> str:
    """Return exact percent: 999,900 is ``99.99%``."""
    if ppm is None:
        return "-"
    whole, rest = divmod(ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"


def format_milli(thousandths: int | None, unit: str) -> str:
    """Return exact units from thousandths: ``45.5 g``, ``-0.5 g``."""
    if thousandths is None:
        return "-"
    whole, rest = divmod(abs(thousandths), 1000)
    sign = "-" if thousandths < 0 else ""
    return sign + f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + f" {unit}"


def or_dash(value: object) -> str:
    return "-" if value is None or value == "" else str(value)

"""The words in which a methodology is written: constants, statements, tables, each with its source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OWN = "choice of this platform"
Cell = int | str | None


@dataclass(frozen=True, slots=True)
class Constant:
    """``symbol``: its name in its module. ``value``: an integer, or an exact decimal as text.

    ``version`` is of the source; ``None``: a choice of ours, which has the methodology's own version.
    """

    symbol: str
    meaning: str
    value: int | str
    unit: str
    source: str = OWN
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """``formula`` as plain text.

    ``code``: the functions that do it, so that whoever doubts the words can read them, and so that a change
    of either is a change of the methodology.
    """

    title: str
    formula: str
    detail: str
    source: str
    version: str | None
    code: tuple[str, ...]
    constants: tuple[Constant, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """``unit`` is empty where a cell is text."""

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A cell is ``None`` where the source is blank. ``note`` says what a reader could misread."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    source: str
    version: str | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """``key`` names it in links."""

    key: str
    title: str
    statements: tuple[Statement, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Methodology:
    version: str
    sections: tuple[Section, ...]


def name_code(*functions: Callable[..., Any]) -> tuple[str, ...]:
    """Return where each is: module and name."""
    return tuple(f"{each.__module__}.{each.__qualname__}" for each in functions)

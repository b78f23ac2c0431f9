"""Query parameters of every listing."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.core.paging import DEFAULT_LIMIT, MAX_LIMIT

PAGING = frozenset({"limit", "cursor"})
#: Of lists whose key has the instant of creation: either way it is one query.
SORTED_PAGING = PAGING | {"sort"}
SORTS = ("-created_at", "created_at")
C = TypeVar("C", bound=str)
_MAX_DIGITS = 18


def require(query: Mapping[str, str], *names: str) -> None:
    """Raises InvalidInput: one of them is not given, or empty."""
    missing = [name for name in names if not query.get(name)]
    if missing:
        raise InvalidInput(f"Name the query parameter {missing[0]}.")


def read_limit(query: Mapping[str, str]) -> int:
    """Raises InvalidInput: ``limit`` is not a whole number from 1 to ``MAX_LIMIT``."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):  # noqa: PLR2004
        raise InvalidInput(f"limit is a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def read_sort(query: Mapping[str, str]) -> bool:
    """Say whether the oldest comes first; the newest does unless it is asked for.

    Raises:
        InvalidInput: ``sort`` is none of ``SORTS``.
    """
    return read_choice(query, "sort", SORTS) == "created_at"


def read_integer(query: Mapping[str, str], name: str, *, maximum: int, minimum: int = 0) -> int | None:
    """Return a whole number from the query, ``None`` where it is not given.

    Raises:
        InvalidInput: it is no whole number, or outside its range.
    """
    text = query.get(name)
    if text is None:
        return None
    if not (
        text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and minimum <= int(text) <= maximum
    ):
        raise InvalidInput(f"{name} is a whole number from {minimum} to {maximum}.")
    return int(text)


def read_choice(query: Mapping[str, str], name: str, choices: Sequence[C]) -> C | None:
    """Return one of ``choices`` from the query, ``None`` where it is not given.

    Raises:
        InvalidInput: it is none of them.
    """
    text = query.get(name)
    if text is None:
        return None
    for choice in choices:
        if choice == text:
            return choice
    raise InvalidInput(f"{name} is one of: {', '.join(choices)}.")


def read_instant(query: Mapping[str, str], name: str) -> int | None:
    """Return an instant in milliseconds from the query, ``None`` where it is not given.

    Raises:
        InvalidInput: ``invalid_instant``.
    """
    text = query.get(name)
    return None if text is None else parse_instant(text)

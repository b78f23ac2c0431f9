"""Query parameters of every listing."""

from collections.abc import Mapping

from chalicelib.core.errors import InvalidInput
from chalicelib.core.paging import DEFAULT_LIMIT, MAX_LIMIT

PAGING = frozenset({"limit", "cursor"})


def read_limit(query: Mapping[str, str]) -> int:
    """Raises InvalidInput: ``limit`` is not a whole number from 1 to ``MAX_LIMIT``."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):  # noqa: PLR2004
        raise InvalidInput(f"limit is a whole number from 1 to {MAX_LIMIT}.")
    return int(text)

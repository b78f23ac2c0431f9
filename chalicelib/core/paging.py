"""Cursors: opaque to clients, a sort key inside. A store rebuilds the full key, so a cursor cannot reach
into another account's listing.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chalicelib.core.errors import InvalidInput

T = TypeVar("T")
DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_KEY_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page; ``next_key`` is the sort key after which the next begins, ``None`` at the end."""

    items: Sequence[T]
    next_key: str | None = None


def encode_cursor(key: str | None) -> str | None:
    return None if key is None else base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """Raises InvalidInput (``invalid_cursor``) when the text is not one of our cursors."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("The cursor is not one that this API gave out.", code="invalid_cursor") from error
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput("The cursor is not one that this API gave out.", code="invalid_cursor")
    return key

"""Identifiers: ``<prefix>_<26 characters>``, sortable by time, unguessable in their last 80 bits.

The 26 characters are a ULID (48 bits of milliseconds, 80 random bits, Crockford base 32, lower case).
"""

import re
import string

_ALPHABET = string.digits + "abcdefghjkmnpqrstvwxyz"
_PATTERN = re.compile(r"^[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{26}$")
RANDOM_BYTES = 10


def build_id(prefix: str, *, now_ms: int, randomness: bytes) -> str:
    """Return an identifier from its parts.

    Raises:
        ValueError: ``randomness`` is not ``RANDOM_BYTES`` long.
    """
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes are needed")
    number = (now_ms << 80) | int.from_bytes(randomness)
    characters = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(characters)}"


def is_id(text: str, prefix: str) -> bool:
    """Say whether ``text`` has the form of an identifier with ``prefix``."""
    return text.startswith(f"{prefix}_") and _PATTERN.fullmatch(text) is not None


def read_created_ms(text: str) -> int | None:
    """Return when an identifier was made, ``None`` if it is none."""
    if _PATTERN.fullmatch(text) is None:
        return None
    number = 0
    for character in text.rpartition("_")[2]:
        number = number << 5 | _ALPHABET.index(character)
    return number >> 80

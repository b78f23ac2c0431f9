"""The commonest passwords, as a filter that needs no network and tells none of them.

``common_passwords.bin``: the first five bytes of the SHA-256 of each, sorted. One in fifty million other
passwords is taken for one of them. `infra.passwords` makes it, and says from which list.
"""

import hashlib
from functools import cache
from pathlib import Path

WIDTH = 5
FILE = Path(__file__).parent / "common_passwords.bin"


def is_common(password: str) -> bool:
    """Say whether a password, in lower case, is one of those that are guessed first."""
    filter_, wanted = _read(), hash_common(password)
    low, high = 0, len(filter_) // WIDTH
    while low < high:
        middle = (low + high) // 2
        if filter_[middle * WIDTH : (middle + 1) * WIDTH] < wanted:
            low = middle + 1
        else:
            high = middle
    return filter_[low * WIDTH : (low + 1) * WIDTH] == wanted


def hash_common(password: str) -> bytes:
    return hashlib.sha256(password.encode()).digest()[:WIDTH]


@cache
def _read() -> bytes:
    return FILE.read_bytes()

"""Unix socket addresses: their paths have 107 bytes at most, a clone's own path may use most of that."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 100


@contextlib.contextmanager
def open_address(path: Path) -> Iterator[str]:
    """Yield a name for ``path`` that fits; valid inside the ``with`` only (Linux)."""
    if len(os.fsencode(path)) <= MAX_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)

"""Waiting for something that another process does: polls until it holds, or fails with what it saw last."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.1
#: What is late on a busy machine is not wrong: a function alone takes 20 s to start there.
PATIENCE_SECONDS = 120.0


def wait_for(read: Callable[[], T], holds: Callable[[T], bool], seconds: float = PATIENCE_SECONDS) -> T:
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if holds(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; the last value was {value!r}")
        time.sleep(_POLL_SECONDS)

"""The owner's wish that a host takes no new work: a file in the state directory, so it outlives the agent.

``provocative-agent drain`` writes it, the agent looks at it before each start and with each heartbeat.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from host_agent import assignments
from host_agent.durable import sync_directory, write_atomic

_MARKER = "draining"
POLL_SECONDS = 2.0


def begin_drain(state_dir: Path) -> None:
    """Durable when it returns. Raises OSError."""
    write_atomic(state_dir / _MARKER, b"")


def end_drain(state_dir: Path) -> None:
    """Raises OSError."""
    (state_dir / _MARKER).unlink(missing_ok=True)
    sync_directory(state_dir)


def is_draining(state_dir: Path) -> bool:
    return os.path.exists(state_dir / _MARKER)  # noqa: PTH110 - a disk that fails must not stop the agent


def count_left(state_dir: Path) -> int:
    """Return how many workloads are not wiped yet, from what the agent has made durable.

    Raises:
        OSError, msgspec.DecodeError: the file cannot be read.
    """
    known = assignments.load(state_dir / assignments.FILE_NAME).workloads.values()
    return sum(workload.phase != "terminated" for workload in known)


def watch_drain(state_dir: Path, wait: Callable[[float], bool]) -> Iterator[int]:
    """Yield how many workloads are left, at first and at each change, until none is or ``wait`` says stop.

    ``wait`` pauses for so many seconds and returns True when it was told to stop. Raises as `count_left`.
    """
    left = count_left(state_dir)
    yield left
    while left and not wait(POLL_SECONDS):
        before, left = left, count_left(state_dir)
        if left != before:
            yield left

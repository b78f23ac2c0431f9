"""``python -m host_agent.workloads.supervisor DIRECTORY``: runs one workload and remembers how it ended.

It lives apart from the agent, so that an agent that dies neither takes the workload with it nor misses its
exit code. A lock on the directory makes a second supervisor of the same workload go away at once.
"""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from host_agent.durable import read_if_there, write_atomic

LOCK, SPEC, STARTED, ENDED, LOG = "lock", "spec.json", "started.json", "ended.json", "log"
WORK = "work"
MAX_LOG_BYTES = 1024 * 1024
_CHUNK = 8192
_LOCK_ATTEMPTS = 50
_LOCK_PAUSE_SECONDS = 0.02


class Spec(msgspec.Struct, frozen=True):
    command: list[str]
    env: dict[str, str]


class Started(msgspec.Struct, frozen=True):
    """``start_ticks`` tells this process from a later one with the same number."""

    pid: int
    start_ticks: int
    started_at_ms: int


class Ended(msgspec.Struct, frozen=True):
    ended_at_ms: int
    exit_code: int | None = None
    #: Set when the workload could not be started at all.
    error: str = ""


def read_start_ticks(pid: int) -> int | None:
    """Return when ``pid`` was started, in clock ticks since boot, or ``None`` when it is gone."""
    data = read_if_there(Path(f"/proc/{pid}/stat"))
    if data is None:
        return None
    # The name in parentheses may hold anything; field 22 counts from after it. Source: proc(5).
    fields = data.rpartition(b")")[2].split()
    return None if fields[0] == b"Z" else int(fields[19])


def is_alive(started: Started) -> bool:
    """Say whether this very process still runs, not a later one with its number."""
    return read_start_ticks(started.pid) == started.start_ticks


def main() -> int:
    directory = Path(sys.argv[1])
    if not _take_lock(directory / LOCK):
        return 0
    if (directory / ENDED).exists() or (directory / STARTED).exists():
        return 0
    spec = msgspec.json.decode((directory / SPEC).read_bytes(), type=Spec)
    write_atomic(directory / ENDED, msgspec.json.encode(_run(directory, spec)))
    return 0


def _take_lock(path: Path) -> bool:
    """Hold the lock until this process ends; return whether it was free."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # An agent that looks whether we live holds it for an instant; a supervisor keeps it.
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def _run(directory: Path, spec: Spec) -> Ended:
    try:
        process = subprocess.Popen(
            spec.command,
            env=spec.env,
            cwd=directory / WORK,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Ended(_now_ms(), error=f"{type(error).__name__}: {reason}")
    ticks = read_start_ticks(process.pid) or 0
    write_atomic(directory / STARTED, msgspec.json.encode(Started(process.pid, ticks, _now_ms())))
    assert process.stdout is not None
    _keep_log(process.stdout.fileno(), directory / LOG)
    return Ended(_now_ms(), exit_code=process.wait())


def _keep_log(source: int, path: Path) -> None:
    """Copy until everybody who writes is gone; keep the last one to two MiB."""
    written = 0
    target = path.open("ab", buffering=0)
    while chunk := os.read(source, _CHUNK):
        if written + len(chunk) > MAX_LOG_BYTES:
            target.close()
            path.replace(path.with_name(f"{LOG}.1"))
            target, written = path.open("ab", buffering=0), 0
        written += target.write(chunk) or 0
    target.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    raise SystemExit(main())

"""Workloads as processes, for development hosts: no isolation but a session and a directory of its own.

What is known of a workload is in its directory, written by its supervisor; this module holds nothing.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from host_agent.clock import Clock
from host_agent.durable import read_if_there, sync_directory, write_atomic
from host_agent.runtime import WorkloadStatus
from host_agent.supervisor import ENDED, LOCK, SPEC, STARTED, WORK, Ended, Spec, Started, read_start_ticks

T = TypeVar("T")

#: A workload that lives this long counts as healthy.
GRACE_MS = 200
STOP_GRACE_SECONDS = 5.0
#: How long a killed process may take to be gone.
KILL_SECONDS = 10.0
_POLL_SECONDS = 0.05


class ProcessRuntime:
    """``root`` holds a directory per rental. ``wait`` pauses and is injected for tests."""

    def __init__(
        self, root: Path, base_env: Mapping[str, str], clock: Clock, wait: Callable[[float], object]
    ) -> None:
        self._root = root
        self._base_env = dict(base_env)
        self._clock = clock
        self._wait = wait
        self._children: list[subprocess.Popen[bytes]] = []
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(
        self, rental_id: str, command: Sequence[str], env: Mapping[str, str], gpu_uuids: Sequence[str]
    ) -> None:
        directory = self._root / rental_id
        (directory / WORK).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / SPEC).exists():
            fixed = {"NVIDIA_VISIBLE_DEVICES": ",".join(gpu_uuids), "RENTAL_ID": rental_id}
            base = {"PATH": os.environ.get("PATH", os.defpath), **self._base_env}
            spec = Spec(list(command), {**base, **env, **fixed})
            write_atomic(directory / SPEC, msgspec.json.encode(spec))
            sync_directory(self._root)
        self._reap()
        self._children.append(
            subprocess.Popen(
                [sys.executable, "-m", "host_agent.supervisor", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def inspect(self, rental_id: str) -> WorkloadStatus:
        self._reap()
        directory = self._root / rental_id
        if not (directory / SPEC).exists():
            return WorkloadStatus("absent")
        supervised = self._is_supervised(directory)
        # Read after the lock: a supervisor that has let go has written all it ever will.
        ended = _load(directory / ENDED, Ended)
        if ended is not None:
            if ended.error:
                return WorkloadStatus("failed", ended_at_ms=ended.ended_at_ms, detail=ended.error)
            return WorkloadStatus("exited", ended.exit_code, ended.ended_at_ms)
        started = _load(directory / STARTED, Started)
        if started is not None and not supervised:
            return WorkloadStatus("failed", detail="supervisor_lost")
        if started is None or self._clock.now_ms() - started.started_at_ms < GRACE_MS:
            return WorkloadStatus("starting")
        return WorkloadStatus("running")

    def stop(self, rental_id: str) -> None:
        directory = self._root / rental_id
        started = _load(directory / STARTED, Started)
        if started is None:
            self._settle(directory, KILL_SECONDS)
            started = _load(directory / STARTED, Started)
        if started is None or read_start_ticks(started.pid) not in {None, started.start_ticks}:
            # Never ran, or the number is another's by now: ours ended before that could be.
            return
        _signal(started, signal.SIGTERM)
        if not self._settle(directory, STOP_GRACE_SECONDS):
            _signal(started, signal.SIGKILL)
        # A child that made itself independent of the group is still of the session.
        for pid in _list_session(started.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        session = started.pid
        if not self._settle(directory, KILL_SECONDS, lambda: not _list_session(session)):
            raise TimeoutError(f"processes of {rental_id} do not end")

    def wipe(self, rental_id: str) -> None:
        directory = self._root / rental_id
        if directory.exists():
            shutil.rmtree(directory)
            sync_directory(self._root)

    def _settle(self, directory: Path, seconds: float, gone: Callable[[], bool] = lambda: True) -> bool:
        """Wait until no supervisor holds the workload and it is ``gone``; return whether that came true."""
        if not (directory / SPEC).exists():
            return True
        for _ in range(int(seconds / _POLL_SECONDS)):
            if not self._is_supervised(directory) and gone():
                return True
            self._wait(_POLL_SECONDS)
        return False

    def _is_supervised(self, directory: Path) -> bool:
        """Say whether a supervisor holds the lock, or was just spawned and will take it."""
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return any(
            child.poll() is None and str(directory) in map(str, _arguments(child)) for child in self._children
        )

    def _reap(self) -> None:
        self._children = [child for child in self._children if child.poll() is None]


def _arguments(child: subprocess.Popen[bytes]) -> Sequence[object]:
    return child.args if isinstance(child.args, list) else [child.args]


def _signal(started: Started, number: signal.Signals) -> None:
    # Never a later process that got the same number.
    if read_start_ticks(started.pid) == started.start_ticks:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(started.pid, number)


def _list_session(session: int) -> list[int]:
    """Return the living processes of a session (field 6 of /proc/PID/stat)."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = (path / "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                found.append(int(path.name))
    return found


def _load(path: Path, kind: type[T]) -> T | None:
    data = read_if_there(path)
    return None if data is None else msgspec.json.decode(data, type=kind)

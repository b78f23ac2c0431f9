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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from host_agent.clock import Clock
from host_agent.durable import read_if_there, sync_directory, write_atomic
from host_agent.workloads.notice import NOTICE, Notice, NoticeBoard, name_notice
from host_agent.workloads.runtime import Wiped, WorkloadOrder, WorkloadStatus, find_refusal
from host_agent.workloads.supervisor import (
    ENDED,
    LOCK,
    LOG,
    SPEC,
    STARTED,
    WORK,
    Ended,
    Spec,
    Started,
    read_start_ticks,
)

T = TypeVar("T")

#: A workload that lives this long counts as healthy.
GRACE_MS = 200
#: How long a killed process may take to be gone.
KILL_SECONDS = 10.0


class ProcessRuntime:
    """``root`` holds a directory per rental."""

    def __init__(self, root: Path, base_env: Mapping[str, str], clock: Clock, notices: NoticeBoard) -> None:
        self._root = root
        self._notices = notices
        self._base_env = dict(base_env)
        self._clock = clock
        #: When a workload that was told to end is killed, on the clock that never jumps.
        self._kill_at: dict[str, float] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def start(self, order: WorkloadOrder) -> None:
        directory = self._root / order.rental_id
        (directory / WORK).mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / SPEC).exists():
            fixed = {"NVIDIA_VISIBLE_DEVICES": ",".join(order.gpu_uuids), "RENTAL_ID": order.rental_id}
            base = {"PATH": os.environ.get("PATH", os.defpath), **self._base_env}
            notice = name_notice(directory / NOTICE)
            spec = Spec(list(order.spec.command), {**base, **order.spec.env, **notice, **fixed})
            refusal = find_refusal(order.spec, supported=frozenset())
            if refusal:
                ended = Ended(self._clock.now_ms(), error=refusal)
                write_atomic(directory / ENDED, msgspec.json.encode(ended))
            write_atomic(directory / SPEC, msgspec.json.encode(spec))
            sync_directory(self._root)
        self._notices.serve(directory / NOTICE)
        self._reap()
        self._children.append(
            subprocess.Popen(
                [sys.executable, "-m", "host_agent.workloads.supervisor", str(directory)],
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
        self._notices.serve(directory / NOTICE)
        if started is None or self._clock.now_ms() - started.started_at_ms < GRACE_MS:
            return WorkloadStatus("starting")
        return WorkloadStatus("running")

    def find_cgroup(self, rental_id: str) -> str | None:  # noqa: ARG002 - it shares the agent's
        return None

    def stop(self, rental_id: str, grace_seconds: float) -> bool:
        directory = self._root / rental_id
        if not (directory / SPEC).exists():
            return True
        supervised = self._is_supervised(directory)
        started = _load(directory / STARTED, Started)
        if started is None:
            # Never ran, or its supervisor is about to say.
            return not supervised
        left = _list_session(started)
        if not supervised and not left:
            self._kill_at.pop(rental_id, None)
            return True
        now = self._clock.monotonic()
        if rental_id not in self._kill_at:
            self._kill_at[rental_id] = now + grace_seconds
            _signal(started, signal.SIGTERM)
        if now >= self._kill_at[rental_id] or not supervised:
            # A child that made itself independent of the group is still of the session.
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        if now >= self._kill_at[rental_id] + KILL_SECONDS:
            raise TimeoutError(f"processes of {rental_id} do not end")
        return False

    def prepare_discard(self, order: WorkloadOrder) -> None:
        """Bare processes have no volumes."""

    def announce(self, rental_id: str, notice: Notice | None) -> None:
        self._notices.announce(self._root / rental_id / NOTICE, notice)

    def wipe(self, rental_id: str, *, keep_volume: bool, unreachable: bool) -> Wiped:
        del keep_volume, unreachable
        directory = self._root / rental_id
        self._notices.close(directory / NOTICE)
        if directory.exists():
            shutil.rmtree(directory)
            sync_directory(self._root)
        return Wiped("not_supported")

    def read_log(self, rental_id: str, max_bytes: int) -> bytes:
        directory = self._root / rental_id
        older, newer = (read_if_there(directory / name) or b"" for name in (f"{LOG}.1", LOG))
        return (older + newer)[-max_bytes:]

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


def _list_session(started: Started) -> list[int]:
    """Return the living processes of the workload's session (field 6 of /proc/PID/stat)."""
    if read_start_ticks(started.pid) not in {None, started.start_ticks}:
        # The number is another's by now: ours ended before that could be.
        return []
    session = started.pid
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

"""Workloads that an engine runs, as the agent sees them: files in a directory, and short-lived programs.

Every dealing with the engine is an *operation*: a program of its own (`host_agent.workloads.operation`) that
reads the order, does one thing and writes what came of it. So the engine's client is in memory only while it
is used, an engine that hangs hangs nobody else, and a crash on either side is a repetition. Between
operations a running workload costs nothing: its first process is watched, not its engine.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import msgspec

from chalicelib.wire.v1 import PublishedPort
from host_agent import logs
from host_agent.backoff import Backoff
from host_agent.cgroups import read_cgroup
from host_agent.clock import Clock
from host_agent.durable import read_if_there, sync_directory, write_atomic
from host_agent.workloads.notice import NOTICE, Notice, NoticeBoard
from host_agent.workloads.runtime import Wiped, WorkloadOrder, WorkloadStatus
from host_agent.workloads.supervisor import Ended, Started, is_alive

T = TypeVar("T")

ORDER, STARTED, ENDED, STOPPED, WIPED, LOG = (
    "order.json",
    "started.json",
    "ended.json",
    "stopped.json",
    "wiped.json",
    "log.excerpt",
)
SETTINGS = "settings.json"
#: Standard error of the last operation, for people; an operation says little.
OPERATION_LOG = "operation.log"
_LOG_BYTES = 400

Action = Literal["start", "inspect", "stop", "wipe", "log"]
#: How long an operation may take before it counts as hung. A start may have to pull an image.
LIMIT_SECONDS: dict[Action, float] = {"start": 3600, "inspect": 60, "stop": 90, "wipe": 900, "log": 30}
#: A workload that lives this long counts as healthy.
GRACE_MS = 200
#: Pause before an operation that was done is done again.
REPEAT_SECONDS = 1.0


class Running(msgspec.Struct, frozen=True):
    """Content of ``started.json``."""

    process: Started
    ports: list[PublishedPort] = []


class Child(Protocol):
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Launch = Callable[[Path, Action, list[str]], Child]


@dataclass(slots=True)
class Operation:
    """One operation under way, or failed and waiting to be tried again."""

    action: Action
    backoff: Backoff
    child: Child | None = None
    deadline: float = 0.0
    retry_at: float = 0.0


class OperatedRuntime:
    """``root`` holds a directory per rental; ``settings`` are written there for the operations to read."""

    def __init__(
        self,
        root: Path,
        settings: msgspec.Struct,
        clock: Clock,
        notices: NoticeBoard,
        *,
        launch: Launch,
        draw: Callable[[], float],
    ) -> None:
        """Raises OSError: ``root`` cannot be written."""
        self._root, self._clock, self._notices = root, clock, notices
        self._launch, self._draw = launch, draw
        self._operations: dict[str, Operation] = {}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(root / SETTINGS, msgspec.json.encode(settings))

    def start(self, order: WorkloadOrder) -> None:
        directory = self._root / order.rental_id
        if not (directory / ORDER).exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._notices.serve(directory / NOTICE)
            write_atomic(directory / ORDER, msgspec.json.encode(order))
            sync_directory(self._root)
        self.inspect(order.rental_id)

    def inspect(self, rental_id: str) -> WorkloadStatus:
        directory = self._root / rental_id
        if not (directory / ORDER).exists():
            return WorkloadStatus("absent")
        ended = load(directory / ENDED, Ended)
        if ended is not None:
            if ended.error:
                return WorkloadStatus("failed", ended_at_ms=ended.ended_at_ms, detail=ended.error)
            return WorkloadStatus("exited", ended.exit_code, ended.ended_at_ms)
        if (directory / STOPPED).exists():
            # Ended before it ran: it must not be started now.
            return WorkloadStatus("exited")
        self._notices.serve(directory / NOTICE)
        running = load(directory / STARTED, Running)
        if running is None:
            self._operate(rental_id, "start")
            return WorkloadStatus("starting")
        if not is_alive(running.process):
            # How it ended, or under which number it was started again, only the engine knows.
            self._operate(rental_id, "inspect")
        age_ms = self._clock.now_ms() - running.process.started_at_ms
        return WorkloadStatus("starting" if age_ms < GRACE_MS else "running", ports=running.ports)

    def find_cgroup(self, rental_id: str) -> str | None:
        running = load(self._root / rental_id / STARTED, Running)
        if running is None or not is_alive(running.process):
            return None
        return read_cgroup(running.process.pid)

    def stop(self, rental_id: str, grace_seconds: float) -> bool:
        directory = self._root / rental_id
        if not (directory / ORDER).exists() or (directory / STOPPED).exists():
            return True
        self._operate(rental_id, "stop", f"{grace_seconds:.0f}")
        return False

    def wipe(self, rental_id: str, *, keep_volume: bool, unreachable: bool) -> Wiped | None:
        directory = self._root / rental_id
        if not directory.exists():
            return Wiped("not_supported")
        wiped = load(directory / WIPED, Wiped)
        if wiped is None:
            if not (directory / ORDER).exists():
                wiped = Wiped("not_supported")
            else:
                chosen = {"keep_volume": keep_volume, "unreachable": unreachable}
                self._operate(rental_id, "wipe", *(name for name, wanted in chosen.items() if wanted))
                return None
        if self._is_busy(rental_id):
            return None
        self._notices.close(directory / NOTICE)
        self._operations.pop(rental_id, None)
        shutil.rmtree(directory)
        sync_directory(self._root)
        return wiped

    def prepare_discard(self, order: WorkloadOrder) -> None:
        directory = self._root / order.rental_id
        if (directory / ORDER).exists():
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # First: what has an order and is not stopped would be started by looking at it.
        write_atomic(directory / STOPPED, b"{}")
        write_atomic(directory / ORDER, msgspec.json.encode(order))
        sync_directory(self._root)

    def announce(self, rental_id: str, notice: Notice | None) -> None:
        self._notices.announce(self._root / rental_id / NOTICE, notice)

    def read_log(self, rental_id: str, max_bytes: int) -> bytes | None:
        directory = self._root / rental_id
        if not (directory / STARTED).exists():
            return b""
        text = read_if_there(directory / LOG)
        if text is None:
            self._operate(rental_id, "log", str(max_bytes))
        else:
            (directory / LOG).unlink()
        return text

    def _operate(self, rental_id: str, action: Action, *arguments: str) -> None:
        """See to it that ``action`` is under way; another that still runs is ended first."""
        now = self._clock.monotonic()
        running = self._operations.get(rental_id)
        if running is None or (running.child is None and running.action != action):
            running = self._operations[rental_id] = Operation(action, Backoff(self._draw))
        if running.child is not None:
            code = running.child.poll()
            if code is None:
                self._hurry(running, action, now)
                return
            running.child = None
            if running.action != action:
                self._operations[rental_id] = running = Operation(action, Backoff(self._draw))
            elif code:
                running.retry_at = now + running.backoff.next_delay()
                reason = self._read_reason(rental_id)
                logs.warn("operation_failed", rental_id=rental_id, action=action, reason=reason)
            else:
                running.retry_at = now + REPEAT_SECONDS
        if now >= running.retry_at:
            running.child = self._launch(self._root / rental_id, action, list(arguments))
            running.deadline = now + LIMIT_SECONDS[action]

    def _is_busy(self, rental_id: str) -> bool:
        """Say whether an operation of this rental has written its result and is about to end."""
        running = self._operations.get(rental_id)
        return running is not None and running.child is not None and running.child.poll() is None

    @staticmethod
    def _hurry(running: Operation, action: Action, now: float) -> None:
        assert running.child is not None
        if now >= running.deadline:
            running.child.kill()
        elif running.action != action and action in {"stop", "wipe"}:
            # A start that is not wanted any more; what it did so far, stop and wipe undo.
            running.child.terminate()

    def _read_reason(self, rental_id: str) -> str:
        text = read_if_there(self._root / rental_id / OPERATION_LOG) or b""
        return text[-_LOG_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2]


def launch_operation(runtime: str) -> Launch:
    """Return what starts the operations of ``runtime`` as programs."""

    def launch(directory: Path, action: Action, arguments: list[str]) -> Child:
        with (directory / OPERATION_LOG).open("wb") as errors:
            program = [sys.executable, "-m", "host_agent.workloads.operation", runtime, action]
            return subprocess.Popen(
                [*program, str(directory), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    return launch


def load(path: Path, kind: type[T]) -> T | None:
    data = read_if_there(path)
    return None if data is None else msgspec.json.decode(data, type=kind)

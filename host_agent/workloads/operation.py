"""``python -m host_agent.workloads.operation RUNTIME ACTION DIRECTORY [ARGUMENT]``: deals with an engine.

Exit codes: 0 done, 75 try again (the engine cannot be reached, something is busy), 70 a defect of ours.
Standard error has one line for people.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

import msgspec

from host_agent.durable import write_atomic
from host_agent.workloads.engine import Engine, EngineUnavailable, StartRefused
from host_agent.workloads.operations import ENDED, LOG, ORDER, SETTINGS, STARTED, STOPPED, WIPED
from host_agent.workloads.runtime import WorkloadOrder
from host_agent.workloads.settings import ContainerSettings, UnitSettings
from host_agent.workloads.supervisor import Ended

EX_TEMPFAIL = 75
LOCK = "lock"


def main(arguments: list[str]) -> int:
    runtime, action, name, *rest = arguments
    directory = Path(name)
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Of an agent that is gone, perhaps: the two must not deal with one workload at once.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        order = msgspec.json.decode((directory / ORDER).read_bytes(), type=WorkloadOrder)
        operate(open_engine(runtime, directory.parent), action, directory, order, rest)
    except (EngineUnavailable, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return EX_TEMPFAIL
    return 0


def operate(engine: Engine, action: str, directory: Path, order: WorkloadOrder, rest: list[str]) -> None:
    """Do one thing and write what came of it.

    Raises:
        EngineUnavailable or OSError: nothing is known, or something remains; to be tried again.
    """
    if action == "start":
        try:
            running = engine.start(order, directory)
        except StartRefused as error:
            ended = Ended(time.time_ns() // 1_000_000, error=error.code)
            write_atomic(directory / ENDED, msgspec.json.encode(ended))
        else:
            write_atomic(directory / STARTED, msgspec.json.encode(running))
    elif action == "inspect":
        found = engine.inspect(order)
        path = directory / (ENDED if isinstance(found, Ended) else STARTED)
        write_atomic(path, msgspec.json.encode(found))
    elif action == "stop":
        ended_now = engine.stop(order, float(rest[0]))
        if ended_now is not None and not (directory / ENDED).exists():
            write_atomic(directory / ENDED, msgspec.json.encode(ended_now))
        write_atomic(directory / STOPPED, b"{}")
    elif action == "wipe":
        keep_volume, unreachable = "keep_volume" in rest, "unreachable" in rest
        wiped = engine.wipe(order, keep_volume=keep_volume, unreachable=unreachable)
        write_atomic(directory / WIPED, msgspec.json.encode(wiped))
    else:
        write_atomic(directory / LOG, engine.read_log(order, int(rest[0])))


def open_engine(runtime: str, root: Path) -> Engine:
    """Raises EngineUnavailable: nothing answers."""
    settings = (root / SETTINGS).read_bytes()
    if runtime == "container":
        from host_agent.workloads.container import ContainerEngine

        return ContainerEngine.connect(msgspec.json.decode(settings, type=ContainerSettings))
    from host_agent.workloads.unit import UnitEngine

    return UnitEngine(msgspec.json.decode(settings, type=UnitSettings))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

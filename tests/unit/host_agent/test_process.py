"""Workloads as real processes: they outlive the agent, end completely, leave nothing."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from chalicelib.wire.v1 import PortSpec, WorkloadSpec
from host_agent.clock import SystemClock
from host_agent.workloads.notice import Notice, NoticeBoard
from host_agent.workloads.process import ProcessRuntime
from host_agent.workloads.runtime import WorkloadOrder, WorkloadStatus
from host_agent.workloads.supervisor import LOCK, read_start_ticks

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def build(tmp_path):
    built = []

    def new() -> ProcessRuntime:
        env = {"PYTHONPATH": os.getcwd()}
        runtime = ProcessRuntime(tmp_path, env, SystemClock(), NoticeBoard())
        built.append(runtime)
        return runtime

    yield new
    for name in os.listdir(tmp_path):
        end(built[0], name)
    for runtime in built:
        for child in runtime._children:
            child.wait(10)


def order(command, env=None, gpus=(), **spec) -> WorkloadOrder:
    return WorkloadOrder("r", "cmd", WorkloadSpec(command, env=env or {}, **spec), list(gpus))


def end(runtime: ProcessRuntime, rental_id: str, grace_seconds: float = 5) -> None:
    deadline = time.monotonic() + 20
    while not runtime.stop(rental_id, grace_seconds):
        assert time.monotonic() < deadline, "does not end"
        time.sleep(0.02)


def wait_for(runtime: ProcessRuntime, rental_id: str, *states: str) -> WorkloadStatus:
    deadline = time.monotonic() + 20
    while (status := runtime.inspect(rental_id)).state not in states:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_a_workload_runs_is_seen_by_the_next_agent_and_is_started_once(build, tmp_path):
    runtime = build()
    runtime.start(order(SLEEP, {}, ["GPU-0"]))
    wait_for(runtime, "r", "running")
    next_agent = build()
    next_agent.start(order(SLEEP, {}, ["GPU-0"]))
    started = (tmp_path / "r" / "started.json").read_bytes()
    assert next_agent.inspect("r").state == "running"
    end(next_agent, "r")
    assert (tmp_path / "r" / "started.json").read_bytes() == started
    assert next_agent.inspect("r").state == "exited"
    next_agent.wipe("r", keep_volume=False, unreachable=False)
    assert next_agent.inspect("r").state == "absent"
    assert os.listdir(tmp_path) == []


def test_an_agent_that_looks_at_the_wrong_moment_does_not_turn_the_supervisor_away(build, tmp_path):
    runtime = build()
    (tmp_path / "r").mkdir()
    lock = os.open(tmp_path / "r" / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    runtime.start(order(SLEEP, {}, []))
    # Long enough for the supervisor to have come up and found the lock taken.
    with contextlib.suppress(subprocess.TimeoutExpired):
        runtime._children[0].wait(0.5)
    os.close(lock)
    assert wait_for(runtime, "r", "running").state == "running"


def test_the_exit_code_is_known_to_an_agent_that_was_not_there(build):
    runtime = build()
    runtime.start(order([sys.executable, "-c", "raise SystemExit(7)"], {}, []))
    status = wait_for(build(), "r", "exited")
    assert status.exit_code == 7
    assert status.ended_at_ms is not None


def test_a_program_that_does_not_exist_fails_with_its_kind(build):
    runtime = build()
    runtime.start(order(["/no/such/program"], {}, []))
    status = wait_for(runtime, "r", "failed")
    assert status.detail.startswith("FileNotFoundError")


def test_a_workload_sees_its_gpus_and_nothing_of_the_agents_environment(build, tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_SECRET", "hidden")
    runtime = build()
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    runtime.start(
        order([sys.executable, "-c", code], {"MINE": "1", "RENTAL_ID": "other"}, ["GPU-0", "GPU-1"])
    )
    wait_for(runtime, "r", "exited")
    seen = json.loads((tmp_path / "r" / "log").read_text())
    assert seen["NVIDIA_VISIBLE_DEVICES"] == "GPU-0,GPU-1"
    assert (seen["MINE"], seen["RENTAL_ID"]) == ("1", "r")
    assert "AGENT_SECRET" not in seen


def test_a_workload_that_ignores_the_polite_signal_and_its_children_are_killed(build, tmp_path):
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    runtime = build()
    runtime.start(order([sys.executable, "-c", code], {}, []))
    wait_for(runtime, "r", "running")
    deadline = time.monotonic() + 10
    while not (log := (tmp_path / "r" / "log").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    end(runtime, "r", grace_seconds=0.3)
    assert read_start_ticks(int(log)) is None


def test_a_supervisor_that_was_killed_is_a_failure_and_its_workload_still_ends(build, tmp_path):
    runtime = build()
    runtime.start(order(SLEEP, {}, []))
    wait_for(runtime, "r", "running")
    runtime._children[0].send_signal(signal.SIGKILL)
    runtime._children[0].wait()
    assert wait_for(runtime, "r", "failed").detail == "supervisor_lost"
    end(runtime, "r")
    runtime.wipe("r", keep_volume=False, unreachable=False)
    assert os.listdir(tmp_path) == []


def test_stopping_and_wiping_what_never_was_is_no_error(build):
    runtime = build()
    end(runtime, "unknown")
    runtime.wipe("unknown", keep_volume=False, unreachable=False)
    assert runtime.inspect("unknown").state == "absent"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"image": "busybox"}, "image_not_supported"),
        ({"ports": [PortSpec(80)]}, "ports_not_supported"),
        ({"ssh_public_keys": ["ssh-ed25519 A"]}, "ssh_public_keys_not_supported"),
        ({"command": []}, "command_required"),
    ],
)
def test_what_a_bare_process_cannot_be_given_is_refused_and_never_started(build, tmp_path, spec, code):
    runtime = build()
    runtime.start(order(**{"command": SLEEP, **spec}))
    assert wait_for(runtime, "r", "failed").detail == code
    assert not (tmp_path / "r" / "started.json").exists()


def test_a_notice_reaches_who_waits_and_who_looks_later(build, tmp_path):
    code = (
        "import os, socket\n"
        "waiting = socket.socket(socket.AF_UNIX)\n"
        "waiting.connect(os.environ['PROVOCATIVE_NOTICE_SOCKET'])\n"
        "print('waiting', flush=True)\n"
        "first = waiting.makefile().read()\n"
        "late = socket.socket(socket.AF_UNIX)\n"
        "late.connect(os.environ['PROVOCATIVE_NOTICE_SOCKET'])\n"
        "assert late.makefile().read() == first == open(os.environ['PROVOCATIVE_NOTICE_FILE']).read()\n"
        "print(first)\n"
    )
    runtime = build()
    runtime.start(order([sys.executable, "-c", code]))
    deadline = time.monotonic() + 20
    while b"waiting" not in runtime.read_log("r", 1000):
        runtime.inspect("r")
        assert time.monotonic() < deadline, runtime.read_log("r", 1000)
        time.sleep(0.02)
    runtime.announce("r", Notice("preempted", 5))
    assert wait_for(runtime, "r", "exited").exit_code == 0, runtime.read_log("r", 1000)
    assert b'{"reason":"preempted","deadline_at_ms":5}' in runtime.read_log("r", 1000)


def test_the_log_ends_with_what_was_written_last(build):
    runtime = build()
    runtime.start(order([sys.executable, "-c", "print('x' * 3_000_000 + 'end', end='')"]))
    wait_for(runtime, "r", "exited")
    assert runtime.read_log("r", 10) == b"xxxxxxxend"
    assert len(runtime.read_log("r", 1_500_000)) == 1_500_000

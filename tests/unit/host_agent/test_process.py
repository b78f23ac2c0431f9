"""Workloads as real processes: they outlive the agent, end completely, leave nothing."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from host_agent.clock import SystemClock
from host_agent.process import ProcessRuntime
from host_agent.runtime import WorkloadStatus
from host_agent.supervisor import LOCK, read_start_ticks

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def build(tmp_path):
    built = []

    def new() -> ProcessRuntime:
        env = {"PYTHONPATH": os.getcwd()}
        runtime = ProcessRuntime(tmp_path, env, SystemClock(), threading.Event().wait)
        built.append(runtime)
        return runtime

    yield new
    for name in os.listdir(tmp_path):
        built[0].stop(name)
    for runtime in built:
        for child in runtime._children:
            child.wait(10)


def wait_for(runtime: ProcessRuntime, rental_id: str, *states: str) -> WorkloadStatus:
    deadline = time.monotonic() + 20
    while (status := runtime.inspect(rental_id)).state not in states:
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_a_workload_runs_is_seen_by_the_next_agent_and_is_started_once(build, tmp_path):
    runtime = build()
    runtime.start("r", SLEEP, {}, ["GPU-0"])
    wait_for(runtime, "r", "running")
    next_agent = build()
    next_agent.start("r", SLEEP, {}, ["GPU-0"])
    started = (tmp_path / "r" / "started.json").read_bytes()
    assert next_agent.inspect("r").state == "running"
    next_agent.stop("r")
    assert (tmp_path / "r" / "started.json").read_bytes() == started
    assert next_agent.inspect("r").state == "exited"
    next_agent.wipe("r")
    assert next_agent.inspect("r").state == "absent"
    assert os.listdir(tmp_path) == []


def test_an_agent_that_looks_at_the_wrong_moment_does_not_turn_the_supervisor_away(build, tmp_path):
    runtime = build()
    (tmp_path / "r").mkdir()
    lock = os.open(tmp_path / "r" / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    runtime.start("r", SLEEP, {}, [])
    # Long enough for the supervisor to have come up and found the lock taken.
    with contextlib.suppress(subprocess.TimeoutExpired):
        runtime._children[0].wait(0.5)
    os.close(lock)
    assert wait_for(runtime, "r", "running").state == "running"


def test_the_exit_code_is_known_to_an_agent_that_was_not_there(build):
    runtime = build()
    runtime.start("r", [sys.executable, "-c", "raise SystemExit(7)"], {}, [])
    status = wait_for(build(), "r", "exited")
    assert status.exit_code == 7
    assert status.ended_at_ms is not None


def test_a_program_that_does_not_exist_fails_with_its_kind(build):
    runtime = build()
    runtime.start("r", ["/no/such/program"], {}, [])
    status = wait_for(runtime, "r", "failed")
    assert status.detail.startswith("FileNotFoundError")


def test_a_workload_sees_its_gpus_and_nothing_of_the_agents_environment(build, tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_SECRET", "hidden")
    runtime = build()
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    runtime.start("r", [sys.executable, "-c", code], {"MINE": "1", "RENTAL_ID": "other"}, ["GPU-0", "GPU-1"])
    wait_for(runtime, "r", "exited")
    seen = json.loads((tmp_path / "r" / "log").read_text())
    assert seen["NVIDIA_VISIBLE_DEVICES"] == "GPU-0,GPU-1"
    assert (seen["MINE"], seen["RENTAL_ID"]) == ("1", "r")
    assert "AGENT_SECRET" not in seen


def test_a_workload_that_ignores_the_polite_signal_and_its_children_are_killed(build, tmp_path, monkeypatch):
    monkeypatch.setattr("host_agent.process.STOP_GRACE_SECONDS", 0.3)
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    runtime = build()
    runtime.start("r", [sys.executable, "-c", code], {}, [])
    wait_for(runtime, "r", "running")
    deadline = time.monotonic() + 10
    while not (log := (tmp_path / "r" / "log").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    runtime.stop("r")
    assert read_start_ticks(int(log)) is None


def test_a_supervisor_that_was_killed_is_a_failure_and_its_workload_still_ends(build, tmp_path):
    runtime = build()
    runtime.start("r", SLEEP, {}, [])
    wait_for(runtime, "r", "running")
    runtime._children[0].send_signal(signal.SIGKILL)
    runtime._children[0].wait()
    assert wait_for(runtime, "r", "failed").detail == "supervisor_lost"
    runtime.stop("r")
    runtime.wipe("r")
    assert os.listdir(tmp_path) == []


def test_stopping_and_wiping_what_never_was_is_no_error(build):
    runtime = build()
    runtime.stop("unknown")
    runtime.wipe("unknown")
    assert runtime.inspect("unknown").state == "absent"

"""A drain holds from the moment it is asked for, through any crash, until it is taken back."""

import json

import pytest

from host_agent.__main__ import main
from host_agent.cli.drain import wait_until_empty
from host_agent.config import Config
from host_agent.draining import begin_drain, count_left, end_drain, is_draining, watch_drain
from tests.unit.host_agent.fakes import Host, build_start, build_stop
from tests.unit.host_agent.test_agent import run


def take_heartbeat(host):
    host.agent.beat()
    return host.heartbeats.take()[1]


def test_a_start_that_comes_while_draining_is_refused_and_reported_and_the_others_go_on(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start("rnt_old"))
    begin_drain(tmp_path)
    host.agent.accept(build_start("rnt_new", gpus=("GPU-1",)))
    run(host)
    run(host)
    assert host.runtime.started == ["rnt_old"]
    reports = host.reports()
    assert (reports["rnt_old"].state, reports["rnt_new"].state) == ("running", "failed")
    assert reports["rnt_new"].detail == "draining"
    # The cloud answers with a stop, as to every failed start, and the GPU is free again.
    host.agent.accept(build_stop("rnt_new", gpus=("GPU-1",)))
    run(host)
    assert host.reports()["rnt_new"].wiped


def test_the_cloud_is_told_at_once_and_after_a_restart(tmp_path):
    host = Host(tmp_path)
    assert host.agent.work() is False
    assert take_heartbeat(host).draining is False
    begin_drain(tmp_path)
    assert host.agent.work() is True, "a change is reported with the next step, not with the next heartbeat"
    assert take_heartbeat(host).draining is True
    assert host.agent.work() is False
    host.restart()
    assert take_heartbeat(host).draining is True
    end_drain(tmp_path)
    end_drain(tmp_path)
    assert host.agent.work() is True
    assert take_heartbeat(host).draining is False
    host.agent.accept(build_start())
    run(host)
    assert host.runtime.started == ["rnt_1"]


def test_a_start_that_was_accepted_before_the_drain_is_not_refused_when_it_comes_again(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    begin_drain(tmp_path)
    assert host.agent.accept(build_start()) is False
    run(host)
    run(host)
    assert host.reports()["rnt_1"].state == "running"


def test_waiting_ends_when_the_last_workload_is_wiped(tmp_path, capsys):
    host = Host(tmp_path)
    host.agent.accept(build_start("rnt_1"))
    host.agent.accept(build_start("rnt_2", gpus=("GPU-1",)))
    run(host)
    begin_drain(tmp_path)
    polls = []

    def wait(seconds):
        polls.append(seconds)
        if len(polls) == 2:
            host.agent.accept(build_stop("rnt_1"))
        if len(polls) == 4:
            host.agent.accept(build_stop("rnt_2", gpus=("GPU-1",)))
        run(host)
        return False

    assert list(watch_drain(tmp_path, wait)) == [2, 1, 0]
    assert len(polls) == 4
    assert wait_until_empty(Config("http://127.0.0.1:9", str(tmp_path)), wait, as_json=False) == 0
    assert "no workloads left" in capsys.readouterr().out


def test_whoever_interrupts_the_wait_learns_what_is_left(tmp_path, capsys):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    config = Config("http://127.0.0.1:9", str(tmp_path))
    assert wait_until_empty(config, lambda _: True, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {"draining": True, "workloads_left": 1}


@pytest.fixture
def config(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    file = tmp_path / "agent.toml"
    file.write_text(f'api_url = "http://127.0.0.1:9"\nstate_dir = "{state}"\n')
    return state, ["--config", str(file)]


def test_the_command_drains_takes_back_and_waits(config, capsys):
    state, arguments = config
    assert main(["drain", *arguments]) == 0
    told = capsys.readouterr()
    assert "draining, no new workload is started; no workloads left" in told.out
    assert "no agent runs here" in told.err
    assert is_draining(state)
    assert main(["drain", "--wait", "--json", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == {"draining": True, "workloads_left": 0}
    assert main(["drain", "--undo", *arguments]) == 0
    assert "not draining" in capsys.readouterr().out
    assert not is_draining(state)
    assert count_left(state) == 0


def test_a_state_directory_that_is_not_there_is_an_error_and_no_drain(tmp_path, capsys):
    file = tmp_path / "agent.toml"
    file.write_text(f'api_url = "http://127.0.0.1:9"\nstate_dir = "{tmp_path / "none"}"\n')
    assert main(["drain", "--config", str(file)]) == 70
    assert "state directory" in capsys.readouterr().err

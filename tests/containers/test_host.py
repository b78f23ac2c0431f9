"""A whole agent with a real engine: commands in, containers on the host, reports and energy out."""

import time

import msgspec
import pytest

from chalicelib.wire.v1 import WorkloadSpec
from host_agent.agent import Agent
from host_agent.clock import SystemClock
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.spool import Spool
from host_agent.watchdog import WatchedReader
from tests.containers.bench import ContainerHost, list_bridges
from tests.containers.conftest import IMAGE
from tests.unit.host_agent.fakes import (
    FakeClock,
    FakeReader,
    FakeXids,
    build_preempt,
    build_start,
    build_stop,
)

FOREVER = WorkloadSpec(["sh", "-c", "trap 'exit 3' TERM; while true; do sleep 0.1; done"], IMAGE)


class AgentHost:
    def __init__(self, directory, engine_url: str) -> None:
        self.containers = ContainerHost(directory, engine_url)
        self.clock = FakeClock()
        self.reader = FakeReader(self.clock)
        self.directory, self.boots = directory, 0
        self.restart()

    def restart(self) -> None:
        """Start a new agent on the same disk, as after kill -9."""
        self.boots += 1
        self.spool = Spool(self.directory / "spool")
        self.heartbeats = HeartbeatSlot()
        self.outbox = TelemetryOutbox(self.spool, f"boot-{self.boots}")
        self.agent = Agent(
            state_dir=self.directory,
            gpus=self.reader.infos,
            reader=WatchedReader(self.reader),
            runtime=self.containers.open(),
            outbox=self.outbox,
            heartbeats=self.heartbeats,
            meter_state=self.spool.latest_state,
            xids=FakeXids(),
            # Deadlines are the host's, containers' instants the machine's.
            clock=SystemClock(),
        )

    def work_until(self, *states: str):
        deadline = time.monotonic() + 60
        while True:
            self.clock.ms += 100
            self.agent.work()
            self.agent.beat()
            taken = self.heartbeats.take()
            assert taken is not None
            found = [each for each in taken[1].workloads if each.state in states]
            if found:
                return found[0]
            assert time.monotonic() < deadline, taken[1].workloads
            time.sleep(0.05)


@pytest.fixture
def host(tmp_path, engine_url):
    host = AgentHost(tmp_path, engine_url)
    yield host
    host.agent.accept(build_stop(epoch=100))
    host.work_until("terminated")
    host.spool.close()


def start(epoch: int = 1, command_id: str = "cmd-1"):
    return msgspec.structs.replace(build_start(epoch=epoch), workload=FOREVER, command_id=command_id)


def test_a_rental_lives_in_a_container_through_a_new_agent_and_ends_wiped(host):
    assert host.agent.accept(start(epoch=5))
    host.work_until("running")
    bridges = list_bridges()
    host.restart()
    assert host.work_until("running").instance_id == "cmd-1"
    assert list_bridges() == bridges, "nothing was started twice"
    assert not host.agent.accept(start(epoch=5)), "the same order again"
    assert not host.agent.accept(build_stop(epoch=4)), "an order of before"
    assert host.work_until("running").instance_id == "cmd-1"
    host.agent.accept(build_stop(epoch=6))
    report = host.work_until("terminated")
    assert (report.wiped, report.leases[0].epoch) == (True, 6)
    assert list_bridges() == []
    owned = [
        each for pending in host.outbox.take(1000) for each in pending.record.intervals if each.rental_id
    ]
    assert [each.final for each in owned] == [False] * (len(owned) - 1) + [True]
    assert {each.epoch for each in owned} == {5}


def test_a_preempted_container_gets_its_signal_and_is_reported_as_such(host):
    host.agent.accept(start())
    host.work_until("running")
    host.agent.accept(build_preempt(SystemClock().now_ms() + 20_000))
    report = host.work_until("exited")
    assert (report.detail, report.exit_code) == ("preempted", 3)

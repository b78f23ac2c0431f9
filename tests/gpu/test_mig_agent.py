"""Instances of a partitioned board are leased like GPUs, from the library to the records of the agent."""

import pytest

from host_agent.agent import Agent
from host_agent.boards import BoardReader
from host_agent.nvml import NvmlReader
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.spool import Spool
from host_agent.watchdog import WatchedReader
from tests.unit.host_agent.fakes import FakeClock, FakeRuntime, FakeXids, build_start, build_stop


@pytest.fixture
def host(simulation, tmp_path):
    return PartitionedHost(simulation, tmp_path)


class PartitionedHost:
    """One board of 3, 2 and 2 slices and one whole board, 350 W each at work."""

    def __init__(self, simulation, directory):
        self.simulation, self.clock, self.directory = simulation, FakeClock(), directory
        self.runtime = FakeRuntime()
        self.instances = simulation.partition(0, [3, 2, 2])
        self.board, self.whole = simulation.uuids
        self.outbox = TelemetryOutbox(Spool(directory / "spool"), "boot")
        self.restart()

    def restart(self):
        spool = Spool(self.directory / "spool")
        reader = NvmlReader(self.clock, "all")
        gpus = reader.list_gpus()
        self.heartbeats = HeartbeatSlot()
        self.agent = Agent(
            state_dir=self.directory,
            gpus=gpus,
            reader=BoardReader(WatchedReader(reader), gpus),
            runtime=self.runtime,
            outbox=self.outbox,
            heartbeats=self.heartbeats,
            meter_state=spool.latest_state,
            xids=FakeXids(),
            clock=self.clock,
        )

    def wait(self, seconds, watts):
        self.clock.ms += seconds * 1000
        self.simulation.set(0, power_average=watts * 1000)
        self.simulation.add(0, watts * seconds * 1000)

    def do(self, command):
        self.agent.accept(command)
        self.agent.work()

    def records(self):
        return [pending.record for pending in self.outbox.take(1000)]

    def intervals(self, rental_id):
        return [i for record in self.records() for i in record.intervals if i.rental_id == rental_id]


def test_two_tenants_of_one_board_get_what_is_theirs_and_the_platform_the_rest(host):
    three, two, _ = host.instances
    host.agent.sample()
    host.wait(10, 70)
    host.do(build_start("rnt_a", gpus=(three,)))
    host.do(build_start("rnt_b", gpus=(two,)))
    host.simulation.work(0, 0, graphics=1000, multiprocessors=0)
    host.simulation.work(0, 1, graphics=500, multiprocessors=0)
    host.wait(60, 350)
    host.agent.sample()
    host.wait(60, 350)
    host.do(build_stop("rnt_b", gpus=(two,)))
    host.do(build_stop("rnt_a", gpus=(three,)))
    # 70 W idle by slices, 280 W of work as 3 busy slices to 1, in two minutes.
    idle, work = 120 * 70_000, 120 * 280_000
    assert sum(i.energy_millijoules for i in host.intervals("rnt_a")) == idle * 3 // 7 + work * 3 // 4
    assert sum(i.energy_millijoules for i in host.intervals("rnt_b")) == idle * 2 // 7 + work // 4
    rest = [i for i in host.intervals(None) if i.gpu_uuid == host.board]
    assert sum(i.energy_millijoules for i in rest) == idle * 2 // 7 + 10 * 70_000
    for rental_id, uuid in (("rnt_a", three), ("rnt_b", two)):
        own = host.intervals(rental_id)
        assert [i.interval_index for i in own] == list(range(len(own)))
        assert [i.final for i in own] == [False] * (len(own) - 1) + [True]
        assert {(i.gpu_uuid, i.parent_uuid) for i in own} == {(uuid, host.board)}


def test_power_and_energy_are_told_of_the_board_once(host):
    host.agent.sample()
    host.agent.beat()
    samples = {sample.gpu_uuid: sample for record in host.records() for sample in record.samples}
    assert samples.keys() == {*host.instances, host.board, host.whole}
    assert [uuid for uuid, s in samples.items() if s.power_milliwatts is not None] == [host.board, host.whole]
    _, heartbeat = host.heartbeats.take()
    assert [gpu.gpu_uuid for gpu in heartbeat.gpus] == [*host.instances, host.whole]
    assert {gpu.state for gpu in heartbeat.gpus} == {"ok"}


def test_a_lease_of_an_instance_outlives_the_agent_without_a_lost_joule(host):
    three, _, _ = host.instances
    host.agent.sample()
    host.wait(10, 70)
    host.do(build_start("rnt_a", gpus=(three,)))
    host.simulation.work(0, 0, graphics=1000, multiprocessors=0)
    host.wait(30, 350)
    host.restart()
    host.wait(30, 350)
    host.do(build_stop("rnt_a", gpus=(three,)))
    (only,) = host.intervals("rnt_a")
    assert only.final
    # The new agent has no GPM sample from before: slices decide, and work is of the only tenant.
    assert only.split == "slices"
    assert only.energy_millijoules == 60 * (70_000 * 3 // 7 + 280_000)

"""What the agent promises whatever it dies of: one workload per rental, every joule once, nothing unwiped."""

import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.wire.v1 import HostNotice, VolumeSpec
from host_agent.assignments import TELLINGS
from host_agent.spool import SpoolBroken
from host_agent.workloads.runtime import WorkloadStatus
from tests.unit.host_agent.fakes import START_MS, WATTS, Host, build_preempt, build_start, build_stop


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def run(host: Host, seconds: int = 0) -> None:
    host.clock.ms += seconds * 1000
    host.agent.work()


def check_chain(intervals: list, gpu_uuid: str, rental_id: str) -> int:
    """The intervals of one rental and GPU: numbered without holes, touching, the last one final."""
    own = sorted(
        (each for each in intervals if (each.gpu_uuid, each.rental_id) == (gpu_uuid, rental_id)),
        key=lambda each: each.interval_index,
    )
    assert [each.interval_index for each in own] == list(range(len(own)))
    assert [each.final for each in own] == [False] * (len(own) - 1) + [True]
    for before, after in itertools.pairwise(own):
        assert before.ended_at_ms == after.started_at_ms
    return sum(each.energy_millijoules for each in own)


def test_a_rental_gets_exactly_the_energy_of_its_lease(tmp_path):
    host = Host(tmp_path)
    host.agent.sample()
    run(host, 10)
    host.agent.accept(build_start())
    run(host)
    run(host, 30)
    host.agent.sample()
    run(host, 30)
    host.agent.accept(build_stop())
    run(host)
    assert check_chain(host.intervals(), "GPU-0", "rnt_1") == 60 * WATTS * 1000
    report = host.reports()["rnt_1"]
    assert (report.state, report.wiped) == ("terminated", True)
    assert [lease.epoch for lease in report.leases] == [2]
    assert host.runtime.wiped == ["rnt_1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["sample", "work", "beat", "kill", "wait"]), max_size=25))
def test_an_agent_that_dies_at_any_moment_loses_no_joule_and_counts_none_twice(tmp_path_factory, steps):
    host = Host(tmp_path_factory.mktemp("host"))
    host.agent.accept(build_start(gpus=("GPU-0", "GPU-1")))
    run(host)
    started_ms = host.clock.ms
    for step in steps:
        if step == "kill":
            host.restart()
        elif step == "wait":
            host.clock.ms += 7_000
        else:
            getattr(host.agent, step)()
    host.agent.accept(build_stop(gpus=("GPU-0", "GPU-1")))
    host.restart()
    run(host)
    expected = (host.clock.ms - started_ms) * WATTS
    for gpu_uuid in ("GPU-0", "GPU-1"):
        assert check_chain(host.intervals(), gpu_uuid, "rnt_1") == expected
    assert host.runtime.started == ["rnt_1"]


def test_a_workload_outlives_its_agent_and_is_reported_again(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    run(host, 1)
    assert host.reports()["rnt_1"].state == "running"
    before = host.reports()["rnt_1"].instance_id
    host.restart()
    run(host)
    report = host.reports()["rnt_1"]
    assert (report.state, report.instance_id) == ("running", before)
    assert host.runtime.started == ["rnt_1"]


def test_an_agent_killed_between_the_order_and_the_start_starts_it_after_all(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    host.restart()
    run(host)
    assert host.runtime.started == ["rnt_1"]


def test_a_command_that_comes_twice_is_one(tmp_path):
    host = Host(tmp_path)
    assert host.agent.accept(build_start())
    run(host)
    assert not host.agent.accept(build_start())
    assert host.agent.accept(build_stop())
    run(host)
    assert not host.agent.accept(build_stop())
    run(host)
    assert host.runtime.wiped == ["rnt_1"]
    assert check_chain(host.intervals(), "GPU-0", "rnt_1") == 0


def test_a_stop_that_comes_before_its_start_wins(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_stop(epoch=2))
    run(host)
    host.agent.accept(build_start(epoch=1))
    run(host)
    assert host.runtime.started == []
    assert host.reports()["rnt_1"].state == "terminated"


def test_an_order_under_an_old_epoch_is_refused_and_says_so(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start("rnt_1", epoch=5))
    run(host)
    host.agent.accept(build_start("rnt_2", epoch=5))
    run(host)
    assert host.runtime.started == ["rnt_1"]
    report = host.reports()["rnt_2"]
    assert (report.state, report.detail) == ("failed", "stale_epoch")


def test_a_lease_on_a_gpu_that_this_host_has_not_fails(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start(gpus=("GPU-9",)))
    run(host)
    assert host.runtime.started == []
    assert host.reports()["rnt_1"].state == "failed"


def test_a_workload_that_ends_by_itself_is_reported_with_its_exit_code(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    run(host, 1)
    host.runtime.statuses["rnt_1"] = WorkloadStatus("exited", 3, host.clock.ms)
    assert host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.state, report.exit_code, report.ended_at_ms) == ("exited", 3, host.clock.ms)


def test_a_failed_start_tells_the_kind_of_failure_and_not_the_tenants_program(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    host.runtime.statuses["rnt_1"] = WorkloadStatus("failed", detail="FileNotFoundError: /secret/program")
    host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.state, report.detail) == ("failed", "FileNotFoundError")


def test_a_gpu_that_cannot_be_read_is_unknown_or_lost_and_the_others_go_on(tmp_path):
    host = Host(tmp_path)
    host.reader.lost.add("GPU-0")
    host.reader.silent.add("GPU-1")
    host.agent.beat()
    _, heartbeat = host.heartbeats.take()
    assert {status.gpu_uuid: status.state for status in heartbeat.gpus} == {
        "GPU-0": "lost",
        "GPU-1": "unknown",
    }
    host.reader.lost.clear()
    assert list(host.agent.read_gpus()) == ["GPU-0"]


def test_energy_while_a_gpu_was_silent_is_caught_up_when_its_counter_is_seen_again(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    host.reader.silent.add("GPU-0")
    run(host, 20)
    host.agent.sample()
    host.reader.silent.clear()
    run(host, 20)
    host.agent.accept(build_stop())
    run(host)
    assert check_chain(host.intervals(), "GPU-0", "rnt_1") == 40 * WATTS * 1000


def test_no_wipe_is_reported_before_the_last_joule_is_on_the_disk(tmp_path, monkeypatch):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)
    host.agent.accept(build_stop())
    write = host.spool._write

    def refuse(data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host.spool, "_write", refuse)
    run(host, 5)
    assert "rnt_1" not in host.reports()
    assert host.runtime.wiped == []
    monkeypatch.setattr(host.spool, "_write", write)
    run(host, 5)
    assert host.reports()["rnt_1"].state == "terminated"
    assert check_chain(host.intervals(), "GPU-0", "rnt_1") == 10 * WATTS * 1000


def test_a_full_disk_costs_resolution_and_no_energy(tmp_path, monkeypatch):
    host = Host(tmp_path)
    host.agent.accept(build_start())
    run(host)

    def refuse(data):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr(host.spool, "_write", refuse)
        host.clock.ms += 10_000
        host.agent.sample()
        assert host.outbox.describe().medium == "memory"
    host.clock.ms += 10_000
    host.agent.accept(build_stop())
    run(host)
    assert host.outbox.describe().medium == "disk"
    assert check_chain(host.intervals(), "GPU-0", "rnt_1") == 20 * WATTS * 1000


def test_finished_workloads_are_forgotten_when_told_but_not_their_epochs(tmp_path):
    host = Host(tmp_path)
    host.agent.accept(build_stop(epoch=7))
    run(host)
    host.tell(TELLINGS)
    assert host.reports() == {}
    host.agent.accept(build_start("rnt_9", epoch=7))
    run(host)
    assert host.runtime.started == []


def test_a_required_record_that_the_disk_refuses_is_an_error_not_a_silence(tmp_path, monkeypatch):
    host = Host(tmp_path)
    monkeypatch.setattr(host.spool, "_write", lambda data: (_ for _ in ()).throw(OSError(5, "EIO")))
    with pytest.raises(SpoolBroken):
        host.agent._hand_over({"GPU-0": None, "GPU-1": None} | {"GPU-0": build_owner()})


def build_owner():
    from host_agent.metering import Owner

    return Owner("rnt_1", 1)


def test_a_preempted_workload_is_told_at_once_and_ended_before_the_deadline(host):
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    deadline = START_MS + 120_000
    assert host.agent.accept(build_preempt(deadline))
    host.agent.work()
    assert host.runtime.announced["rnt_1"].deadline_at_ms == deadline
    host.clock.ms += 89_000
    host.agent.work()
    assert host.reports()["rnt_1"].state == "running"
    host.clock.ms += 6_000
    host.agent.work()
    assert host.runtime.graces["rnt_1"] == 25.0, "what is left until the deadline"
    report = host.reports()["rnt_1"]
    assert (report.state, report.detail, report.exit_code) == ("exited", "preempted", 143)


def test_a_deadline_only_comes_nearer_and_survives_the_agent(host):
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    assert host.agent.accept(build_preempt(START_MS + 100_000))
    assert not host.agent.accept(build_preempt(START_MS + 200_000))
    host.restart()
    host.agent.work()
    assert host.runtime.announced["rnt_1"].deadline_at_ms == START_MS + 100_000


def test_a_preemption_under_other_epochs_is_refused(host):
    host.agent.accept(build_start(epoch=3))
    host.agent.work()
    for epoch in (1, 4):
        assert not host.agent.accept(build_preempt(START_MS, epoch=epoch))
    assert not host.agent.accept(build_preempt(START_MS, rental_id="rnt_unknown"))
    host.agent.work()
    assert host.runtime.announced == {}


def test_a_rental_that_was_stopped_starts_again_under_newer_epochs_only(host):
    first = build_start(epoch=1)
    spec = msgspec.structs.replace(first.workload, volume=VolumeSpec("vol_1", 32, "/data"))
    host.agent.accept(msgspec.structs.replace(first, workload=spec))
    host.agent.work()
    stop = msgspec.structs.replace(build_stop(epoch=2), keep_volume=True)
    host.agent.accept(stop)
    host.agent.work()
    assert host.runtime.kept == ["rnt_1"]
    assert host.reports()["rnt_1"].volume_kept
    # The first start comes once more, late.
    assert not host.agent.accept(build_start(epoch=1))
    again = msgspec.structs.replace(build_start(epoch=3), command_id="cmd-again")
    assert host.agent.accept(again)
    host.agent.work()
    host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.state, report.instance_id, report.leases[0].epoch) == ("running", "cmd-again", 3)
    # The stop of the first life, late: it must not end the second.
    assert not host.agent.accept(stop)
    host.agent.work()
    assert host.reports()["rnt_1"].state == "running"


def test_a_kept_volume_is_known_until_it_is_destroyed(host):
    start = build_start(epoch=1)
    volume = VolumeSpec("vol_1", 32, "/data")
    spec = msgspec.structs.replace(start.workload, volume=volume)
    host.agent.accept(msgspec.structs.replace(start, workload=spec))
    host.agent.work()
    host.agent.accept(msgspec.structs.replace(build_stop(epoch=2), keep_volume=True))
    host.agent.work()
    # More often than one that left nothing is reported.
    host.tell(2 * TELLINGS)
    host.agent.work()
    assert host.reports()["rnt_1"].volume_kept
    assert host.agent.accept(build_stop(epoch=2))
    host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.wiped, report.volume_kept, report.leases[0].epoch) == (True, False, 2)
    assert host.runtime.discarded == ["vol_1"]
    assert not host.agent.accept(build_stop(epoch=2)), "told twice, done once"


def test_a_slow_engine_holds_up_neither_the_report_nor_the_energy_of_the_others(host):
    host.runtime.stubborn = True
    host.agent.accept(build_start())
    host.agent.accept(build_start("rnt_2", gpus=("GPU-1",)))
    host.agent.work()
    host.agent.work()
    host.agent.accept(build_stop())
    host.agent.work()
    assert "rnt_1" not in host.reports(), "not over yet"
    assert host.reports()["rnt_2"].state == "running"
    host.agent.work()
    assert host.runtime.wiped == [], "the wipe comes after the stop"
    host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.state, report.wiped, report.gpu_memory) == ("terminated", True, "verified")


def test_what_the_provider_announces_reaches_the_workloads_and_can_be_taken_back(host):
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    ends_at_ms = START_MS + 120_000
    host.agent.machine.notices = (HostNotice("spot_interruption", "terminate", ends_at_ms),)
    host.agent.work()
    assert host.runtime.announced["rnt_1"].deadline_at_ms == ends_at_ms
    host.agent.machine.notices = ()
    host.agent.work()
    assert host.runtime.announced == {}
    host.clock.ms += 200_000
    host.agent.work()
    assert host.reports()["rnt_1"].state == "running", "nothing ends it any more"
    host.agent.machine.notices = (HostNotice("scheduled_event", "instance-stop", host.clock.ms + 5_000),)
    host.agent.work()
    assert host.reports()["rnt_1"].detail == "preempted"
    assert host.runtime.graces["rnt_1"] == 5.0


def test_a_rental_ends_although_its_gpu_fell_off_the_bus_and_nothing_is_claimed_of_its_memory(host):
    host.agent.accept(build_start())
    host.agent.work()
    host.agent.work()
    host.reader.lost.add("GPU-0")
    host.agent.beat()
    host.agent.accept(build_stop())
    host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.wiped, report.gpu_memory) == (True, "unreachable")

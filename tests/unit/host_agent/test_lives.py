"""A rental that lives on a host more than once: late commands of one life never touch another."""

import msgspec
import pytest

from chalicelib.wire.v1 import VolumeSpec
from host_agent.assignments import TELLINGS
from tests.unit.host_agent.fakes import Host, build_start, build_stop


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def with_volume(start):
    spec = msgspec.structs.replace(start.workload, volume=VolumeSpec("vol_1", 32, "/data"))
    return msgspec.structs.replace(start, workload=spec)


def keeping(stop):
    return msgspec.structs.replace(stop, keep_volume=True)


def live_and_stop(host, *, keep=False):
    host.agent.accept(with_volume(build_start(epoch=1)))
    host.agent.work()
    host.agent.accept(keeping(build_stop(epoch=2)) if keep else build_stop(epoch=2))
    host.agent.work()


def test_a_start_that_its_stop_overtook_never_runs_and_the_stop_is_answered(host):
    live_and_stop(host)
    host.runtime.started.clear()
    host.agent.accept(build_stop(epoch=4))
    host.agent.work()
    host.agent.accept(build_start(epoch=3))
    host.agent.work()
    assert host.runtime.started == []
    report = host.reports()["rnt_1"]
    assert (report.state, report.leases[0].epoch) == ("terminated", 4)


def test_the_volume_of_the_life_before_outlives_a_start_that_was_overtaken(host):
    live_and_stop(host, keep=True)
    host.agent.accept(keeping(build_stop(epoch=4)))
    host.agent.work()
    assert host.reports()["rnt_1"].volume_kept
    host.agent.accept(build_stop(epoch=4))
    host.agent.work()
    assert host.runtime.discarded == ["vol_1"]


@pytest.mark.parametrize("keeps_first", [True, False])
def test_told_to_keep_the_volume_and_not_to_keep_it_in_any_order_it_goes(host, keeps_first):
    host.runtime.stubborn = True
    host.agent.accept(with_volume(build_start(epoch=1)))
    host.agent.work()
    stops = [keeping(build_stop(epoch=2)), build_stop(epoch=2)]
    for stop in stops if keeps_first else reversed(stops):
        host.agent.accept(stop)
    for _ in range(6):
        host.agent.work()
    report = host.reports()["rnt_1"]
    assert (report.state, report.volume_kept) == ("terminated", False)


def test_a_wipe_that_kept_what_nobody_wants_any_more_is_followed_by_another(host):
    host.runtime.keeps_whatever_is_asked = True
    host.agent.accept(with_volume(build_start(epoch=1)))
    host.agent.work()
    host.agent.accept(build_stop(epoch=2))
    for _ in range(4):
        host.agent.work()
    assert host.runtime.discarded == ["vol_1"]
    assert not host.reports()["rnt_1"].volume_kept


def test_a_wipe_is_told_until_the_queue_had_it_often(host):
    live_and_stop(host)
    # Nobody takes a heartbeat for a day.
    host.clock.ms += 86_400_000
    host.agent.work()
    host.restart()
    host.tell(TELLINGS - 1)
    host.restart()
    assert host.reports()["rnt_1"].wiped
    host.tell(1)
    assert host.reports() == {}


def test_a_stop_of_a_later_life_is_answered_as_often_as_the_one_before(host):
    live_and_stop(host)
    host.tell(TELLINGS - 1)
    host.runtime.stubborn = True
    host.agent.accept(build_stop(epoch=4))
    host.tell(TELLINGS)
    for _ in range(3):
        host.agent.work()
    host.tell(TELLINGS - 1)
    report = host.reports()["rnt_1"]
    assert (report.state, report.leases[0].epoch) == ("terminated", 4)


def test_an_older_heartbeat_that_the_queue_took_late_tells_nothing_of_a_later_life(host):
    live_and_stop(host)
    host.tell(TELLINGS - 1)
    host.agent.beat()
    _, older = host.heartbeats.take()
    host.agent.accept(build_stop(epoch=4))
    host.agent.work()
    host.agent.confirm(older)
    assert host.reports()["rnt_1"].leases[0].epoch == 4


def test_a_start_that_comes_after_all_is_over_is_refused_told_and_forgotten(host):
    live_and_stop(host)
    host.tell(TELLINGS)
    host.agent.accept(build_start(epoch=1))
    host.agent.work()
    assert (host.reports()["rnt_1"].state, host.runtime.started) == ("failed", ["rnt_1"])
    host.tell(TELLINGS)
    assert host.reports() == {}

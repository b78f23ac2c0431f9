"""The watch and what follows: faults F29, F30, F31, F38, F39 and F40, each by its name."""

from dataclasses import replace

import pytest

from chalicelib.core.errors import Conflict
from chalicelib.core.leases import Lease
from chalicelib.fleet.detector import RegionWatch, SilentHost, choose_watch
from chalicelib.fleet.service import CapacityTaken
from chalicelib.fleet.watch import lose_host, watch_region
from tests.factories import GPU_TYPE, REGION, rent
from tests.fakes import Crash, FakeWatchStore
from tests.unit.fleet.watching import Watched


@pytest.fixture
def watched():
    watched = Watched()
    yield watched
    watched.check_totals()


def fall_silent(watched, number=0, seconds=60):
    host_id = watched.hosts[number]
    watched.up.discard(host_id)
    return host_id, watched.run(seconds)


def test_a_silent_host_is_suspect_then_lost_and_that_is_written_in_one_transaction(watched):
    host_id, _ = fall_silent(watched, seconds=35)
    assert watched.host(host_id).state == "active"
    assert watched.heartbeat(host_id).suspect_since_ms == watched.heartbeat(host_id).last_seen_at_ms
    version = watched.host(host_id).health_version
    watched.run(25)
    host = watched.host(host_id)
    assert (host.state, host.lost.reason, host.health_version) == ("lost", "silent", version + 1)
    assert watched.incidents == ["host_lost"]
    assert [entry.subject for entry in watched.cloud.audit.entries if entry.action == "host.lost"] == [
        host_id
    ]
    totals = watched.cloud.watch_store.get_pool_totals(GPU_TYPE, REGION)
    assert (totals.hosts["active"], totals.hosts["lost"], totals.gpus["lost"]) == (3, 1, 4)


def test_a_lost_host_gets_nothing_new_even_from_a_start_that_saw_it_before(watched):
    host_id = watched.hosts[0]
    seen = watched.gpus(host_id)[0]
    fall_silent(watched)
    tx = watched.cloud.db.begin()
    leases = [Lease(seen.gpu.gpu_uuid, seen.epoch)]
    watched.cloud.fleet_store.take_leases(tx, host_id, "rnt_late", leases, 0)
    with pytest.raises(CapacityTaken):
        tx.commit()


def test_a_lost_host_is_failed_over_at_every_tick_until_nothing_of_it_is_leased(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id, count=4)
    watched.failover.step = 1
    fall_silent(watched)
    assert watched.host(host_id).state == "lost"
    watched.run(30)
    # Once more each tick while it is recent: somebody may have waited for a wipe when it went.
    assert len(watched.failover.asked) > 4
    assert set(watched.failover.asked) == {(host_id, "silent")}
    assert {gpu.lease_state for gpu in watched.gpus(host_id)} == {"wiping"}


@pytest.mark.parametrize("reservable", [True, False])
def test_an_idle_host_is_failed_over_only_for_what_it_has_promised(watched, reservable):
    host_id = watched.hosts[0]
    rows = watched.cloud.db.table("hosts")
    rows[host_id] = replace(rows[host_id], reservable=reservable)
    _, reports = fall_silent(watched)
    assert set(watched.failover.asked) == ({(host_id, "silent")} if reservable else set())
    assert reports[-1].pending == ()
    watched.run(180)
    asked = len(watched.failover.asked)
    watched.run(30)
    assert len(watched.failover.asked) == asked
    assert watched.cloud.watch_store.list_lost(REGION) == []


def test_a_host_whose_failover_fails_keeps_no_other_waiting():
    watched = Watched(hosts=20)
    for host_id in watched.hosts[:2]:
        watched.lease(host_id)
    watched.failover.broken = {watched.hosts[0]}
    watched.up -= set(watched.hosts[:2])
    reports = watched.run(90)
    assert reports[-1].failed == (watched.hosts[0],)
    assert "wiping" in {gpu.lease_state for gpu in watched.gpus(watched.hosts[1])}
    watched.failover.broken = set()
    assert watched.run(10)[-1].pending == ()


def test_a_lost_host_leaves_the_list_once_nothing_waits_and_it_counts_for_no_brake(watched):
    host_id, _ = fall_silent(watched)
    assert [host.host_id for host in watched.cloud.watch_store.list_lost(REGION)] == [host_id]
    watched.run(180)
    assert watched.cloud.watch_store.list_lost(REGION) == []
    assert watched.heartbeat(host_id).watch_key == ""


# F29: the flow of heartbeats stands still.
def test_f29_a_region_that_nobody_hears_is_blind_and_gives_up_nobody(watched):
    watched.lease(watched.hosts[0])
    watched.up.clear()
    reports = watched.run(300)
    assert all(report.lost == () for report in reports)
    assert watched.incidents == ["blind"]
    assert watched.failover.asked == []
    watched.up = set(watched.hosts)
    assert watched.run(60)[-1].watch.blind_since_ms is None
    assert {watched.host(host_id).state for host_id in watched.hosts} == {"active"}


def test_f29_mass_silence_gives_up_nobody_makes_one_alarm_and_resumes_by_itself():
    watched = Watched(hosts=20)
    for host_id in watched.hosts[:6]:
        watched.lease(host_id)
    watched.up -= set(watched.hosts[:6])
    reports = watched.run(600)
    assert sum(report.alarm for report in reports) == 1
    assert watched.incidents == ["storm_brake"]
    assert watched.failover.asked == []
    watched.up |= set(watched.hosts[1:6])
    reports = watched.run(120)
    assert reports[-1].watch.brake_since_ms is None
    assert [lost for report in reports for lost in report.lost] == [watched.hosts[0]]
    assert len(watched.failover.asked) >= 1


# F30: the host lives, the control plane is not reached.
def test_f30_a_gpu_of_a_lost_host_is_not_leased_again_before_its_wipe_is_acknowledged(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id, count=4)
    before = {gpu.gpu.gpu_uuid: gpu.epoch for gpu in watched.gpus(host_id)}
    fall_silent(watched)
    assert {gpu.lease_state for gpu in watched.gpus(host_id)} == {"wiping"}
    assert {gpu.gpu.gpu_uuid: gpu.epoch - 1 for gpu in watched.gpus(host_id)} == before
    # It is back, and has not wiped yet: it stays given up, though it beats.
    watched.up.add(host_id)
    watched.run(60)
    assert watched.host(host_id).state == "lost"
    assert watched.host(host_id).free_gpus == 0
    watched.acknowledge(host_id)
    watched.run(10)
    assert watched.host(host_id).state == "active"
    assert watched.host(host_id).free_gpus == 4
    assert watched.heartbeat(host_id).watch_key == choose_watch(REGION, host_id)
    totals = watched.cloud.watch_store.get_pool_totals(GPU_TYPE, REGION)
    assert (totals.hosts["active"], totals.hosts["lost"]) == (4, 0)


def test_f30_a_host_that_comes_back_is_watched_from_the_same_instant(watched):
    """The consumer dies after it opened the host and before it stored the heartbeat."""
    host_id = watched.hosts[0]
    watched.lease(host_id)
    fall_silent(watched)
    watched.up.add(host_id)
    watched.run(20)
    watched.acknowledge(host_id)
    watched.cloud.clock.advance_seconds(10)
    watched.cloud.db.crash_after = watched.cloud.db.commits
    with pytest.raises(Crash):
        watched.beat(host_id)
    watched.cloud.db.crash_after = None
    assert watched.host(host_id).state == "active"
    assert watched.heartbeat(host_id).watch_key == choose_watch(REGION, host_id)
    watched.up.discard(host_id)
    watched.run(60)
    assert watched.host(host_id).state == "lost"


def test_f30_a_host_that_is_back_before_anything_was_moved_goes_on_with_its_rentals(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id, count=2)
    watched.ports = replace(watched.ports, failover=None)
    fall_silent(watched)
    assert watched.host(host_id).state == "lost"
    watched.up.add(host_id)
    watched.run(10)
    assert watched.host(host_id).state == "active"
    watched.ports = replace(watched.ports, failover=watched.failover)
    watched.run(20)
    assert watched.failover.asked == []
    assert [gpu.lease_state for gpu in watched.gpus(host_id)].count("leased") == 2


def test_f31_a_failover_takes_nothing_from_a_host_that_is_back(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id)
    fall_silent(watched, seconds=40)
    with pytest.raises(Conflict) as refused:
        watched.failover.fail_over_host(host_id, "silent", 0)
    assert refused.value.code == "host_not_lost"
    assert "leased" in {gpu.lease_state for gpu in watched.gpus(host_id)}


def test_a_heartbeat_that_was_sent_before_its_host_was_given_up_does_not_bring_it_back(watched):
    host_id, _ = fall_silent(watched, seconds=60)
    lost_at_ms = watched.host(host_id).lost.at_ms
    watched.beat(host_id, sent_at_ms=lost_at_ms - 1)
    assert watched.host(host_id).state == "lost"
    watched.beat(host_id, sent_at_ms=lost_at_ms + 1)
    assert watched.host(host_id).state == "active"


def test_a_host_that_comes_back_is_watched_again_and_can_be_lost_again(watched):
    host_id, _ = fall_silent(watched)
    watched.up.add(host_id)
    watched.run(30)
    assert watched.host(host_id).state == "active"
    fall_silent(watched)
    assert watched.host(host_id).state == "lost"
    assert watched.incidents == ["host_lost"] * 2


def test_a_heartbeat_that_meets_the_loss_of_its_host_does_not_count_as_settled(watched):
    """The host was read as active, then given up, then the heartbeat is stored: the next one must look."""
    host_id, _ = fall_silent(watched, seconds=50)
    store = watched.cloud.fleet_store
    record, seen = store.record_liveness, watched.heartbeat(host_id).last_seen_at_ms

    def lose_first(*arguments):
        assert lose_host(watched.ports, host_id, "instance_ended", seen, watched.cloud.clock.now_ms())
        return record(*arguments)

    watched.ports.watch.mark_suspect(host_id, seen)
    # Only the plain path can meet it: the end of a silence is a transaction of its own.
    row = watched.heartbeat(host_id)
    watched.cloud.db.table("liveness")[host_id] = replace(row, suspect_since_ms=None)
    store.record_liveness = lose_first
    watched.beat(host_id)
    store.record_liveness = record
    assert watched.host(host_id).state == "lost"
    watched.cloud.clock.advance_seconds(10)
    watched.beat(host_id)
    assert watched.host(host_id).state == "active"


@pytest.mark.parametrize("held", [RegionWatch(brake_since_ms=1), RegionWatch(blind_since_ms=1)])
def test_a_tick_that_saw_less_than_another_gives_up_nobody_against_its_word(watched, held):
    host_id, _ = fall_silent(watched, seconds=50)
    seen = watched.heartbeat(host_id).last_seen_at_ms
    watched.cloud.db.table("region_watches")[REGION] = held
    now_ms = watched.cloud.clock.now_ms()
    assert not lose_host(watched.ports, host_id, "silent", seen, now_ms)
    assert watched.host(host_id).state == "active"
    assert lose_host(watched.ports, host_id, "instance_ended", seen, now_ms)


def test_two_ticks_that_see_the_same_storm_make_one_alarm():
    watched = Watched(hosts=20)
    watched.up -= set(watched.hosts[:6])
    watched.run(40, ticks=False)
    plain, inner = watched.cloud.db.begin, []

    def other_first():
        if not inner:
            inner.append("running")
            inner.append(watched.tick())
        return plain()

    raced = replace(watched.ports, accounts=replace(watched.ports.accounts, transactions=other_first))
    assert (inner, watched.tick(raced).alarm, inner[1].alarm) == (inner, False, True)
    assert watched.incidents == ["storm_brake"]


# F38: the tick comes twice, at the same time, or not for an hour.
@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(4))
def test_f38_a_tick_that_dies_anywhere_is_made_up_for_by_the_next(when, commit):
    watched = Watched()
    host_id = watched.hosts[0]
    watched.lease(host_id, count=2)
    watched.up.discard(host_id)
    watched.run(60, ticks=False)
    setattr(watched.cloud.db, when, watched.cloud.db.commits + commit)
    try:
        watched.tick()
    except Crash:
        pass
    finally:
        watched.cloud.db.crash_before = watched.cloud.db.crash_after = None
    watched.run(20)
    assert watched.host(host_id).state == "lost"
    assert [gpu.lease_state for gpu in watched.gpus(host_id)].count("wiping") == 2
    assert watched.incidents == ["host_lost"]
    assert len({command.command_id for command in watched.cloud.fleet_store.commands}) == 2


def test_f38_two_ticks_at_once_give_up_a_host_once(watched):
    host_id = watched.hosts[0]
    watched.lease(host_id)
    watched.up.discard(host_id)
    watched.run(60, ticks=False)
    plain = watched.cloud.db.begin
    inner = []

    def other_first():
        if not inner:
            inner.append("running")
            inner.append(watched.tick())
        return plain()

    raced = replace(watched.ports, accounts=replace(watched.ports.accounts, transactions=other_first))
    outer = watched.tick(raced)
    assert (inner[1].lost, outer.lost) == ((host_id,), ())
    assert watched.incidents == ["host_lost"]
    assert [gpu.epoch for gpu in watched.gpus(host_id) if gpu.lease_state == "wiping"] == [2]


def test_f38_after_an_hour_without_a_tick_the_first_gives_up_who_is_silent(watched):
    host_id = watched.hosts[0]
    watched.up.discard(host_id)
    watched.run(3_600, ticks=False)
    assert watched.tick().lost == (host_id,)


# F39: what has expired may still stand in a table.
def test_f39_an_incident_past_its_retention_is_not_listed_though_it_is_still_there(watched):
    fall_silent(watched)
    now_ms = watched.cloud.clock.now_ms()
    store = watched.cloud.watch_store
    assert len(store.list_incidents(None, 10, None, now_ms).items) == 1
    assert store.list_incidents(None, 10, None, now_ms + 401 * 86_400_000).items == []


# F40: an index is behind its table.
def test_f40_a_host_that_was_heard_since_the_index_says_is_not_given_up(watched):
    host_id, other = watched.hosts[:2]
    watched.lease(host_id)
    watched.run(60)

    class Stale(FakeWatchStore):
        def list_silent(self, region, heard_before_ms):
            return [SilentHost(host_id, heard_before_ms - 300_000)], False

        def list_lost(self, region):
            return [SilentHost(other, heard_ms), SilentHost("hst_unknown", heard_ms)]

    heard_ms = watched.heartbeat(other).last_seen_at_ms
    stale = replace(watched.ports, watch=Stale(watched.cloud.db))
    report = watch_region(stale, REGION, watched.cloud.clock.now_ms())
    assert (report.lost, report.suspects, watched.failover.asked) == ((), 1, [])
    assert watched.heartbeat(host_id).suspect_since_ms is None
    assert watched.heartbeat(other).watch_key == choose_watch(REGION, other)
    assert {watched.host(each).state for each in watched.hosts} == {"active"}


def test_an_instance_that_has_ended_is_given_up_though_the_region_is_blind(watched):
    class Ec2:
        def list_ended(self, host_ids):
            return frozenset({watched.hosts[0]}) & frozenset(host_ids)

    watched.ports = replace(watched.ports, instances=Ec2())
    watched.up.clear()
    watched.run(60)
    assert [watched.host(host_id).state for host_id in watched.hosts] == [
        "lost",
        "active",
        "active",
        "active",
    ]
    assert watched.host(watched.hosts[0]).lost.reason == "instance_ended"


def test_a_host_that_nobody_has_heard_yet_is_not_watched(watched):
    from tests.factories import add_host

    silent = add_host(watched.seeded, "never-heard", 4).host_id
    watched.run(300)
    assert watched.host(silent).state == "active"
    with pytest.raises(Conflict):
        rent(watched.seeded, 5)


def test_a_heartbeat_that_says_nothing_new_is_one_write_and_keeps_its_host_watched(watched):
    host_id, store = watched.hosts[0], watched.cloud.fleet_store
    calls = []
    for name in ("get_host", "get_liveness", "list_gpus", "record_liveness"):
        setattr(store, name, lambda *_, name=name: calls.append(name))
    store._keep_liveness = lambda _host, liveness: calls.append(liveness.watch_key) or 0
    store.get_liveness = lambda _host: watched.cloud.db.table("liveness")[host_id]
    known = store.get_liveness(host_id)
    watched.cloud.clock.advance_seconds(10)
    from chalicelib.metering.incidents import build_liveness

    gpus = [key[1] for key in watched.cloud.db.table("gpus") if key[0] == host_id]
    from chalicelib.metering.service import Beat

    said = Beat(host_id, "b", "v", 4, 0, 0, watched.cloud.clock.now_ms(), (), ok_gpu_uuids=frozenset(gpus))
    assert build_liveness(said).announced == known.announced
    from chalicelib.metering.incidents import record_heartbeat

    record_heartbeat(watched.cloud.meters, said)
    assert calls == [choose_watch(REGION, host_id)]

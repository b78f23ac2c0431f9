"""A draining host keeps what it has and gets nothing new; only its newest word counts."""

import itertools
from dataclasses import replace

import pytest

from chalicelib.catalog.service import Capacity
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.fleet.capacity import FleetCapacity
from chalicelib.fleet.model import Liveness
from chalicelib.fleet.schemas import render_host
from chalicelib.fleet.service import list_hosts
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Announcement, Beat, Report
from tests.factories import GPU_TYPE, REGION, add_host, rent, seed_cloud, start
from tests.fakes import START_MS


def beat(seeded, host_id, at_ms, *, draining):
    record_heartbeat(
        seeded.cloud.meters, Beat(host_id, "boot-1", "0.1.0", 8, 0, 0, at_ms, (), draining=draining)
    )


def is_draining(seeded, host_id):
    return seeded.cloud.fleet_store.get_host(host_id).draining


def test_a_draining_host_gets_no_rental_and_its_rentals_go_on():
    seeded = seed_cloud(gpus=4)
    rental = start(seeded, 1)
    now_ms = seeded.cloud.clock.advance_seconds(10)
    beat(seeded, rental.host_id, now_ms, draining=True)
    with pytest.raises(Conflict):
        rent(seeded, 1, key="second")
    capacity = FleetCapacity(seeded.cloud.fleet_store, seeded.cloud.watch_store)
    assert capacity.read_capacity(GPU_TYPE, REGION) == Capacity(0, 0, 4, {"maintenance": 4, "unhealthy": 0})
    report = Report(rental.rental_id, rental.leases, "running", None, None, wiped=False)
    later_ms = seeded.cloud.clock.advance_seconds(10)
    record_heartbeat(
        seeded.cloud.meters,
        Beat(rental.host_id, "boot-1", "0.1.0", 8, 0, 0, later_ms, (report,), draining=True),
    )
    assert seeded.rental(rental.rental_id).state == "running"
    assert seeded.cloud.meters.store.get_meter(rental.rental_id, 1).alive_through_ms == later_ms
    beat(seeded, rental.host_id, seeded.cloud.clock.advance_seconds(10), draining=False)
    assert rent(seeded, 1, key="third")


def test_the_other_hosts_of_its_pool_are_found_however_many_drain():
    seeded = seed_cloud(hosts=0)
    for number in range(12):
        host = add_host(seeded, f"drained-{number}", 1)
        beat(seeded, host.host_id, seeded.cloud.clock.now_ms(), draining=True)
    free = add_host(seeded, "free", 8)
    seeded.beat(free.host_id)
    assert seeded.rental(rent(seeded, 1).body).host_id == free.host_id


def test_operators_see_that_a_host_drains():
    seeded = seed_cloud()
    page = list_hosts(seeded.cloud.fleet, seeded.cloud.catalog.store.read_catalog())
    ((host, liveness),) = page.items
    assert render_host(host, liveness, now_ms=START_MS).draining is False
    assert render_host(host, None, now_ms=START_MS).draining is False
    beat(seeded, host.host_id, seeded.cloud.clock.advance_seconds(1), draining=True)
    ((host, liveness),) = list_hosts(seeded.cloud.fleet, seeded.cloud.catalog.store.read_catalog()).items
    assert render_host(host, liveness, now_ms=START_MS).draining is True


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_in_any_order_the_newest_heartbeat_decides(order):
    seeded = seed_cloud()
    host = add_host(seeded, "late")
    words = [(1, False), (2, True), (3, False), (4, True)]
    for index in order:
        second, draining = words[index]
        for _ in range(2):
            beat(seeded, host.host_id, second, draining=draining)
    assert is_draining(seeded, host.host_id)
    assert seeded.cloud.fleet_store.get_liveness(host.host_id).last_seen_at_ms == 4


def test_a_heartbeat_that_a_newer_one_overtakes_in_the_middle_comes_again_and_changes_nothing():
    seeded = seed_cloud()
    host, store = add_host(seeded, "raced"), seeded.cloud.fleet_store
    beat(seeded, host.host_id, 1, draining=False)
    plain = seeded.cloud.meters.rentals.transactions

    def overtake():
        newest = Liveness(9, "boot-1", "0.1.0", 8, 0, 0, announced=store.get_liveness(host.host_id).announced)
        assert store.extend_liveness(host.host_id, newest) is not None
        return plain()

    raced = replace(seeded.cloud.meters, rentals=replace(seeded.cloud.meters.rentals, transactions=overtake))
    older = Beat(host.host_id, "boot-1", "0.1.0", 8, 0, 0, 5, (), draining=True)
    with pytest.raises(Unavailable):
        record_heartbeat(raced, older)
    assert not is_draining(seeded, host.host_id)
    beat(seeded, host.host_id, 5, draining=True)
    assert not is_draining(seeded, host.host_id)


def test_a_heartbeat_that_is_heard_while_an_older_one_is_at_work_looks_again():
    seeded = seed_cloud()
    host, store = add_host(seeded, "raced"), seeded.cloud.fleet_store
    beat(seeded, host.host_id, 1, draining=False)
    settled = store.get_liveness(host.host_id).announced

    def fail(*_):
        raise Unavailable("killed before it counted as heard")

    store.record_liveness, record = fail, store.record_liveness
    with pytest.raises(Unavailable):
        beat(seeded, host.host_id, 5, draining=True)
    store.record_liveness = record
    assert is_draining(seeded, host.host_id)
    # The newer one says what was settled before; it must not pass for known.
    assert store.extend_liveness(host.host_id, Liveness(9, "b", "v", 8, 0, 0, announced=settled)) is None
    beat(seeded, host.host_id, 9, draining=False)
    assert not is_draining(seeded, host.host_id)


def test_an_owner_and_a_provider_close_a_host_each_for_itself():
    seeded = seed_cloud()
    host = add_host(seeded, "both")
    notice = (Announcement("spot_interruption", "terminate", None),)

    def say(second, *, draining, notices):
        said = Beat(host.host_id, "b", "v", 8, 0, 0, second, (), draining=draining, notices=notices)
        record_heartbeat(seeded.cloud.meters, said)
        return seeded.cloud.fleet_store.get_host(host.host_id).state

    assert say(1, draining=True, notices=notice) == "draining"
    assert say(2, draining=True, notices=()) == "draining"
    assert say(3, draining=False, notices=notice) == "draining"
    assert say(4, draining=False, notices=()) == "active"


def test_a_host_that_nobody_knows_is_no_error():
    seeded = seed_cloud()
    beat(seeded, "hst_x", 5, draining=True)
    assert seeded.cloud.fleet_store.get_host("hst_x") is None

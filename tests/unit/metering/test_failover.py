"""A host that is lost: its rentals go on elsewhere, billed to the last proof of life, its GPUs fenced."""

import pytest

from chalicelib.billing.charging import dispatch_charges
from chalicelib.billing.posting import find_balance
from chalicelib.core.workloads import Volume, Workload
from chalicelib.fleet.operations import force_release
from chalicelib.metering.failover import fail_over_host, give_up_wipes
from chalicelib.rentals.life import stop_rental, terminate_rental
from tests.factories import PRICE, add_host, rent, seed_cloud, start
from tests.fakes import Crash


def lose(seeded, host_id):
    return fail_over_host(seeded.cloud.meters, host_id, "host_lost", seeded.cloud.clock.now_ms())


def run(seeded, rental, seconds):
    for _ in range(seconds // 10):
        seeded.cloud.clock.advance_seconds(10)
        seeded.report(rental, "running")


def settle(seeded):
    # The minute's tick finds what a crash kept from being asked for.
    dispatch_charges(seeded.cloud.billing, seeded.cloud.clock.now_ms())
    seeded.charge_all()


def test_f30_a_rental_of_a_lost_host_runs_on_another_and_the_old_gpus_stay_fenced():
    seeded = seed_cloud(hosts=2, gpus=2)
    rental = start(seeded, 2, recovery="replace")
    run(seeded, rental, 100)
    seeded.cloud.clock.advance_seconds(60)
    spare = next(host for host in seeded.cloud.db.table("hosts") if host != rental.host_id)
    seeded.beat(spare)
    assert lose(seeded, rental.host_id) == 1
    again = seeded.rental(rental.rental_id)
    assert (again.state, again.segment, again.host_id) == ("provisioning", 2, spare)
    assert again.past[0].lost
    old = seeded.cloud.fleet_store.list_gpus(rental.host_id)
    assert {(gpu.lease_state, gpu.epoch) for gpu in old} == {("wiping", 2)}
    settle(seeded)
    assert seeded.rental(rental.rental_id).billed_seconds == 100
    # One hold is left: of the new stay.
    held = find_balance(seeded.cloud.billing, rental.account_id).held_micros
    assert held == PRICE * 2 * 180 // 3600


def test_f31_the_old_host_that_returns_is_told_to_stop_and_wipe_and_bills_nothing():
    seeded = seed_cloud(hosts=2, gpus=2)
    rental = start(seeded, 2, recovery="replace")
    spare = next(host for host in seeded.cloud.db.table("hosts") if host != rental.host_id)
    seeded.beat(spare)
    lose(seeded, rental.host_id)
    kinds = [c.kind for c in seeded.cloud.fleet_store.commands if c.host_id == rental.host_id]
    assert kinds == ["start", "stop"]
    seeded.cloud.clock.advance_seconds(10)
    # It says that the workload runs, under the epochs of then: nobody believes it.
    seeded.report(rental, "running")
    settle(seeded)
    assert seeded.rental(rental.rental_id).state == "provisioning"
    assert seeded.rental(rental.rental_id).billed_seconds == 0
    seeded.report(rental, "terminated", wiped=True)
    assert {gpu.lease_state for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id)} == {"free"}
    assert seeded.rental(rental.rental_id).host_id == spare


def test_without_room_elsewhere_it_stands_first_in_line():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, key="mine", recovery="replace")
    behind = seeded.rental(rent(seeded, 2, key="behind", waits=True, priority=100).body)
    lose(seeded, rental.host_id)
    assert seeded.rental(rental.rental_id).state == "queued"
    seeded.beat(add_host(seeded, "spare", 2).host_id)
    seeded.dispatch()
    assert seeded.rental(rental.rental_id).state == "provisioning"
    assert seeded.rental(behind.rental_id).state == "queued"


def test_a_rental_that_wants_no_replacement_fails_and_is_settled():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, recovery="fail")
    run(seeded, rental, 50)
    lose(seeded, rental.host_id)
    settle(seeded)
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.reason, over.billing_state, over.billed_seconds) == (
        "failed",
        "host_lost",
        "settled",
        50,
    )
    assert find_balance(seeded.cloud.billing, rental.account_id).held_micros == 0


def test_one_that_never_ran_costs_nothing():
    seeded = seed_cloud(gpus=2)
    rental = seeded.rental(rent(seeded, 2).body)
    lose(seeded, rental.host_id)
    settle(seeded)
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.billing_state, over.charge_micros) == ("failed", "settled", 0)
    assert find_balance(seeded.cloud.billing, rental.account_id).held_micros == 0


def test_one_that_was_ending_does_not_wait_for_a_wipe_that_never_comes():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    run(seeded, rental, 30)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    lose(seeded, rental.host_id)
    settle(seeded)
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.reason, over.billed_seconds) == ("terminated", "renter_requested", 30)


def test_a_volume_that_goes_with_its_host_is_said_to_be_lost():
    seeded = seed_cloud(hosts=2, gpus=2)
    workload = Workload(("python",), volume=Volume(1024, "/data"))
    rental = start(seeded, 2, workload=workload, recovery="replace")
    for host in seeded.cloud.db.table("hosts"):
        seeded.beat(host)
    lose(seeded, rental.host_id)
    again = seeded.rental(rental.rental_id)
    assert again.host_id != rental.host_id
    assert again.volume_lost_at_ms == seeded.cloud.clock.now_ms()


def test_one_that_was_stopping_keeps_its_claim_to_the_volume():
    seeded = seed_cloud(gpus=2)
    workload = Workload(("python",), volume=Volume(1024, "/data"))
    rental = start(seeded, 2, workload=workload)
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    lose(seeded, rental.host_id)
    stopped = seeded.rental(rental.rental_id)
    assert (stopped.state, stopped.volume_host_id) == ("stopped", rental.host_id)


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(4))
def test_f38_a_failover_that_died_is_finished_by_the_next(point, commit):
    seeded = seed_cloud(hosts=2, gpus=4)
    rentals = [start(seeded, 2, key=key, recovery="replace") for key in "ab"]
    host_id = rentals[0].host_id
    assert {rental.host_id for rental in rentals} == {host_id}
    spare = next(host for host in seeded.cloud.db.table("hosts") if host != host_id)
    seeded.beat(spare)
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        lose(seeded, host_id)
    setattr(seeded.cloud.db, point, None)
    for _ in range(2):
        lose(seeded, host_id)
        seeded.dispatch()
    settle(seeded)
    for rental in rentals:
        again = seeded.rental(rental.rental_id)
        assert (again.state, again.host_id, again.segment) == ("provisioning", spare, 2)
    stops = [c for c in seeded.cloud.fleet_store.commands if c.kind == "stop"]
    assert len(stops) == 2
    hold = PRICE * 2 * 180 // 3600
    assert find_balance(seeded.cloud.billing, rentals[0].account_id).held_micros == 2 * hold


def force(seeded, host_id, gpu_uuids):
    """As an operator does by the API."""
    cloud = seeded.cloud

    def give_up(on, rental_ids):
        give_up_wipes(cloud.meters, on, rental_ids, cloud.clock.now_ms())

    return force_release(cloud.operations, seeded.operator, host_id, gpu_uuids, "shredded", give_up)


def list_wiping(seeded, host_id):
    rows = seeded.cloud.fleet_store.list_gpus(host_id)
    return sorted(row.gpu.gpu_uuid for row in rows if row.lease_state == "wiping")


def end_two(seeded):
    """One rental that is terminated and one that is stopped; no wipe is acknowledged."""
    rentals = [start(seeded, 2, key=key) for key in "ab"]
    run(seeded, rentals[0], 30)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rentals[0].rental_id)
    stop_rental(seeded.cloud.rentals, seeded.renter, rentals[1].rental_id)
    return rentals


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(3))
def test_a_forced_release_that_died_anywhere_is_finished_by_its_repeat(point, commit):
    seeded = seed_cloud(gpus=4)
    rentals = end_two(seeded)
    host_id = rentals[0].host_id
    stuck = list_wiping(seeded, host_id)
    assert len(stuck) == 4
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        force(seeded, host_id, stuck)
    setattr(seeded.cloud.db, point, None)
    force(seeded, host_id, stuck)
    settle(seeded)
    assert [seeded.rental(each.rental_id).state for each in rentals] == ["terminated", "stopped"]
    assert list_wiping(seeded, host_id) == []
    assert find_balance(seeded.cloud.billing, rentals[0].account_id).held_micros == 0
    freed = [each for each in seeded.cloud.audit.entries if each.action == "host.gpus_forced_free"]
    assert len(freed) == 1
    assert force(seeded, host_id, stuck) == []


def test_giving_up_wipes_ends_no_stay_that_runs():
    """A rental may run on the host again, on other GPUs than those of the wipe that is given up."""
    seeded = seed_cloud(gpus=4)
    rental = start(seeded, 2)
    now_ms = seeded.cloud.clock.now_ms()
    assert give_up_wipes(seeded.cloud.meters, rental.host_id, [rental.rental_id], now_ms) == 0
    assert seeded.rental(rental.rental_id) == rental
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert give_up_wipes(seeded.cloud.meters, rental.host_id, [rental.rental_id], now_ms) == 1

"""Stop, resume, restart, terminate: nothing is lost, nothing billed twice, every answer explicit."""

from dataclasses import replace

import pytest

from chalicelib.billing.posting import find_balance
from chalicelib.core.errors import Conflict
from chalicelib.core.workloads import Volume, Workload
from chalicelib.metering.service import store_telemetry
from chalicelib.rentals.life import (
    restart_rental,
    resume_rental,
    stop_rental,
    terminate_rental,
)
from chalicelib.rentals.ports import GpuUnavailableOnResume, NoCapacity
from chalicelib.rentals.service import change_rental
from tests.factories import PRICE, add_host, rent, seed_cloud, start
from tests.unit.metering.test_energy import build_interval, build_record

WITH_VOLUME = Workload(("python", "train.py"), volume=Volume(1024, "/data"))


def run(seeded, rental, seconds):
    """Let a rental run, with a heartbeat every ten seconds."""
    for _ in range(seconds // 10):
        seeded.cloud.clock.advance_seconds(10)
        seeded.beat(rental.host_id)
        seeded.report(rental, "running")


def stop(seeded, rental):
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    return seeded.rental(rental.rental_id)


def settle(seeded, rental, tag):
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, tag)
    seeded.charge_all()
    return seeded.rental(rental.rental_id)


def test_a_stop_gives_the_gpus_back_and_keeps_the_volume():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, workload=WITH_VOLUME)
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    order = seeded.cloud.fleet_store.commands[-1]
    assert (order.kind, order.keep_volume) == ("stop", True)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    stopped = seeded.rental(rental.rental_id)
    assert (stopped.state, stopped.desired_state, stopped.placement) == ("stopped", "stopped", None)
    assert stopped.volume_host_id == rental.host_id
    assert {gpu.lease_state for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id)} == {"free"}
    assert seeded.cloud.rentals.scheduling.get_quota(rental.account_id).used_gpus == 0


def test_a_resume_goes_back_to_the_volume_and_is_a_stay_of_its_own():
    seeded = seed_cloud(hosts=2, gpus=4)
    rental = start(seeded, 2, workload=WITH_VOLUME)
    run(seeded, rental, 100)
    stopped = settle(seeded, stop(seeded, rental), "one")
    assert (stopped.billed_seconds, stopped.billing_state) == (100, "settled")
    again = resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (again.state, again.segment, again.host_id) == ("provisioning", 2, rental.host_id)
    seeded.report(again, "running")
    run(seeded, seeded.rental(rental.rental_id), 50)
    over = settle(seeded, stop(seeded, seeded.rental(rental.rental_id)), "two")
    assert (over.billed_seconds, over.billing_state) == (150, "settled")
    assert over.charge_micros == PRICE * 2 * 100 // 3600 + PRICE * 2 * 50 // 3600
    assert find_balance(seeded.cloud.billing, rental.account_id).held_micros == 0


def test_a_resume_whose_gpu_is_gone_says_so_and_loses_nothing():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, workload=WITH_VOLUME)
    stopped = stop(seeded, rental)
    other = start(seeded, 2, key="other")
    with pytest.raises(GpuUnavailableOnResume) as refused:
        resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert refused.value.extra == {"host_id": stopped.volume_host_id}
    assert seeded.rental(rental.rental_id) == stopped
    waiting = resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id, wait=True)
    assert (waiting.state, waiting.volume_host_id) == ("resuming", stopped.volume_host_id)
    # A host elsewhere does not have the volume.
    seeded.beat(add_host(seeded, "elsewhere", 8).host_id)
    seeded.dispatch()
    assert seeded.rental(rental.rental_id).state == "resuming"
    terminate_rental(seeded.cloud.rentals, seeded.renter, other.rental_id)
    seeded.report(seeded.rental(other.rental_id), "terminated", wiped=True)
    seeded.dispatch()
    assert seeded.rental(rental.rental_id).host_id == rental.host_id


def test_without_a_volume_a_resume_goes_anywhere():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    stop(seeded, rental)
    start(seeded, 2, key="other")
    with pytest.raises(NoCapacity):
        resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    elsewhere = add_host(seeded, "elsewhere", 8)
    seeded.beat(elsewhere.host_id)
    assert resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).host_id == elsewhere.host_id


def test_a_resume_that_waits_can_be_withdrawn():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    stop(seeded, rental)
    start(seeded, 2, key="other")
    resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id, wait=True)
    again = stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (again.state, again.waiting) == ("stopped", None)
    assert seeded.cloud.db.table("tickets") == {}


def test_a_restart_keeps_the_gpus_and_moves_the_epochs():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    run(seeded, rental, 60)
    restart_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    again = seeded.rental(rental.rental_id)
    assert (again.state, again.segment, again.host_id) == ("provisioning", 2, rental.host_id)
    assert [lease.gpu_uuid for lease in again.leases] == [lease.gpu_uuid for lease in rental.leases]
    assert {lease.epoch for lease in again.leases} == {3}
    seeded.report(again, "running")
    run(seeded, seeded.rental(rental.rental_id), 40)
    assert settle(seeded, seeded.rental(rental.rental_id), "tick").billed_seconds == 100
    assert seeded.cloud.rentals.scheduling.get_quota(rental.account_id).used_gpus == 2


def test_a_restart_that_the_wallet_does_not_cover_ends_in_the_line():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    restart_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    balances = seeded.cloud.db.table("balances")
    (account_id,) = [key for key in balances if key == rental.account_id]
    row = balances[account_id]
    balances[account_id] = replace(row, available_micros=0, held_micros=row.posted_micros)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    waiting = seeded.rental(rental.rental_id)
    assert waiting.state == "queued"
    assert {gpu.lease_state for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id)} == {"free"}


def test_terminating_a_stopped_rental_orders_the_end_of_its_volume():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, workload=WITH_VOLUME)
    stopped = stop(seeded, rental)
    over = terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (over.state, over.volume_host_id) == ("terminated", None)
    order = seeded.cloud.fleet_store.commands[-1]
    assert (order.kind, order.keep_volume, order.host_id) == ("stop", False, stopped.volume_host_id)
    other = start(seeded, 2, key="other")
    # The answer comes when the GPUs are another tenant's: it changes nothing.
    late = replace(over, placement=over.past[-1])
    seeded.report(late, "terminated", wiped=True)
    assert seeded.rental(other.rental_id).state == "running"
    states = {gpu.lease_state for gpu in seeded.cloud.fleet_store.list_gpus(rental.host_id)}
    assert states == {"leased"}


def test_terminating_a_stopped_rental_without_a_volume_is_over_at_once():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    stop(seeded, rental)
    assert terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).state == "terminated"


def test_a_lock_holds_until_it_is_taken_off():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2, locked=True)
    for act in (terminate_rental, stop_rental, restart_rental):
        with pytest.raises(Conflict) as refused:
            act(seeded.cloud.rentals, seeded.renter, rental.rental_id)
        assert refused.value.code == "locked"
    unlock = lambda found: replace(found, locked=False)  # noqa: E731
    change_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id, unlock, "rental.changed")
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)


def test_stopping_and_resuming_twice_answers_the_same():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    first = stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).state == first.state
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    assert stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).state == "stopped"
    once = resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).segment == once.segment == 2


def test_an_action_during_another_is_refused_with_a_reason():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 2)
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    for act in (terminate_rental, restart_rental, resume_rental):
        with pytest.raises(Conflict) as refused:
            act(seeded.cloud.rentals, seeded.renter, rental.rental_id)
        assert refused.value.code == "action_in_progress"


def test_late_energy_of_an_earlier_stay_still_counts():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    stop(seeded, rental)
    resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    store_telemetry(seeded.cloud.meters, build_record(rental), [build_interval(rental, final=True)])
    (hour,) = seeded.cloud.meters.store.list_energy(rental.rental_id)
    assert (hour.epoch, hour.energy_millijoules) == (1, 1000)


def test_a_start_that_was_told_to_wait_shows_no_price_yet():
    seeded = seed_cloud(gpus=1)
    rental = seeded.rental(rent(seeded, 4, waits=True).body)
    assert rental.price_micros_per_gpu_hour is None

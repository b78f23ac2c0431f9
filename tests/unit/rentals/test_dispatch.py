"""Lines: no capacity is a place in line, served in order, left at any time, with nothing held meanwhile."""

import pytest

from chalicelib.billing.posting import find_balance
from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import IdempotencyMismatch
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.due import do_due
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.model import NOTICE_MS, RUNWAY_SECONDS
from chalicelib.rentals.policies import Policies
from chalicelib.rentals.ports import QuotaExceeded
from chalicelib.rentals.queue import BLOCKS_AFTER_MS
from chalicelib.rentals.service import locate_in_line, set_quota
from tests.factories import (
    GPU_TYPE,
    PRICE,
    REGION,
    add_host,
    add_renter,
    give_credit,
    rent,
    seed_cloud,
    start,
)
from tests.fakes import Crash

POOL = name_pool(GPU_TYPE, REGION)


def queue(seeded, gpus, key, **wishes):
    return seeded.rental(rent(seeded, gpus, key=key, waits=True, **wishes).body)


def dispatch(seeded):
    for host_id in list(seeded.cloud.db.table("hosts")):
        seeded.beat(host_id)
    return dispatch_pool(seeded.cloud.rentals, POOL)


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)


def test_no_capacity_is_a_place_in_line_that_holds_nothing():
    seeded = seed_cloud(gpus=2)
    rental = queue(seeded, 4, "a")
    assert (rental.state, rental.desired_state, rental.host_id, rental.leases) == (
        "queued",
        "running",
        None,
        (),
    )
    assert rental.waiting.why == "no_capacity"
    assert find_balance(seeded.cloud.billing, rental.account_id).held_micros == 0
    assert seeded.cloud.rentals.scheduling.get_quota(rental.account_id).used_gpus == 0


def test_the_one_in_line_starts_when_gpus_are_free_at_the_price_of_then():
    seeded = seed_cloud(gpus=4)
    first = start(seeded, 4)
    rental = queue(seeded, 4, "b")
    assert dispatch(seeded).started == 0
    end(seeded, first)
    assert dispatch(seeded).started == 1
    placed = seeded.rental(rental.rental_id)
    assert (placed.state, placed.segment, placed.waiting) == ("provisioning", 1, None)
    assert placed.price_micros_per_gpu_hour == PRICE
    assert seeded.cloud.fleet_store.commands[-1].kind == "start"
    assert dispatch(seeded).waiting == 0


def test_whoever_comes_while_others_wait_stands_behind_them():
    seeded = seed_cloud(gpus=4)
    busy = start(seeded, 3)
    large = queue(seeded, 4, "large")
    late = queue(seeded, 1, "late")
    assert late.state == "queued", "one GPU is free, and somebody waits"
    end(seeded, busy)
    dispatch(seeded)
    assert seeded.rental(large.rental_id).state == "provisioning"
    assert seeded.rental(late.rental_id).state == "queued"


def test_who_fits_goes_first_until_somebody_has_waited_for_too_long():
    seeded = seed_cloud(gpus=4)
    start(seeded, 3)
    large = queue(seeded, 4, "large")
    small = queue(seeded, 1, "small")
    dispatch(seeded)
    assert seeded.rental(small.rental_id).state == "provisioning"
    end(seeded, seeded.rental(small.rental_id))
    next_small = queue(seeded, 1, "small-2")
    seeded.cloud.clock.advance_seconds(BLOCKS_AFTER_MS / 1000)
    dispatch(seeded)
    assert seeded.rental(next_small.rental_id).state == "queued"
    assert seeded.rental(large.rental_id).state == "queued"


def test_the_position_is_shown_and_moves_up():
    seeded = seed_cloud(gpus=2)
    busy = start(seeded, 2)
    first, second = queue(seeded, 2, "a"), queue(seeded, 2, "b")
    ports = seeded.cloud.rentals
    assert locate_in_line(ports, first).position == 1
    assert locate_in_line(ports, second).position == 2
    end(seeded, busy)
    dispatch(seeded)
    assert locate_in_line(ports, seeded.rental(second.rental_id)).position == 1
    assert locate_in_line(ports, seeded.rental(first.rental_id)) is None


def test_a_place_in_line_is_left_at_any_time():
    seeded = seed_cloud(gpus=1)
    rental = queue(seeded, 4, "a")
    over = terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (over.state, over.reason) == ("terminated", "renter_requested")
    assert dispatch(seeded).waiting == 0
    # Nobody waits any more: who comes now starts at once.
    assert seeded.rental(rent(seeded, 1, key="b").body).state == "provisioning"


def test_a_deadline_that_passes_ends_the_wait():
    seeded = seed_cloud(gpus=1)
    deadline = seeded.cloud.clock.now_ms() + 60_000
    first = queue(seeded, 4, "a", deadline_at_ms=deadline)
    second = queue(seeded, 4, "b", deadline_at_ms=deadline)
    seeded.cloud.clock.advance_seconds(60)
    assert dispatch(seeded).expired == 2
    for rental in (first, second):
        over = seeded.rental(rental.rental_id)
        assert (over.state, over.reason, over.charge_micros) == ("failed", "deadline_passed", 0)


def test_the_sweep_of_what_is_due_ends_it_too():
    seeded = seed_cloud(gpus=1)
    rental = queue(seeded, 4, "a", deadline_at_ms=seeded.cloud.clock.now_ms() + 60_000)
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms()) == 0
    now_ms = seeded.cloud.clock.advance_seconds(60)
    assert do_due(seeded.cloud.rentals, now_ms) == 1
    assert seeded.rental(rental.rental_id).reason == "deadline_passed"
    assert do_due(seeded.cloud.rentals, now_ms) == 0


def test_a_cap_below_every_price_waits_for_the_price_and_says_so():
    seeded = seed_cloud()
    rental = queue(seeded, 1, "a", max_price=PRICE - 1)
    assert (rental.state, rental.waiting.why) == ("queued", "price_cap")
    dispatch(seeded)
    assert seeded.rental(rental.rental_id).state == "queued"


def test_an_empty_wallet_keeps_its_place_and_starts_once_it_is_filled():
    seeded = seed_cloud(gpus=2)
    poor = add_renter(seeded, name="poor", credit_micros=1)
    busy = start(seeded, 2)
    rental = queue(seeded, 2, "a", principal=poor)
    end(seeded, busy)
    dispatch(seeded)
    assert seeded.rental(rental.rental_id).waiting.why == "balance"
    give_credit(seeded, poor.account_id, 10**9, key="more")
    dispatch(seeded)
    assert seeded.rental(rental.rental_id).state == "provisioning"


def test_a_quota_is_never_exceeded_and_comes_back_with_the_end_of_the_stay():
    seeded = seed_cloud(gpus=8)
    set_quota(seeded.cloud.rentals, seeded.operator, seeded.renter.account_id, 4)
    running = start(seeded, 4)
    with pytest.raises(QuotaExceeded):
        rent(seeded, 1, key="more")
    terminate_rental(seeded.cloud.rentals, seeded.renter, running.rental_id)
    quota = seeded.cloud.rentals.scheduling.get_quota(seeded.renter.account_id)
    assert (quota.max_gpus, quota.used_gpus, quota.available_gpus) == (4, 0, 4)
    assert seeded.rental(rent(seeded, 1, key="more").body).state == "provisioning"


def test_a_lower_quota_than_is_used_ends_nothing_and_starts_nothing():
    seeded = seed_cloud(gpus=8)
    running = start(seeded, 4)
    set_quota(seeded.cloud.rentals, seeded.operator, seeded.renter.account_id, 2)
    assert seeded.rental(running.rental_id).state == "running"
    with pytest.raises(QuotaExceeded):
        rent(seeded, 1, key="more")


def test_rentals_of_a_spread_group_never_share_a_host():
    seeded = seed_cloud(hosts=2, gpus=8)
    hosts = {seeded.rental(rent(seeded, 1, key=f"k{n}", spread_group="db").body).host_id for n in range(2)}
    assert len(hosts) == 2
    # Another account's group of the same name is another group.
    other = add_renter(seeded, name="other")
    assert seeded.rental(rent(seeded, 1, key="o", spread_group="db", principal=other).body).host_id in hosts
    assert queue(seeded, 1, "third", spread_group="db").state == "queued"


def test_a_repeat_of_a_queued_start_gets_the_same_answer():
    seeded = seed_cloud(gpus=1)
    first, second = rent(seeded, 4, waits=True), rent(seeded, 4, waits=True)
    assert first.body == second.body
    assert (first.replayed, second.replayed) == (False, True)
    with pytest.raises(IdempotencyMismatch):
        rent(seeded, 4, waits=True, body=b'{"other":1}')
    assert len(seeded.cloud.db.table("tickets")) == 1


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_crash_while_the_line_is_served_starts_nobody_twice(point):
    seeded = seed_cloud(gpus=4)
    busy = start(seeded, 4)
    waiting = [queue(seeded, 2, key) for key in "ab"]
    end(seeded, busy)
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        dispatch(seeded)
    setattr(seeded.cloud.db, point, None)
    dispatch(seeded)
    dispatch(seeded)
    assert [seeded.rental(each.rental_id).state for each in waiting] == ["provisioning"] * 2
    starts = [command for command in seeded.cloud.fleet_store.commands if command.kind == "start"]
    assert len(starts) == 3


def spot(seeded, gpus, key, **wishes):
    rental = seeded.rental(rent(seeded, gpus, key=key, billing_class="spot", **wishes).body)
    seeded.report(rental, "running")
    return seeded.rental(rental.rental_id)


def test_on_demand_without_room_announces_the_end_of_spot_and_starts_in_its_place():
    seeded = seed_cloud(gpus=4, every_class=True)
    victim = spot(seeded, 4, "spot", recovery="replace")
    wanted = queue(seeded, 4, "wanted")
    assert dispatch(seeded).preempted == 1
    told = seeded.rental(victim.rental_id)
    assert told.planned_end.reason == "preempted"
    assert told.planned_end.at_ms - told.planned_end.notice_at_ms == NOTICE_MS
    preempt = seeded.cloud.fleet_store.commands[-1]
    assert (preempt.kind, preempt.deadline_at_ms, preempt.leases) == (
        "preempt",
        told.planned_end.at_ms,
        victim.leases,
    )
    assert dispatch(seeded).preempted == 0, "room is on its way: nobody else is asked"
    seeded.cloud.clock.advance_seconds(NOTICE_MS / 1000)
    seeded.preempted(told)
    ending = seeded.rental(victim.rental_id)
    assert (ending.state, ending.desired_state, ending.reason) == ("stopping", "running", "preempted")
    seeded.report(ending, "terminated", wiped=True)
    dispatch(seeded)
    assert seeded.rental(wanted.rental_id).state == "provisioning"
    again = seeded.rental(victim.rental_id)
    assert (again.state, again.waiting.why) == ("queued", "no_capacity")
    assert [stay.leases for stay in again.past] == [victim.leases]


def test_spot_that_wants_no_replacement_ends():
    seeded = seed_cloud(gpus=4, every_class=True)
    victim = spot(seeded, 4, "spot")
    queue(seeded, 4, "wanted")
    dispatch(seeded)
    seeded.cloud.clock.advance_seconds(NOTICE_MS / 1000)
    seeded.preempted(seeded.rental(victim.rental_id))
    seeded.report(seeded.rental(victim.rental_id), "terminated", wiped=True)
    over = seeded.rental(victim.rental_id)
    assert (over.state, over.reason) == ("failed", "preempted")


def test_spot_preempts_nobody():
    seeded = seed_cloud(gpus=4, every_class=True)
    spot(seeded, 4, "spot")
    queue(seeded, 4, "wanted", billing_class="spot")
    assert dispatch(seeded).preempted == 0


def test_a_host_that_does_not_say_that_it_has_preempted_is_told_to_stop():
    seeded = seed_cloud(gpus=4, every_class=True)
    victim = spot(seeded, 4, "spot")
    queue(seeded, 4, "wanted")
    dispatch(seeded)
    now_ms = seeded.cloud.clock.advance_seconds(NOTICE_MS * 2 / 1000)
    assert do_due(seeded.cloud.rentals, now_ms) == 1
    assert seeded.cloud.fleet_store.commands[-1].kind == "stop"
    assert seeded.rental(victim.rental_id).reason == "preempted"


def test_a_maximum_duration_is_announced_and_ends_the_rental():
    seeded = seed_cloud(gpus=4, every_class=True)
    rental = start(seeded, 4, policies=Policies(max_duration_seconds=600))
    assert rental.ends_at_ms == rental.running_at_ms + 600_000
    seeded.cloud.clock.advance_seconds(479)
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms()) == 0
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.advance_seconds(1)) == 1
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms()) == 0
    told = seeded.rental(rental.rental_id)
    assert (told.planned_end.reason, told.planned_end.at_ms) == ("max_duration_reached", rental.ends_at_ms)
    seeded.cloud.clock.advance_seconds(120)
    seeded.preempted(told)
    ending = seeded.rental(rental.rental_id)
    assert (ending.state, ending.reason) == ("terminating", "max_duration_reached")


def test_a_scheduled_start_stands_in_no_line_before_its_hour():
    seeded = seed_cloud(gpus=4, every_class=True)
    at_ms = seeded.cloud.clock.now_ms() + 3_600_000
    rental = queue(seeded, 2, "later", policies=Policies(start_at_ms=at_ms))
    assert (rental.state, rental.waiting) == ("queued", None)
    assert seeded.rental(rent(seeded, 1, key="now").body).state == "provisioning"
    now_ms = seeded.cloud.clock.advance_seconds(3600)
    assert do_due(seeded.cloud.rentals, now_ms) == 1
    dispatch(seeded)
    assert seeded.rental(rental.rental_id).state == "provisioning"


def test_a_scheduled_stop_ends_as_stopped():
    seeded = seed_cloud(gpus=4, every_class=True)
    at_ms = seeded.cloud.clock.now_ms() + 600_000
    rental = start(seeded, 2, policies=Policies(stop_at_ms=at_ms))
    assert do_due(seeded.cloud.rentals, seeded.cloud.clock.advance_seconds(480)) == 1
    seeded.cloud.clock.advance_seconds(120)
    seeded.preempted(seeded.rental(rental.rental_id))
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.reason, over.placement) == ("stopped", "stop_scheduled", None)


def test_any_number_of_hosts_coming_and_going_places_each_ticket_once():
    seeded = seed_cloud(gpus=1)
    start(seeded, 1)
    waiting = [queue(seeded, 1, f"w{index}") for index in range(4)]
    for index in range(4):
        host = add_host(seeded, f"new-{index}", 1)
        seeded.beat(host.host_id)
        assert dispatch(seeded).started == 1
    placed = [seeded.rental(each.rental_id) for each in waiting]
    assert {rental.state for rental in placed} == {"provisioning"}
    assert len({rental.host_id for rental in placed}) == 4
    hold = PRICE * RUNWAY_SECONDS // 3600
    assert find_balance(seeded.cloud.billing, seeded.renter.account_id).held_micros == 5 * hold

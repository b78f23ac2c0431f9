"""A pool against an EC2 that fails: faults F30, F36, F37 and F38, leaks and launch storms."""

from dataclasses import replace

import pytest

from chalicelib.fleet.model import Cordon
from chalicelib.fleet.service import enrol_host
from chalicelib.rentals.life import terminate_rental
from chalicelib.reservations.hosts import make_reservable
from chalicelib.scaling import service
from chalicelib.scaling.fleet_hosts import LaunchedInstances
from chalicelib.scaling.ports import HostInUse
from chalicelib.scaling.reconcile import close_host
from tests.factories import add_host
from tests.unit.reservations.booking import booked
from tests.unit.scaling.cloud import ON_DEMAND, OTHER_ZONE, POOL, build_cloud


def give_back(cloud, rental):
    """The renter has ended it, and the host has wiped."""
    terminate_rental(cloud.seeded.cloud.rentals, cloud.seeded.renter, rental.rental_id)
    rental = cloud.seeded.rental(rental.rental_id)
    cloud.seeded.report(rental, "terminated", wiped=True, ended_at_ms=cloud.now_ms)


def test_who_waits_gets_a_host_that_was_bought_for_it():
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    assert rental.state == "queued"
    cloud.run()
    (launch,) = cloud.open()
    assert (launch.state, launch.option) == ("launching", ON_DEMAND)
    cloud.minutes(2)
    assert cloud.open()[0].state == "running"
    assert cloud.seeded.rental(rental.rental_id).host_id == launch.host_id
    assert len(cloud.ec2.rows) == 1
    assert {"launch.requested", "launch.instance_made", "launch.host_enrolled"} <= set(cloud.audited())


def test_nothing_is_bought_twice_while_it_boots():
    cloud = build_cloud()
    cloud.want(8, "one")
    cloud.minutes(20, boots=False)
    assert len(cloud.ec2.rows) == 1
    assert "way" in cloud.reports[-1].plan.reason


def test_an_idle_host_ends_after_the_surplus_has_stood_and_its_record_says_so():
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    give_back(cloud, cloud.seeded.rental(rental.rental_id))
    cloud.minutes(30)
    assert cloud.ec2.list_alive() == []
    (launch,) = cloud.ended()
    assert (launch.state, launch.last_error) == ("terminated", None)
    assert cloud.host(launch.host_id).state == "retired"
    assert cloud.open() == []


def test_a_host_never_goes_below_the_warm_target_or_the_least_number():
    warm, least = build_cloud(warm_gpus=8), build_cloud(min_hosts=2)
    for cloud, hosts in ((warm, 1), (least, 2)):
        cloud.minutes(60)
        assert len(cloud.ec2.list_alive()) == len(cloud.ec2.rows) == hosts


def test_f36_without_capacity_the_next_zone_is_tried_and_the_first_left_alone():
    cloud = build_cloud()
    cloud.ec2.exhausted.add(ON_DEMAND.name)
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    assert [launch.option for launch in cloud.open()] == [OTHER_ZONE]
    (failed,) = cloud.ended()
    assert (failed.state, failed.last_error, failed.option) == ("failed", "insufficient_capacity", ON_DEMAND)
    assert cloud.seeded.rental(rental.rental_id).state != "queued"


def test_f36_without_capacity_anywhere_ec2_is_not_asked_each_minute():
    cloud = build_cloud()
    cloud.ec2.exhausted |= {ON_DEMAND.name, OTHER_ZONE.name}
    cloud.want(8, "one")
    cloud.minutes(120)
    assert cloud.ec2.launches <= 2 * 6
    assert "left alone" in cloud.reports[-1].plan.reason
    cloud.ec2.exhausted.clear()
    cloud.minutes(61)
    assert len(cloud.ec2.list_alive()) == 1


def test_f36_a_spot_host_that_the_provider_takes_is_retired_and_its_rental_told():
    cloud = build_cloud()
    rental = cloud.want(8, "one", recovery="replace")
    cloud.minutes(3)
    (launch,) = cloud.open()
    cloud.ec2.end(launch.instance_id)
    cloud.minutes(5)
    assert cloud.host(launch.host_id).state == "retired"
    now = cloud.seeded.rental(rental.rental_id)
    assert now.host_id != launch.host_id
    assert now.host_id is not None
    assert len(cloud.ec2.list_alive()) == 1


def test_f36_what_an_instance_that_is_gone_had_promised_is_promised_elsewhere():
    cloud = build_cloud(every_class=True, min_hosts=1)
    cloud.minutes(3)
    (launch,) = cloud.open()
    reservations, operator = cloud.seeded.cloud.reservations, cloud.seeded.operator
    make_reservable(reservations, operator, launch.host_id)
    reservation = booked(cloud.seeded, 8, start=100)
    spare = add_host(cloud.seeded, "spare", 8).host_id
    make_reservable(reservations, operator, spare)
    with pytest.raises(HostInUse):
        close_host(cloud.ports, launch, None)
    cloud.ec2.end(launch.instance_id)
    cloud.minutes(1)
    assert cloud.host(launch.host_id).state == "retired"
    found = reservations.store.get_reservation(reservation.reservation_id)
    assert [each.host_id for each in found.open_bookings] == [spare]
    assert cloud.seeded.cloud.db.table("heads")[launch.host_id] == 0


def test_f37_a_flapping_demand_ends_no_host_and_buys_no_second():
    cloud = build_cloud()
    for turn in range(12):
        rental = cloud.want(8, f"turn-{turn}")
        cloud.minutes(3)
        give_back(cloud, cloud.seeded.rental(rental.rental_id))
        cloud.minutes(3)
    assert len(cloud.ec2.rows) == 1


def test_f37_a_host_that_is_leased_between_the_look_and_the_act_stays():
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    give_back(cloud, cloud.seeded.rental(rental.rental_id))
    (launch,) = cloud.open()
    demands = cloud.ports.demands.read_demand
    stale = demands(cloud.settings(), cloud.now_ms)

    class Stale:
        def read_demand(self, settings, now_ms):
            return stale

    leased = cloud.want(8, "two")
    assert leased.host_id == launch.host_id
    cloud.ports = replace(cloud.ports, demands=Stale())
    cloud.minutes(30)
    assert cloud.ec2.is_alive(launch.instance_id)
    assert cloud.host(launch.host_id).state == "active"
    assert any("not done" in alarm for report in cloud.reports for alarm in report.alarms)


def test_f37_one_action_a_minute_however_often_it_runs():
    cloud = build_cloud(max_hosts=10)
    for number in range(6):
        cloud.want(8, f"many-{number}")
    for _ in range(5):
        cloud.run()
    assert len(cloud.ec2.rows) == 1
    cloud.minutes(2, boots=False)
    assert len(cloud.ec2.rows) == 3


def test_f38_two_schedulers_at_once_buy_one_host():
    cloud = build_cloud()
    cloud.want(8, "one")
    ports, settings = cloud.ports, cloud.settings()
    read = ports.demands.read_demand
    turns = []

    class Twice:
        def read_demand(self, settings, now_ms):
            demand = read(settings, now_ms)
            if not turns:
                turns.append(1)
                service.run_pool(ports, cloud.ec2, settings)
            return demand

    report = service.run_pool(replace(ports, demands=Twice()), cloud.ec2, settings)
    assert len(cloud.ec2.rows) == len(cloud.open()) == 1
    assert report.alarms


def test_f38_after_an_hour_without_a_run_everything_is_caught_up():
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    (launch,) = cloud.open()
    give_back(cloud, cloud.seeded.rental(rental.rental_id))
    cloud.ec2.end(launch.instance_id)
    cloud.seeded.cloud.clock.advance_seconds(3 * 3600)
    # EC2 has forgotten the instance: an empty list alone concludes nothing.
    cloud.run()
    assert cloud.open()[0].state == "running"
    assert cloud.reports[-1].blind
    cloud.minutes(61)
    assert [each.last_error for each in cloud.ended()] == ["gone_from_ec2"]
    assert cloud.host(launch.host_id).state == "retired"


@pytest.mark.parametrize("fault", ["throttled_lists", "broken_pages", "empty_lists"])
def test_f30_a_list_that_fails_or_is_empty_is_never_no_instances(fault):
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(8)
    (launch,) = cloud.open()
    cloud.want(8, "two")
    setattr(cloud.ec2, fault, 30)
    cloud.minutes(30)
    assert cloud.reports[-1].blind
    assert cloud.reports[-1].alarms
    assert cloud.open() == [launch]
    assert cloud.host(launch.host_id).state == "active"
    assert cloud.seeded.rental(rental.rental_id).host_id == launch.host_id
    assert len(cloud.ec2.rows) == 1
    cloud.minutes(3)
    assert len(cloud.ec2.rows) == 2


def test_f30_an_instance_that_a_list_leaves_out_is_asked_for_by_its_name():
    cloud = build_cloud(max_hosts=2)
    cloud.want(8, "one")
    cloud.want(8, "two")
    cloud.minutes(8)
    first, second = cloud.open()
    cloud.ec2.unlisted.add(first.instance_id)
    cloud.minutes(90)
    assert {launch.state for launch in cloud.open()} == {"running"}
    assert [launch.launch_id for launch in cloud.open()] == [first.launch_id, second.launch_id]


def test_f30_a_gpu_of_a_host_that_ec2_has_ended_is_leased_to_nobody():
    cloud = build_cloud()
    cloud.want(4, "one")
    cloud.minutes(3)
    (launch,) = cloud.open()
    cloud.ec2.end(launch.instance_id)
    cloud.seeded.cloud.clock.advance_seconds(70)
    cloud.run()
    assert cloud.host(launch.host_id).state == "retired"
    cloud.seeded.beat(launch.host_id)
    assert cloud.want(4, "two").host_id != launch.host_id


@pytest.mark.parametrize("fault", ["failing_ends", "swallowed_ends"])
def test_the_end_is_never_given_up(fault):
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    give_back(cloud, cloud.seeded.rental(rental.rental_id))
    setattr(cloud.ec2, fault, 50)
    cloud.minutes(120)
    assert cloud.ec2.end_orders >= 51
    assert cloud.ec2.list_alive() == []
    assert any("has not ended" in alarm for report in cloud.reports for alarm in report.alarms)
    slow = [report.slow_ends for report in cloud.reports]
    assert (slow[0], max(slow), slow[-1]) == (0, 1, 0)
    assert cloud.ended()[0].state == "terminated"


def test_a_lost_reply_is_asked_again_under_the_same_token():
    cloud = build_cloud()
    cloud.ec2.lost_replies = 1
    cloud.want(8, "one")
    cloud.run()
    assert cloud.open()[0].state == "requested"
    cloud.minutes(3)
    assert len(cloud.ec2.rows) == 1
    assert cloud.open()[0].last_error is None


def test_an_order_that_is_never_answered_ends_and_its_token_is_worth_nothing():
    cloud = build_cloud()
    cloud.ec2.unanswered = 1_000
    cloud.want(8, "one")
    cloud.minutes(32)
    failed = cloud.ended()[-1]
    assert (failed.state, failed.last_error) == ("failed", "outcome_unknown")
    token = cloud.ports.hosts.build_token(failed.launch_id)
    with pytest.raises(Exception, match="another machine"):
        enrol_host(cloud.seeded.cloud.fleet, token, install_id="late", agent_version="1", gpus=[])


def test_a_machine_that_never_becomes_a_host_is_ended_and_not_bought_again_at_once():
    cloud = build_cloud()
    cloud.want(8, "one")
    cloud.minutes(45, boots=False)
    assert cloud.ended()[-1].last_error == "never_enrolled"
    assert len(cloud.ec2.list_alive()) <= 1
    assert len(cloud.ec2.rows) <= 2


def test_a_host_that_an_operator_retired_is_ended():
    cloud = build_cloud(min_hosts=1)
    cloud.minutes(12)
    (launch,) = cloud.open()
    cloud.ports.hosts.retire(launch.host_id)
    cloud.minutes(4)
    assert not cloud.ec2.is_alive(launch.instance_id)
    assert len(cloud.ec2.list_alive()) == 1


def test_an_instance_that_nobody_ordered_is_ended_after_its_grace():
    cloud = build_cloud()
    stray = cloud.ec2.add(POOL, "lch_00000000000000000000000000", "hst_00000000000000000000000000")
    cloud.minutes(9, boots=False)
    assert cloud.ec2.is_alive(stray)
    cloud.minutes(5, boots=False)
    assert not cloud.ec2.is_alive(stray)
    assert "instance.orphan_ended" in cloud.audited()
    assert [launch.state for launch in cloud.ended()] == ["terminated"]


def test_a_host_whose_record_was_lost_is_adopted_and_never_ended_while_it_works():
    cloud = build_cloud()
    rental = cloud.want(8, "one")
    cloud.minutes(3)
    (launch,) = cloud.open()
    cloud.seeded.cloud.db.table("open_launches").clear()
    cloud.minutes(30)
    (adopted,) = cloud.open()
    assert (adopted.launch_id, adopted.instance_id, adopted.state) == (
        launch.launch_id,
        launch.instance_id,
        "running",
    )
    assert cloud.seeded.rental(rental.rental_id).host_id == launch.host_id


def test_an_instance_whose_order_had_been_given_up_ends():
    cloud = build_cloud()
    cloud.want(8, "one")
    cloud.ec2.unanswered = 1_000
    cloud.minutes(31, boots=False)
    failed = cloud.ended()[-1]
    late = cloud.ec2.add(POOL, failed.launch_id, failed.host_id)
    cloud.minutes(15)
    assert not cloud.ec2.is_alive(late)
    assert cloud.ports.hosts.find_standing(failed.host_id) == "unknown"


def test_f30_the_watch_is_told_which_silent_hosts_ec2_has_ended():
    cloud = build_cloud(max_hosts=2)
    cloud.want(8, "one")
    cloud.want(8, "two")
    cloud.minutes(4)
    first, second = cloud.open()
    states = LaunchedInstances(cloud.store, cloud.ec2)
    hosts = [first.host_id, second.host_id, "hst_by_hand"]
    assert states.list_ended(hosts) == frozenset()
    cloud.ec2.end(first.instance_id)
    cloud.seeded.cloud.clock.advance_seconds(61)
    assert states.list_ended(hosts) == {first.host_id}


def test_a_host_under_somebodys_hands_is_not_ended_and_one_that_is_worn_out_is():
    for automatic, alive in ((False, 1), (True, 0)):
        cloud = build_cloud(min_hosts=1)
        cloud.minutes(3)
        (launch,) = cloud.open()
        cloud.put(min_hosts=0)
        rows = cloud.seeded.cloud.db.table("hosts")
        cordon = Cordon("looked at", cloud.now_ms, automatic=automatic)
        rows[launch.host_id] = replace(rows[launch.host_id], cordon=cordon, state="draining")
        cloud.minutes(40)
        assert len(cloud.ec2.list_alive()) == alive

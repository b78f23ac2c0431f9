"""Faults F36 and F31 as the cloud sees them: the provider takes the machine, and it may come back."""

from dataclasses import replace
from typing import get_args

import pytest

from chalicelib.fleet.health import HostNotice, NoticeKind, choose_notice
from chalicelib.metering.incidents import build_interruption, record_heartbeat
from chalicelib.metering.service import Announcement, Report, apply_report
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.ports import NoCapacity
from chalicelib.wire import v1
from tests.factories import add_host, rent, seed_cloud, start
from tests.fakes import START_MS, Crash
from tests.unit.metering.incidents import acknowledge, beat, build_beat, find_gpu, run, spot

# F36: the provider takes the machine.


def test_f36_a_spot_notice_closes_the_host_at_once_and_tells_the_tenant():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    run(seeded, rental, 20)
    seeded.cloud.clock.advance_seconds(5)
    notice = spot(seeded)
    beat(seeded, rental.host_id, rental, notices=[notice])
    noticed_at_ms = seeded.cloud.clock.now_ms()
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="too late")
    told = seeded.rental(rental.rental_id)
    assert told.state == "running"
    assert told.interruption.reason == "spot_interruption"
    assert (told.interruption.notice_at_ms, told.interruption.ends_at_ms) == (
        noticed_at_ms,
        noticed_at_ms + 120_000,
    )
    announced = [e for e in seeded.cloud.audit.entries if e.action == "rental.interruption_announced"]
    assert [entry.subject for entry in announced] == [rental.rental_id]
    # A GPU that is gone for a while has the host looked at again; the tenant is told once.
    run(seeded, rental, 10, notices=[notice], ok=set())
    run(seeded, rental, 10, notices=[notice])
    announced = [e for e in seeded.cloud.audit.entries if e.action == "rental.interruption_announced"]
    assert len(announced) == 1
    # Every heartbeat repeats it.
    commits = seeded.cloud.db.commits
    run(seeded, rental, 30, notices=[notice])
    assert seeded.rental(rental.rental_id).interruption == told.interruption
    assert seeded.cloud.db.commits == commits + 3, "three proofs of life, nothing else"


def test_f36_no_lease_is_placed_by_a_start_that_read_the_host_before_the_notice():
    seeded = seed_cloud(gpus=2)
    store, notices = seeded.cloud.fleet_store, [spot(seeded)]
    host_id = next(iter(seeded.cloud.db.table("hosts")))
    found = store.find_candidates

    def find_then_hear(*arguments, **named):
        candidates = found(*arguments, **named)
        seeded.cloud.clock.advance_seconds(1)
        beat(seeded, host_id, notices=notices)
        return candidates

    store.find_candidates = find_then_hear
    with pytest.raises(NoCapacity):
        rent(seeded, 1)
    assert seeded.cloud.db.table("rentals") == {}


def test_f36_a_host_that_went_as_announced_ends_its_rental_billed_to_the_last_proof_of_life():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    notice = spot(seeded)
    run(seeded, rental, 100, notices=[notice])
    charge = seeded.cloud.charges.request_charge
    for minute in range(6):
        seeded.cloud.clock.advance_seconds(30)
        charge(rental.account_id, rental.rental_id, f"tick-{minute}")
        seeded.charge_all()
        gone = seeded.cloud.clock.now_ms() > START_MS + 180_000
        assert (seeded.rental(rental.rental_id).state == "failed") == gone
    over = seeded.rental(rental.rental_id)
    assert (over.reason, over.billing_state, over.billed_seconds) == ("host_interrupted", "settled", 100)
    wallet = seeded.cloud.billing.wallets.get_balance(rental.account_id)
    assert wallet.held_micros == 0
    # Nobody has wiped it: it stays out, also when somebody else wants it.
    assert find_gpu(seeded, rental).lease_state == "wiping"
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="another")


def test_f36_a_host_that_is_still_heard_after_the_deadline_is_not_given_up():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    notice = spot(seeded)
    run(seeded, rental, 50, notices=[notice])
    seeded.cloud.clock.advance_seconds(300)
    # It says nothing of the workload: its agent has only just started.
    beat(seeded, rental.host_id, notices=[notice])
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).state == "running"


def test_f36_a_rental_that_was_terminated_on_a_host_that_then_went_is_settled_too():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 30, notices=[spot(seeded)])
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.cloud.clock.advance_seconds(200)
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
    seeded.charge_all()
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.reason, over.billed_seconds) == ("terminated", "renter_requested", 30)
    assert over.billing_state == "settled"


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", range(2))
def test_f36_a_crash_while_a_gone_host_is_settled_neither_loses_nor_doubles(point, commit):
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 50, notices=[spot(seeded)])
    seeded.cloud.clock.advance_seconds(300)
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        seeded.charge_all()
    setattr(seeded.cloud.db, point, None)
    seeded.charge_all()
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.billing_state, over.billed_seconds) == ("failed", "settled", 50)
    assert sum(leg.amount_micros for leg, _ in seeded.cloud.db.table("legs").values()) == 0


def test_f36_a_crash_between_closing_the_host_and_telling_the_tenant_is_made_up_by_the_next_beat():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    notice = spot(seeded)
    seeded.cloud.clock.advance_seconds(10)
    seeded.cloud.db.crash_after = seeded.cloud.db.commits
    with pytest.raises(Crash):
        beat(seeded, rental.host_id, rental, notices=[notice])
    seeded.cloud.db.crash_after = None
    assert seeded.rental(rental.rental_id).interruption is None
    run(seeded, rental, 10, notices=[notice])
    assert seeded.rental(rental.rental_id).interruption is not None


@pytest.mark.parametrize("host_answers", [True, False])
def test_f36_a_start_that_the_notice_overtakes_is_given_up_costs_nothing_and_frees_its_hold(host_answers):
    seeded = seed_cloud(gpus=1)
    rental = seeded.rental(rent(seeded, 1).body)
    run(seeded, rental, 10, notices=[spot(seeded)], state="starting")
    ended = seeded.rental(rental.rental_id)
    assert (ended.state, ended.reason) == ("terminating", "host_interrupted")
    if host_answers:
        acknowledge(seeded, rental)
    else:
        # Its last word was that the workload had started after all.
        run(seeded, rental, 20, notices=[spot(seeded)])
        seeded.cloud.clock.advance_seconds(300)
        seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
        seeded.charge_all()
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.billing_state, over.charge_micros) == ("failed", "settled", 0)
    assert seeded.cloud.billing.wallets.get_balance(rental.account_id).held_micros == 0


def test_f36_a_start_goes_on_when_the_retirement_is_days_away():
    seeded = seed_cloud(gpus=1)
    rental = seeded.rental(rent(seeded, 1).body)
    event = Announcement("scheduled_event", "instance-retirement", START_MS + 86_400_000)
    run(seeded, rental, 10, notices=[event])
    assert seeded.rental(rental.rental_id).state == "running"


def test_f36_a_scheduled_retirement_is_told_days_ahead_and_blames_nothing_on_it_before_its_time():
    seeded = seed_cloud(gpus=2)
    first, second = start(seeded, 1, key="one"), start(seeded, 1, key="two")
    ends_at_ms = seeded.cloud.clock.now_ms() + 86_400_000
    notice = Announcement("scheduled_event", "instance-retirement", ends_at_ms)
    seeded.cloud.clock.advance_seconds(10)
    beat(seeded, first.host_id, first, second, notices=[notice])
    assert seeded.rental(first.rental_id).interruption.ends_at_ms == ends_at_ms
    # Silence before the deadline proves nothing.
    seeded.cloud.clock.advance_seconds(600)
    seeded.cloud.charges.request_charge(first.account_id, first.rental_id, "tick")
    seeded.charge_all()
    assert seeded.rental(first.rental_id).state == "running"
    beat(seeded, first.host_id, first, notices=[notice], state="failed")
    assert seeded.rental(first.rental_id).reason == "workload_failed"
    seeded.cloud.clock.value_ms = ends_at_ms - 30_000
    beat(seeded, first.host_id, second, notices=[notice], state="failed")
    assert seeded.rental(second.rental_id).reason == "host_interrupted"


def test_f36_a_notice_that_is_withdrawn_opens_the_host_and_takes_the_word_back():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    run(seeded, rental, 20, notices=[Announcement("scheduled_event", "instance-stop", START_MS + 10**9)])
    run(seeded, rental, 10)
    assert seeded.rental(rental.rental_id).interruption is None
    assert rent(seeded, 1, key="another")


def test_f36_a_recommendation_closes_the_host_and_alarms_no_tenant():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    run(seeded, rental, 10, notices=[Announcement("rebalance_recommendation", "rebalance", None)])
    assert seeded.rental(rental.rental_id).interruption is None
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="another")


def test_f36_a_heartbeat_from_before_the_notice_that_comes_late_does_not_open_the_host():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    seeded.cloud.clock.advance_seconds(10)
    late = build_beat(seeded, rental.host_id, rental)
    run(seeded, rental, 10, notices=[spot(seeded)])
    record_heartbeat(seeded.cloud.meters, late)
    assert seeded.rental(rental.rental_id).interruption is not None
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="another")


def test_f36_another_host_takes_the_next_rental():
    seeded = seed_cloud(gpus=1)
    first = start(seeded, 1)
    run(seeded, first, 10, notices=[spot(seeded)])
    spare = add_host(seeded, "spare", 1)
    seeded.beat(spare.host_id)
    assert seeded.rental(rent(seeded, 1, key="next").body).host_id == spare.host_id


# F31: a host that was given up comes back.


def test_f31_a_host_that_returns_after_it_was_given_up_wipes_and_only_then_is_leased_again():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 50, notices=[Announcement("scheduled_event", "system-reboot", START_MS + 60_000)])
    seeded.cloud.clock.advance_seconds(300)
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
    seeded.charge_all()
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.billed_seconds) == ("failed", 50)
    (stop,) = [command for command in seeded.cloud.fleet_store.commands if command.kind == "stop"]
    assert stop.leases == rental.wipe_leases
    # It is back, and first speaks of the rental as if nothing had happened.
    seeded.cloud.clock.advance_seconds(10)
    beat(seeded, rental.host_id, rental, kernel="kernel-2")
    assert seeded.rental(rental.rental_id) == over
    assert find_gpu(seeded, rental).lease_state == "wiping"
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="too early")
    unwiped = Report(rental.rental_id, rental.wipe_leases, "terminated", None, None, wiped=False)
    apply_report(seeded.cloud.meters, rental.host_id, unwiped, seeded.cloud.clock.now_ms())
    assert find_gpu(seeded, rental).lease_state == "wiping"
    for _ in range(2):
        seeded.cloud.clock.advance_seconds(10)
        beat(seeded, rental.host_id, rental, kernel="kernel-2", state="terminated")
    host = seeded.cloud.fleet_store.get_host(rental.host_id)
    assert (find_gpu(seeded, rental).lease_state, host.free_gpus) == ("free", 1)
    assert seeded.rental(rental.rental_id) == replace(
        over, placement=replace(over.placement, lost=False), version=over.version + 1
    )
    assert seeded.rental(rent(seeded, 1, key="again").body).leases[0].epoch > rental.leases[0].epoch + 1


def test_the_wire_knows_the_same_notices():
    assert set(get_args(NoticeKind)) == set(get_args(v1.NoticeKind))


def test_of_several_notices_the_one_that_ends_work_first_counts():
    advice = HostNotice("rebalance_recommendation", "rebalance", 5, None)
    retirement = HostNotice("scheduled_event", "instance-retirement", 5, 900)
    spot_notice = HostNotice("spot_interruption", "terminate", 5, 100)
    assert choose_notice([advice, retirement, spot_notice], None) == spot_notice
    assert choose_notice([advice], None) == advice
    assert choose_notice([], spot_notice) is None
    earlier = replace(spot_notice, noticed_at_ms=1)
    assert choose_notice([spot_notice], earlier) == earlier
    assert build_interruption(advice) is None


def test_f36_a_workload_that_the_notice_ended_was_the_hosts_doing_and_not_the_renters():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    run(seeded, rental, 30)
    beat(seeded, rental.host_id, rental, notices=[spot(seeded)])
    seeded.cloud.clock.advance_seconds(100)
    ended = Report(rental.rental_id, rental.leases, "exited", 143, None, wiped=False, preempted=True)
    record_heartbeat(
        seeded.cloud.meters,
        replace(build_beat(seeded, rental.host_id, notices=[spot(seeded)]), reports=(ended,)),
    )
    assert seeded.rental(rental.rental_id).reason == "host_interrupted"
    acknowledge(seeded, rental)
    assert seeded.rental(rental.rental_id).billing_state == "settled"

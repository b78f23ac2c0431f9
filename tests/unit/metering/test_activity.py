"""Idle stays end by themselves, after a notice; what telemetry does not cover counts as active."""

from dataclasses import replace

import pytest

from chalicelib.metering.activity import end_if_idle
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from chalicelib.rentals.policies import GRACE_MS, IdlePolicy, Policies
from tests.factories import seed_cloud, start
from tests.fakes import START_MS
from tests.unit.metering.test_energy import build_interval

IDLE = IdlePolicy(600, 5)


def tell(seeded, rental, minute, utilization):
    """A minute's telemetry of a rental with one GPU."""
    interval = build_interval(rental, minute, start_ms=START_MS + minute * 60_000)
    seen = {} if utilization is None else {rental.leases[0].gpu_uuid: utilization}
    record = TelemetryRecord(
        rental.host_id, "boot", minute, "{}", interval.ended_at_ms, utilization_percent=seen
    )
    store_telemetry(seeded.cloud.meters, record, [interval])


def run(seeded, rental, utilizations):
    for minute, utilization in enumerate(utilizations):
        seeded.cloud.clock.advance_seconds(60)
        seeded.report(rental, "running")
        tell(seeded, rental, minute, utilization)
        seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, f"tick-{minute}")
        seeded.charge_all()
    return seeded.rental(rental.rental_id)


def test_ten_idle_minutes_are_announced_and_end_as_stopped():
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IDLE))
    assert run(seeded, rental, [0] * 9).planned_end is None
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IDLE))
    told = run(seeded, rental, [0] * 10)
    assert told.planned_end.reason == "idle"
    assert seeded.cloud.fleet_store.commands[-1].kind == "preempt"
    seeded.cloud.clock.advance_seconds(GRACE_MS / 1000)
    seeded.preempted(told)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    assert seeded.rental(rental.rental_id).state == "stopped"


@pytest.mark.parametrize(
    "utilizations", [[0] * 5 + [60] + [0] * 6, [0] * 5 + [None] + [0] * 6], ids=["busy", "not sampled"]
)
def test_a_minute_of_work_or_without_a_sample_starts_anew(utilizations):
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IDLE))
    assert run(seeded, rental, utilizations).planned_end is None


def test_without_telemetry_nobody_is_idle():
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IDLE))
    for minute in range(30):
        seeded.cloud.clock.advance_seconds(60)
        seeded.report(rental, "running")
        seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, f"tick-{minute}")
        seeded.charge_all()
    assert seeded.rental(rental.rental_id).planned_end is None


def test_one_gpu_of_two_without_a_sample_counts_as_active():
    seeded = seed_cloud()
    rental = start(seeded, 2, policies=Policies(idle=IDLE))
    assert run(seeded, rental, [0] * 15).planned_end is None


def test_an_idle_policy_may_end_the_rental_for_good():
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IdlePolicy(600, 5, "terminate")))
    told = run(seeded, rental, [0] * 10)
    seeded.cloud.clock.advance_seconds(GRACE_MS / 1000)
    seeded.preempted(told)
    assert seeded.rental(rental.rental_id).state == "terminating"


def test_what_an_earlier_stay_did_says_nothing_of_this_one():
    seeded = seed_cloud()
    rental = start(seeded, 1, policies=Policies(idle=IDLE))
    for minute in range(15):
        seeded.cloud.clock.advance_seconds(60)
        seeded.report(rental, "running")
        tell(seeded, rental, minute, 0)
    idle = seeded.cloud.meters.store.get_meter(rental.rental_id, 1)
    assert idle.activity.idle_since_ms == START_MS
    now_ms = seeded.cloud.clock.now_ms()
    assert not end_if_idle(seeded.cloud.meters, replace(idle, segment=2), now_ms)
    assert end_if_idle(seeded.cloud.meters, idle, now_ms)


def test_a_tick_of_who_is_not_idle_reads_no_rental(monkeypatch):
    seeded = seed_cloud()
    rental = start(seeded, 1)
    meter = seeded.cloud.meters.store.get_meter(rental.rental_id, 1)
    monkeypatch.setattr(seeded.cloud.rentals.store, "get_rental", None)
    assert not end_if_idle(seeded.cloud.meters, meter, START_MS)

"""Billable time: what was proven, never more, whatever order the proofs come in."""

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Endpoint
from chalicelib.metering.model import MAX_PROOF_GAP_MS, Meter, close, extend
from chalicelib.metering.service import Report, apply_report
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.rendering import render_rental
from tests.factories import PRICE, REGION, rent, seed_cloud, start
from tests.fakes import START_MS

T0 = START_MS


def build_meter() -> Meter:
    return Meter(
        rental_id="rnt_1",
        segment=1,
        account_id="acc_1",
        host_id="hst_1",
        region=REGION,
        leases=(Lease("GPU-1", 1),),
        price_micros_per_gpu_hour=PRICE,
        state="open",
        started_at_ms=T0,
        alive_through_ms=T0,
    )


def test_regular_proofs_bill_every_second():
    meter = build_meter()
    for second in range(10, 310, 10):
        meter = extend(meter, T0 + second * 1000)
    assert meter.billable_seconds == 300


def test_a_silence_of_up_to_a_minute_is_bridged_because_the_workload_still_runs():
    assert extend(build_meter(), T0 + MAX_PROOF_GAP_MS).billable_seconds == 60


def test_a_longer_silence_is_not_billed():
    meter = extend(extend(build_meter(), T0 + 10_000), T0 + 10_000 + MAX_PROOF_GAP_MS + 1)
    assert (meter.billable_seconds, meter.unproven_ms) == (10, MAX_PROOF_GAP_MS + 1)


@given(st.lists(st.integers(0, 600_000), max_size=40))
def test_late_repeated_and_reordered_proofs_never_bill_more_than_the_span(offsets):
    meter = build_meter()
    for offset in offsets:
        before = meter.billable_seconds
        meter = extend(meter, T0 + offset)
        assert meter.billable_seconds >= before
        assert extend(meter, T0 + offset) == meter
    assert 0 <= meter.billable_seconds * 1000 <= max(offsets, default=0)


@given(st.lists(st.integers(0, 600_000), max_size=40), st.integers(0, 700_000))
def test_a_closed_meter_never_passes_the_stop_and_never_moves_again(offsets, stop):
    meter = build_meter()
    for offset in offsets:
        meter = extend(meter, T0 + offset)
    closed = close(meter, T0 + stop, "renter_requested")
    assert closed.billable_seconds * 1000 <= max(stop, 0)
    assert closed.billable_seconds <= meter.billable_seconds
    assert extend(closed, T0 + 10**9) == closed
    assert close(closed, T0 + 10**9, "host_lost") == closed


def test_the_meter_starts_when_the_workload_runs_not_when_it_is_provisioned():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded).body)
    seeded.cloud.clock.advance_seconds(20)
    seeded.report(rental, "starting")
    assert seeded.cloud.meters.store.get_meter(rental.rental_id, 1) is None
    seeded.report(rental, "running")
    assert seeded.rental(rental.rental_id).running_at_ms == seeded.cloud.clock.now_ms()


def test_the_renter_learns_where_the_ports_are_once_the_workload_runs():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded).body)
    endpoint = Endpoint(22, "tcp", "192.0.2.1", 40_022)
    seeded.report(rental, "running", endpoints=(endpoint,))
    running = seeded.rental(rental.rental_id)
    assert running.endpoints == (endpoint,)
    assert render_rental(running).model_dump()["endpoints"] == [
        {"container_port": 22, "protocol": "tcp", "address": "192.0.2.1", "host_port": 40_022}
    ]


def test_time_after_the_stop_request_is_not_billed_however_long_stopping_takes():
    seeded = seed_cloud()
    rental = start(seeded)
    seeded.cloud.clock.advance_seconds(30)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.cloud.clock.advance_seconds(15)
    seeded.report(seeded.rental(rental.rental_id), "running")
    seeded.cloud.clock.advance_seconds(15)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billed_seconds == 30


def test_a_workload_that_ended_by_itself_is_billed_until_it_ended():
    seeded = seed_cloud()
    rental = start(seeded)
    ended_at_ms = seeded.cloud.clock.advance_seconds(25)
    seeded.cloud.clock.advance_seconds(5)
    seeded.report(rental, "exited", ended_at_ms=ended_at_ms)
    rental = seeded.rental(rental.rental_id)
    assert (rental.state, rental.reason) == ("terminating", "workload_exited")
    seeded.report(rental, "terminated", wiped=True)
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billed_seconds == 25


def test_a_host_clock_cannot_lengthen_a_bill():
    seeded = seed_cloud()
    rental = start(seeded)
    now_ms = seeded.cloud.clock.advance_seconds(25)
    seeded.report(rental, "exited", ended_at_ms=now_ms + 3_600_000)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billed_seconds == 25


def test_a_start_that_fails_costs_nothing_and_gives_the_hold_back():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded).body)
    seeded.report(rental, "failed")
    rental = seeded.rental(rental.rental_id)
    assert (rental.state, rental.reason) == ("terminating", "start_failed")
    seeded.report(rental, "terminated", wiped=True)
    seeded.charge_all()
    rental = seeded.rental(rental.rental_id)
    assert (rental.state, rental.billing_state, rental.charge_micros) == ("failed", "settled", 0)
    wallet = seeded.cloud.billing.wallets.get_balance(rental.account_id)
    assert wallet is not None
    assert (wallet.held_micros, wallet.available_micros) == (0, wallet.posted_micros)


def test_reports_of_another_host_or_an_old_epoch_change_nothing():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded).body)
    now_ms = seeded.cloud.clock.now_ms()
    running = Report(rental.rental_id, rental.leases, "running", None, None, wiped=False)
    apply_report(seeded.cloud.meters, "hst_other", running, now_ms)
    old = tuple(Lease(lease.gpu_uuid, lease.epoch - 1) for lease in rental.leases)
    stale = Report(rental.rental_id, old, "running", None, None, wiped=False)
    apply_report(seeded.cloud.meters, rental.host_id, stale, now_ms)
    wiped = Report(rental.rental_id, rental.wipe_leases, "terminated", None, None, wiped=True)
    apply_report(seeded.cloud.meters, rental.host_id, wiped, now_ms)
    assert seeded.rental(rental.rental_id) == rental

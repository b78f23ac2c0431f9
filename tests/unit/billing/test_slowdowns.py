"""A GPU that was slowed beyond the promise is credited once, with its evidence, never beyond its price."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.posting import find_balance
from chalicelib.billing.promise import PROMISES, compute_slowdown_credit, find_promise
from chalicelib.billing.service import list_entries
from chalicelib.billing.slowdowns import RECOVERY_MS
from chalicelib.core.clock import format_hour
from chalicelib.metering.failover import lose_stay
from chalicelib.metering.model import HOUR_MS, HourlyEnergy, Interval
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from chalicelib.rentals.life import terminate_rental
from tests.factories import PRICE, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books

BOUND_MS = PROMISES[0].slowed_ms
MINUTE_MS = 60_000


def live(seeded, rental, minutes):
    """Heartbeats and the minute's charge."""
    for _ in range(minutes):
        for _ in range(3):
            seeded.cloud.clock.advance_seconds(20)
            seeded.report(seeded.rental(rental.rental_id), "running")
        charge_rental(seeded.cloud.billing, rental.rental_id)


def tell(
    seeded, rental, seq, heat_ms=0, brake_ms=0, *, gpu=0, length_ms=10 * MINUTE_MS, end_ms=None, host_id=None
):
    """Store a record whose interval ends now."""
    end_ms = seeded.cloud.clock.now_ms() if end_ms is None else end_ms
    lease = rental.leases[gpu]
    interval = Interval(
        rental.rental_id,
        lease.gpu_uuid,
        lease.epoch,
        seq,
        final=False,
        started_at_ms=end_ms - length_ms,
        ended_at_ms=end_ms,
        energy_millijoules=1,
        estimated=False,
        thermal_slowdown_ms=heat_ms,
        power_brake_ms=brake_ms,
        slowdown_source="counter",
    )
    record = TelemetryRecord(host_id or rental.host_id, "boot", seq, "{}", seeded.cloud.clock.now_ms())
    return store_telemetry(seeded.cloud.meters, record, [interval])


def list_credits(seeded):
    entries = list_entries(seeded.cloud.billing, seeded.renter.account_id, 500, None).items
    found = [each.journal for each in entries if each.journal.kind == "service_credit"]
    return [each.details for each in reversed(found)]


def balance(seeded):
    return find_balance(seeded.cloud.billing, seeded.renter.account_id).posted_micros


def price(slowed_ms):
    return PRICE * slowed_ms // HOUR_MS


def begin():
    """A rental of two GPUs that began with a UTC hour and has run for ten minutes."""
    seeded = seed_cloud()
    assert seeded.cloud.clock.now_ms() % HOUR_MS == 0
    rental = start(seeded)
    live(seeded, rental, 10)
    return seeded, rental


def test_time_beyond_the_promise_is_credited_within_five_minutes_of_the_recovery_with_its_evidence():
    seeded, rental = begin()
    tell(seeded, rental, 0, BOUND_MS, 500)
    recovered_at_ms = seeded.cloud.clock.now_ms()
    charge_rental(seeded.cloud.billing, rental.rental_id)
    assert list_credits(seeded) == []
    while not list_credits(seeded):
        live(seeded, rental, 1)
    assert seeded.cloud.clock.now_ms() - recovered_at_ms <= 5 * MINUTE_MS
    live(seeded, rental, 5)
    (credit,) = list_credits(seeded)
    assert credit == {
        "rental_id": rental.rental_id,
        "segment": 1,
        "reason": "gpu_slowed",
        "host_id": rental.host_id,
        "gpu_uuid": rental.leases[0].gpu_uuid,
        "hour": format_hour(recovered_at_ms - 1),
        "thermal_slowdown_ms": BOUND_MS,
        "power_brake_ms": 500,
        "slowdown_source": "counter",
        "slowed_ms": BOUND_MS + 500,
        "promised_ms": BOUND_MS,
        "promise_version": 1,
        "amount_micros": price(BOUND_MS + 500),
        "credited_before_micros": 0,
    }
    told = [each for each in seeded.cloud.webhook_store.events if each.type == "credit.posted"]
    assert told[-1].data == {"kind": "service_credit", **credit}
    check_books(seeded)


@pytest.mark.parametrize(("slowed_ms", "count"), [(BOUND_MS - 1, 0), (BOUND_MS, 0), (BOUND_MS + 1, 1)])
def test_at_the_bound_the_promise_is_kept_and_beyond_it_all_of_the_time_is_credited(slowed_ms, count):
    seeded, rental = begin()
    tell(seeded, rental, 0, slowed_ms)
    live(seeded, rental, 4)
    assert [each["amount_micros"] for each in list_credits(seeded)] == [price(slowed_ms)] * count


def test_short_slowdowns_add_up_in_their_hour_and_an_hour_that_is_over_does_not_wait_for_recovery():
    seeded, rental = begin()
    live(seeded, rental, 44)
    tell(seeded, rental, 0, BOUND_MS)
    for seq in range(1, 10):
        live(seeded, rental, 1)
        tell(seeded, rental, seq, 30_000, length_ms=MINUTE_MS)
    (credit,) = list_credits(seeded)
    assert credit["slowed_ms"] == BOUND_MS + 6 * 30_000
    check_books(seeded)


def test_telemetry_that_comes_late_raises_the_credit_by_the_difference():
    seeded, rental = begin()
    told_at_ms = seeded.cloud.clock.now_ms()
    tell(seeded, rental, 0, BOUND_MS + 1000)
    live(seeded, rental, 70)
    tell(seeded, rental, 1, 60_000, end_ms=told_at_ms)
    live(seeded, rental, 4)
    first, second = list_credits(seeded)
    assert first["amount_micros"] == second["credited_before_micros"] == price(BOUND_MS + 1000)
    assert first["amount_micros"] + second["amount_micros"] == price(BOUND_MS + 61_000)
    check_books(seeded)


def test_a_record_that_comes_twice_is_credited_once():
    seeded, rental = begin()
    assert tell(seeded, rental, 0, BOUND_MS + 1)
    assert not tell(seeded, rental, 0, BOUND_MS + 1)
    live(seeded, rental, 4)
    assert not tell(seeded, rental, 0, BOUND_MS + 1)
    live(seeded, rental, 4)
    assert len(list_credits(seeded)) == 1


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)


def test_a_stay_that_is_over_is_credited_before_it_is_settled_and_afterwards_if_it_is_told_later():
    seeded, rental = begin()
    tell(seeded, rental, 0, BOUND_MS + 1000)
    end(seeded, rental)
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billing_state == "settled"
    assert [each["slowed_ms"] for each in list_credits(seeded)] == [BOUND_MS + 1000]
    tell(seeded, rental, 1, 1000, gpu=0)
    tell(seeded, rental, 2, BOUND_MS + 7, gpu=1)
    while seeded.cloud.charges.waiting:
        charge_rental(seeded.cloud.billing, seeded.cloud.charges.waiting.pop())
    assert [each["slowed_ms"] for each in list_credits(seeded)] == [
        BOUND_MS + 1000,
        BOUND_MS + 2000,
        BOUND_MS + 7,
    ]
    check_books(seeded)


def test_what_a_tenant_broke_and_what_nobody_measured_is_not_credited():
    seeded, rental = begin()
    tell(seeded, rental, 0, None, None)
    seeded.report(seeded.rental(rental.rental_id), "failed")
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert list_credits(seeded) == []
    (hour,) = seeded.cloud.meters.store.list_energy(rental.rental_id)
    assert (hour.thermal_slowdown_ms, hour.power_brake_ms) == (None, None)


def test_a_foreign_host_slows_nobodys_bill():
    seeded, rental = begin()
    tell(seeded, rental, 0, BOUND_MS * 2, host_id="hst_x")
    live(seeded, rental, 4)
    assert list_credits(seeded) == []


def test_all_that_a_stay_is_credited_by_itself_is_at_most_what_it_cost():
    seeded, rental = begin()
    before = balance(seeded)
    for gpu in (0, 1):
        tell(seeded, rental, gpu, 10 * MINUTE_MS, gpu=gpu)
    live(seeded, rental, 4)
    assert len(list_credits(seeded)) == 2
    lose_stay(seeded.cloud.meters, seeded.rental(rental.rental_id), "host_lost", seeded.cloud.clock.now_ms())
    for _ in range(2):
        seeded.charge_all()
        tell(seeded, rental, 2, 10 * MINUTE_MS)
        charge_rental(seeded.cloud.billing, rental.rental_id)
    (meter,) = seeded.cloud.meters.store.list_meters(rental.rental_id)
    assert meter.state == "settled"
    assert sum(each["amount_micros"] for each in list_credits(seeded)) == meter.charged_micros
    assert balance(seeded) == before + price(2 * 10 * MINUTE_MS)
    check_books(seeded)


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_crash_at_any_commit_neither_loses_a_credit_nor_doubles_it(point, over):
    commit, crashed = 0, True
    while crashed:
        seeded, rental = begin()
        database = seeded.cloud.db
        setattr(database, point, database.commits + commit)
        crashed = False

        def act(seeded=seeded, rental=rental):
            for gpu in (0, 1):
                tell(seeded, rental, gpu, BOUND_MS + 1, gpu=gpu)
            if over:
                if seeded.rental(rental.rental_id).state == "running":
                    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
                seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
            else:
                seeded.cloud.clock.advance_seconds(RECOVERY_MS // 1000)
            charge_rental(seeded.cloud.billing, rental.rental_id)

        try:
            act()
        except Crash:
            crashed = True
            database.crash_before = database.crash_after = None
            act()
        check_books(seeded)
        assert [each["slowed_ms"] for each in list_credits(seeded)] == [BOUND_MS + 1] * 2
        commit += 1
    assert commit > 4


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 600), st.integers(0, 600)), max_size=6))
def test_credits_of_an_hour_never_exceed_what_the_gpu_cost_in_it(records):
    seeded, rental = begin()
    for seq, (gpu, heat, brake) in enumerate(records):
        tell(seeded, rental, seq, heat * 1000, brake * 1000, gpu=gpu, length_ms=10 * MINUTE_MS)
        live(seeded, rental, seq % 3)
    end(seeded, rental)
    seeded.charge_all()
    check_books(seeded)
    (meter,) = seeded.cloud.meters.store.list_meters(rental.rental_id)
    for lease in meter.leases:
        given_back = sum(
            each["amount_micros"] for each in list_credits(seeded) if each["gpu_uuid"] == lease.gpu_uuid
        )
        assert given_back <= meter.charged_micros // 2
        told = sum((h + b) * 1000 for gpu, h, b in records if meter.leases[gpu] == lease)
        owed = price(min(told, HOUR_MS)) if told > BOUND_MS else 0
        assert given_back == min(owed, meter.charged_micros // 2)


@given(st.integers(0, 2 * HOUR_MS), st.integers(0, 2 * HOUR_MS), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_credit_is_the_price_of_the_slowed_time_rounded_down_and_bounded(heat, brake, rate, charged):
    used = HourlyEnergy("GPU", 1, "2026-11-30T07", 0, 0, 0, None, heat, brake)
    slowed_ms = min(heat + brake, HOUR_MS)
    assert used.slowed_ms == slowed_ms
    amount = compute_slowdown_credit(PROMISES[0], slowed_ms, rate, charged)
    assert 0 <= amount <= min(charged, rate)
    if slowed_ms > BOUND_MS:
        assert amount == charged or amount * HOUR_MS <= rate * slowed_ms < (amount + 1) * HOUR_MS
    else:
        assert amount == 0


def test_each_hour_has_the_promise_that_was_made_for_it():
    assert find_promise("2025-12-31T23") is None
    assert find_promise("2026-01-01T00").version == 1
    assert [each.version for each in PROMISES] == list(range(1, len(PROMISES) + 1))
    assert sorted(PROMISES, key=lambda each: each.from_hour) == list(PROMISES)

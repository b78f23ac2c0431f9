"""At zero nothing is lost: the volume is kept for a stated grace, and goes only after a notice."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.model import find_state
from chalicelib.billing.posting import find_balance
from chalicelib.rentals.due import do_due
from chalicelib.rentals.life import resume_rental
from chalicelib.rentals.model import DataHold
from chalicelib.rentals.retention import (
    DATA_HOLD_MS,
    DATA_HOLD_NOTICE_MS,
    choose_hold,
    find_next_step,
)
from tests.factories import give_credit, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.billing.test_charges import cumulative
from tests.unit.rentals.test_life import WITH_VOLUME

DAY_MS = 86_400_000


def run_dry():
    """A renter whose money ends while a rental with a volume runs; it is stopped, and its GPUs are wiped."""
    seeded = seed_cloud(credit_micros=cumulative(180) + cumulative(50))
    rental = start(seeded, workload=WITH_VOLUME)
    while seeded.rental(rental.rental_id).state == "running":
        seeded.cloud.clock.advance_seconds(20)
        seeded.report(seeded.rental(rental.rental_id), "running")
        charge_rental(seeded.cloud.billing, rental.rental_id)
    assert wallet_state(seeded) == "stopped"
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    return seeded, seeded.rental(rental.rental_id)


def wallet_state(seeded):
    return find_state(find_balance(seeded.cloud.billing, seeded.renter.account_id))


def pass_days(seeded, days):
    """Let days pass, in each of which the minute's sweep comes by."""
    for _ in range(days):
        seeded.cloud.clock.advance_seconds(timedelta(days=1).total_seconds())
        do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms())


def list_told(seeded, kind):
    return [event for event in seeded.cloud.webhook_store.events if event.type == kind]


def count_orders(seeded):
    return len(seeded.cloud.fleet_store.commands)


def test_a_stop_at_zero_keeps_the_volume_and_says_until_when():
    seeded, rental = run_dry()
    assert (rental.state, rental.reason) == ("stopped", "balance_exhausted")
    assert rental.volume_host_id is not None
    assert wallet_state(seeded) == "data_hold"
    assert rental.data_hold is not None
    kept_ms = rental.data_hold.until_ms - seeded.cloud.clock.now_ms()
    assert 13 * DAY_MS < kept_ms <= 14 * DAY_MS
    check_books(seeded)


def test_the_volume_goes_after_fourteen_days_and_never_without_three_days_notice():
    seeded, rental = run_dry()
    orders = count_orders(seeded)
    pass_days(seeded, 10)
    assert list_told(seeded, "rental.data_hold_ending") == []
    pass_days(seeded, 1)
    (told,) = list_told(seeded, "rental.data_hold_ending")
    assert told.data["rental_id"] == rental.rental_id
    assert told.data["data_kept_until"]
    pass_days(seeded, 2)
    assert seeded.rental(rental.rental_id).state == "stopped"
    assert count_orders(seeded) == orders
    pass_days(seeded, 2)
    gone = seeded.rental(rental.rental_id)
    assert (gone.state, gone.reason, gone.data_hold) == ("terminated", "data_hold_ended", None)
    assert count_orders(seeded) == orders + 1, "the host is told to destroy the volume"
    assert len(list_told(seeded, "rental.data_hold_ending")) == 1


def test_a_sweep_that_was_away_for_a_month_tells_before_it_destroys():
    seeded, rental = run_dry()
    seeded.cloud.clock.advance_seconds(30 * 86_400)
    do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms())
    kept = seeded.rental(rental.rental_id)
    assert kept.state == "stopped"
    assert kept.data_hold == DataHold(seeded.cloud.clock.now_ms() + DATA_HOLD_NOTICE_MS, told=True)
    pass_days(seeded, 4)
    assert seeded.rental(rental.rental_id).state == "terminated"


@pytest.mark.parametrize("day", [1, 12])
def test_money_ends_the_hold_and_the_volume_stays(day):
    seeded, rental = run_dry()
    pass_days(seeded, day)
    give_credit(seeded, rental.account_id, cumulative(3_600), key="saved")
    assert wallet_state(seeded) == "active"
    pass_days(seeded, 30)
    kept = seeded.rental(rental.rental_id)
    assert (kept.state, kept.data_hold) == ("stopped", None)
    seeded.beat(rental.volume_host_id)
    resumed = resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert (resumed.state, resumed.host_id) == ("provisioning", rental.volume_host_id)


def test_a_resume_takes_the_hold_away():
    seeded, rental = run_dry()
    give_credit(seeded, rental.account_id, cumulative(3_600), key="saved")
    seeded.beat(rental.volume_host_id)
    assert resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id).data_hold is None


def test_credit_that_does_not_lift_the_wallet_above_zero_keeps_the_hold():
    seeded, rental = run_dry()
    balance = find_balance(seeded.cloud.billing, rental.account_id)
    table = seeded.cloud.db.table("balances")
    # As after a dispute: more was taken back than there was.
    table[rental.account_id] = type(balance)(
        **{
            **{name: getattr(balance, name) for name in balance.__slots__},
            "posted_micros": balance.posted_micros - 10_000_000,
            "available_micros": balance.available_micros - 10_000_000,
        }
    )
    give_credit(seeded, rental.account_id, 1_000, key="little")
    assert wallet_state(seeded) == "data_hold"


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_whoever_dies_over_the_hold_loses_nothing_and_the_next_sweep_goes_on(side):
    seeded, rental = run_dry()
    orders = count_orders(seeded)
    for _ in range(2):
        seeded.cloud.clock.advance_seconds(11 * 86_400)
        setattr(seeded.cloud.db, side, seeded.cloud.db.commits)
        with pytest.raises(Crash):
            do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms())
        seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
        do_due(seeded.cloud.rentals, seeded.cloud.clock.now_ms())
    assert len(list_told(seeded, "rental.data_hold_ending")) == 1
    assert seeded.rental(rental.rental_id).state == "terminated"
    assert count_orders(seeded) == orders + 1


@given(
    st.lists(
        st.tuples(st.integers(0, 30 * DAY_MS), st.none() | st.integers(0, 60 * DAY_MS)),
        min_size=1,
        max_size=12,
    )
)
def test_no_history_destroys_a_volume_earlier_than_was_last_said_or_without_a_notice(steps):
    """Looked at whenever, with whatever the wallet says."""
    now_ms, hold, told_at_ms = 0, DataHold(DATA_HOLD_MS), None
    for wait_ms, kept_until_ms in steps:
        now_ms += wait_ms
        if find_next_step(hold) > now_ms:
            continue
        following = choose_hold(hold, kept_until_ms, now_ms)
        if following is None:
            return
        if following == hold:
            assert told_at_ms is not None
            assert now_ms >= told_at_ms + DATA_HOLD_NOTICE_MS
            assert now_ms >= hold.until_ms
            return
        assert following.until_ms >= hold.until_ms
        told_at_ms = now_ms if following.told else None
        hold = following

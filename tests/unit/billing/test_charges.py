"""Money: exact, once, zero-sum, never below zero through usage."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.billing.charging import charge_rental, dispatch_charges
from chalicelib.billing.model import (
    Journal,
    Leg,
    UnbalancedJournal,
    check_balanced,
)
from chalicelib.billing.rating import Purchaser, build_usage_legs, split_charge
from chalicelib.billing.service import read_usage_legs
from chalicelib.core.errors import IdempotencyMismatch
from chalicelib.core.money import compute_charge_micros
from chalicelib.rentals.life import terminate_rental
from tests.factories import PRICE, add_renter, give_credit, rent, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books


def cumulative(seconds, gpus=2):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)


def finish(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    return seeded.rental(rental.rental_id)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 10**10), st.integers(1, 16))
def test_any_pattern_of_ticks_sums_to_the_same_total(steps, price, gpus):
    def total(seconds):
        return compute_charge_micros(price_micros_per_gpu_hour=price, gpu_count=gpus, seconds=seconds)

    seconds, posted = 0, 0
    for step in steps:
        posted += total(seconds + step) - total(seconds)
        seconds += step
    assert posted == total(seconds) == seconds * gpus * price // 3600


def test_a_rental_costs_its_seconds_to_the_micro_unit_and_gives_the_hold_back():
    seeded = seed_cloud()
    rental = start(seeded)
    for _ in range(31):
        seeded.cloud.clock.advance_seconds(7)
        seeded.report(rental, "running")
        dispatch_charges(seeded.cloud.billing, seeded.cloud.clock.now_ms())
        seeded.charge_all()
        check_books(seeded)
    rental = finish(seeded, rental)
    assert (rental.billed_seconds, rental.charge_micros) == (217, cumulative(217))
    assert rental.billing_state == "settled"
    meter = seeded.cloud.meters.store.get_meter(rental.rental_id, 1)
    legs = read_usage_legs(seeded.cloud.billing, meter)
    assert sum(leg.amount_micros for leg in legs) == 0
    assert -sum(leg.amount_micros for leg in legs if leg.amount_micros < 0) == rental.charge_micros
    wallet = seeded.cloud.billing.wallets.get_balance(rental.account_id)
    assert wallet.held_micros == 0
    check_books(seeded)


def test_a_charge_that_is_asked_for_twice_is_posted_once():
    seeded = seed_cloud()
    rental = start(seeded)
    seeded.cloud.clock.advance_seconds(30)
    seeded.report(rental, "running")
    for _ in range(3):
        charge_rental(seeded.cloud.billing, rental.rental_id)
    assert seeded.rental(rental.rental_id).charge_micros == cumulative(30)
    assert len([key for key in seeded.cloud.db.table("journals") if key[0] == "usage"]) == 1


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_crash_at_any_commit_of_a_life_neither_doubles_nor_loses(point):
    """Every commit of the story is a crash point, one story for each; the retry completes it."""
    commit = 0
    while True:
        seeded = seed_cloud()
        first = seeded.cloud.db.commits
        setattr(seeded.cloud.db, point, first + commit)
        crashed = _live_through_a_crash(seeded)
        if not crashed:
            break
        commit += 1
    assert commit >= 6


def _live_through_a_crash(seeded):
    crashed = False

    def attempt(act):
        nonlocal crashed
        try:
            return act()
        except Crash:
            crashed = True
            seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
            return act()

    rental_id = attempt(lambda: rent(seeded)).body
    attempt(lambda: seeded.report(seeded.rental(rental_id), "running"))
    seeded.cloud.clock.advance_seconds(40)
    attempt(lambda: seeded.report(seeded.rental(rental_id), "running"))
    attempt(lambda: charge_rental(seeded.cloud.billing, rental_id))
    attempt(lambda: terminate_rental(seeded.cloud.rentals, seeded.renter, rental_id))
    attempt(lambda: seeded.report(seeded.rental(rental_id), "terminated", wiped=True))
    # What the queue lost with the process, the minute's tick asks for again.
    dispatch_charges(seeded.cloud.billing, seeded.cloud.clock.now_ms())
    attempt(seeded.charge_all)
    rental = seeded.rental(rental_id)
    assert (rental.state, rental.billing_state) == ("terminated", "settled")
    assert (rental.billed_seconds, rental.charge_micros) == (40, cumulative(40))
    check_books(seeded)
    return crashed


def test_a_balance_that_runs_out_stops_the_workload_inside_its_hold():
    hold = cumulative(180)
    seeded = seed_cloud(credit_micros=hold + cumulative(50))
    rental = start(seeded)
    for _ in range(8):
        seeded.cloud.clock.advance_seconds(20)
        seeded.report(seeded.rental(rental.rental_id), "running")
        charge_rental(seeded.cloud.billing, rental.rental_id)
        check_books(seeded)
    rental = seeded.rental(rental.rental_id)
    assert (rental.state, rental.reason) == ("terminating", "balance_exhausted")
    seeded.report(rental, "terminated", wiped=True)
    seeded.charge_all()
    rental = seeded.rental(rental.rental_id)
    assert rental.billed_seconds == 60
    check_books(seeded)


@given(
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.booleans()), min_size=1, max_size=4),
)
def test_a_charge_is_split_without_rest_and_overdraws_neither_wallet_nor_budget(amount, hold, drawn):
    """The hold is the same amount in the wallet and in each budget that has joined."""
    purchasers = [Purchaser(free, hold if joined else 0) for free, joined in drawn]
    split = split_charge(amount, purchasers)
    assert split.paid_micros + split.overrun_micros == amount
    assert min(split.paid_micros, split.from_hold_micros, split.overrun_micros) >= 0
    assert split.from_hold_micros <= hold
    for each in purchasers:
        held = split.from_hold_micros if each.held_micros else 0
        assert split.paid_micros - held <= max(0, each.free_micros)
    # Nothing is left to the platform while everyone could have paid more.
    if split.overrun_micros:
        assert any(split.paid_micros == max(0, p.free_micros) + p.held_micros for p in purchasers)
    legs = build_usage_legs("acc", amount, split.overrun_micros)
    assert sum(leg.amount_micros for leg in legs) == split.paid_micros
    assert all(leg.amount_micros for leg in legs)


@pytest.mark.parametrize(
    "legs",
    [
        (Leg("a", 1), Leg("b", -2)),
        (Leg("a", 1), Leg("a", -1)),
        (Leg("a", 0), Leg("b", 0)),
        (),
    ],
)
def test_a_journal_that_does_not_balance_is_never_written(legs):
    with pytest.raises(UnbalancedJournal):
        check_balanced(Journal("test", "1", "usage", "acc", legs, "USD", 0))


def test_a_credit_is_granted_once_per_key():
    seeded = seed_cloud(credit_micros=0)
    account_id = seeded.renter.account_id
    give_credit(seeded, account_id, 5_000_000, key="k")
    give_credit(seeded, account_id, 5_000_000, key="k")
    assert seeded.cloud.billing.wallets.get_balance(account_id).posted_micros == 5_000_000
    with pytest.raises(IdempotencyMismatch):
        give_credit(seeded, account_id, 6_000_000, key="k")
    check_books(seeded)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_two_renters_with_random_ticks_are_billed_what_was_proven(seed):
    rng = random.Random(seed)
    seeded = seed_cloud(hosts=2)
    renters = [seeded.renter, add_renter(seeded, name="second")]
    lives = []
    for number, renter in enumerate(renters):
        rental = seeded.rental(rent(seeded, rng.randint(1, 4), key=f"k{number}", principal=renter).body)
        seeded.report(rental, "running")
        lives.append([renter, rental.rental_id, 0])
    for _ in range(rng.randint(1, 25)):
        step = rng.randint(0, 60)
        seeded.cloud.clock.advance_seconds(step)
        for life in lives:
            seeded.report(seeded.rental(life[1]), "running")
            life[2] += step
        if rng.random() < 0.5:
            dispatch_charges(seeded.cloud.billing, seeded.cloud.clock.now_ms())
            rng.shuffle(seeded.cloud.charges.waiting)
            seeded.charge_all()
    for renter, rental_id, seconds in lives:
        terminate_rental(seeded.cloud.rentals, renter, rental_id)
        seeded.report(seeded.rental(rental_id), "terminated", wiped=True)
        seeded.charge_all()
        rental = seeded.rental(rental_id)
        assert rental.billed_seconds == seconds
        assert rental.charge_micros == cumulative(seconds, rental.gpu_count)
    check_books(seeded)

"""Credit that expires, credit for our failures, and what undoes a posting."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.crediting import (
    CREDITED_SECONDS,
    GrantCredit,
    ReversePosting,
    expire_grants,
    grant_credit,
    reverse_posting,
)
from chalicelib.billing.model import MAX_GRANTS, Grant, draw
from chalicelib.billing.ports import PostingMismatch
from chalicelib.billing.posting import find_balance
from chalicelib.billing.service import check_chain, list_entries
from chalicelib.core.errors import Conflict, InsufficientFunds, InvalidInput, NotFound
from chalicelib.core.money import compute_charge_micros
from chalicelib.metering.failover import lose_stay
from chalicelib.rentals.life import terminate_rental
from tests.factories import PRICE, rent, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books


def cost(seconds, gpus=2):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)


def promise(seeded, amount_micros, *, lasts_seconds=None, key="promo", kind="promo"):
    now_ms = seeded.cloud.clock.now_ms()
    command = GrantCredit(
        account_id=seeded.renter.account_id,
        amount_micros=amount_micros,
        reason="welcome",
        idempotency_key=key,
        fingerprint=f"{amount_micros}{kind}",
        render=lambda balance: str(balance.posted_micros),
        kind=kind,
        expires_at_ms=None if lasts_seconds is None else now_ms + lasts_seconds * 1000,
    )
    return grant_credit(seeded.cloud.billing, seeded.operator, command, lambda _account_id: True)


def wallet(seeded):
    return find_balance(seeded.cloud.billing, seeded.renter.account_id)


def live(seeded, rental, seconds):
    for _ in range(seconds // 20):
        seeded.cloud.clock.advance_seconds(20)
        seeded.report(seeded.rental(rental.rental_id), "running")
    charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    check_books(seeded)


def test_promotional_credit_is_spent_before_what_was_paid_the_earliest_to_expire_first():
    seeded = seed_cloud()
    promise(seeded, cost(100), lasts_seconds=10_000, key="late")
    promise(seeded, cost(30), lasts_seconds=5_000, key="early")
    promise(seeded, cost(10), key="for ever")
    paid = wallet(seeded).paid_micros
    rental = start(seeded)
    live(seeded, rental, 120)
    left = {grant.grant_id.rpartition(":")[2]: grant.remaining_micros for grant in wallet(seeded).grants}
    assert left == {"late": cost(130) - cost(120), "for ever": cost(10)}
    assert wallet(seeded).paid_micros == paid
    live(seeded, rental, 60)
    assert wallet(seeded).grants == ()
    assert wallet(seeded).paid_micros == paid - (cost(180) - cost(140))


def test_of_a_grant_that_was_spent_in_part_what_is_left_expires():
    seeded = seed_cloud()
    promise(seeded, cost(100), lasts_seconds=200)
    paid = wallet(seeded).paid_micros
    rental = start(seeded)
    live(seeded, rental, 60)
    end(seeded, rental)
    seeded.cloud.clock.advance_seconds(200)
    assert expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms()) == 1
    check_books(seeded)
    assert (wallet(seeded).posted_micros, wallet(seeded).paid_micros) == (paid, paid)


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.none() | st.integers(0, 100)), max_size=8),
    st.integers(0, 10**10),
)
def test_what_is_drawn_is_never_more_than_was_granted(grants, amount):
    rows = [Grant(f"g{n}", micros, expiry) for n, (micros, expiry) in enumerate(grants)]
    drawn = draw(rows, amount)
    assert drawn.promo_micros + drawn.paid_micros == amount
    granted = sum(micros for micros, _ in grants)
    assert drawn.promo_micros == min(amount, granted)
    assert sum(grant.remaining_micros for grant in drawn.grants) == granted - drawn.promo_micros
    touched = [g for g in rows if g not in drawn.grants]
    kept_whole = [g for g in rows if g in drawn.grants]
    for spent in touched:
        for kept in kept_whole:
            assert (spent.expires_at_ms is None, spent.expires_at_ms or 0) <= (
                kept.expires_at_ms is None,
                kept.expires_at_ms or 0,
            )


def test_what_expires_is_taken_back_and_what_a_running_stay_holds_only_afterwards():
    seeded = seed_cloud(credit_micros=0)
    promise(seeded, cost(300), lasts_seconds=100)
    rental = start(seeded)
    live(seeded, rental, 60)
    assert expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms()) == 0
    seeded.cloud.clock.advance_seconds(60)
    seeded.report(seeded.rental(rental.rental_id), "running")
    assert expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms()) == 1
    check_books(seeded)
    assert wallet(seeded).available_micros == 0
    assert wallet(seeded).promo_micros == cost(180)
    charge_rental(seeded.cloud.billing, rental.rental_id)
    assert seeded.rental(rental.rental_id).reason == "balance_exhausted"
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms()) == 1
    assert expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms()) == 0
    check_books(seeded)
    assert (wallet(seeded).posted_micros, wallet(seeded).grants) == (0, ())


def test_credit_has_an_end_only_if_it_is_promotional_and_only_in_the_future():
    seeded = seed_cloud()
    for kind, seconds in (("paid", 10), ("promo", 0), ("promo", -1)):
        with pytest.raises(InvalidInput):
            promise(seeded, 5, lasts_seconds=seconds, kind=kind)
    for number in range(MAX_GRANTS):
        promise(seeded, 5, key=f"g{number}")
    with pytest.raises(Conflict, match="at most"):
        promise(seeded, 5, key="one too many")
    check_books(seeded)


def lose(seeded, rental):
    lose_stay(
        seeded.cloud.meters,
        seeded.rental(rental.rental_id),
        "host_lost",
        seeded.cloud.clock.now_ms(),
    )


def test_a_lost_host_is_credited_once_with_its_evidence_however_often_it_is_charged():
    seeded = seed_cloud()
    rental = start(seeded)
    live(seeded, rental, 120)
    before = wallet(seeded).posted_micros
    lose(seeded, rental)
    for _ in range(3):
        seeded.charge_all()
        charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)
    assert wallet(seeded).posted_micros == before + cost(120)
    entries = list_entries(seeded.cloud.billing, seeded.renter.account_id, 50, None).items
    (credit,) = [each.journal for each in entries if each.journal.kind == "service_credit"]
    stay = seeded.rental(rental.rental_id).placements[0]
    assert credit.details["reason"] == "host_lost"
    assert credit.details["host_id"] == stay.host_id
    assert credit.details["credited_seconds"] == credit.details["billed_seconds"] == 120
    assert credit.details["last_proof_of_life_at_ms"] == seeded.cloud.clock.now_ms()


def test_a_long_stay_is_given_its_last_hour_back():
    seeded = seed_cloud()
    rental = start(seeded)
    for _ in range(3):
        live(seeded, rental, CREDITED_SECONDS)
    before = wallet(seeded).posted_micros
    lose(seeded, rental)
    seeded.charge_all()
    assert wallet(seeded).posted_micros == before + cost(CREDITED_SECONDS)


@pytest.mark.parametrize("state", ["failed", "exited"])
def test_what_the_renter_broke_is_not_credited(state):
    seeded = seed_cloud()
    rental = start(seeded)
    live(seeded, rental, 60)
    seeded.report(seeded.rental(rental.rental_id), state)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billing_state == "settled"
    assert not [key for key in seeded.cloud.db.table("journals") if key[0] == "service_credit"]


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_crash_at_any_commit_neither_loses_a_credit_nor_doubles_it(point):
    commit, crashed = 0, True
    while crashed:
        seeded = seed_cloud()
        rental = start(seeded)
        live(seeded, rental, 60)
        before = wallet(seeded).posted_micros
        lose(seeded, rental)
        setattr(seeded.cloud.db, point, seeded.cloud.db.commits + commit)
        crashed = False
        try:
            seeded.charge_all()
        except Crash:
            crashed = True
            seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
            seeded.charge_all()
        check_books(seeded)
        assert wallet(seeded).posted_micros == before + cost(60)
        commit += 1
    assert commit > 2


def test_a_reversal_is_the_opposite_and_is_posted_once():
    seeded = seed_cloud()
    promise(seeded, cost(20))
    rental = start(seeded)
    live(seeded, rental, 60)
    before = wallet(seeded)
    command = ReversePosting(f"usage#{rental.rental_id}:1:0", "measured wrongly")
    for _ in range(2):
        reverse_posting(seeded.cloud.billing, seeded.operator, command)
    check_books(seeded)
    assert wallet(seeded).posted_micros == before.posted_micros + cost(60)
    assert len([e for e in seeded.cloud.audit.entries if e.action == "posting.reversed"]) == 1
    entry = list_entries(seeded.cloud.billing, seeded.renter.account_id, 1, None).items[0]
    assert (entry.journal.kind, entry.journal.reverses) == ("reversal", command.journal_key)


def test_a_reversal_is_not_reversed_and_nothing_is_not_either():
    seeded = seed_cloud()
    rental = start(seeded)
    live(seeded, rental, 20)
    reverse_posting(
        seeded.cloud.billing, seeded.operator, ReversePosting(f"usage#{rental.rental_id}:1:0", "x")
    )
    again = ReversePosting(f"reversal#usage#{rental.rental_id}:1:0", "x")
    with pytest.raises(Conflict):
        reverse_posting(seeded.cloud.billing, seeded.operator, again)
    with pytest.raises(NotFound):
        reverse_posting(seeded.cloud.billing, seeded.operator, ReversePosting("usage#none:1:0", "x"))


def test_what_a_wallet_no_longer_has_is_not_taken_back_and_it_is_said_why():
    seeded = seed_cloud(credit_micros=0)
    promise(seeded, cost(200), key="k", kind="paid")
    command = ReversePosting(f"credit#{seeded.operator.account_id}:k", "given by mistake")
    reverse_posting(seeded.cloud.billing, seeded.operator, command)
    reverse_posting(seeded.cloud.billing, seeded.operator, command)
    assert wallet(seeded).posted_micros == 0, "a repeat is answered, though nothing is left"

    promise(seeded, cost(200), key="l", kind="paid")
    rental = start(seeded)
    command = ReversePosting(f"credit#{seeded.operator.account_id}:l", "given by mistake")
    with pytest.raises(InsufficientFunds):
        reverse_posting(seeded.cloud.billing, seeded.operator, command)
    assert seeded.rental(rental.rental_id).state != "terminated"
    check_books(seeded)


def test_a_key_that_posted_something_else_is_refused():
    seeded = seed_cloud(credit_micros=0)
    promise(seeded, 5, key="k", kind="paid")
    seeded.cloud.db.table("idempotency").clear()
    with pytest.raises(PostingMismatch):
        promise(seeded, 6, key="k", kind="paid")
    check_books(seeded)


@pytest.mark.parametrize(
    "forge",
    [
        lambda leg: replace(leg, amount_micros=leg.amount_micros + 1),
        lambda leg: replace(leg, posted_at_ms=leg.posted_at_ms - 1),
        lambda leg: replace(leg, journal_key="usage#other:1:0"),
        lambda leg: replace(leg, balance_after_micros=0),
        lambda leg: replace(leg, previous_hash="0" * 64),
    ],
)
def test_a_leg_that_is_changed_removed_or_swapped_is_found(forge):
    seeded = seed_cloud()
    rental = start(seeded)
    for _ in range(4):
        live(seeded, rental, 20)
    account_id, chains = seeded.renter.account_id, seeded.cloud.db.table("chains")
    kept = dict(chains)
    leg, stored = chains[(account_id, 3)]
    chains[(account_id, 3)] = (forge(leg), stored)
    assert check_chain(seeded.cloud.billing, account_id).version == 3
    # With a hash of its own that fits, the next one does not.
    chains[(account_id, 3)] = (forge(leg), forge(leg).hash)
    assert check_chain(seeded.cloud.billing, account_id) is not None
    for gone in range(1, 6):
        chains.clear()
        chains.update({key: row for key, row in kept.items() if key != (account_id, gone)})
        assert check_chain(seeded.cloud.billing, account_id) is not None
    chains.clear()
    chains.update(kept)
    assert check_chain(seeded.cloud.billing, account_id) is None


def test_no_start_is_paid_by_what_has_expired_in_the_meantime():
    seeded = seed_cloud(credit_micros=0)
    promise(seeded, cost(180), lasts_seconds=10)
    seeded.cloud.clock.advance_seconds(11)
    expire_grants(seeded.cloud.billing, seeded.cloud.clock.now_ms())
    with pytest.raises(InsufficientFunds):
        rent(seeded)

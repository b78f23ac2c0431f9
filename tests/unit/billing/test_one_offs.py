"""One-off lines: what an account owes beside the time of its rentals, charged once."""

import json

import pytest

from chalicelib.billing.crediting import ReversePosting, reverse_posting
from chalicelib.billing.ordering import ChargeAccount, charge_account
from chalicelib.billing.service import list_entries
from chalicelib.core.errors import IdempotencyMismatch, InsufficientFunds, NotFound
from chalicelib.core.money import compute_charge_micros
from chalicelib.rentals.model import RUNWAY_SECONDS
from tests.factories import CREDIT, PRICE, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.billing.test_crediting import promise, wallet

AMOUNT = 3_000_000


def charge(seeded, amount=AMOUNT, *, key="one", fingerprint=None, exists=True):
    command = ChargeAccount(
        seeded.renter.account_id,
        amount,
        "a disk, sent by post",
        key,
        fingerprint or str(amount),
        lambda balance: json.dumps(balance.posted_micros),
    )
    return charge_account(seeded.cloud.billing, seeded.operator, command, lambda _account_id: exists)


def test_a_line_is_charged_once_per_key_and_says_why():
    seeded = seed_cloud(hosts=0)
    first = charge(seeded)
    again = charge(seeded)
    assert (first.status, first.replayed, again.replayed) == (201, False, True)
    assert first.body == again.body == str(CREDIT - AMOUNT)
    assert wallet(seeded).posted_micros == CREDIT - AMOUNT
    (newest, *_) = list_entries(seeded.cloud.billing, seeded.renter.account_id, 9, None).items
    assert (newest.journal.kind, newest.leg.amount_micros) == ("one_off", -AMOUNT)
    assert newest.journal.details["reason"] == "a disk, sent by post"
    revenue = [leg for leg in newest.journal.legs if leg.ledger_account.startswith("revenue:one_off")]
    assert [leg.amount_micros for leg in revenue] == [AMOUNT]
    told = [each for each in seeded.cloud.db.table("audit").values() if each.action == "account.charged"]
    assert [each.account_id for each in told] == [seeded.renter.account_id]
    check_books(seeded)
    with pytest.raises(IdempotencyMismatch):
        charge(seeded, AMOUNT + 1)


def test_promotional_credit_goes_first_and_what_stays_hold_is_not_touched():
    seeded = seed_cloud()
    promise(seeded, 1_000_000)
    start(seeded, 2)
    held = compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=2, seconds=RUNWAY_SECONDS)
    most = CREDIT + 1_000_000 - held
    with pytest.raises(InsufficientFunds):
        charge(seeded, most + 1)
    journals = len(seeded.cloud.db.table("journals"))
    charge(seeded, most, key="all")
    assert len(seeded.cloud.db.table("journals")) == journals + 1
    left = wallet(seeded)
    assert (left.available_micros, left.held_micros, left.promo_micros) == (0, held, 0)
    check_books(seeded)
    assert charge(seeded, most, key="all").replayed, "a repeat is answered, though nothing is left"


def test_an_account_that_is_not_there_is_not_charged():
    seeded = seed_cloud(hosts=0)
    with pytest.raises(NotFound):
        charge(seeded, exists=False)
    assert wallet(seeded).posted_micros == CREDIT


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_whoever_dies_over_it_charges_once(side):
    seeded = seed_cloud(hosts=0)
    setattr(seeded.cloud.db, side, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        charge(seeded)
    seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    charge(seeded)
    assert wallet(seeded).posted_micros == CREDIT - AMOUNT
    check_books(seeded)


def test_a_line_that_was_wrong_is_reversed():
    seeded = seed_cloud(hosts=0)
    charge(seeded)
    key = f"one_off#{seeded.operator.account_id}:one"
    for _ in range(2):
        reverse_posting(seeded.cloud.billing, seeded.operator, ReversePosting(key, "never sent"))
    assert wallet(seeded).posted_micros == CREDIT
    check_books(seeded)

"""Both books agree to the cent, or somebody is told; run twice, nothing counts twice. With the simulator."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.settling import settle_payment
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.server import run_stripe
from tests.fakes import Crash
from tests.unit.billing.books import check_journals
from tests.unit.payments.test_gateway import KEY, START
from tests.unit.payments.till import AMOUNT, CENTS, Till


class Shop(Till):
    """A till whose Stripe is the simulator, spoken with through Stripe's library."""

    def __init__(self, running):
        super().__init__()
        self.simulator = running.simulator
        self.stripe = connect(KEY, running.url)

    def sell(self, key="k"):
        """Return the payment of a top-up that was paid; nobody has told us of it."""
        top_up = self.top_up(key)
        with self.simulator.world.lock:
            self.simulator.checkout.pay(top_up.session_id, "pm_card_visa")
            return self.simulator.checkout.retrieve({}, top_up.session_id)["payment_intent"]

    def dispute(self, payment_id):
        with self.simulator.world.lock:
            charge = self.simulator.payments.retrieve_payment({}, payment_id)["latest_charge"]
            return self.simulator.refunds.open_dispute(charge)["id"]

    def sum(self, name):
        legs = self.seeded.cloud.db.table("legs").values()
        return sum(leg.amount_micros for leg, _ in legs if leg.ledger_account.startswith(name))


@pytest.fixture
def shop() -> Iterator[Shop]:
    with run_stripe(seed=5, now=lambda: START, transport=lambda *_: 200) as running:
        yield Shop(running)


def live(shop):
    """Two payments, a refund, a dispute that is won and one that is lost, a payout."""
    first, second, third = (shop.sell(key) for key in "abc")
    shop.stripe.refund(first, 700, "r1")
    won, lost = shop.dispute(second), shop.dispute(third)
    shop.simulator.refunds.close_dispute(won, won=True)
    shop.simulator.refunds.close_dispute(lost, won=False)
    shop.simulator.world.advance(3 * 86_400)
    shop.simulator.books.pay_out(amount=20)
    return first, second, third


def test_everything_that_moved_is_matched_or_posted_and_nothing_drifts(shop):
    live(shop)
    found = reconcile(shop.ports)
    assert (found.unmatched, found.drift_cents) == ((), 0)
    theirs = shop.simulator.books.summarise()["total"]["usd"]
    assert shop.clearing() == theirs["balance"] * 10_000 == found.stripe_cents * 10_000
    assert -shop.sum("stripe_fees") == theirs["fees"] * 10_000
    assert -shop.sum("bank") == theirs["paid_out"] * 10_000
    assert shop.posted == 3 * AMOUNT - 7_000_000 - AMOUNT
    check_journals(shop.seeded.cloud.db)


def test_a_second_run_counts_nothing_twice_and_a_later_one_what_is_new(shop):
    first, *_ = live(shop)
    assert reconcile(shop.ports).movements > 0
    again = reconcile(shop.ports)
    assert (again.movements, again.drift_cents) == (0, 0)
    shop.stripe.refund(first, 100, "r2")
    later = reconcile(shop.ports)
    assert (later.movements, later.drift_cents, later.unmatched) == (1, 0, ())


def test_a_payment_that_is_not_ours_drifts_until_somebody_looks(shop):
    shop.sell()
    shop.simulator.payments.create_payment(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, "metadata": {}}
    )
    found = reconcile(shop.ports)
    assert len(found.unmatched) == 1
    assert found.drift_cents == 900 - 56
    assert shop.ports.store.get_cursor("movements") == 0


def test_an_amount_that_differs_is_no_match(shop):
    payment_id = shop.sell()
    settle_payment(shop.ports, payment_id)
    journals = shop.seeded.cloud.db.table("journals")
    key = ("stripe", f"{payment_id}:succeeded")
    legs = tuple(replace(leg, amount_micros=leg.amount_micros * 2) for leg in journals[key].legs)
    journals[key] = replace(journals[key], legs=legs)
    found = reconcile(shop.ports)
    assert len(found.unmatched) == 1
    assert found.drift_cents == found.stripe_cents


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_counts_and_posts_once(point):
    commit, crashed = 0, True
    while crashed:
        with run_stripe(seed=5, now=lambda: START, transport=lambda *_: 200) as running:
            shop = Shop(running)
            payment_id = shop.sell()
            shop.stripe.refund(payment_id, CENTS // 2, "r")
            db = shop.seeded.cloud.db
            setattr(db, point, db.commits + commit)
            crashed = False
            try:
                reconcile(shop.ports)
            except Crash:
                crashed = True
            db.crash_before = db.crash_after = None
            assert reconcile(shop.ports).drift_cents == 0
            assert shop.posted == AMOUNT // 2
            check_journals(db)
        commit += 1
    assert commit > 3

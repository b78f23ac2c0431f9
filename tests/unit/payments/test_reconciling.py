"""Both books agree to the cent, or somebody is told; run twice, nothing counts twice. With the simulator."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib.payments.model import Movement
from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.settling import settle_payment
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.server import run_stripe
from tests.fakes import Crash
from tests.unit.billing.books import check_journals
from tests.unit.payments.test_gateway import KEY, START
from tests.unit.payments.till import AMOUNT, CENTS, NEVER_MS, Till


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
    found = reconcile(shop.ports, NEVER_MS)
    assert (found.unmatched, found.drift_cents) == ((), 0)
    theirs = shop.simulator.books.summarise()["total"]["usd"]
    assert shop.clearing() == theirs["balance"] * 10_000 == found.stripe_cents * 10_000
    assert -shop.sum("stripe_fees") == theirs["fees"] * 10_000
    assert -shop.sum("bank") == theirs["paid_out"] * 10_000
    assert shop.posted == 3 * AMOUNT - 7_000_000 - AMOUNT
    check_journals(shop.seeded.cloud.db)


def test_a_second_run_counts_nothing_twice_and_a_later_one_what_is_new(shop):
    first, *_ = live(shop)
    assert reconcile(shop.ports, NEVER_MS).movements > 0
    again = reconcile(shop.ports, NEVER_MS)
    assert (again.movements, again.drift_cents) == (0, 0)
    shop.stripe.refund(first, 100, "r2")
    later = reconcile(shop.ports, NEVER_MS)
    assert (later.movements, later.drift_cents, later.unmatched) == (1, 0, ())


def test_a_payment_that_is_not_ours_drifts_until_somebody_looks(shop):
    shop.sell()
    shop.simulator.payments.create_payment(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, "metadata": {}}
    )
    found = reconcile(shop.ports, NEVER_MS)
    assert len(found.unmatched) == 1
    assert found.drift_cents == 900 - 56
    # It is kept by itself: what comes later is not held up by it.
    assert shop.ports.store.get_cursor("movements") > 0
    again = reconcile(shop.ports, NEVER_MS)
    assert (again.unmatched, again.drift_cents) == (found.unmatched, found.drift_cents)


def test_a_refund_that_a_bank_sends_back_is_undone_in_the_wallet_and_drifts_nowhere(shop):
    payment_id = shop.sell()
    shop.stripe.refund(payment_id, 700, "r1")
    settle_payment(shop.ports, payment_id)
    assert shop.posted == AMOUNT - 7_000_000
    (made,) = shop.stripe.get_payment(payment_id).refunds
    shop.simulator.refunds.fail(made.refund_id)
    found = reconcile(shop.ports, NEVER_MS)
    assert (found.unmatched, found.drift_cents) == ((), 0)
    assert shop.posted == AMOUNT


def test_an_amount_that_differs_is_no_match(shop):
    payment_id = shop.sell()
    settle_payment(shop.ports, payment_id)
    journals = shop.seeded.cloud.db.table("journals")
    key = ("stripe", f"{payment_id}:succeeded")
    legs = tuple(replace(leg, amount_micros=leg.amount_micros * 2) for leg in journals[key].legs)
    journals[key] = replace(journals[key], legs=legs)
    found = reconcile(shop.ports, NEVER_MS)
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
                reconcile(shop.ports, NEVER_MS)
            except Crash:
                crashed = True
            db.crash_before = db.crash_after = None
            assert reconcile(shop.ports, NEVER_MS).drift_cents == 0
            assert shop.posted == AMOUNT // 2
            check_journals(db)
        commit += 1
    assert commit > 3


class Ledger:
    """Stripe as the simulator has it, with movements that the test adds, and what it asks counted."""

    def __init__(self, stripe, movements=(), **statuses):
        self._stripe, self.movements, self.statuses, self.asked = stripe, list(movements), statuses, 0

    def __getattr__(self, name):
        return getattr(self._stripe, name)

    def list_movements(self, since_ms):
        yield from self._stripe.list_movements(since_ms)
        yield from self.movements

    def get_balance(self, currency):
        return self._stripe.get_balance(currency) + sum(each.net_cents for each in self.movements)

    def name_fact(self, movement):
        self.asked += 1
        if movement in self.movements:
            return f"{movement.source_id}:succeeded", movement.source_id
        return self._stripe.name_fact(movement)

    def get_payment(self, payment_id):
        found, status = self._stripe.get_payment(payment_id), self.statuses.get(payment_id)
        if status is None:
            return found
        return replace(found, status=status, received_cents=CENTS if status == "succeeded" else 0)


def submit_debit(shop):
    """A bank debit that was submitted: Stripe books it before it is paid."""
    top_up = shop.top_up("debit")
    ours = {"account_id": shop.account_id, "top_up_id": top_up.top_up_id}
    with shop.simulator.world.lock:
        # The simulator's own books know cards alone.
        made = shop.simulator.payments.create_payment({"amount": CENTS, "currency": "usd", "metadata": ours})
    return made["id"], Movement("txn_debit", "payment", "USD", CENTS, 0, made["id"])


def test_what_is_counted_is_not_asked_of_stripe_again(shop):
    live(shop)
    reconcile(shop.ports, NEVER_MS)
    shop.stripe = Ledger(shop.stripe)
    assert reconcile(shop.ports, NEVER_MS).movements == 0
    assert shop.stripe.asked == 0


def test_who_runs_out_of_time_goes_on_where_the_last_run_was(shop):
    live(shop)
    clock, runs = shop.seeded.cloud.clock, 0
    store, count = shop.ports.store, shop.ports.store.count_movement

    def slowly(tx, movement):
        clock.advance_seconds(10)
        count(tx, movement)

    store.count_movement = slowly
    left = True
    while left:
        found = reconcile(shop.ports, clock.now_ms() + 15_000)
        left, runs = found.left, runs + 1
        assert (store.get_cursor("movements") == 0) == left
    assert runs > 2
    assert found.drift_cents == 0


def test_a_bank_debit_is_in_flight_until_it_is_paid(shop):
    payment_id, movement = submit_debit(shop)
    ledger = shop.stripe = Ledger(shop.stripe, [movement], **{payment_id: "processing"})
    for _ in range(2):
        found = reconcile(shop.ports, NEVER_MS)
        assert (found.movements, found.unmatched, found.drift_cents) == (0, (), 0)
    ledger.statuses[payment_id] = "succeeded"
    paid = reconcile(shop.ports, NEVER_MS)
    assert (paid.movements, paid.unmatched, paid.drift_cents) == (1, (), 0)
    assert shop.posted == AMOUNT
    assert shop.ports.store.list_unmatched() == []


def test_what_was_counted_by_a_run_that_died_then_is_forgotten_by_the_next(shop):
    live(shop)
    reconcile(shop.ports, NEVER_MS)
    shop.ports.store.keep_unmatched(next(iter(shop.seeded.cloud.db.table("movements").values())))
    assert reconcile(shop.ports, NEVER_MS).unmatched == ()
    assert shop.ports.store.list_unmatched() == []


def test_a_bank_debit_that_failed_comes_and_goes_and_moves_nobodys_money(shop):
    payment_id, movement = submit_debit(shop)
    back = replace(movement, movement_id="txn_back", kind="payment_failure_refund", amount_cents=-CENTS)
    shop.stripe = Ledger(shop.stripe, [movement, back], **{payment_id: "requires_payment_method"})
    found = reconcile(shop.ports, NEVER_MS)
    assert (found.movements, found.unmatched, found.drift_cents) == (2, (), 0)
    assert (shop.posted, shop.sum("stripe_fees")) == (0, 0)

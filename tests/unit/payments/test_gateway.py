"""Stripe's own library against a Stripe that fails: what is asked for twice is done once."""

from collections.abc import Iterator

import pytest

from chalicelib.core.errors import Conflict, NotFound, Unavailable
from chalicelib.payments.methods import open_method_page
from chalicelib.payments.model import TopUp, list_facts
from chalicelib.payments.ports import PaymentsNotConfigured, StripeFailed
from chalicelib.payments.service import refund_top_up
from chalicelib.payments.settling import settle_payment
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.faults import Fault
from infra.local.stripe.server import run_stripe
from tests.unit.payments.till import Till

START = 1_800_000_000
KEY = "sk_" + "test_" + "simulator"
RETURN = "https://app.example/paid"


@pytest.fixture
def running() -> Iterator:
    with run_stripe(seed=3, now=lambda: START, transport=lambda *_: 200, wait=lambda _s: None) as stripe:
        yield stripe


@pytest.fixture
def payments(running):
    return connect(KEY, running.url)


def open_page(payments, number=1, cents=2_000):
    top_up = TopUp(f"top_{number}", "acc_1", "checkout", cents * 10_000, "USD", 0)
    return payments.open_checkout(top_up, payments.ensure_customer("acc_1"), RETURN)


def pay(running, payments, number=1, cents=2_000):
    session = open_page(payments, number, cents)
    simulator = running.simulator
    with simulator.world.lock:
        simulator.checkout.pay(session.session_id, "pm_card_visa")
        return simulator.checkout.retrieve({}, session.session_id)["payment_intent"]


def test_a_page_is_opened_once_per_attempt_and_a_customer_once_per_account(running, payments):
    first, again = open_page(payments), open_page(payments)
    assert first == again
    assert first.url.startswith(running.url)
    assert open_page(payments, 2).session_id != first.session_id
    assert payments.ensure_customer("acc_1") == payments.ensure_customer("acc_1")
    assert payments.ensure_customer("acc_2") != payments.ensure_customer("acc_1")


def test_a_payment_says_whose_it_is_and_what_became_of_it(running, payments):
    payment_id = pay(running, payments)
    paid = payments.get_payment(payment_id)
    assert (paid.status, paid.received_cents, paid.currency) == ("succeeded", 2_000, "USD")
    assert (paid.account_id, paid.top_up_id, paid.livemode) == ("acc_1", "top_1", False)
    assert paid.receipt_url
    payments.refund(payment_id, 300, "r1")
    payments.refund(payment_id, 300, "r1")
    simulator = running.simulator
    with simulator.world.lock:
        charge = simulator.payments.retrieve_payment({}, payment_id)["latest_charge"]
        dispute = simulator.refunds.open_dispute(charge)
    disputed = payments.get_payment(payment_id)
    assert [refund.amount_cents for refund in disputed.refunds] == [300]
    assert [cents for _, cents in disputed.disputes[0].movements] == [-1_700]
    with simulator.world.lock:
        simulator.refunds.close_dispute(dispute["id"], won=True)
    won = payments.get_payment(payment_id)
    assert [cents for _, cents in won.disputes[0].movements] == [-1_700, 1_700]


def test_more_than_was_paid_is_not_refunded(running, payments):
    payment_id = pay(running, payments)
    with pytest.raises(Conflict) as refused:
        payments.refund(payment_id, 2_001, "r")
    assert refused.value.code == "not_refundable"


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "rate_limited", "conflict"])
def test_a_page_whose_answer_was_lost_is_the_same_page_when_it_is_asked_for_again(running, payments, kind):
    payments.ensure_customer("acc_1")
    with running.simulator.world.lock:
        # The library tries three times by itself, unless it is told that there are too many calls.
        times = 1 if kind == "rate_limited" else 3
        running.simulator.faults.plan(Fault(kind, path="/v1/checkout/sessions", times=times))
    with pytest.raises(Unavailable) as told:
        open_page(payments)
    # Also a call that is still being answered is no failure: a second key would open a second page.
    assert not isinstance(told.value, StripeFailed)
    assert open_page(payments) == open_page(payments)
    assert len(running.simulator.checkout.list_sessions({})["data"]) == 1


def test_a_failure_that_stripe_keeps_under_our_key_is_left_behind_with_the_key(running, payments):
    """Stripe answers a key with its first answer, a 500 too, for a day."""
    till = Till()
    till.stripe = payments
    payments.ensure_customer(till.account_id)
    with running.simulator.world.lock:
        running.simulator.faults.plan(Fault("error_after", path="/v1/checkout/sessions"))
    with pytest.raises(StripeFailed):
        till.top_up()
    opened = till.top_up()
    assert opened.attempt == 2
    assert opened.checkout_url is not None
    assert till.top_up() == opened


def test_what_stripe_does_not_know_is_not_found_and_a_key_that_it_refuses_is_said(running, payments):
    with pytest.raises(NotFound):
        payments.get_payment("pi_none")
    with pytest.raises(PaymentsNotConfigured):
        connect("nonsense", running.url).ensure_customer("acc_1")


def test_a_stripe_that_is_not_there_is_unavailable():
    with pytest.raises(Unavailable):
        connect(KEY, "http://127.0.0.1:9").get_payment("pi_1")


def test_stripes_own_list_names_the_payments_oldest_first(running, payments):
    first = pay(running, payments, 1)
    second = pay(running, payments, 2)
    told = list(payments.list_changed(0))
    of_payments = [payment_id for _, kind, payment_id in told if kind == "payment_intent.succeeded"]
    assert of_payments == [first, second]
    assert {payment_id for _, kind, payment_id in told if kind == "customer.created"} == {""}


def test_a_page_on_which_nobody_paid_is_its_own_subject_and_says_whose_it_is(running, payments):
    page = open_page(payments)
    simulator = running.simulator
    with simulator.world.lock:
        simulator.checkout.expire({}, page.session_id)
    found = payments.get_session(page.session_id)
    assert (found.status, found.top_up_id) == ("expired", "top_1")
    told = [subject for _, kind, subject in payments.list_changed(0) if kind == "checkout.session.expired"]
    assert told == [page.session_id]
    with pytest.raises(NotFound):
        payments.get_session("cs_none")


def test_the_longest_key_of_a_client_makes_no_key_that_stripe_refuses(running, payments):
    till, key = Till(), "k" * 255
    till.stripe = payments
    page, other = "https://app.example/a", "https://app.example/b"
    opened = open_method_page(till.ports, till.seeded.renter, page, key)
    assert open_method_page(till.ports, till.seeded.renter, page, key) == opened
    assert open_method_page(till.ports, till.seeded.renter, other, key) != opened
    top_up = till.top_up(key)
    with running.simulator.world.lock:
        running.simulator.checkout.pay(top_up.session_id, "pm_card_visa")
        payment_id = running.simulator.checkout.retrieve({}, top_up.session_id)["payment_intent"]
    settle_payment(till.ports, payment_id)
    for _ in range(2):
        refunded = refund_top_up(till.ports, till.seeded.operator, top_up.top_up_id, 5_000_000, "r" * 255)
        assert refunded.refunded_micros == 5_000_000


def test_a_refund_is_made_once_per_key_also_when_stripe_has_forgotten_the_key(running, payments):
    payment_id = pay(running, payments)
    payments.refund(payment_id, 300, "r1")
    running.simulator.world.advance(2 * 86_400)
    payments.refund(payment_id, 300, "r1")
    payments.refund(payment_id, 200, "r2")
    assert sorted(each.amount_cents for each in payments.get_payment(payment_id).refunds) == [200, 300]


def test_a_refund_that_the_bank_sends_back_is_seen_though_the_charge_says_that_nothing_is_refunded(
    running, payments
):
    payment_id = pay(running, payments)
    payments.refund(payment_id, 300, "r1")
    (made,) = payments.get_payment(payment_id).refunds
    with running.simulator.world.lock:
        running.simulator.refunds.fail(made.refund_id)
    paid, back = list_facts(payments.get_payment(payment_id))
    assert (paid.kind, back.kind) == ("top_up", "refund_failed")
    assert back.undoes == f"{made.refund_id}:succeeded"

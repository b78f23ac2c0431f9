"""Saved methods and payments without their owner, through Stripe's own library against the simulator."""

from collections.abc import Iterator

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.payments.model import TopUp
from chalicelib.payments.ports import Charged, StripeFailed
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.faults import Fault
from infra.local.stripe.server import run_stripe
from tests.unit.payments.test_gateway import KEY, RETURN, START

CENTS = 5_000


@pytest.fixture
def running() -> Iterator:
    with run_stripe(seed=3, now=lambda: START, transport=lambda *_: 200, wait=lambda _s: None) as stripe:
        yield stripe


@pytest.fixture
def payments(running):
    return connect(KEY, running.url)


@pytest.fixture
def customer(payments):
    return payments.ensure_customer("acc_1")


def save(running, payments, customer, test_method="pm_card_visa", key="k"):
    """Save a method as its owner does, on the page; return it."""
    session_id = payments.open_setup(customer, "USD", RETURN, key).rstrip("/").rpartition("/")[2]
    with running.simulator.world.lock:
        running.simulator.checkout.pay(session_id, test_method)
    return payments.list_methods(customer)[0]


def order(number=1):
    return TopUp(f"top_{number}", "acc_1", "auto", CENTS * 10_000, "USD", START * 1000)


def test_a_method_is_saved_on_a_page_listed_and_forgotten(running, payments, customer):
    assert payments.list_methods(customer) == []
    card = save(running, payments, customer)
    assert (card.kind, card.brand, card.last4, card.expires) == ("card", "visa", "4242", "2099-12")
    bank = save(running, payments, customer, "pm_usBankAccount", "l")
    assert (bank.kind, bank.brand, bank.last4, bank.expires) == (
        "us_bank_account",
        "TEST BANK",
        "6789",
        None,
    )
    for _ in range(2):
        payments.remove_method(card.method_id)
    assert payments.list_methods(customer) == [bank]
    payments.remove_method("pm_nobodys")
    pages = {payments.open_setup(customer, "USD", RETURN, key) for key in ("m", "m", "n")}
    assert len(pages) == 2
    assert payments.open_portal(customer, RETURN).startswith(running.url)


def test_a_charge_is_made_once_a_key_and_names_its_top_up(running, payments, customer):
    card = save(running, payments, customer)
    charged = payments.charge(order(), customer, card.method_id)
    assert payments.charge(order(), customer, card.method_id) == charged
    paid = payments.get_payment(charged.payment_id)
    assert (paid.status, paid.received_cents, paid.top_up_id) == ("succeeded", CENTS, "top_1")
    assert payments.find_charge(order(), customer) == charged.payment_id
    assert payments.find_charge(order(2), customer) is None
    assert running.simulator.books.summarise()["customers"][customer]["usd"]["captured"] == CENTS


@pytest.mark.parametrize(
    ("test_method", "code"),
    [
        ("pm_card_chargeCustomerFail", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required"),
    ],
)
def test_a_decline_is_an_answer_and_leaves_nothing_open(running, payments, customer, test_method, code):
    card = save(running, payments, customer, test_method)
    charged = payments.charge(order(), customer, card.method_id)
    assert charged.failure_code == code
    declined = payments.get_payment(charged.payment_id)
    assert (declined.status, declined.failure_code) == ("requires_payment_method", code)
    assert payments.charge(order(), customer, card.method_id) == charged


def test_a_debit_is_processing_for_days(running, payments, customer):
    bank = save(running, payments, customer, "pm_usBankAccount")
    charged = payments.charge(order(), customer, bank.method_id)
    assert payments.get_payment(charged.payment_id).status == "processing"
    running.simulator.world.advance(5 * 86_400)
    assert payments.get_payment(charged.payment_id).status == "succeeded"


def test_a_method_that_is_gone_or_anothers_is_unusable(running, payments, customer):
    card = save(running, payments, customer)
    payments.remove_method(card.method_id)
    other = payments.ensure_customer("acc_2")
    theirs = save(running, payments, other, key="o")
    refused = {theirs.method_id: "payment_method_customer_mismatch", "pm_unknown": "payment_method_unusable"}
    for number, (method_id, code) in enumerate(refused.items()):
        assert payments.charge(order(number), customer, method_id) == Charged(None, code)


def test_an_answer_that_was_lost_is_the_same_charge_when_it_is_asked_for_again(running, payments, customer):
    card = save(running, payments, customer)
    with running.simulator.world.lock:
        running.simulator.faults.plan(Fault("cut_after", method="POST", path="/v1/payment_intents", times=3))
    with pytest.raises(Unavailable):
        payments.charge(order(), customer, card.method_id)
    charged = payments.charge(order(), customer, card.method_id)
    assert payments.get_payment(charged.payment_id).status == "succeeded"
    assert running.simulator.books.summarise()["customers"][customer]["usd"]["captured"] == CENTS


def test_a_failure_that_stripe_keeps_under_our_key_is_said_and_the_charge_is_found(
    running, payments, customer
):
    card = save(running, payments, customer)
    with running.simulator.world.lock:
        running.simulator.faults.plan(Fault("error_after", method="POST", path="/v1/payment_intents"))
    with pytest.raises(StripeFailed):
        payments.charge(order(), customer, card.method_id)
    found = payments.find_charge(order(), customer)
    assert payments.get_payment(found).status == "succeeded"

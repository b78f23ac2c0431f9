"""Stripe Tax, through Stripe's own library: it comes on top, is the state's, and goes back with the money."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib.payments.model import list_facts
from chalicelib.payments.orders import AutoTopUp, end_attempt
from chalicelib.payments.ports import Charged
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.server import run_stripe
from tests.unit.payments.test_gateway import KEY, RETURN, START, open_page, pay
from tests.unit.payments.test_saved_methods import CENTS, order, save

TAX_CENTS = CENTS * 23 // 100


@pytest.fixture
def running() -> Iterator:
    with run_stripe(seed=3, now=lambda: START, transport=lambda *_: 200, wait=lambda _s: None) as stripe:
        stripe.simulator.tax.basis_points = 2_300
        yield stripe


@pytest.fixture
def payments(running):
    return connect(KEY, running.url, taxed=True)


def test_a_page_adds_tax_to_what_the_wallet_gets_and_only_where_the_stage_takes_it(running, payments):
    paid = payments.get_payment(pay(running, payments, cents=CENTS))
    assert (paid.received_cents, paid.tax_cents) == (CENTS + TAX_CENTS, TAX_CENTS)
    (posted,) = list_facts(paid)
    assert posted.customer_micros == CENTS * 10_000
    untaxed = connect(KEY, running.url)
    paid = untaxed.get_payment(pay(running, untaxed, number=2, cents=CENTS))
    assert (paid.received_cents, paid.tax_cents) == (CENTS, 0)


def test_an_auto_top_up_adds_the_tax_of_where_the_payer_is_and_gives_it_back(running, payments):
    """The address is that of the saved method: the customer has never seen a page for a payment."""
    customer = payments.ensure_customer("acc_1")
    method = save(running, payments, customer)
    charged = payments.charge(order(), customer, method.method_id)
    assert charged == payments.charge(order(), customer, method.method_id)
    assert charged.payment_id is not None
    paid = payments.get_payment(charged.payment_id)
    assert (paid.received_cents, paid.tax_cents) == (CENTS + TAX_CENTS, TAX_CENTS)
    payments.refund(charged.payment_id, CENTS + TAX_CENTS, "r")
    facts = list_facts(payments.get_payment(charged.payment_id))
    assert sum(fact.tax_micros for fact in facts) == sum(fact.customer_micros for fact in facts) == 0
    assert len(facts) == 2


def test_who_has_paid_on_a_page_is_taxed_where_that_page_put_him(running, payments):
    pay(running, payments)
    customer = payments.ensure_customer("acc_1")
    untaxed = connect(KEY, running.url)
    bare = save(running, untaxed, customer)
    charged = payments.charge(order(7), customer, bare.method_id)
    assert payments.get_payment(charged.payment_id).tax_cents == TAX_CENTS


def test_without_an_address_nothing_is_charged_and_the_order_waits_for_one(running, payments):
    customer = payments.ensure_customer("acc_1")
    bare = save(running, connect(KEY, running.url), customer)
    refused = payments.charge(order(), customer, bare.method_id)
    assert refused == Charged(None, "customer_tax_location_invalid")
    assert running.simulator.payments.list_payments({})["data"] == []
    failed = replace(order(), state="failed", failure_code=refused.failure_code)
    standing = AutoTopUp(
        "acc_1",
        "USD",
        threshold_micros=1,
        amount_micros=failed.amount_micros,
        monthly_limit_micros=10**9,
        method_id=bare.method_id,
        open_top_up_id=failed.top_up_id,
        open_method_id=bare.method_id,
    )
    assert end_attempt(standing, failed).paused == "address_required"


def test_a_page_for_a_taxed_stage_asks_where_the_payer_is(running, payments):
    session = open_page(payments)
    made = running.simulator.checkout.retrieve({}, session.session_id)
    assert made["automatic_tax"]["enabled"]
    assert made["tax_id_collection"]["enabled"]
    assert made["customer_update"] == {"address": "auto", "name": "auto"}
    assert made["success_url"] == RETURN

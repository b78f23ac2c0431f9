"""Removals through Stripe's own library from the simulator: one order a key, and both books agree."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.ports import ClimatePorts, PaymentsNotConfigured, RemovalRefused, StripeFailed
from chalicelib.payments.purchases import MG_PER_TON, UNIT_MG, Purchase, RemovalProduct
from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.service import heal
from chalicelib.payments.stripe_gateway import connect
from infra.local.stripe.climate import CHEAP, DEAR
from infra.local.stripe.faults import Fault
from infra.local.stripe.server import run_stripe
from tests.fakes.climate import FakePurchaseStore
from tests.unit.billing.books import check_books
from tests.unit.payments.shopper import DAY_S, JANUARY, MONEY, QUANTITY_MG, Shopper
from tests.unit.payments.test_gateway import KEY, START
from tests.unit.payments.till import AMOUNT, NEVER_MS

ORDERS = "/v1/climate/orders"
#: Three hundredths of a ton at 300 USD and 3 %.
PRICE = 9_270_000
PURCHASE = Purchase(
    "acc_1", JANUARY, "USD", 1, START * 1000, "charged", None, 25 * UNIT_MG, 1, product_id=CHEAP
)


@pytest.fixture
def running() -> Iterator:
    with run_stripe(seed=3, now=lambda: START, transport=lambda *_: 200, wait=lambda _s: None) as stripe:
        yield stripe


@pytest.fixture
def climate(running):
    return connect(KEY, running.url)


def list_orders(running):
    return running.simulator.world.select("climate.order")


def plan(running, kind, times=1):
    with running.simulator.world.lock:
        running.simulator.faults.plan(Fault(kind, "POST", ORDERS, times))


def test_products_are_those_that_have_a_price_in_the_currency(climate):
    assert climate.list_products("EUR") == []
    assert climate.list_products("USD") == [
        RemovalProduct(CHEAP, "Simulated biomass carbon removal and storage", 1_000 * MG_PER_TON, 30_900),
        RemovalProduct(DEAR, "Simulated direct air capture", 50 * MG_PER_TON, 103_000),
    ]


def test_an_order_says_whose_it_is_and_is_placed_once_a_key(running, climate):
    named = replace(PURCHASE, beneficiary_name="ACME")
    placed = climate.place_order(named)
    assert climate.place_order(named) == placed == climate.get_order(placed.order_id)
    assert (placed.account_id, placed.month, placed.livemode) == ("acc_1", JANUARY, False)
    assert (placed.status, placed.product_id) == ("awaiting_funds", CHEAP)
    (order,) = list_orders(running)
    assert (order["metric_tons"], order["beneficiary"]) == ("0.25", {"public_name": "ACME"})
    assert climate.place_order(replace(named, attempt=2)).order_id != placed.order_id


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "rate_limited", "conflict"])
def test_an_order_whose_answer_was_lost_is_the_same_order_when_it_is_asked_for_again(running, climate, kind):
    # The library tries three times by itself, unless it is told that there are too many calls.
    plan(running, kind, 1 if kind == "rate_limited" else 3)
    with pytest.raises(Unavailable):
        climate.place_order(PURCHASE)
    assert climate.place_order(PURCHASE) == climate.place_order(PURCHASE)
    assert len(list_orders(running)) == 1


def test_an_order_is_found_in_stripes_own_list_unless_it_is_older_than_the_charge(running, climate):
    assert climate.find_order(PURCHASE) is None
    plan(running, "error_after")
    with pytest.raises(StripeFailed):
        climate.place_order(PURCHASE)
    found = climate.find_order(PURCHASE)
    assert found == climate.get_order(list_orders(running)[0]["id"])
    assert climate.find_order(replace(PURCHASE, month="2027-02")) is None
    later = replace(PURCHASE, charged_at_ms=(START + 3_600) * 1000)
    assert climate.find_order(later) is None


def test_what_stripe_will_never_do_is_refused_and_what_it_does_not_know_is_not_found(running, climate):
    wrong = ({"product_id": "climsku_none"}, {"quantity_mg": 0}, {"quantity_mg": 10**15})
    for number, facts in enumerate(wrong, start=2):
        with pytest.raises(RemovalRefused):
            climate.place_order(replace(PURCHASE, attempt=number, **facts))
    with pytest.raises(NotFound):
        climate.get_order("climorder_none")
    with pytest.raises(PaymentsNotConfigured):
        connect("nonsense", running.url).list_products("USD")
    placed = climate.place_order(PURCHASE)
    climate.cancel_order(placed.order_id)
    assert climate.get_order(placed.order_id).status == "canceled"
    with pytest.raises(RemovalRefused):
        climate.cancel_order(placed.order_id)


def test_a_key_without_rights_buys_nothing_and_keeps_no_money(running, climate):
    with running.simulator.world.lock:
        running.simulator.faults.plan(Fault("forbidden", "GET", "/v1/climate/products"))
    with pytest.raises(PaymentsNotConfigured):
        climate.list_products("USD")
    plan(running, "forbidden")
    with pytest.raises(RemovalRefused):
        climate.place_order(PURCHASE)
    market = Market(running)
    plan(running, "forbidden")
    market.buy()
    assert (market.read_purchase().state, market.read_purchase().reason) == ("canceled", "refused")
    assert (market.posted, list_orders(running)) == (MONEY, [])


def test_a_delivered_order_has_its_certificate_and_deliveries(running, climate):
    placed = climate.place_order(PURCHASE)
    running.simulator.climate.move(placed.order_id, "delivered")
    found = climate.get_order(placed.order_id)
    assert found.certificate_url == f"https://climate.example/certificates/{placed.order_id}"
    (delivery,) = found.deliveries
    assert (delivery.mass_mg, delivery.country) == (25 * UNIT_MG, "IS")
    assert delivery.delivered_at_ms == START * 1000


class Market(Shopper):
    """A shopper whose Stripe is the simulator."""

    def __init__(self, running):
        super().__init__(enabled=False)
        self.simulator, self.stripe = running.simulator, connect(KEY, running.url)
        store = FakePurchaseStore(self.seeded.cloud.db)
        climate = ClimatePorts(store, lambda: self.stripe, self.residuals)
        self.ports = replace(self.ports, climate=climate)
        self.put()
        self.end_month()

    def end_month(self, days=31):
        super().end_month(days)
        self.simulator.world.advance(days * DAY_S)

    def move(self, to):
        return self.simulator.climate.move(self.read_purchase().order_id, to)

    def sum(self, name):
        legs = self.seeded.cloud.db.table("legs").values()
        return sum(leg.amount_micros for leg, _ in legs if leg.ledger_account.startswith(name))


def test_a_purchase_lives_from_the_month_to_its_delivery(running):
    market = Market(running)
    assert market.buy().failed == ()
    bought = market.read_purchase()
    assert (bought.state, bought.quantity_mg, bought.price_micros) == ("awaiting_funds", QUANTITY_MG, PRICE)
    for state in ("open", "confirmed", "delivered"):
        market.move(state)
        heal(market.ports)
        assert market.read_purchase().state == state
    assert market.read_purchase().deliveries[0].mass_mg == QUANTITY_MG
    assert market.posted == MONEY - PRICE
    check_books(market.seeded)


@pytest.mark.parametrize("kind", ["error_before", "error_after", "cut_before", "cut_after"])
def test_a_stripe_that_fails_sells_once(running, kind):
    market = Market(running)
    plan(running, kind, 3)
    for _ in range(3):
        market.buy()
        market.clock.advance_seconds(600)
        market.simulator.world.advance(600)
    assert market.read_purchase().state == "awaiting_funds"
    assert (len(list_orders(running)), market.posted) == (1, MONEY - PRICE)
    check_books(market.seeded)


def test_both_books_agree_on_what_removals_cost_and_on_what_came_back(running):
    market = Market(running)
    top_up = market.top_up()
    with market.simulator.world.lock:
        market.simulator.checkout.pay(top_up.session_id, "pm_card_visa")
    market.simulator.world.advance(3 * 86_400)
    heal(market.ports)
    market.buy()
    assert (market.read_purchase().state, market.posted) == ("open", MONEY + AMOUNT - PRICE)
    paid = reconcile(market.ports, NEVER_MS)
    assert (paid.unmatched, paid.drift_cents, -market.sum("climate_orders")) == ((), 0, PRICE)
    fees = market.sum("stripe_fees")
    market.move("unavailable")
    heal(market.ports)
    returned = reconcile(market.ports, NEVER_MS)
    assert (returned.movements, returned.unmatched, returned.drift_cents) == (1, (), 0)
    assert (market.sum("climate_orders"), market.sum("stripe_fees")) == (0, fees)
    assert (market.read_purchase().state, market.read_purchase().reason) == (
        "canceled",
        "product_unavailable",
    )
    assert (market.posted, market.sum("revenue:removal")) == (MONEY + AMOUNT, 0)
    check_books(market.seeded)

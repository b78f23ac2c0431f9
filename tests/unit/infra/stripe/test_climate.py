import json
import urllib.error
import urllib.request

import pytest
import stripe

from infra.local.stripe.climate import CHEAP, DEAR
from infra.local.stripe.errors import Refused


def order(shop, tons="0.25", **more):
    asked = {"product": CHEAP, "metric_tons": tons, "currency": "usd", **more}
    return shop.client.v1.climate.orders.create(asked)


def fund(shop):
    shop.pay(100_000)
    shop.simulator.world.advance(2 * 86_400)


def told(shop):
    events = shop.simulator.world.select("event")
    return [each["type"] for each in reversed(events) if each["type"].startswith("climate.")]


def list_climate(shop):
    return [leg.amount for leg in shop.simulator.books.legs if leg.account == "climate"]


def test_products_are_listed_and_an_order_takes_its_tons_and_its_price(shop):
    assert [each.id for each in shop.client.v1.climate.products.list()] == [CHEAP, DEAR]
    fund(shop)
    placed = order(shop)
    assert (placed.status, placed.amount_subtotal, placed.amount_fees) == ("open", 7_500, 225)
    assert str(placed.metric_tons) == "0.25"
    assert list_climate(shop) == [placed.amount_total]
    assert str(shop.client.v1.climate.products.retrieve(CHEAP).metric_tons_available) == "999.75"
    assert [each.id for each in shop.client.v1.climate.orders.list()] == [placed.id]
    by_price = shop.client.v1.climate.orders.create({"product": CHEAP, "amount": 31_000, "currency": "usd"})
    assert str(by_price.metric_tons) == "1.00"


@pytest.mark.parametrize(
    "wrong",
    [
        {"tons": "0.001"},
        {"tons": "0.015"},
        {"tons": "nan"},
        {"tons": "much"},
        {"tons": "5000"},
        {"currency": "eur"},
        {"product": "climsku_none"},
        {"amount": 1_000},
    ],
)
def test_what_cannot_be_ordered_is_refused_and_takes_nothing(shop, wrong):
    with pytest.raises(stripe.InvalidRequestError):
        order(shop, **wrong)
    assert (list_climate(shop), told(shop)) == ([], [])
    assert shop.client.v1.climate.orders.list().data == []


def test_an_order_without_money_waits_for_it_and_is_told_of_from_step_to_step(shop):
    placed = order(shop)
    assert (placed.status, list_climate(shop)) == ("awaiting_funds", [])
    for to, status in (
        ("open", "open"),
        ("delayed", "open"),
        ("substituted", "open"),
        ("confirmed", "confirmed"),
        ("delivered", "delivered"),
    ):
        assert shop.simulator.climate.move(placed.id, to)["status"] == status
    found = shop.client.v1.climate.orders.retrieve(placed.id)
    assert (found.product, found.expected_delivery_year) == (DEAR, 2031)
    assert found.delivery_details[0].metric_tons == "0.25"
    assert list_climate(shop) == [placed.amount_total]
    names = ("created", "delayed", "product_substituted", "confirmed", "delivered")
    assert told(shop) == [f"climate.order.{each}" for each in names]
    with pytest.raises(Refused):
        shop.simulator.climate.move(placed.id, "expired")


def test_its_owner_cancels_within_a_day_and_loses_the_fees(shop):
    fund(shop)
    early, late = order(shop), order(shop)
    cancelled = shop.client.v1.climate.orders.cancel(early.id)
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "requested")
    assert sum(list_climate(shop)) == late.amount_total + early.amount_fees
    shop.simulator.world.advance(24 * 3_600 + 1)
    for each in (early, late):
        with pytest.raises(stripe.InvalidRequestError):
            shop.client.v1.climate.orders.cancel(each.id)
    shop.simulator.climate.move(late.id, "unavailable")
    assert sum(list_climate(shop)) == early.amount_fees
    assert told(shop)[-1] == "climate.order.canceled"


def test_orders_move_and_prices_change_by_knobs(shop):
    placed = order(shop)

    def turn(name, **given):
        body = json.dumps(given).encode()
        with urllib.request.urlopen(f"{shop.url}/_simulator/{name}", body) as answer:
            return json.loads(answer.read())

    assert turn("move_order", order=placed.id, to="confirmed")["status"] == "confirmed"
    sold = turn("sell_removals", product=CHEAP, cents_per_ton=100, tons="1")
    assert sold["current_prices_per_metric_ton"]["usd"]["amount_total"] == 103
    assert order(shop, "1.00").amount_total == 103
    with pytest.raises(urllib.error.HTTPError):
        turn("move_order", order=placed.id, to="nowhere")

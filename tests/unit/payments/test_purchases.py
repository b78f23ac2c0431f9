"""Removals are bought once a month for what is left of its emissions, within a limit and what is paid in."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.crediting import GrantCredit, grant_credit
from chalicelib.core.errors import InvalidInput, NotFound, Unavailable
from chalicelib.payments.ports import ForeignPayment, PaymentsNotConfigured
from chalicelib.payments.purchases import (
    LOOK_SLOT_MS,
    LOOK_SLOTS,
    MG_PER_TON,
    UNIT_MG,
    NothingOffered,
    Purchase,
    PurchasedMass,
    RemovalProduct,
    RemovalSettings,
    format_tons,
    is_look_due,
    name_next_month,
    parse_tons,
    plan_purchase,
)
from chalicelib.payments.purchasing import (
    OVERDUE_MS,
    buy_removals,
    find_purchased_mg,
    get_purchase,
    get_settings,
    list_purchases,
)
from tests.fakes.climate import CHEAP, DEAR
from tests.unit.billing.books import check_books
from tests.unit.payments.shopper import (
    FEBRUARY,
    JANUARY,
    LIMIT,
    MARCH,
    MONEY,
    PRICE,
    QUANTITY_MG,
    RESIDUAL_MG,
    Shopper,
)


@pytest.fixture
def shopper():
    return Shopper()


def test_a_month_that_is_over_is_bought_for_once_rounded_up_and_paid_from_the_wallet(shopper):
    assert shopper.buy().begun == 0, "the month is not over"
    shopper.end_month()
    done = shopper.buy()
    assert (done.begun, done.failed, done.left) == (1, (), False)
    bought = shopper.read_purchase()
    assert (bought.state, bought.quantity_mg, bought.price_micros) == ("open", QUANTITY_MG, PRICE)
    assert (bought.residual_mg, bought.limited, bought.product_id) == (RESIDUAL_MG, False, CHEAP.product_id)
    assert shopper.posted == MONEY - PRICE
    for _ in range(3):
        shopper.clock.advance_seconds(900)
        assert shopper.buy().begun == 0
    assert (len(shopper.climate.orders), shopper.kinds) == (1, ["removal_purchase"])
    check_books(shopper.seeded)


def test_who_has_not_opted_in_buys_nothing():
    shopper = Shopper(enabled=False)
    assert get_settings(shopper.ports, shopper.account_id) == RemovalSettings(shopper.account_id)
    shopper.end_month()
    assert shopper.buy().begun == 0
    assert (shopper.read_purchase(), shopper.posted) == (None, MONEY)


def test_turning_it_off_stops_further_months_and_lets_what_has_begun_end(shopper):
    shopper.climate.lost = ["order"]
    shopper.end_month()
    assert shopper.buy().failed
    shopper.report(FEBRUARY, RESIDUAL_MG)
    shopper.put(enabled=False)
    shopper.end_month()
    assert shopper.buy().begun == 0
    assert (shopper.read_purchase().state, shopper.read_purchase(FEBRUARY)) == ("open", None)
    shopper.report(MARCH, RESIDUAL_MG)
    assert shopper.put().next_month == MARCH, "what was over while it was off is over"
    shopper.end_month()
    assert shopper.buy().begun == 1
    assert shopper.read_purchase(FEBRUARY) is None
    assert shopper.read_purchase(MARCH).state == "open"


def test_an_index_that_lags_turns_nobody_on_again(shopper):
    shopper.put(enabled=False)
    shopper.end_month()
    shopper.ports.climate.store.list_enabled = lambda: iter([shopper.account_id, "acc_gone"])
    assert (shopper.buy().begun, shopper.read_purchase()) == (0, None)


def test_settings_are_audited_and_a_limit_that_buys_nothing_is_refused(shopper):
    shopper.put(limit=30_000_000, name="ACME")
    written = [each for each in shopper.seeded.cloud.audit.entries if each.action.startswith("removal_")]
    assert [each.details["max_micros_per_month"] for each in written] == [LIMIT, 30_000_000]
    assert {each.actor for each in written} == {shopper.renter.actor_id}
    assert get_settings(shopper.ports, shopper.account_id).beneficiary_name == "ACME"
    for limit in (0, 9_999, 10_001):
        with pytest.raises(InvalidInput) as refused:
            shopper.put(limit=limit)
        assert refused.value.code == "invalid_amount"
    assert not shopper.put(enabled=False, limit=0).enabled


def test_it_is_turned_on_only_where_there_is_a_stripe():
    shopper = Shopper(enabled=False)

    def refuse():
        raise PaymentsNotConfigured("no keys")

    climate = replace(shopper.ports.climate, connect=refuse)
    shopper.ports = replace(shopper.ports, climate=climate)
    with pytest.raises(PaymentsNotConfigured):
        shopper.put()
    assert not shopper.put(enabled=False).enabled


def test_the_limit_buys_less_and_says_so_and_one_that_buys_nothing_is_skipped(shopper):
    shopper.put(limit=6_990_000)
    shopper.end_month()
    shopper.buy()
    bought = shopper.read_purchase()
    assert (bought.quantity_mg, bought.price_micros, bought.limited) == (2 * UNIT_MG, 6_000_000, True)
    shopper.put(limit=2_990_000)
    shopper.report(FEBRUARY, RESIDUAL_MG)
    shopper.end_month()
    shopper.buy()
    skipped = shopper.read_purchase(FEBRUARY)
    assert (skipped.state, skipped.reason, skipped.quantity_mg) == ("skipped", "limit_too_low", 0)
    assert shopper.posted == MONEY - 6_000_000


def test_a_milligram_buys_the_least_that_is_sold_and_none_buys_nothing():
    shopper = Shopper(residual_mg=1)
    shopper.end_month()
    shopper.buy()
    assert (shopper.read_purchase().quantity_mg, shopper.posted) == (UNIT_MG, MONEY - 3_000_000)
    shopper.report(FEBRUARY, 0)
    shopper.climate.calls.clear()
    shopper.end_month()
    assert shopper.buy().begun == 1
    skipped = shopper.read_purchase(FEBRUARY)
    assert (skipped.state, skipped.reason, skipped.price_micros) == ("skipped", "no_residual", 0)
    assert "products" not in shopper.climate.calls


def test_a_month_without_its_report_waits_for_it():
    shopper = Shopper(residual_mg=None)
    shopper.end_month()
    assert shopper.buy().begun == 0
    assert shopper.read_purchase() is None
    shopper.end_month()
    shopper.report(FEBRUARY, RESIDUAL_MG)
    assert shopper.buy().begun == 0, "one month after the other"
    shopper.report(JANUARY, RESIDUAL_MG)
    assert [shopper.buy().begun for _ in range(3)] == [1, 1, 0]
    assert {each.month for each in shopper.live_orders} == {JANUARY, FEBRUARY}


@pytest.mark.parametrize("money", [0, PRICE - 1])
def test_a_wallet_that_does_not_cover_it_buys_nothing_and_owes_nothing(money):
    shopper = Shopper(money=money)
    shopper.end_month()
    shopper.buy()
    skipped = shopper.read_purchase()
    assert (skipped.state, skipped.reason) == ("skipped", "insufficient_funds")
    assert (shopper.posted, shopper.kinds, shopper.climate.orders) == (money, [], {})
    shopper.pay_in(MONEY, "later")
    shopper.buy()
    assert shopper.read_purchase() == skipped


def grant(shopper, amount_micros):
    gift = GrantCredit(
        shopper.account_id, amount_micros, "welcome", "gift", "f", lambda _: "{}", kind="promo"
    )
    grant_credit(shopper.seeded.cloud.billing, shopper.seeded.operator, gift, lambda _: True)


def test_promotional_credit_buys_no_removals():
    shopper = Shopper(money=0)
    grant(shopper, MONEY)
    shopper.end_month()
    shopper.buy()
    assert (shopper.read_purchase().reason, shopper.posted) == ("insufficient_funds", MONEY)


def test_beside_promotional_credit_what_was_paid_in_pays(shopper):
    grant(shopper, MONEY)
    shopper.end_month()
    shopper.buy()
    balance = shopper.ports.billing.wallets.get_balance(shopper.account_id)
    assert (balance.paid_micros, balance.promo_micros) == (MONEY - PRICE, MONEY)
    shopper.climate.move("climorder_0", status="canceled")
    shopper.tell_of("evt_1", "canceled")
    balance = shopper.ports.billing.wallets.get_balance(shopper.account_id)
    assert (balance.paid_micros, balance.promo_micros) == (MONEY, MONEY)


def test_what_is_not_on_offer_is_tried_again(shopper):
    shopper.climate.products = [replace(CHEAP, available_mg=QUANTITY_MG - UNIT_MG)]
    shopper.end_month()
    assert shopper.buy().failed == ((shopper.account_id, "no_removals_offered"),)
    assert (shopper.read_purchase(), shopper.posted) == (None, MONEY)
    shopper.climate.products.append(DEAR)
    shopper.put(limit=10 * LIMIT)
    assert shopper.buy().begun == 1
    assert (shopper.read_purchase().product_id, shopper.read_purchase().price_micros) == (
        DEAR.product_id,
        30_000_000,
    )


def test_one_that_fails_keeps_no_other_back_and_time_ends_a_run(shopper):
    settings = shopper.db.table("removal_settings")
    settings["acc_other"] = RemovalSettings("acc_other", True, LIMIT, None, JANUARY, 1)
    shopper.residuals.masses["acc_other", JANUARY] = 0
    shopper.end_month()
    shopper.climate.products = []
    done = shopper.buy()
    assert (done.begun, done.failed) == (1, ((shopper.account_id, "no_removals_offered"),))
    assert buy_removals(shopper.ports, shopper.clock.now_ms()).left


def test_purchases_are_listed_newest_first_and_found_by_month(shopper):
    for month in (FEBRUARY, MARCH):
        shopper.report(month, RESIDUAL_MG)
    for _ in range(3):
        shopper.end_month(29)
        shopper.buy()
    first = list_purchases(shopper.ports, shopper.account_id, 2, None)
    rest = list_purchases(shopper.ports, shopper.account_id, 2, first.next_key)
    assert [each.month for each in (*first.items, *rest.items)] == [MARCH, FEBRUARY, JANUARY]
    assert rest.next_key is None
    assert get_purchase(shopper.ports, shopper.account_id, MARCH).state == "open"
    with pytest.raises(NotFound):
        get_purchase(shopper.ports, "acc_other", MARCH)
    with pytest.raises(InvalidInput):
        get_purchase(shopper.ports, shopper.account_id, "2027-13")


def test_what_was_bought_is_told_by_how_far_it_is(shopper):
    store, account_id = shopper.ports.climate.store, shopper.account_id
    assert find_purchased_mg(store, account_id, JANUARY) == PurchasedMass()
    shopper.end_month()
    shopper.buy()
    told = {}
    for state in ("planned", "charged", "awaiting_funds", "open", "confirmed", "delivered", "canceled"):
        key = (account_id, JANUARY)
        shopper.db.table("purchases")[key] = replace(shopper.read_purchase(), state=state)
        told[state] = find_purchased_mg(store, account_id, JANUARY)
    nothing = PurchasedMass()
    assert told == {
        "planned": nothing,
        "charged": nothing,
        "awaiting_funds": PurchasedMass(open_mg=QUANTITY_MG),
        "open": PurchasedMass(open_mg=QUANTITY_MG),
        "confirmed": PurchasedMass(confirmed_mg=QUANTITY_MG),
        "delivered": PurchasedMass(delivered_mg=QUANTITY_MG),
        "canceled": nothing,
    }


def test_what_is_ordered_is_looked_at_once_a_day(shopper):
    shopper.end_month()
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    shopper.climate.move(order.order_id, status="confirmed")
    shopper.climate.calls.clear()
    for _ in range(LOOK_SLOTS):
        shopper.clock.advance_seconds(LOOK_SLOT_MS // 1000)
        shopper.buy()
    assert shopper.climate.calls.count("get") == 1
    assert shopper.read_purchase().state == "confirmed"


def test_money_that_was_taken_and_ordered_nothing_for_hours_is_told(shopper):
    shopper.end_month()
    shopper.climate.lost = ["order"] * 3
    assert [shopper.buy().overdue for _ in range(2)] == [0, 0]
    shopper.clock.advance_seconds(OVERDUE_MS // 1000)
    assert [shopper.buy().overdue for _ in range(2)] == [1, 0]
    assert shopper.read_purchase().state == "open"


@given(
    residual_mg=st.integers(1, 5 * 10**12),
    limit=st.integers(1, 10**7).map(lambda cents: cents * 10_000),
    prices=st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), min_size=1, max_size=4),
)
def test_no_plan_costs_more_than_its_limit_nor_buys_less_than_it_could(residual_mg, limit, prices):
    products = [
        RemovalProduct(f"climsku_{number}", "any", units * UNIT_MG, cents)
        for number, (cents, units) in enumerate(prices)
    ]
    settings = RemovalSettings("acc", True, limit, None, JANUARY)
    try:
        plan = plan_purchase(settings, residual_mg, products, "USD", 0)
    except NothingOffered:
        for each in products:
            most = min(-(-residual_mg // UNIT_MG), limit // 10_000 * 100 // each.cents_per_ton)
            assert not most or each.available_mg < most * UNIT_MG
        return
    if plan.state == "skipped":
        assert all(each.cents_per_ton > limit // 10_000 * 100 for each in products)
        return
    (product,) = [each for each in products if each.product_id == plan.product_id]
    assert 0 < plan.quantity_mg <= product.available_mg
    assert plan.quantity_mg % UNIT_MG == 0
    # The price is the exact one, rounded up to a cent.
    exact = product.cents_per_ton * plan.quantity_mg * 10_000
    assert exact <= plan.price_micros * MG_PER_TON < exact + 10_000 * MG_PER_TON
    assert plan.price_micros <= limit
    assert plan.quantity_mg < residual_mg + UNIT_MG
    assert plan.limited == (plan.quantity_mg < residual_mg)
    if plan.limited:
        one_more = product.cents_per_ton * (plan.quantity_mg // UNIT_MG + 1)
        assert one_more > limit // 10_000 * 100


@given(units=st.integers(1, 10**9))
def test_tons_are_written_as_they_are_read(units):
    assert parse_tons(format_tons(units * UNIT_MG)) == units * UNIT_MG


def test_months_follow_each_other_and_each_purchase_has_one_slot_a_day():
    months = list(itertools.accumulate(range(13), lambda month, _: name_next_month(month), initial="2026-11"))
    assert months[1:4] == ["2026-12", "2027-01", "2027-02"]
    assert sorted(months) == months
    due = [is_look_due("acc", JANUARY, slot * LOOK_SLOT_MS) for slot in range(LOOK_SLOTS)]
    assert due.count(True) == 1


def test_an_order_for_nothing_of_ours_is_a_persons_to_look_at(shopper):
    shopper.end_month()
    shopper.buy()
    (key,) = shopper.climate.orders
    order = shopper.climate.orders[key]
    wrong = [
        {"livemode": True},
        {"account_id": None},
        {"month": FEBRUARY},
        {"account_id": "acc_other"},
    ]
    for number, facts in enumerate(wrong):
        shopper.climate.orders[key] = replace(order, **facts)
        with pytest.raises(ForeignPayment):
            shopper.tell_of(f"evt_{number}")
        shopper.queue.waiting.clear()
    shopper.climate.orders[key] = order
    planned = Purchase(shopper.account_id, JANUARY, "USD", 1, 0)
    shopper.db.table("purchases")[shopper.account_id, JANUARY] = planned
    with pytest.raises(ForeignPayment):
        shopper.tell_of("evt_planned")


def test_two_runs_at_once_buy_one_purchase(shopper):
    shopper.end_month()

    def other():
        shopper.db.interlude = None
        shopper.buy()

    shopper.db.interlude = other
    assert shopper.buy().failed == ((shopper.account_id, Unavailable.code),)
    assert (len(shopper.climate.orders), shopper.posted) == (1, MONEY - PRICE)
    check_books(shopper.seeded)

"""A purchase of removals has one charge and one order, or its money back once, whoever dies and wherever."""

import itertools
from dataclasses import replace

import pytest

from chalicelib.payments.following import carry_on, settle_order
from chalicelib.payments.model import DOUBT_MS, KEY_LIFETIME_MS
from chalicelib.payments.ports import ForeignPayment
from chalicelib.payments.purchases import Delivery, Purchase, follow
from chalicelib.payments.service import heal
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.payments.shopper import FEBRUARY, JANUARY, MONEY, PRICE, QUANTITY_MG, RESIDUAL_MG, Shopper

DELIVERY = Delivery(1_900_000_000_000, QUANTITY_MG, "Heirloom", "US", "https://registry.example/1")
#: What Stripe has after each event, in the order in which it happens.
STORY = (
    ("created", {"status": "open"}),
    ("delayed", {"delivery_year": 2031}),
    ("product_substituted", {"product_id": "climsku_other"}),
    ("confirmed", {"status": "confirmed"}),
    (
        "delivered",
        {"status": "delivered", "certificate_url": "https://climate.example/1", "deliveries": (DELIVERY,)},
    ),
)


@pytest.fixture
def shopper():
    shopper = Shopper()
    shopper.end_month()
    return shopper


def check_bought(shopper, *, state="open"):
    """One charge, one order, one purchase."""
    assert (shopper.read_purchase().state, shopper.kinds) == (state, ["removal_purchase"])
    assert shopper.posted == MONEY - PRICE
    (order,) = shopper.live_orders
    assert shopper.read_purchase().order_id == order.order_id
    check_books(shopper.seeded)


def check_returned(shopper, reason):
    purchase = shopper.read_purchase()
    assert (purchase.state, purchase.reason, purchase.returned_micros) == ("canceled", reason, PRICE)
    assert (shopper.posted, shopper.kinds) == (MONEY, ["removal_purchase", "reversal"])
    assert not shopper.live_orders
    told = [each.data for each in shopper.db.table("events").values() if each.type == "credit.posted"]
    assert [each["amount_micros"] for each in told if each["kind"] == "reversal"] == [PRICE]
    check_books(shopper.seeded)


def die_at_each_commit(point, prepare, act, settle):
    """Run ``act`` again and again, each time with a death one commit later; return how many there are."""
    commit, crashed = 0, True
    while crashed:
        shopper = prepare()
        setattr(shopper.db, point, shopper.db.commits + commit)
        crashed = False
        try:
            act(shopper)
        except Crash:
            crashed = True
        shopper.db.crash_before = shopper.db.crash_after = None
        settle(shopper)
        commit += 1
    return commit - 1


def prepare_ended():
    shopper = Shopper()
    shopper.end_month()
    return shopper


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_charges_once_and_orders_once(point):
    def settle(shopper):
        shopper.buy()
        check_bought(shopper)

    assert die_at_each_commit(point, prepare_ended, lambda shopper: shopper.buy(), settle) == 3


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_of_a_refusal_gives_the_money_back_once(point):
    def prepare():
        shopper = prepare_ended()
        shopper.climate.refuses = True
        return shopper

    def settle(shopper):
        shopper.buy()
        check_returned(shopper, "refused")

    assert die_at_each_commit(point, prepare, lambda shopper: shopper.buy(), settle) == 3


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_of_a_cancellation_gives_the_money_back_once(point):
    def prepare():
        shopper = prepare_ended()
        shopper.buy()
        (order,) = shopper.climate.orders.values()
        shopper.climate.move(order.order_id, status="canceled", reason="product_unavailable")
        return shopper

    def settle(shopper):
        shopper.work()
        check_returned(shopper, "product_unavailable")

    deaths = die_at_each_commit(point, prepare, lambda shopper: shopper.tell_of("evt_1", "canceled"), settle)
    assert deaths == 1


@pytest.mark.parametrize("lost", [["products"], ["order"], ["order", "order"], ["products", "order"]])
def test_an_answer_of_stripe_that_is_lost_is_asked_for_again_under_the_same_key(shopper, lost):
    shopper.climate.lost = list(lost)
    for _ in lost:
        assert shopper.buy().failed == ((shopper.account_id, "temporarily_unavailable"),)
    shopper.buy()
    check_bought(shopper)
    assert len(shopper.climate.orders) == 1


def test_an_order_that_only_its_event_told_of_is_the_purchases(shopper):
    shopper.climate.lost = ["order"]
    assert shopper.buy().failed
    assert shopper.read_purchase().state == "charged"
    shopper.tell_of("evt_1")
    check_bought(shopper)
    shopper.buy()
    check_bought(shopper)


def test_an_event_that_nobody_told_of_is_found_in_stripes_own_list(shopper):
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    shopper.climate.move(order.order_id, status="confirmed")
    now_ms = shopper.clock.now_ms()
    shopper.stripe.events = [(now_ms, "evt_1", "climate.order.confirmed", order.order_id)]
    assert heal(shopper.ports).missed == 1
    check_bought(shopper, state="confirmed")


def play(order, *, live):
    """Tell the story's events in ``order``; ``live``: each is worked on with what Stripe had by then."""
    shopper = prepare_ended()
    shopper.buy()
    (placed,) = shopper.climate.orders.values()
    latest = -1
    for number in order:
        upto = max(latest, number) if live else len(STORY) - 1
        for _, facts in STORY[latest + 1 : upto + 1]:
            shopper.climate.move(placed.order_id, **facts)
        latest = upto
        for _ in range(2):
            shopper.tell(f"evt_{number}", placed.order_id, f"climate.order.{STORY[number][0]}")
    check_bought(shopper, state="delivered")
    bought = shopper.read_purchase()
    return (bought.delivery_year, bought.product_id, bought.certificate_url, bought.deliveries)


@pytest.mark.parametrize("live", [True, False])
def test_five_events_in_any_order_and_each_twice_come_to_one_state(live):
    ends = {play(order, live=live) for order in itertools.permutations(range(len(STORY)))}
    assert ends == {(2031, "climsku_other", "https://climate.example/1", (DELIVERY,))}


def test_an_answer_that_is_late_takes_no_state_back(shopper):
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    for status, state in (
        ("awaiting_funds", "open"),
        ("confirmed", "confirmed"),
        ("open", "confirmed"),
        ("delivered", "delivered"),
        ("canceled", "delivered"),
    ):
        shopper.climate.move(order.order_id, status=status)
        shopper.tell_of(f"evt_{status}")
        assert shopper.read_purchase().state == state
    assert shopper.posted == MONEY - PRICE


@pytest.mark.parametrize("final", ["delivered", "canceled", "skipped"])
@pytest.mark.parametrize("told", ["awaiting_funds", "open", "confirmed", "delivered", "canceled", "new"])
def test_what_is_final_stays(shopper, final, told):
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    over = replace(shopper.read_purchase(), state=final)
    assert follow(over, replace(order, status=told)).state == final


def test_a_state_that_stripe_may_add_is_an_order(shopper):
    shopper.climate.status = "retired"
    shopper.buy()
    assert shopper.read_purchase().state == "open"


def test_what_was_skipped_meanwhile_is_not_charged(shopper):
    shopper.climate.lost = ["products"]
    shopper.buy()
    planned = Purchase(shopper.account_id, JANUARY, "USD", 1, 0, price_micros=PRICE, quantity_mg=QUANTITY_MG)
    rows, key = shopper.db.table("purchases"), (shopper.account_id, JANUARY)
    rows[key] = planned

    def skip():
        shopper.db.interlude = None
        rows[key] = replace(planned, state="skipped", version=1)

    shopper.db.interlude = skip
    assert carry_on(shopper.ports, planned).state == "skipped"
    assert (shopper.posted, shopper.kinds, shopper.climate.orders) == (MONEY, [], {})


def test_what_was_delivered_meanwhile_is_not_given_back(shopper):
    shopper.buy()
    shopper.climate.move("climorder_0", status="canceled")
    bought = shopper.read_purchase()

    def deliver():
        shopper.db.interlude = None
        delivered = replace(bought, state="delivered", version=bought.version + 1)
        shopper.db.table("purchases")[shopper.account_id, JANUARY] = delivered

    shopper.db.interlude = deliver
    assert settle_order(shopper.ports, "climorder_0").state == "delivered"
    assert (shopper.posted, shopper.kinds) == (MONEY - PRICE, ["removal_purchase"])


def test_two_that_hear_of_a_cancellation_at_once_give_the_money_back_once(shopper):
    shopper.buy()
    shopper.climate.move("climorder_0", status="canceled", reason="expired")

    def other():
        shopper.db.interlude = None
        settle_order(shopper.ports, "climorder_0")

    shopper.db.interlude = other
    assert settle_order(shopper.ports, "climorder_0").state == "canceled"
    check_returned(shopper, "expired")


def test_an_order_waits_for_funds_and_is_open_when_it_is_paid_for(shopper):
    shopper.climate.status = "awaiting_funds"
    shopper.buy()
    assert shopper.read_purchase().state == "awaiting_funds"
    shopper.climate.move("climorder_0", status="open")
    shopper.tell_of("evt_1", "delayed")
    check_bought(shopper)


@pytest.mark.parametrize("state", ["awaiting_funds", "open", "confirmed"])
def test_a_cancellation_gives_the_money_back_once_however_often_it_is_told(shopper, state):
    shopper.climate.status = state
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    shopper.climate.move(order.order_id, status="canceled", reason="expired")
    for number in range(3):
        shopper.tell_of(f"evt_{number}", "canceled")
    shopper.buy()
    check_returned(shopper, "expired")


def test_a_month_that_was_cancelled_is_not_bought_again_and_the_next_one_is(shopper):
    shopper.climate.refuses = True
    shopper.buy()
    shopper.climate.refuses = False
    shopper.buy()
    check_returned(shopper, "refused")
    shopper.report(FEBRUARY, RESIDUAL_MG)
    shopper.end_month()
    assert shopper.buy().begun == 1
    assert shopper.read_purchase(FEBRUARY).state == "open"


def test_a_failure_that_stripe_repeats_is_looked_up_before_anything_is_ordered_anew(shopper):
    key = f"removals:{shopper.account_id}:{JANUARY}:"
    shopper.climate.failed_keys[f"{key}1"] = False
    assert shopper.buy().failed
    assert shopper.read_purchase().attempt == 1, "Stripe's list may lag"
    shopper.clock.advance_seconds(DOUBT_MS // 1000)
    assert shopper.buy().failed
    assert shopper.read_purchase().attempt == 2
    shopper.climate.failed_keys[f"{key}2"] = True
    shopper.buy()
    check_bought(shopper)


def test_a_key_that_stripe_has_forgotten_orders_nothing_again(shopper):
    shopper.climate.lost = ["order"]
    shopper.buy()
    ((key, order),) = shopper.climate.orders.items()
    shopper.climate.orders = {f"{key} is forgotten": order}
    shopper.clock.advance_seconds(KEY_LIFETIME_MS // 1000)
    shopper.buy()
    check_bought(shopper)


def test_a_refusal_after_an_order_that_was_placed_counts_the_order(shopper):
    shopper.climate.lost = ["order"]
    shopper.buy()
    ((key, order),) = shopper.climate.orders.items()
    shopper.climate.orders = {f"{key} is forgotten": order}
    shopper.climate.refuses = True
    shopper.buy()
    check_bought(shopper)


def test_an_order_too_many_is_cancelled_at_stripe_and_the_purchase_stays(shopper):
    shopper.buy()
    (order,) = shopper.climate.orders.values()
    first = shopper.read_purchase()
    shopper.climate.orders["another key"] = replace(order, order_id="climorder_extra")
    shopper.tell("evt_1", "climorder_extra", "climate.order.created")
    assert shopper.climate.cancelled == ["climorder_extra"]
    assert shopper.read_purchase() == first
    check_bought(shopper)
    shopper.tell("evt_2", "climorder_extra", "climate.order.canceled")
    check_bought(shopper)


def test_an_order_that_appears_after_the_money_went_back_is_cancelled_or_a_persons(shopper):
    shopper.climate.refuses = True
    shopper.buy()
    shopper.climate.refuses = False
    shopper.climate.place_order(shopper.read_purchase())
    shopper.climate.refuses = True
    with pytest.raises(ForeignPayment):
        shopper.tell_of("evt_1")
    shopper.climate.refuses = False
    shopper.work()
    check_returned(shopper, "refused")


def test_a_purchase_that_is_over_is_left_alone(shopper):
    shopper.buy()
    done = shopper.read_purchase()
    calls = len(shopper.climate.calls)
    assert carry_on(shopper.ports, done) == done
    assert len(shopper.climate.calls) == calls

import http.client
from urllib.parse import urlencode, urlsplit

import pytest
import stripe

SUCCESS, CANCEL = "http://127.0.0.1/paid?session={CHECKOUT_SESSION_ID}", "http://127.0.0.1/back"


def make(shop, **more):
    price = {"currency": "usd", "unit_amount": 2_000, "product_data": {"name": "Credit <b>"}}
    given = {
        "mode": "payment",
        "success_url": SUCCESS,
        "cancel_url": CANCEL,
        "line_items": [{"price_data": price, "quantity": 1}],
        "payment_intent_data": {"metadata": {"topup_id": "top-1"}},
        "metadata": {"topup_id": "top-1"},
        **more,
    }
    return shop.client.v1.checkout.sessions.create(given)


def browse(url, **form):
    """Return status, Location and page."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=8)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST" if form else "GET", parts.path, urlencode(form), headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers["Location"], answer.read().decode()
    connection.close()
    return found


def press(session, method):
    return browse(session.url, action="pay", payment_method=method)


def test_a_page_is_paid_and_leads_back_with_the_session(shop):
    shop.simulator.tax.basis_points = 1_900
    session = make(shop, automatic_tax={"enabled": True})
    assert (session.amount_subtotal, session.total_details.amount_tax, session.amount_total) == (
        2_000,
        380,
        2_380,
    )
    status, _, page = browse(session.url)
    assert status == 200
    assert "Simulator: no money moves" in page
    assert "23.80 USD" in page
    assert "<script" not in page
    status, location, _ = press(session, "pm_card_visa")
    assert (status, location) == (303, SUCCESS.replace("{CHECKOUT_SESSION_ID}", session.id))
    done = shop.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.status, done.payment_status, done.payment_intent.amount_received) == (
        "complete",
        "paid",
        2_380,
    )
    assert done.payment_intent.metadata["topup_id"] == done.metadata["topup_id"] == "top-1"
    press(session, "pm_card_visa")
    assert shop.simulator.books.summarise()["total"]["usd"]["captured"] == 2_380
    charge = shop.client.v1.charges.retrieve(done.payment_intent.latest_charge)
    assert "23.80 USD" in browse(charge.receipt_url)[2]


def test_a_declined_payer_may_try_again_or_go_back(shop):
    session = make(shop)
    status, _, page = press(session, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert (status, "insufficient funds" in page) == (402, True)
    assert browse(session.url, action="cancel")[:2] == (303, CANCEL)
    assert press(session, "pm_card_threeDSecure2Required")[0] == 303
    assert len(shop.client.v1.payment_intents.list().data) == 1


def test_a_method_is_saved_on_a_page_and_shown_in_the_portal(shop):
    customer = shop.client.v1.customers.create().id
    data = {"metadata": {"account": "acct-1"}}
    given = {"mode": "setup", "success_url": SUCCESS, "customer": customer, "currency": "usd"}
    session = shop.client.v1.checkout.sessions.create({**given, "setup_intent_data": data})
    assert press(session, "pm_card_mastercard")[0] == 303
    done = shop.client.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (done.setup_intent.status, done.setup_intent.metadata["account"]) == ("succeeded", "acct-1")
    assert [one.id for one in shop.client.v1.customers.payment_methods.list(customer).data] == [
        done.setup_intent.payment_method
    ]
    portal = shop.client.v1.billing_portal.sessions.create({"customer": customer, "return_url": CANCEL})
    assert "4444" in browse(portal.url)[2]


@pytest.mark.parametrize("by_clock", [True, False])
def test_a_session_expires_and_cannot_be_paid(shop, by_clock):
    session = make(shop)
    if by_clock:
        shop.simulator.world.advance(24 * 3_600)
    else:
        shop.client.v1.checkout.sessions.expire(session.id)
    assert [one.id for one in shop.client.v1.checkout.sessions.list({"status": "expired"}).data] == [
        session.id
    ]
    assert press(session, "pm_card_visa")[0] == 410
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.v1.checkout.sessions.expire(session.id)


@pytest.mark.parametrize(("succeeds", "ending"), [(True, "succeeded"), (False, "failed")])
def test_a_bank_payment_ends_after_the_page(shop, succeeds, ending):
    session = make(shop)
    press(session, "pm_usBankAccount")
    done = shop.client.v1.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    shop.simulator.payments.settle(done.payment_intent, succeeds=succeeds)
    assert shop.client.v1.events.list({"limit": 1}).data[0].type == f"checkout.session.async_payment_{ending}"

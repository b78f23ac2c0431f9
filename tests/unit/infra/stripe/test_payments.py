import pytest
import stripe

LIVE = "sk_" + "live_" + "x"


def test_customers_are_made_changed_and_listed(shop):
    first = shop.client.v1.customers.create({"email": "a@example.org", "metadata": {"account": "acct-1"}})
    second = shop.client.v1.customers.create({"email": "b@example.org"})
    shop.client.v1.customers.update(first.id, {"name": "Ada", "metadata": {"tier": "2"}})
    again = shop.client.v1.customers.retrieve(first.id)
    assert (again.name, again.metadata.to_dict()) == ("Ada", {"account": "acct-1", "tier": "2"})
    assert [one.id for one in shop.client.v1.customers.list().data] == [second.id, first.id]
    assert [one.id for one in shop.client.v1.customers.list({"email": "a@example.org"}).data] == [first.id]


def test_a_payment_succeeds_and_its_charge_and_fee_expand(shop):
    intent = shop.pay(1_000, expand=["latest_charge.balance_transaction"])
    assert (intent.status, intent.amount_received, intent.livemode) == ("succeeded", 1_000, False)
    posted = intent.latest_charge.balance_transaction
    assert (posted.type, posted.amount, posted.fee, posted.net) == ("charge", 1_000, 59, 941)
    assert intent.id.startswith("pi_")
    assert posted.id.startswith("txn_")


@pytest.mark.parametrize(
    ("method", "code", "decline"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ],
)
def test_a_decline_is_a_card_error_that_names_the_payment(shop, method, code, decline):
    with pytest.raises(stripe.CardError) as caught:
        shop.pay(method=method)
    error = caught.value.error
    assert (caught.value.code, error.decline_code) == (code, decline)
    kept = shop.client.v1.payment_intents.retrieve(error.payment_intent.id)
    assert (kept.status, kept.last_payment_error.decline_code) == ("requires_payment_method", decline)
    paid = shop.client.v1.payment_intents.confirm(kept.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_payer_who_is_present_authenticates(shop, succeeds):
    intent = shop.pay(method="pm_card_authenticationRequired")
    assert intent.status == "requires_action"
    shop.simulator.payments.authenticate(intent.id, succeeds=succeeds)
    ended = shop.client.v1.payment_intents.retrieve(intent.id)
    assert ended.status == ("succeeded" if succeeds else "requires_payment_method")


@pytest.mark.parametrize("flag", ["off_session", "error_on_requires_action"])
def test_a_payer_who_is_absent_cannot(shop, flag):
    with pytest.raises(stripe.CardError) as caught:
        shop.pay(method="pm_card_authenticationRequired", **{flag: True})
    assert caught.value.code == "authentication_required"


def test_a_bank_payment_is_processing_for_four_days_or_fails(shop):
    slow, refused = (shop.pay(method="pm_usBankAccount") for _ in range(2))
    assert slow.status == "processing"
    shop.simulator.payments.settle(refused.id, succeeds=False)
    shop.simulator.world.advance(4 * 86_400)
    found = [shop.client.v1.payment_intents.retrieve(one.id).status for one in (slow, refused)]
    assert found == ["succeeded", "requires_payment_method"]


def test_what_is_cancelled_or_paid_stays_so(shop):
    intent = shop.client.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert shop.client.v1.payment_intents.cancel(intent.id).status == "canceled"
    for ended in (intent, shop.pay()):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            shop.client.v1.payment_intents.cancel(ended.id)
        assert caught.value.code == "payment_intent_unexpected_state"
    assert len(shop.client.v1.payment_intents.list({"limit": 1}).data) == 1


def test_a_method_is_saved_used_off_session_and_detached(shop):
    ada, bob = (shop.client.v1.customers.create().id for _ in range(2))
    setup = shop.client.v1.setup_intents.create(
        {"customer": ada, "payment_method": "pm_card_visa", "confirm": True}
    )
    assert setup.status == "succeeded"
    saved = shop.client.v1.customers.payment_methods.list(ada).data
    assert [one.id for one in saved] == [setup.payment_method]
    assert shop.pay(method=setup.payment_method, customer=ada, off_session=True).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        shop.pay(method=setup.payment_method, customer=bob)
    shop.client.v1.payment_methods.detach(setup.payment_method)
    assert shop.client.v1.payment_methods.list({"customer": ada}).data == []
    with pytest.raises(stripe.CardError):
        shop.client.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": bob})


def test_refunds_are_partial_then_whole_and_no_more(shop):
    intent = shop.pay(1_000)
    first = shop.client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    shop.client.v1.refunds.create({"charge": intent.latest_charge})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_already_refunded"
    shop.simulator.refunds.fail(first.id)
    charge = shop.client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (700, False)
    amounts = [one.amount for one in shop.client.v1.refunds.list({"payment_intent": intent.id}).data]
    assert sorted(amounts) == [300, 700]


@pytest.mark.parametrize(("won", "disputed"), [(True, 0), (False, 1_000)])
def test_a_dispute_withdraws_and_a_won_one_reinstates(shop, won, disputed):
    shop.pay(1_000, "pm_card_createDispute")
    dispute = shop.client.v1.disputes.list().data[0]
    assert [one.amount for one in dispute.balance_transactions] == [-1_000]
    shop.simulator.refunds.close_dispute(dispute.id, won=won)
    assert shop.simulator.books.summarise()["total"]["usd"]["disputed"] == disputed
    last = shop.client.v1.events.list({"limit": 1}).data[0].type
    assert last == ("charge.dispute.funds_reinstated" if won else "charge.dispute.closed")


def test_what_is_unknown_missing_or_unauthorised_is_refused_in_stripes_shape(shop):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.payment_intents.create({"amount": 500, "currency": "usd", "colour": "red"})
    assert (caught.value.code, caught.value.param) == ("parameter_unknown", "colour")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.payment_intents.create({"currency": "usd"})
    assert caught.value.code == "parameter_missing"
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.client.v1.prices.list()
    assert caught.value.http_status == 404
    with pytest.raises(stripe.AuthenticationError):
        shop.client.v1.balance.retrieve({}, {"api_key": LIVE})

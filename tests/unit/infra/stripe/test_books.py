import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infra.local.stripe.errors import Refused
from infra.local.stripe.simulator import Simulator

from .conftest import START

AMOUNTS = st.integers(50, 100_000)
PICKS = st.integers(0, 1_000)


class Merchant(RuleBasedStateMachine):
    """Random money movements; what is refused changes nothing."""

    def __init__(self):
        super().__init__()
        self.simulator = Simulator("http://127.0.0.1", 0, lambda: START, lambda *_: 200)
        made = [self.simulator.methods.create_customer({})["id"] for _ in range(2)]
        self.customers = [*made, None]

    def pick(self, kind, number):
        found = self.simulator.world.select(kind)
        return found[number % len(found)]["id"] if found else "none"

    def attempt(self, act, *given, **named):
        count = len(self.simulator.books.legs)
        try:
            act(*given, **named)
        except Refused:
            assert len(self.simulator.books.legs) == count

    @rule(
        amount=AMOUNTS, number=PICKS, method=st.sampled_from(["pm_card_visa", "pm_card_visa_chargeDeclined"])
    )
    def pay(self, amount, number, method):
        params = {"amount": amount, "currency": "usd", "payment_method": method, "confirm": True}
        if customer := self.customers[number % 3]:
            params["customer"] = customer
        self.attempt(self.simulator.payments.create_payment, params)

    @rule(number=PICKS, amount=AMOUNTS)
    def refund(self, number, amount):
        params = {"charge": self.pick("charge", number), "amount": amount}
        self.attempt(self.simulator.refunds.create, params)

    @rule(number=PICKS)
    def fail_refund(self, number):
        self.attempt(self.simulator.refunds.fail, self.pick("refund", number))

    @rule(number=PICKS)
    def dispute(self, number):
        self.attempt(self.simulator.refunds.open_dispute, self.pick("charge", number))

    @rule(number=PICKS, won=st.booleans())
    def close_dispute(self, number, won):
        self.attempt(self.simulator.refunds.close_dispute, self.pick("dispute", number), won=won)

    @rule(days=st.integers(0, 3))
    def pay_out(self, days):
        self.simulator.world.advance(days * 86_400)
        self.attempt(self.simulator.books.pay_out)

    @rule(amount=AMOUNTS)
    def charge_fee(self, amount):
        self.simulator.books.charge_fee(amount)

    @invariant()
    def every_entry_sums_to_zero_and_explains_its_transaction(self):
        by_transaction = {}
        for leg in self.simulator.books.legs:
            by_transaction.setdefault(leg.transaction, []).append(leg)
        for transaction in self.simulator.world.select("balance_transaction"):
            legs = by_transaction.pop(transaction["id"])
            assert sum(leg.amount for leg in legs) == 0
            assert sum(leg.amount for leg in legs if leg.account == "balance") == transaction["net"]
        assert not by_transaction

    @invariant()
    def the_balance_is_the_sum_of_its_transactions_and_of_the_headings(self):
        balance = self.simulator.books.balance()
        total = sum(row["amount"] for state in ("available", "pending") for row in balance[state])
        found = self.simulator.world.select("balance_transaction")
        assert total == sum(one["amount"] - one["fee"] for one in found)
        available = sum(one["net"] for one in found if one["status"] == "available")
        assert balance["available"][0]["amount"] == available
        row = self.simulator.books.summarise()["total"].get("usd")
        if row:
            left = row["captured"] - row["refunded"] - row["disputed"] - row["fees"] - row["paid_out"]
            assert total == row["balance"] == left

    @invariant()
    def the_headings_are_what_the_charges_say(self):
        charges = self.simulator.world.select("charge")
        row = self.simulator.books.summarise()["total"].get("usd", {"captured": 0, "refunded": 0})
        assert row["captured"] == sum(one["amount_captured"] for one in charges)
        assert row["refunded"] == sum(one["amount_refunded"] for one in charges)


Merchant.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestMerchant = Merchant.TestCase


def test_transactions_are_walked_page_by_page_and_equal_the_balance(shop):
    customer = shop.client.v1.customers.create().id
    intent = shop.pay(1_000, customer=customer)
    shop.client.v1.refunds.create({"payment_intent": intent.id, "amount": 250})
    shop.pay(2_000, "pm_card_createDispute", customer=customer)
    shop.simulator.world.advance(2 * 86_400)
    with pytest.raises(Refused):
        shop.simulator.books.pay_out(amount=10_000)
    walked = list(shop.client.v1.balance_transactions.list({"limit": 2}).auto_paging_iter())
    assert [one.type for one in walked] == ["adjustment", "charge", "refund", "charge"]
    balance = shop.client.v1.balance.retrieve()
    assert balance.available[0].amount == sum(one.net for one in walked) == 1_000 - 59 - 250 - 88 - 1_500
    summary = shop.simulator.books.summarise()
    assert summary["customers"][customer] == summary["total"]
    shop.pay(100_000)
    shop.simulator.world.advance(2 * 86_400)
    payout = shop.simulator.books.pay_out()
    posted = shop.client.v1.balance_transactions.retrieve(payout["balance_transaction"])
    assert (posted.type, posted.net) == ("payout", -payout["amount"])
    assert shop.client.v1.balance.retrieve().available[0].amount == 0

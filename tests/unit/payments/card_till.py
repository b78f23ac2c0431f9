"""A till for many renters whose Stripe is the simulator, spoken with through Stripe's own library."""

from collections import Counter

from chalicelib.payments.ports import ClimatePorts, PaymentPorts, StripeSecrets
from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.service import CreateTopUp, create_top_up, heal
from chalicelib.payments.settling import settle_payment
from chalicelib.payments.stripe_gateway import connect
from tests.fakes.climate import FakePurchaseStore, FakeResiduals
from tests.fakes.payments import FakeEventQueue, FakePaymentStore
from tests.unit.payments.test_gateway import KEY
from tests.unit.payments.till import NEVER_MS


class CardTill:
    """``counts``: how many payments were told of, healed, refunded, disputed and won, and lost."""

    def __init__(self, seeded, running):
        self.simulator = running.simulator
        payments = connect(KEY, running.url)
        self.stripe = payments
        secrets = StripeSecrets(("whsec_x",), livemode=False)
        self.ports = PaymentPorts(
            FakePaymentStore(seeded.cloud.db),
            seeded.cloud.billing,
            FakeEventQueue(),
            lambda: payments,
            lambda: secrets,
            ClimatePorts(FakePurchaseStore(seeded.cloud.db), lambda: payments, FakeResiduals()),
        )
        self.counts = Counter(told=0, healed=0, refunded=0, won=0, lost=0)

    def pay(self, renter, key, cents, *, told):
        """Top up by card; return the payment. One that nobody is ``told`` of is found by `look_after`."""
        command = CreateTopUp(cents * 10_000, "https://app.example/", key, key)
        top_up = create_top_up(self.ports, renter, command)
        with self.simulator.world.lock:
            self.simulator.checkout.pay(top_up.session_id, "pm_card_visa")
            payment_id = self.simulator.checkout.retrieve({}, top_up.session_id)["payment_intent"]
        if told:
            settle_payment(self.ports, payment_id)
            self.counts["told"] += 1
        return payment_id

    def refund(self, payment_id, cents):
        self.stripe.refund(payment_id, cents, f"refund-{payment_id}")
        self.counts["refunded"] += 1

    def dispute(self, payment_id, won):
        with self.simulator.world.lock:
            charge = self.simulator.payments.retrieve_payment({}, payment_id)["latest_charge"]
            dispute_id = self.simulator.refunds.open_dispute(charge)["id"]
        settle_payment(self.ports, payment_id)
        self.simulator.refunds.close_dispute(dispute_id, won=won)
        self.counts["won" if won else "lost"] += 1

    def look_after(self):
        """What is scheduled: look for what nobody told of, then hold both books against each other."""
        self.counts["healed"] += heal(self.ports).missed
        return reconcile(self.ports, NEVER_MS)

    def summarise(self, account_id):
        """What Stripe's own books have of the account, in cents."""
        customer_id = self.ports.store.get_customer(account_id)
        return self.simulator.books.summarise()["customers"][customer_id]["usd"]

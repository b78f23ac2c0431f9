"""A till over the seeded cloud: an account that tops up, a Stripe that is told what happened."""

import json
from dataclasses import replace

from chalicelib.billing.posting import find_balance
from chalicelib.payments.model import Dispute, Refund
from chalicelib.payments.ports import ClimatePorts, PaymentPorts, StripeSecrets
from chalicelib.payments.service import CreateTopUp, create_top_up, handle_event, receive_event
from tests.factories import seed_cloud
from tests.fakes.climate import FakeClimate, FakePurchaseStore, FakeResiduals
from tests.fakes.payments import FakeEventQueue, FakePayments, FakePaymentStore

CENTS = 2_000
AMOUNT = CENTS * 10_000
#: A deadline that does not come.
NEVER_MS = 10**15
SECRETS = ("whsec_present", "whsec_before")


class Till:
    def __init__(self, seeded=None):
        self.seeded = seeded or seed_cloud(credit_micros=0)
        self.stripe, self.queue = FakePayments(), FakeEventQueue()
        self.secrets = StripeSecrets(SECRETS, livemode=False)
        self.climate, self.residuals = FakeClimate(), FakeResiduals()
        self.ports = PaymentPorts(
            FakePaymentStore(self.seeded.cloud.db),
            self.seeded.cloud.billing,
            self.queue,
            lambda: self.stripe,
            lambda: self.secrets,
            ClimatePorts(FakePurchaseStore(self.seeded.cloud.db), lambda: self.climate, self.residuals),
        )
        self.account_id = self.seeded.renter.account_id

    def top_up(self, key="k", amount_micros=AMOUNT, renter=None):
        command = CreateTopUp(amount_micros, "https://app.example/", key, f"{amount_micros}")
        return create_top_up(self.ports, renter or self.seeded.renter, command)

    def read(self, top_up):
        return self.ports.store.get_top_up(top_up.top_up_id)

    @property
    def posted(self):
        return find_balance(self.seeded.cloud.billing, self.account_id).posted_micros

    def change(self, payment_id, **facts):
        self.stripe.payments[payment_id] = replace(self.stripe.payments[payment_id], **facts)

    def tell(self, event_id, payment_id, kind="payment_intent.succeeded"):
        """A webhook arrives, and its work is done."""
        body, header = self.sign(event_id, payment_id, kind)
        receive_event(self.ports, body, header)
        self.work()

    def work(self):
        while self.queue.waiting:
            handle_event(self.ports, self.queue.waiting[0])
            self.queue.waiting.pop(0)

    def sign(self, event_id, payment_id, kind="payment_intent.succeeded", *, secret=SECRETS[0], age_s=0):
        from stripe import WebhookSignature

        target = {"object": "payment_intent", "id": payment_id}
        if kind.startswith("climate.order"):
            target = {"object": "climate.order", "id": payment_id}
        elif not kind.startswith("payment_intent"):
            target = {"object": kind.split(".")[0], "id": "x_1", "payment_intent": payment_id}
        told = {"id": event_id, "type": kind, "livemode": False, "data": {"object": target}}
        body = json.dumps(told).encode()
        seconds = self.seeded.cloud.clock.now_ms() // 1000 - age_s
        return body, WebhookSignature.generate_signature_header(body.decode(), secret, timestamp=seconds)

    def clearing(self):
        """What Stripe holds for us, by our books."""
        legs = self.seeded.cloud.db.table("legs").values()
        return -sum(leg.amount_micros for leg, _ in legs if leg.ledger_account.startswith("stripe_clearing"))


def refund(cents, number=1, status="succeeded"):
    return Refund(f"re_{number}", status, cents)


def dispute(*cents, status="needs_response"):
    return Dispute("du_1", status, tuple((f"txn_{n}", each) for n, each in enumerate(cents)))

"""Payments on the embedded cloud: the API opens Stripe's page, somebody pays, a signed webhook tells of it,
the queue's function fetches and posts; and what happens to the money afterwards. Both sides' books agree.
"""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
import stripe

from chalicelib import wiring
from chalicelib.billing.model import name_shard
from chalicelib.billing.posting import find_balance
from chalicelib.billing.service import check_chain
from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.service import heal
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import LegItem
from infra.local.cloud import EmbeddedCloud
from infra.local.stripe.webhooks import Disorder
from tests.integration.fleet_setup import become_operator
from tests.integration.in_process import wire_to
from tests.integration.waiting import wait_for
from tests.unit.payments.till import NEVER_MS

CENTS = 2_500
AMOUNT = CENTS * 10_000


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[EmbeddedCloud]:
    with wire_to(cloud):
        yield cloud


KEY_PREFIX = "sk_" + "test_"


def connect_to(cloud: EmbeddedCloud) -> stripe.StripeClient:
    """What somebody sees who looks at Stripe's own pages."""
    return stripe.StripeClient(f"{KEY_PREFIX}x", base_addresses={"api": cloud.stripe.url})


class Renter:
    """An account that speaks HTTP with the deployed API."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        from chalicelib.accounts.service import create_account, create_key

        operator = become_operator()
        self.cloud = cloud
        self.account_id = create_account(
            wiring.account_ports(), operator, name="payer", currency="USD"
        ).account_id
        self.token = create_key(wiring.account_ports(), operator, self.account_id, label="k").token

    def ask(self, method: str, path: str, body: object = None, key: str | None = None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.cloud.api_url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def top_up(self, key: str | None = None):
        body = {"amount_micros": AMOUNT, "return_url": "https://app.example/paid"}
        return self.ask("POST", "/v1/top-ups", body, key or uuid.uuid4().hex)

    def read(self, top_up):
        return self.ask("GET", f"/v1/top-ups/{top_up['top_up_id']}")

    def pay(self, top_up) -> str:
        """Pay on Stripe's page; return the payment."""
        simulator = self.cloud.stripe.simulator
        session_id = top_up["checkout_url"].rstrip("/").rpartition("/")[2]
        with simulator.world.lock:
            simulator.checkout.pay(session_id, "pm_card_visa")
        client = connect_to(self.cloud)
        session = client.v1.checkout.sessions.retrieve(session_id)
        return str(session.payment_intent)

    def clearing(self) -> int:
        """What Stripe holds of this account's, by our books."""
        name = name_shard("stripe_clearing", self.account_id)
        return -sum(leg.amount_micros for leg in LegItem.query(keys.legs(name), consistent_read=True))

    @property
    def posted(self) -> int:
        return find_balance(wiring.billing_ports(), self.account_id).posted_micros


@pytest.fixture
def renter(wired: EmbeddedCloud) -> Renter:
    return Renter(wired)


@pytest.mark.slow
def test_a_payment_arrives_once_is_refunded_disputed_and_won(renter: Renter) -> None:
    simulator = renter.cloud.stripe.simulator
    top_up = renter.top_up("first")
    assert renter.top_up("first") == top_up
    assert (top_up["state"], renter.posted) == ("created", 0)
    simulator.webhooks.disorder = Disorder(duplicate=1.0)
    payment_id = renter.pay(top_up)
    wait_for(lambda: renter.posted == AMOUNT, bool)
    wait_for(lambda: renter.read(top_up)["state"] == "succeeded", bool)
    client = connect_to(renter.cloud)
    client.v1.refunds.create({"payment_intent": payment_id, "amount": 500})
    wait_for(lambda: renter.posted == AMOUNT - 5_000_000, bool)
    charge = client.v1.payment_intents.retrieve(payment_id).latest_charge
    with simulator.world.lock:
        dispute = simulator.refunds.open_dispute(str(charge))
    wait_for(lambda: renter.read(top_up)["disputed_micros"] > 0, bool)
    assert renter.posted <= 0
    with simulator.world.lock:
        simulator.refunds.close_dispute(dispute["id"], won=True)
    wait_for(lambda: renter.read(top_up)["disputed_micros"] == 0, bool)
    simulator.webhooks.disorder = Disorder()
    assert renter.posted == AMOUNT - 5_000_000
    assert check_chain(wiring.billing_ports(), renter.account_id) is None
    customer = wiring.payment_ports().store.get_customer(renter.account_id)
    theirs = simulator.books.summarise()["customers"][customer]["usd"]
    assert (theirs["captured"], theirs["refunded"], theirs["disputed"]) == (CENTS, 500, 0)
    assert renter.clearing() == (theirs["captured"] - theirs["refunded"] - theirs["disputed"]) * 10_000
    entries = renter.ask("GET", "/v1/ledger-entries")["items"]
    assert [each["kind"] for each in entries] == ["dispute_reversed", "dispute", "refund", "top_up"]


@pytest.mark.slow
def test_what_no_webhook_told_is_healed_from_stripes_own_list(renter: Renter) -> None:
    simulator = renter.cloud.stripe.simulator
    simulator.webhooks.disorder = Disorder(loss=1.0)
    renter.pay(renter.top_up())
    simulator.webhooks.disorder = Disorder()
    assert renter.posted == 0
    assert heal(wiring.payment_ports()).missed > 0
    assert renter.posted == AMOUNT
    assert heal(wiring.payment_ports()).missed == 0


@pytest.mark.slow
def test_both_books_agree_to_the_cent(renter: Renter) -> None:
    renter.pay(renter.top_up())
    found = reconcile(wiring.payment_ports(), NEVER_MS)
    assert (found.unmatched, found.drift_cents) == ((), 0)
    assert found.movements > 0
    again = reconcile(wiring.payment_ports(), NEVER_MS)
    assert (again.movements, again.drift_cents) == (0, 0)


def test_nothing_unsigned_comes_in(renter: Renter) -> None:
    request = urllib.request.Request(
        f"{renter.cloud.api_url}/v1/stripe/events", b'{"id":"evt_x"}', {"Stripe-Signature": "t=1,v1=0"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert json.load(refused.value)["code"] == "bad_signature"

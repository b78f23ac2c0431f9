"""Payments that die at any call to the database, the queue or Stripe: money comes in once, and none is lost.

Webhooks of the simulator are lost on purpose: each test does by itself what one would have set off.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import stripe

from chalicelib import wiring
from chalicelib.accounts.service import authenticate, create_account, create_key
from chalicelib.compliance.store import DynamoAuditTrail
from chalicelib.core.principal import Principal
from chalicelib.payments.methods import list_methods, open_method_page
from chalicelib.payments.queue_gateway import SqsEventQueue
from chalicelib.payments.reconciling import reconcile
from chalicelib.payments.refilling import PutAutoTopUp, get_order, put_order, refill_wallets, remove_order
from chalicelib.payments.service import (
    CreateTopUp,
    create_top_up,
    handle_event,
    heal,
    receive_event,
    refund_top_up,
)
from chalicelib.payments.settling import settle_payment
from infra.local.cloud import EmbeddedCloud
from infra.local.stripe.webhooks import Disorder
from tests.integration.crashes import check_account, enumerate_crashes
from tests.integration.fleet_setup import become_operator
from tests.integration.in_process import wire_to
from tests.unit.payments.till import NEVER_MS

CENTS = 2_500
AMOUNT = CENTS * 10_000
REFUND_CENTS = 700
REFUND = REFUND_CENTS * 10_000


class Counter:
    """Stripe's side of the tests, and a queue that nobody else reads."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.simulator = cloud.stripe.simulator
        self.operator = become_operator()
        self.sqs = wiring.sqs_client()
        self.queue_url = self.sqs.create_queue(QueueName=f"events-{uuid.uuid4().hex}")["QueueUrl"]
        queue = SqsEventQueue(self.sqs, self.queue_url)
        payments = wiring.payment_ports().connect()
        self.ports = replace(wiring.payment_ports(), queue=queue, connect=lambda: payments)
        self.renter: Principal
        self.entered_ms, self.old = 0, frozenset[str]()

    def enter(self) -> None:
        """A new renter comes; what Stripe has to tell until now is of no concern."""
        account = create_account(wiring.account_ports(), self.operator, name="payer", currency="USD")
        token = create_key(wiring.account_ports(), self.operator, account.account_id, label="k").token
        self.renter = authenticate(wiring.account_ports(), token)
        with self.simulator.world.lock:
            world = self.simulator.world
            self.entered_ms = world.now() * 1000
            told = [*world.select("event"), *world.select("balance_transaction")]
            self.old = frozenset(each["id"] for each in told if each["created"] * 1000 >= self.entered_ms)

    @property
    def account_id(self) -> str:
        return self.renter.account_id

    def top_up(self) -> Any:
        command = CreateTopUp(AMOUNT, "https://app.example/", f"{self.account_id}-key", "same")
        return create_top_up(self.ports, self.renter, command)

    def save_method(self) -> str:
        """Save a card as its owner does, on Stripe's page; return it."""
        url = open_method_page(self.ports, self.renter, "https://app.example/", self.account_id)
        with self.simulator.world.lock:
            self.simulator.checkout.pay(url.rpartition("/")[2], "pm_card_visa")
        (method,) = list_methods(self.ports, self.account_id)
        return method.method_id

    def pay(self, top_up: Any) -> str:
        with self.simulator.world.lock:
            self.simulator.checkout.pay(top_up.session_id, "pm_card_visa")
            return str(self.simulator.checkout.retrieve({}, top_up.session_id)["payment_intent"])

    def sell(self) -> tuple[str, str]:
        """Return a new renter's top-up and its payment; nobody has told us of it."""
        self.enter()
        top_up = self.top_up()
        return top_up.top_up_id, self.pay(top_up)

    def refund(self, payment_id: str) -> None:
        with self.simulator.world.lock:
            self.simulator.refunds.create({"payment_intent": payment_id, "amount": REFUND_CENTS})

    def dispute(self, payment_id: str) -> None:
        """The bank takes the money back and loses."""
        with self.simulator.world.lock:
            charge = self.simulator.payments.retrieve_payment({}, payment_id)["latest_charge"]
            dispute = self.simulator.refunds.open_dispute(charge)
            self.simulator.refunds.close_dispute(dispute["id"], won=True)

    def sign(self, payment_id: str) -> tuple[bytes, str]:
        target = {"object": "payment_intent", "id": payment_id}
        told = {"id": f"evt_{uuid.uuid4().hex}", "type": "payment_intent.succeeded", "livemode": False}
        body = json.dumps(told | {"data": {"object": target}}).encode()
        (secret, *_) = self.ports.read_secrets().webhook_secrets
        header = stripe.WebhookSignature.generate_signature_header(
            body.decode(), secret, timestamp=int(time.time())
        )
        return body, header

    def drain(self) -> list[str]:
        """Take what waits in the queue."""
        found: list[str] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                found.append(message["Body"])
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def summarise(self) -> dict[str, int]:
        """What Stripe's own books have of the renter, in cents."""
        customer = self.ports.store.get_customer(self.account_id)
        with self.simulator.world.lock:
            found: dict[str, int] = self.simulator.books.summarise()["customers"][customer]["usd"]
        return found


class OnlyNew:
    """`ports.Payments` whose lists leave out what was there before the present renter.

    Else each crash point would make the next act longer, and there were no last one.
    """

    def __init__(self, counter: Counter, payments: Any) -> None:
        self.counter, self.payments = counter, payments

    def __getattr__(self, name: str) -> Any:
        return getattr(self.payments, name)

    def list_changed(self, since_ms: int) -> Any:
        told = self.payments.list_changed(max(since_ms, self.counter.entered_ms))
        return (each for each in told if each[0] not in self.counter.old)

    def list_movements(self, since_ms: int) -> Any:
        told = self.payments.list_movements(max(since_ms, self.counter.entered_ms))
        return (each for each in told if each.movement_id not in self.counter.old)


@pytest.fixture(scope="module")
def counter(cloud: EmbeddedCloud) -> Iterator[Counter]:
    with wire_to(cloud):
        webhooks = cloud.stripe.simulator.webhooks
        before, webhooks.disorder = webhooks.disorder, Disorder(loss=1.0)
        yield Counter(cloud)
        webhooks.disorder = before


@pytest.fixture
def narrow(counter: Counter) -> Any:
    narrowed = OnlyNew(counter, counter.ports.connect())
    return replace(counter.ports, connect=lambda: narrowed)


def test_a_top_up_that_dies_anywhere_opens_one_page_and_is_paid_once(counter: Counter) -> None:
    def prepare() -> Callable[[], object]:
        counter.enter()
        return counter.top_up

    def check() -> None:
        top_up = counter.top_up()
        (listed,) = counter.ports.store.list_top_ups(counter.account_id, 10, None).items
        assert (listed.state, listed.session_id) == ("created", top_up.session_id)
        with counter.simulator.world.lock:
            made = [
                each
                for kind in ("checkout.session", "customer")
                for each in counter.simulator.world.select(kind)
                if each["metadata"].get("account_id") == counter.account_id
            ]
        assert [each["object"] for each in made] == ["checkout.session", "customer"]
        settle_payment(counter.ports, counter.pay(top_up))
        check_account(counter.account_id, AMOUNT, ["top_up"])
        assert counter.summarise()["captured"] == CENTS

    calls = enumerate_crashes(prepare, check)
    assert sum(each.startswith("post ") for each in calls) >= 2
    assert len(calls) == 7


def test_a_webhook_that_dies_anywhere_comes_again_and_is_worked_on_once(counter: Counter) -> None:
    """Stripe sends again what was not answered by 200; the queue brings again what was not done."""
    current: list[Any] = []

    def prepare() -> Callable[[], object]:
        _, payment_id = counter.sell()
        counter.drain()
        body, header = counter.sign(payment_id)
        current[:] = [json.loads(body)["id"]]
        return lambda: receive_event(counter.ports, body, header)

    def check() -> None:
        waiting = counter.drain()
        assert set(waiting) == {current[0]}
        for event_id in waiting:
            handle_event(counter.ports, event_id)
        check_account(counter.account_id, AMOUNT, ["top_up"])

    assert "SendMessage" in enumerate_crashes(prepare, check)


def test_the_work_on_an_event_that_dies_anywhere_posts_each_transition_once(counter: Counter) -> None:
    current: list[Any] = []

    def prepare() -> Callable[[], object]:
        top_up_id, payment_id = counter.sell()
        counter.refund(payment_id)
        counter.dispute(payment_id)
        receive_event(counter.ports, *counter.sign(payment_id))
        (event_id,) = counter.drain()
        current[:] = [top_up_id, event_id]
        return lambda: handle_event(counter.ports, event_id)

    def check() -> None:
        top_up_id, event_id = current
        check_account(
            counter.account_id, AMOUNT - REFUND, ["top_up", "refund", "dispute", "dispute_reversed"]
        )
        top_up = counter.ports.store.get_top_up(top_up_id)
        assert top_up is not None
        assert (top_up.state, top_up.refunded_micros, top_up.disputed_micros) == ("succeeded", REFUND, 0)
        event = counter.ports.store.get_event(event_id)
        assert event is not None
        assert event.done
        theirs = counter.summarise()
        assert (theirs["captured"], theirs["refunded"], theirs["disputed"]) == (CENTS, REFUND_CENTS, 0)

    assert len(enumerate_crashes(prepare, check)) >= 20


def test_a_refund_that_dies_anywhere_gives_back_once(counter: Counter) -> None:
    current: list[str] = []

    def prepare() -> Callable[[], object]:
        top_up_id, payment_id = counter.sell()
        settle_payment(counter.ports, payment_id)
        current[:] = [top_up_id]
        return lambda: refund_top_up(counter.ports, counter.operator, top_up_id, REFUND, f"key-{top_up_id}")

    def check() -> None:
        check_account(counter.account_id, AMOUNT - REFUND, ["top_up", "refund"])
        assert counter.summarise()["refunded"] == REFUND_CENTS
        acts = [entry.action for entry in DynamoAuditTrail().list_by_target(current[0], 10, None).items]
        assert sorted(acts) == ["top_up.created", "top_up.refunded"]

    assert len(enumerate_crashes(prepare, check)) >= 10


def test_an_auto_top_up_that_dies_anywhere_pays_once(counter: Counter) -> None:
    def prepare() -> Callable[[], object]:
        counter.enter()
        method_id = counter.save_method()
        put_order(counter.ports, counter.renter, PutAutoTopUp(AMOUNT, AMOUNT, AMOUNT, method_id))
        return lambda: refill_wallets(counter.ports, 10**15)

    def check() -> None:
        check_account(counter.account_id, AMOUNT, ["top_up"])
        assert counter.summarise()["captured"] == CENTS
        order = get_order(counter.ports, counter.account_id)
        (top_up,) = counter.ports.store.list_top_ups(counter.account_id, 10, None).items
        assert (top_up.kind, top_up.state, order.open_top_up_id) == ("auto", "succeeded", None)
        assert order.month_micros == AMOUNT
        assert counter.account_id in counter.ports.store.list_orders()
        # Else the next one would have this one to look at, too.
        remove_order(counter.ports, counter.renter)
        assert counter.account_id not in counter.ports.store.list_orders()

    assert len(enumerate_crashes(prepare, check)) >= 15


def test_healing_that_dies_anywhere_finds_each_payment_once(counter: Counter, narrow: Any) -> None:
    def prepare() -> Callable[[], object]:
        counter.sell()
        return lambda: heal(narrow)

    def check() -> None:
        check_account(counter.account_id, AMOUNT, ["top_up"])
        assert heal(narrow).missed == 0

    assert len(enumerate_crashes(prepare, check)) >= 20


def test_reconciling_that_dies_anywhere_posts_and_counts_each_movement_once(
    counter: Counter, narrow: Any
) -> None:
    assert reconcile(counter.ports, NEVER_MS).unmatched == ()

    def prepare() -> Callable[[], object]:
        _, payment_id = counter.sell()
        counter.refund(payment_id)
        return lambda: reconcile(narrow, NEVER_MS)

    def check() -> None:
        check_account(counter.account_id, AMOUNT - REFUND, ["top_up", "refund"])
        found = reconcile(narrow, NEVER_MS)
        assert (found.movements, found.unmatched, found.drift_cents) == (0, (), 0)

    assert len(enumerate_crashes(prepare, check)) >= 20

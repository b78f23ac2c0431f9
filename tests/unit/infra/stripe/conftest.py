from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import stripe

from infra.local.stripe.server import run_stripe
from infra.local.stripe.simulator import Simulator

START = 1_800_000_000
KEY = "sk_" + "test_" + "simulator"


@dataclass
class Inbox:
    """Receives deliveries and answers as it is told."""

    received: list[tuple[str, bytes, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.received.append((url, body, headers.get("Stripe-Signature", "")))
        return self.statuses.pop(0) if self.statuses else 200


@dataclass
class Shop:
    client: stripe.StripeClient
    simulator: Simulator
    inbox: Inbox
    url: str
    waits: list[Callable[[float], None]]

    def pay(self, amount: int = 1_000, method: str = "pm_card_visa", **more):
        params = {"amount": amount, "currency": "usd", "payment_method": method, "confirm": True, **more}
        return self.client.v1.payment_intents.create(params, {"max_network_retries": 0})


def connect(url: str, retries: int = 0) -> stripe.StripeClient:
    http_client = stripe.RequestsClient(timeout=8)
    return stripe.StripeClient(
        KEY, base_addresses={"api": url}, http_client=http_client, max_network_retries=retries
    )


@pytest.fixture
def shop() -> Iterator[Shop]:
    inbox, waits = Inbox(), []

    def wait(seconds: float) -> None:
        waits.pop(0)(seconds)

    with run_stripe(seed=7, now=lambda: START, transport=inbox, wait=wait) as running:
        client = connect(running.url)
        yield Shop(client, running.simulator, inbox, running.url, waits)
        client._requestor._get_http_client().close()

"""Webhooks: where events are written, and who delivers them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.accounts import account_ports
from chalicelib.wiring.system import bind_tables, clock, ids, read_pepper, settings, start_transaction

if TYPE_CHECKING:
    from chalicelib.webhooks.addresses import Reach
    from chalicelib.webhooks.dispatch import DispatchPorts, Job
    from chalicelib.webhooks.leaks import LeakPorts
    from chalicelib.webhooks.service import WebhookPorts, WebhookStore

#: Attempts at once: each waits for somebody else's machine.
ATTEMPTS_AT_ONCE = 32
#: The stage of the embedded cloud. No other may deliver to the machine that it runs on.
LAPTOP_STAGE = "local"


@cache
def webhook_store() -> "WebhookStore":
    from chalicelib.webhooks.store import DynamoWebhookStore

    bind_tables()
    return DynamoWebhookStore()


def reach() -> "Reach":
    from chalicelib.webhooks.addresses import Reach

    return Reach(loopback=settings().stage == LAPTOP_STAGE)


@cache
def webhook_ports() -> "WebhookPorts":
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.storage.idempotency import DynamoIdempotencyStore
    from chalicelib.webhooks.service import WebhookPorts

    return WebhookPorts(
        webhook_store(),
        DynamoIdempotencyStore(),
        DynamoAuditTrail(),
        start_transaction,
        clock(),
        ids(),
        read_pepper,
        reach(),
    )


@cache
def leak_ports() -> "LeakPorts":
    from chalicelib.webhooks.leaks import LeakPorts

    return LeakPorts(account_ports(), webhook_store())


@cache
def dispatch_ports() -> "DispatchPorts":
    from chalicelib.runtime.system import draw_fraction
    from chalicelib.webhooks.delivery_gateway import HttpSender
    from chalicelib.webhooks.dispatch import DispatchPorts

    return DispatchPorts(webhook_store(), HttpSender(reach()), clock(), read_pepper, draw_fraction, run_all)


def run_all(jobs: "Sequence[Job]") -> None:
    """Do jobs side by side; the first exception is raised when all have ended."""
    with ThreadPoolExecutor(ATTEMPTS_AT_ONCE) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def read_event_reference(pk: str, sk: str) -> tuple[str, str] | None:
    """Return (account id, event id) of a key of the table; ``None``: it is no event's."""
    from chalicelib.storage import keys

    return (keys.read_account(pk), keys.read_event(sk)) if sk.startswith(keys.EVENT_PREFIX) else None

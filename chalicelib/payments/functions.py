"""Works on Stripe's events, looks for those that nobody told us of, fills wallets up, buys removals."""

import os

from chalice.app import Blueprint, CloudWatchEvent, Rate, SQSEvent

from chalicelib import wiring
from chalicelib.core.errors import NotFound
from chalicelib.payments import purchasing, refilling, service
from chalicelib.payments.ports import ForeignPayment, PaymentsNotConfigured
from chalicelib.payments.reconciling import reconcile
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.runtime.queues import Message, Rejected, consume, read_messages

functions = Blueprint(__name__)

#: Nothing is begun after it: one may wait for Stripe for 8 s, three times. Lambda ends a run at 60 s.
REFILL_BUDGET_MS = PURCHASE_BUDGET_MS = HEALING_BUDGET_MS = RECONCILING_BUDGET_MS = 30_000
_UNSET_QUEUE = "arn:aws:sqs:us-east-1:000000000000:unset"


@functions.on_sqs_message(
    queue_arn=os.environ.get("PAYMENTS_QUEUE_ARN", _UNSET_QUEUE), batch_size=10, name="on_stripe_event"
)
def on_stripe_event(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    return consume(read_messages(event.to_dict()), handle_stripe_event, wiring.dead_letters("payments"))


def handle_stripe_event(message: Message) -> None:
    """Raises Rejected for what no retry can mend and a person has to look at."""
    try:
        service.handle_event(wiring.payment_ports(), message.body)
    except (NotFound, ForeignPayment) as error:
        raise Rejected(error.code, error.detail) from error


@functions.schedule(Rate(1, unit=Rate.DAYS), name="reconcile_payments")
def reconcile_payments(_event: CloudWatchEvent) -> None:
    """Hold the ledger against Stripe's balance, and post fees and payouts."""
    deadline_ms = wiring.clock().now_ms() + RECONCILING_BUDGET_MS
    try:
        found = reconcile(wiring.payment_ports(), deadline_ms)
    except PaymentsNotConfigured:
        return
    if not found.left:
        # Before the end of the list it is not known.
        put_metrics(wiring.settings().stage, stripe_drift_cents=abs(found.drift_cents))
    get_logger().info(
        "payments reconciled",
        extra={
            "movements": found.movements,
            "unmatched": list(found.unmatched),
            "stripe_cents": found.stripe_cents,
            "drift_cents": found.drift_cents,
            "left": found.left,
        },
    )


@functions.schedule(Rate(15, unit=Rate.MINUTES), name="heal_payments")
def heal_payments(_event: CloudWatchEvent) -> None:
    """Go through Stripe's own list of events; a stage without payments has nothing to heal."""
    deadline_ms = wiring.clock().now_ms() + HEALING_BUDGET_MS
    try:
        healed = service.heal(wiring.payment_ports(), deadline_ms)
    except PaymentsNotConfigured:
        return
    put_metrics(wiring.settings().stage, stripe_events_missed=healed.missed, foreign_payments=healed.foreign)
    get_logger().info(
        "payments healed", extra={"missed": healed.missed, "foreign": healed.foreign, "left": healed.left}
    )


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="refill_wallets")
def refill_wallets(_event: CloudWatchEvent) -> None:
    """Top up wallets by standing order; what is left when time runs out is for the next run."""
    deadline_ms = wiring.clock().now_ms() + REFILL_BUDGET_MS
    done = refilling.refill_wallets(wiring.payment_ports(), deadline_ms)
    put_metrics(wiring.settings().stage, refills_failed=len(done.failed))
    get_logger().info(
        "wallets refilled",
        extra={
            "begun": done.begun,
            "ended": done.ended,
            "failed": [list(each) for each in done.failed[:100]],
            "left": done.left,
        },
    )


@functions.schedule(Rate(15, unit=Rate.MINUTES), name="buy_removals")
def buy_removals(_event: CloudWatchEvent) -> None:
    """Buy removals for months that are over; what is left when time runs out is for the next run."""
    deadline_ms = wiring.clock().now_ms() + PURCHASE_BUDGET_MS
    done = purchasing.buy_removals(wiring.payment_ports(), deadline_ms)
    put_metrics(wiring.settings().stage, removals_overdue=done.overdue)
    get_logger().info(
        "removals bought",
        extra={
            "begun": done.begun,
            "failed": [list(each) for each in done.failed[:100]],
            "overdue": done.overdue,
            "left": done.left,
        },
    )

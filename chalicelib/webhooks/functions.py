"""Delivers events: at once by the stream of their table, and each minute whatever is due."""

import os
from collections.abc import Mapping
from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate

from chalicelib import wiring
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.webhooks import dispatch

functions = Blueprint(__name__)

_UNSET_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/unset/stream/2026-01-01T00:00:00.000"


@functions.on_dynamodb_record(
    stream_arn=os.environ.get("WEBHOOKS_STREAM_ARN", _UNSET_STREAM),
    batch_size=dispatch.ROUND_EVENTS,
    starting_position="TRIM_HORIZON",
    name="on_event_recorded",
)
def on_event_recorded(event: DynamoDBEvent) -> dict[str, list[dict[str, str]]]:
    """Deliver what is new, or was replayed; a batch that fails comes again."""
    ports = wiring.dispatch_ports()
    soon_ms = ports.clock.now_ms() + dispatch.CLOCK_TOLERANCE_MS
    images = (record["dynamodb"].get("NewImage") or {} for record in event.to_dict()["Records"])
    due = [reference for image in images if (reference := find_due(image, soon_ms)) is not None]
    _log(dispatch.deliver(ports, due))
    return {"batchItemFailures": []}


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="deliver_due_events")
def deliver_due_events(_event: CloudWatchEvent) -> None:
    """Deliver what is due: the next attempts, and what the stream has lost."""
    ports = wiring.dispatch_ports()
    try:
        _log(dispatch.sweep(ports))
    finally:
        overdue_seconds = dispatch.measure_overdue_ms(ports) // 1000
        put_metrics(wiring.settings().stage, oldest_webhook_overdue_seconds=overdue_seconds)


def find_due(image: Mapping[str, Any], now_ms: int) -> tuple[str, str] | None:
    """Return (account id, event id) of a stream image that is to be delivered by ``now_ms``."""
    due_at_ms = image.get("due_at_ms", {}).get("N")
    if due_at_ms is None or int(due_at_ms) > now_ms:
        return None
    return wiring.read_event_reference(image["pk"]["S"], image["sk"]["S"])


def _log(done: dispatch.Dispatched) -> None:
    if done.events:
        get_logger().info(
            "events dispatched",
            extra={"events": done.events, "delivered": done.delivered, "failed": done.failed},
        )

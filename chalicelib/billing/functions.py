"""The minute's tick and the charge consumer."""

import json
import os

from chalice.app import Blueprint, CloudWatchEvent, Rate, SQSEvent

from chalicelib import wiring
from chalicelib.billing import charging, crediting, keeping
from chalicelib.core.errors import NotFound
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.queues import Message, Rejected, consume, read_messages

functions = Blueprint(__name__)

_UNSET_QUEUE = "arn:aws:sqs:us-east-1:000000000000:unset.fifo"


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="dispatch_charges")
def dispatch_charges(_event: CloudWatchEvent) -> None:
    count = charging.dispatch_charges(wiring.billing_ports(), wiring.clock().now_ms())
    get_logger().info("charges dispatched", extra={"meters": count})


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="expire_credits")
def expire_credits(_event: CloudWatchEvent) -> None:
    count = crediting.expire_grants(wiring.billing_ports(), wiring.clock().now_ms())
    get_logger().info("credits expired", extra={"grants": count})


@functions.schedule(Rate(1, unit=Rate.HOURS), name="charge_volumes")
def charge_volumes(_event: CloudWatchEvent) -> None:
    count = keeping.charge_volumes(wiring.billing_ports(), wiring.clock().now_ms())
    get_logger().info("volumes charged", extra={"charges": count})


@functions.on_sqs_message(
    queue_arn=os.environ.get("CHARGES_QUEUE_ARN", _UNSET_QUEUE), batch_size=10, name="on_charge"
)
def on_charge(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    return consume(read_messages(event.to_dict()), handle_charge, wiring.dead_letters("charges"))


def handle_charge(message: Message) -> None:
    """Raises Rejected for a message that no retry can mend."""
    try:
        rental_id = json.loads(message.body)["rental_id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected("wrong_schema", str(error)) from error
    if not isinstance(rental_id, str):
        raise Rejected("wrong_schema", "rental_id is not a text")
    try:
        charging.charge_rental(wiring.billing_ports(), rental_id)
    except NotFound as error:
        raise Rejected("unknown_rental", error.detail) from error

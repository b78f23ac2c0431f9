"""The minute's tick, the charge consumer, the day's seal and the guard of what stands."""

import json
import os

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate, SQSEvent

from chalicelib import wiring
from chalicelib.billing import charging, crediting, keeping, sealing
from chalicelib.billing.seals import SealMismatch
from chalicelib.billing.tampering import find_tampering, record_tampering
from chalicelib.core.errors import DomainError, NotFound
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.runtime.queues import Message, Rejected, consume, read_messages

functions = Blueprint(__name__)

_UNSET_QUEUE = "arn:aws:sqs:us-east-1:000000000000:unset.fifo"
_UNSET_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/unset/stream/2026-01-01T00:00:00.000"
#: No part of a seal and no volume is begun after it; Lambda ends a run at 60 s (.chalice/config.json).
SEAL_BUDGET_MS = VOLUMES_BUDGET_MS = 30_000


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
    now_ms = wiring.clock().now_ms()
    count = keeping.charge_volumes(wiring.billing_ports(), now_ms, now_ms + VOLUMES_BUDGET_MS)
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


@functions.schedule(Rate(1, unit=Rate.HOURS), name="seal_ledger")
def seal_ledger(_event: CloudWatchEvent) -> None:
    """Seal the days that are over, and look whether anything was put over the last seal."""
    ports, stage = wiring.seal_ports(), wiring.settings().stage
    mismatches = 0
    try:
        for seal in sealing.seal_ledger(ports, wiring.clock().now_ms() + SEAL_BUDGET_MS):
            get_logger().info(
                "ledger sealed", extra={"day": seal.day, "root": seal.root, "wallets": seal.size}
            )
    except SealMismatch as error:
        mismatches = 1
        get_logger().error("ledger not sealed", extra={"detail": error.detail, **error.extra})
    finally:
        put_metrics(stage, seal_mismatches=mismatches, days_unsealed=sealing.count_unsealed(ports))
    covered = sealing.find_covered(ports)
    if covered:
        put_metrics(stage, seal_mismatches=len(covered))
        get_logger().error("seals covered", extra={"documents": covered})


@functions.lambda_function(name="verify_seals")
def verify_seals(event: dict[str, str], _context: object) -> dict[str, str]:
    """For an operator: ``first_day`` to ``last_day``; fails where a seal says what the ledger does not."""
    root = sealing.verify_seals(wiring.seal_ports(), event["first_day"], event["last_day"])
    return {"last_day": event["last_day"], "root": root}


@functions.on_dynamodb_record(
    stream_arn=os.environ.get("LEDGER_STREAM_ARN", _UNSET_STREAM),
    batch_size=100,
    starting_position="TRIM_HORIZON",
    name="on_ledger_tampered",
)
def on_ledger_tampered(event: DynamoDBEvent) -> dict[str, list[dict[str, str]]]:
    """Call a person; the stream is filtered, so that a posting invokes nothing."""
    records = event.to_dict()["Records"]
    changes = [(record, found) for record in records if (found := find_tampering(record)) is not None]
    if changes:
        # Before anything that may fail.
        put_metrics(wiring.settings().stage, ledger_rows_tampered=len(changes))
    failures: list[dict[str, str]] = []
    for record, found in changes:
        get_logger().error(
            "ledger tampered",
            extra={
                "kind": found.kind,
                "row": found.key,
                "old_fingerprint": found.old_fingerprint,
                "new_fingerprint": found.new_fingerprint,
            },
        )
        try:
            record_tampering(wiring.tampering_ports(), found)
        except DomainError:
            get_logger().exception("tampering not recorded", extra={"row": found.key})
            # A stream goes on from the first that failed.
            failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            break
    return {"batchItemFailures": failures}

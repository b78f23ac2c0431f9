"""Delivers commands from the outbox's stream to each host's own queue, and watches the hosts.

The stream keeps trying until the queue has the command, so a crash after the commit loses nothing; agents
treat a command that comes twice as one. A schedule is never finer than a minute: it sends a minute's ticks
with delays.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate, SQSEvent

from chalicelib import wiring
from chalicelib.fleet.detector import Tick, is_stale, plan_ticks
from chalicelib.fleet.maintenance import advance_windows
from chalicelib.fleet.model import derive_signing_key
from chalicelib.fleet.scores import refresh_pool_scores
from chalicelib.fleet.watch import watch_region
from chalicelib.runtime.observability import get_logger, put_metrics
from chalicelib.runtime.queues import Message, Rejected, consume, read_messages
from chalicelib.wire import v1

functions = Blueprint(__name__)

#: SQS takes ten messages in a call.
BATCH_MESSAGES = 10
_UNSET_QUEUE = "arn:aws:sqs:us-east-1:000000000000:unset"
_UNSET_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/unset/stream/2026-01-01T00:00:00.000"


@functions.on_dynamodb_record(
    stream_arn=os.environ.get("COMMANDS_STREAM_ARN", _UNSET_STREAM),
    batch_size=10,
    starting_position="TRIM_HORIZON",
    name="on_command_recorded",
)
def on_command_recorded(event: DynamoDBEvent) -> dict[str, list[dict[str, str]]]:
    """Send each new command; report the first that failed, the stream resumes from it."""
    for record in event.to_dict()["Records"]:
        if record["eventName"] != "INSERT":
            continue
        try:
            deliver_command(record["dynamodb"]["NewImage"])
        except Exception:
            get_logger().exception("command not delivered")
            return {"batchItemFailures": [{"itemIdentifier": record["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}


def deliver_command(image: Mapping[str, Any]) -> None:
    """Sign one outbox item and put it on its host's queue."""
    stored = json.loads(image["command"]["S"])
    command = build_wire_command(stored)
    signing_key = derive_signing_key(command.host_id, wiring.read_pepper())
    host = wiring.fleet_ports().store.get_host(command.host_id)
    if host is None:
        raise LookupError(f"no host {command.host_id}")
    wiring.sqs_client().send_message(
        QueueUrl=host.commands_queue_url, MessageBody=v1.encode_command(command, signing_key)
    )
    get_logger().info(
        "command sent",
        extra={"command_id": command.command_id, "kind": command.kind, "host_id": command.host_id},
    )


def build_wire_command(stored: Mapping[str, Any]) -> v1.Command:
    """Return the wire form of an outbox item (see `fleet.store.add_command`)."""
    return v1.Command(
        schema_version=v1.SCHEMA_VERSION,
        command_id=stored["command_id"],
        kind=stored["kind"],
        host_id=stored["host_id"],
        rental_id=stored["rental_id"],
        leases=[v1.Lease(lease["gpu_uuid"], lease["epoch"]) for lease in stored["leases"]],
        issued_at_ms=stored["issued_at_ms"],
        workload=_build_workload(stored["rental_id"], stored["workload"]),
        keep_volume=stored.get("keep_volume", False),
        deadline_at_ms=stored.get("deadline_at_ms"),
    )


def _build_workload(rental_id: str, stored: Mapping[str, Any] | None) -> v1.WorkloadSpec | None:
    """``stored`` may be of an earlier version, which knew commands and variables alone."""
    if stored is None:
        return None
    volume = stored.get("volume")
    return v1.WorkloadSpec(
        list(stored["command"]),
        stored.get("image"),
        stored["env"],
        [v1.PortSpec(**port) for port in stored.get("ports", [])],
        list(stored.get("ssh_public_keys", [])),
        # Named for its rental: there is one, and it goes when the rental does.
        None if volume is None else v1.VolumeSpec(f"vol_{rental_id}", **volume),
    )


@functions.schedule(Rate(1, unit=Rate.MINUTES), name="schedule_watches")
def schedule_watches(_event: CloudWatchEvent) -> None:
    """Send the ticks of a minute, then see to announced maintenance."""
    now_ms = wiring.clock().now_ms()
    regions = frozenset(region for _, region in wiring.cached_catalog().get().list_pools())
    send_ticks(plan_ticks(regions, now_ms))
    steps = advance_windows(wiring.maintenance_ports(), now_ms)
    if steps:
        get_logger().info("maintenance windows advanced", extra={"windows": steps})


@functions.schedule(Rate(1, unit=Rate.HOURS), name="refresh_reliability")
def refresh_reliability(_event: CloudWatchEvent) -> None:
    """Compute what offers say of the reliability of their pools."""
    ports = wiring.watch_ports()
    pools = wiring.cached_catalog().get().list_pools()
    stored = refresh_pool_scores(ports.fleet, ports.watch, pools, wiring.clock().now_ms())
    get_logger().info("reliability of pools refreshed", extra={"pools": stored})


def send_ticks(ticks: list[Tick]) -> None:
    """Put ticks on their queue. One that is lost is made up for by the next, five seconds later."""
    for first in range(0, len(ticks), BATCH_MESSAGES):
        entries = [
            {
                "Id": str(number),
                "MessageBody": json.dumps({"region": tick.region, "due_at_ms": tick.due_at_ms}),
                "DelaySeconds": tick.delay_seconds,
            }
            for number, tick in enumerate(ticks[first : first + BATCH_MESSAGES])
        ]
        answer = wiring.sqs_client().send_message_batch(
            QueueUrl=wiring.settings().watches_queue_url, Entries=entries
        )
        if answer.get("Failed"):
            get_logger().warning("ticks not sent", extra={"ticks": len(answer["Failed"])})


@functions.on_sqs_message(
    queue_arn=os.environ.get("WATCHES_QUEUE_ARN", _UNSET_QUEUE), batch_size=1, name="on_watch"
)
def on_watch(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    return consume(read_messages(event.to_dict()), handle_watch, wiring.dead_letters("watches"))


def handle_watch(message: Message) -> None:
    """Look at a region. Raises Rejected for a message that no retry can mend."""
    try:
        tick = json.loads(message.body)
        region, due_at_ms = tick["region"], tick["due_at_ms"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Rejected("wrong_schema", str(error)) from error
    if not isinstance(region, str) or type(due_at_ms) is not int:
        raise Rejected("wrong_schema", "region is a text, due_at_ms a whole number")
    now_ms = wiring.clock().now_ms()
    if is_stale(due_at_ms, now_ms):
        get_logger().info("stale tick dropped", extra={"region": region, "due_at_ms": due_at_ms})
        return
    report = watch_region(wiring.watch_ports(), region, now_ms)
    put_metrics(
        wiring.settings().stage,
        regions_braked=int(report.watch.brake_since_ms is not None),
        regions_blind=int(report.watch.blind_since_ms is not None),
    )
    found = {"region": region, "suspects": report.suspects, "lost": report.lost, "pending": report.pending}
    if report.alarm:
        get_logger().error("alarm: many hosts silent, failover frozen", extra=found)
    if report.failed:
        get_logger().warning("failover to be tried again", extra={"region": region, "hosts": report.failed})
    if report.lost or report.pending:
        get_logger().warning("hosts lost", extra=found)

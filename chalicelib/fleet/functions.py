"""Delivers commands from the outbox's stream to each host's own queue.

The stream keeps trying until the queue has the command, so a crash after the commit loses nothing; agents
treat a command that comes twice as one.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from chalice.app import Blueprint, DynamoDBEvent

from chalicelib import wiring
from chalicelib.fleet.model import derive_signing_key
from chalicelib.runtime.observability import get_logger
from chalicelib.wire import v1

functions = Blueprint(__name__)

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

"""Chains the audit trail: links what its stream tells, sweeps, anchors, verifies."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from chalice.app import Blueprint, CloudWatchEvent, DynamoDBEvent, Rate

from chalicelib import wiring
from chalicelib.compliance import anchoring, linking, verifying
from chalicelib.compliance.anchors import AnchorMismatch
from chalicelib.core.errors import DomainError
from chalicelib.runtime.observability import get_logger, put_metrics

functions = Blueprint(__name__)

_UNSET_STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/unset/stream/2026-01-01T00:00:00.000"
#: Nothing is begun after it; Lambda ends a run at 60 s (.chalice/config.json).
BUDGET_MS = 35_000


@functions.on_dynamodb_record(
    stream_arn=os.environ.get("AUDIT_STREAM_ARN", _UNSET_STREAM),
    batch_size=100,
    starting_position="TRIM_HORIZON",
    name="on_audit_recorded",
)
def on_audit_recorded(event: DynamoDBEvent) -> dict[str, list[dict[str, str]]]:
    """Link new entries account by account; call a person where one was changed or removed."""
    records: list[dict[str, Any]] = event.to_dict()["Records"]
    new = [record for record in records if record["eventName"] == "INSERT"]
    _tell_tampering([record for record in records if record["eventName"] != "INSERT"])
    failed: list[int] = []
    for positions in _group(new).values():
        try:
            entries = [wiring.read_audit_image(new[at]["dynamodb"]["NewImage"]) for at in positions]
            linking.link_entries(wiring.chain_ports(), entries[0].account_id, entries)
        except DomainError:
            get_logger().exception("audit entries not linked")
            failed.append(positions[0])
    if not failed:
        return {"batchItemFailures": []}
    # A stream goes on from the first that failed; what is linked already is passed over.
    first = new[min(failed)]["dynamodb"]["SequenceNumber"]
    return {"batchItemFailures": [{"itemIdentifier": first}]}


@functions.schedule(Rate(5, unit=Rate.MINUTES), name="sweep_audit")
def sweep_audit(_event: CloudWatchEvent) -> None:
    """Link what the stream has lost, and say for how long nothing was anchored, and all verified."""
    ports = wiring.chain_ports()
    overdue = 0
    try:
        swept = linking.sweep_entries(ports, ports.clock.now_ms() + BUDGET_MS)
        overdue = swept.overdue
        if swept.linked:
            get_logger().warning(
                "audit entries swept", extra={"entries": swept.linked, "overdue": swept.overdue}
            )
    finally:
        # Also of the verification: one that Lambda ends has no say any more.
        put_metrics(
            wiring.settings().stage,
            audit_entries_overdue=overdue,
            audit_anchor_age_minutes=anchoring.measure_anchor_age_ms(ports) // 60_000,
            audit_verification_age_minutes=verifying.measure_verification_age_ms(ports) // 60_000,
        )


@functions.schedule(Rate(1, unit=Rate.HOURS), name="anchor_audit")
def anchor_audit(_event: CloudWatchEvent) -> None:
    ports, mismatches = wiring.chain_ports(), 0
    try:
        done = anchoring.anchor_heads(ports, ports.clock.now_ms() + BUDGET_MS)
        mismatches = len(done.contradicted)
        for anchor in done.anchors:
            get_logger().info(
                "audit anchored", extra={"anchor": anchor.number, "root": anchor.root, "chains": anchor.size}
            )
        if done.contradicted:
            get_logger().error("audit chains not anchored", extra={"accounts": list(done.contradicted)[:20]})
    except AnchorMismatch as error:
        mismatches = 1
        get_logger().error("audit not anchored", extra={"detail": error.detail})
    finally:
        put_metrics(wiring.settings().stage, audit_anchor_mismatches=mismatches)


@functions.schedule(Rate(1, unit=Rate.HOURS), name="verify_audit")
def verify_audit(_event: CloudWatchEvent) -> None:
    """Verify what was anchored lately, then go on with the round over all that ever was."""
    ports = wiring.chain_ports()
    found = verifying.verify_round(ports, ports.clock.now_ms() + BUDGET_MS)
    # Before anything that may fail.
    put_metrics(wiring.settings().stage, audit_problems=found.count)
    for each in found.problems:
        get_logger().error(
            "audit trail contradicts itself",
            extra={
                "kind": each.kind,
                "account_id": each.account_id,
                "sequence": each.sequence,
                "audit_id": each.audit_id,
            },
        )


def _tell_tampering(records: Sequence[Mapping[str, Any]]) -> None:
    if not records:
        return
    put_metrics(wiring.settings().stage, audit_rows_tampered=len(records))
    for record in records:
        keys = record["dynamodb"]["Keys"]
        get_logger().error(
            "audit trail tampered",
            extra={"kind": record["eventName"], "row": f"{keys['pk']['S']}/{keys['sk']['S']}"},
        )


def _group(records: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Return the positions of the records of each partition, in order."""
    grouped: dict[str, list[int]] = {}
    for at, record in enumerate(records):
        grouped.setdefault(record["dynamodb"]["Keys"]["pk"]["S"], []).append(at)
    return grouped

"""Consumers of the two host queues: verify, decode, one service call."""

import os
from typing import Any, TypeVar

import msgspec
from chalice.app import Blueprint, SQSEvent

from chalicelib import wiring
from chalicelib.core.ids import is_id
from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Endpoint
from chalicelib.metering import incidents, service
from chalicelib.metering.model import UNRENTED, CaptureDatapoint, Interval
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.runtime.observability import get_logger
from chalicelib.runtime.queues import Message, Rejected, consume, read_messages
from chalicelib.wire import v1

functions = Blueprint(__name__)
T = TypeVar("T")

#: Xid classes that say nothing against the hardware: information, and the tenant's own program.
TENANT_CLASSES = frozenset({"A", "B"})
_UNSET_QUEUE = "arn:aws:sqs:us-east-1:000000000000:unset"


@functions.on_sqs_message(
    queue_arn=os.environ.get("HEARTBEATS_QUEUE_ARN", _UNSET_QUEUE), batch_size=10, name="on_heartbeat"
)
def on_heartbeat(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    return consume(read_messages(event.to_dict()), handle_heartbeat, wiring.dead_letters("heartbeats"))


@functions.on_sqs_message(
    queue_arn=os.environ.get("TELEMETRY_QUEUE_ARN", _UNSET_QUEUE), batch_size=10, name="on_telemetry"
)
def on_telemetry(event: SQSEvent) -> dict[str, list[dict[str, str]]]:
    return consume(read_messages(event.to_dict()), handle_telemetry, wiring.dead_letters("telemetry"))


def handle_heartbeat(message: Message) -> None:
    """Raises Rejected for a message that no retry can mend."""
    envelope = _open(message)
    try:
        heartbeat = v1.decode_heartbeat(envelope)
    except v1.InvalidMessage as invalid:
        raise Rejected(invalid.reason, invalid.detail) from invalid
    beat = service.Beat(
        host_id=envelope.host_id,
        boot_id=envelope.boot_id,
        agent_version=heartbeat.agent_version,
        gpus_ok=sum(gpu.state == "ok" for gpu in heartbeat.gpus),
        spool_records=heartbeat.spool.depth_records,
        records_lost=heartbeat.spool.records_lost,
        draining=heartbeat.draining,
        sent_at_ms=message.sent_at_ms,
        reports=tuple(_read_report(report) for report in heartbeat.workloads),
        unfit=frozenset(gpu.gpu_uuid for gpu in heartbeat.gpus if gpu.state != "ok" or not gpu.rentable),
        conditions={gpu.gpu_uuid: gpu.conditions for gpu in heartbeat.gpus if gpu.conditions},
        observed_at_ms=heartbeat.observed_at_ms,
        logs={
            each.rental_id: service.build_excerpt(each.taken_at_ms, each.text, truncated=each.truncated)
            for each in heartbeat.logs
        },
        notices=tuple(
            service.Announcement(each.kind, each.action, each.ends_at_ms) for each in heartbeat.notices
        ),
        kernel_boot_id=heartbeat.kernel_boot_id,
        ok_gpu_uuids=frozenset(gpu.gpu_uuid for gpu in heartbeat.gpus if gpu.state == "ok"),
    )
    incidents.record_heartbeat(wiring.meter_ports(), beat)


def handle_telemetry(message: Message) -> None:
    """Raises Rejected for a message that no retry can mend."""
    envelope = _open(message)
    try:
        telemetry = v1.decode_telemetry(envelope)
    except v1.InvalidMessage as invalid:
        raise Rejected(invalid.reason, invalid.detail) from invalid
    record = TelemetryRecord(
        envelope.host_id,
        envelope.boot_id,
        envelope.seq,
        envelope.record,
        message.sent_at_ms,
        {each.gpu_uuid: _read_capabilities(each) for each in telemetry.capabilities},
        tuple(CaptureDatapoint(**msgspec.structs.asdict(each)) for each in telemetry.capture),
        _read_utilization(telemetry.samples),
    )
    for xid in telemetry.xids:
        if xid.xid_class not in TENANT_CLASSES:
            get_logger().warning("gpu error", extra={"host_id": envelope.host_id, **_describe(xid)})
    if telemetry.thinned is not None:
        # The record keeps it: whoever misses samples finds why they are not there.
        thinned = msgspec.structs.asdict(telemetry.thinned)
        get_logger().warning("samples thinned", extra={"host_id": envelope.host_id, **thinned})
    for refused in service.keep_capture(wiring.meter_ports(), record):
        extra = {"host_id": envelope.host_id, "unit_id": refused.unit_id, "sensor_id": refused.sensor_id}
        get_logger().warning("capture datapoint contradicts the stored one", extra=extra)
    incidents.apply_gpu_errors(
        wiring.meter_ports(),
        envelope.host_id,
        [_read_error(xid) for xid in telemetry.xids],
        message.sent_at_ms,
    )
    intervals = [_read_interval(each) for each in telemetry.intervals]
    service.store_telemetry(wiring.meter_ports(), record, intervals)


def _read_capabilities(found: v1.GpuCapabilities) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "power_source": found.power_source,
        "driver_version": found.driver_version,
    }


def _read_utilization(samples: list[v1.GpuSample]) -> dict[str, int]:
    """An agent that tells no peak tells the instant of the sample."""
    told = {each.gpu_uuid: (each.utilization_peak_percent, each.utilization_percent) for each in samples}
    return {
        gpu_uuid: max(each for each in both if each is not None)
        for gpu_uuid, both in told.items()
        if both != (None, None)
    }


def _describe(xid: v1.XidEvent) -> dict[str, object]:
    return {
        "gpu_uuid": xid.gpu_uuid,
        "xid": xid.code,
        "xid_class": xid.xid_class,
        "count": xid.count,
        "first_at_ms": xid.first_at_ms,
    }


def _open(message: Message) -> v1.Envelope:
    try:
        envelope = v1.decode_envelope(message.body)
        _check_sender(message, envelope.host_id)
        v1.verify_envelope(envelope, wiring.read_signing_key(envelope.host_id))
        return v1.unpack_envelope(envelope)
    except v1.InvalidMessage as invalid:
        raise Rejected(invalid.reason, invalid.detail) from invalid


def _check_sender(message: Message, host_id: str) -> None:
    """Raises Rejected when AWS says that another host's session sent it (`fleet.aws_gateway` names them)."""
    session = message.sender_session
    if session == host_id or not is_id(session, "hst"):
        return
    security = {"event": "sender_mismatch", "claimed_host_id": host_id, "sender_id": message.sender_id}
    get_logger().warning("security: a host spoke for another", extra=security)
    raise Rejected("sender_mismatch", f"{session} sent it in the name of {host_id}")


def _read_report(report: v1.WorkloadReport) -> service.Report:
    return service.Report(
        rental_id=report.rental_id,
        leases=tuple(Lease(lease.gpu_uuid, lease.epoch) for lease in report.leases),
        state=report.state,
        exit_code=report.exit_code,
        ended_at_ms=report.ended_at_ms,
        wiped=report.wiped,
        preempted=report.detail == "preempted",
        endpoints=tuple(
            Endpoint(port.container_port, port.protocol, port.address, port.host_port)
            for port in report.ports
        ),
    )


def _read_error(xid: v1.XidEvent) -> incidents.GpuError:
    return incidents.GpuError(
        gpu_uuid=xid.gpu_uuid,
        code=xid.code,
        error_class=xid.xid_class,
        count=xid.count,
        first_at_ms=xid.first_at_ms,
        last_at_ms=xid.last_at_ms,
        kernel_boot_id=xid.kernel_boot_id,
        first_sequence=xid.first_sequence,
        last_sequence=xid.last_sequence,
    )


def _read_interval(interval: v1.EnergyInterval) -> Interval:
    return Interval(
        rental_id=interval.rental_id or UNRENTED,
        gpu_uuid=interval.gpu_uuid,
        epoch=interval.epoch,
        interval_index=interval.interval_index,
        final=interval.final,
        started_at_ms=interval.started_at_ms,
        ended_at_ms=interval.ended_at_ms,
        energy_millijoules=interval.energy_millijoules,
        estimated=interval.estimated,
        thermal_slowdown_ms=_read_optional(interval.thermal_slowdown_ms),
        power_brake_ms=_read_optional(interval.power_brake_ms),
        slowdown_source=_read_optional(interval.slowdown_source),
    )


def _read_optional(told: T | msgspec.UnsetType | None) -> T | None:
    return None if isinstance(told, msgspec.UnsetType) else told

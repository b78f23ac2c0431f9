"""Messages between a host agent and the cloud, version 1.

Invariant: every message that crosses the wire is signed with the host's own key and names the agent boot
and sequence number that make it unique, so a receiver can refuse forgeries and drop duplicates.

Records are carried as JSON *text* inside the envelope. The signature covers that text byte for byte, so
neither side needs a canonical form. Unknown fields are ignored: an older reader accepts a newer writer.

Units are in the names: ``_ms`` is milliseconds since the Unix epoch for instants (``_at_ms``),
``_millijoules``, ``_milliwatts``, ``_mib``. ``None`` always means *not known*, never zero.
"""

import hashlib
import hmac
from typing import Annotated, Literal, TypeVar

import msgspec

T = TypeVar("T")

SCHEMA_VERSION: Literal[1] = 1
#: SQS accepts more today; a record above this is refused on both sides so that a batch of ten always fits.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_GPUS_PER_HOST = 16
MAX_INTERVALS_PER_RECORD = 64
MAX_XIDS_PER_RECORD = 64
MAX_NOTICES = 8

#: DynamoDB numbers hold 38 digits, JSON readers hold 2**53: counters stay below the smaller bound.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]
Text = Annotated[str, msgspec.Meta(max_length=1024)]

RecordKind = Literal["heartbeat", "telemetry"]
WorkloadState = Literal["starting", "running", "exited", "failed", "terminated"]
EnergyMethod = Literal["counter", "power_integral", "model"]
#: A: information. B: the tenant's program. C: reset the GPU. D: reboot or replace the host. E: fabric.
#: F: broken hardware.
XidClass = Literal["A", "B", "C", "D", "E", "F"]
#: What the machine's provider announces for it.
NoticeKind = Literal["spot_interruption", "rebalance_recommendation", "scheduled_event"]
#: Why an interval is estimated; ``none`` when it is not.
EstimateCause = Literal[
    "none", "unread", "power_gap", "counter_reset", "implausible_jump", "counter_gap", "no_meter"
]


class Lease(msgspec.Struct, frozen=True):
    """One GPU at one lease epoch. A receiver refuses an epoch below the one it knows."""

    gpu_uuid: Id
    epoch: Count


class WorkloadReport(msgspec.Struct, frozen=True):
    """What the agent knows of one rental's workload now (level-triggered: every heartbeat repeats it)."""

    rental_id: Id
    leases: Annotated[list[Lease], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    state: WorkloadState
    #: Identity of the running instance; changes when the workload is started again.
    instance_id: Id
    exit_code: int | None = None
    #: Host clock; set once the workload has ended. May only shorten a bill.
    ended_at_ms: Count | None = None
    #: True when nothing of the tenant is left on the GPUs and the disk (state ``terminated``).
    wiped: bool = False
    detail: Text = ""


class GpuStatus(msgspec.Struct, frozen=True):
    gpu_uuid: Id
    state: Literal["ok", "unknown", "lost"]


class SpoolStatus(msgspec.Struct, frozen=True):
    depth_records: Count
    depth_bytes: Count
    #: ``disk``, or ``memory`` when the disk refused a write.
    medium: Literal["disk", "memory"] = "disk"
    records_lost: Count = 0


class HostNotice(msgspec.Struct, frozen=True):
    """The provider will take the machine, or may. Every heartbeat repeats it while it stands."""

    kind: NoticeKind
    #: The provider's word: ``terminate``, ``instance-retirement``, ...
    action: Text
    #: The provider's clock; ``None``: it names no time.
    ends_at_ms: Count | None = None


class Heartbeat(msgspec.Struct, frozen=True):
    observed_at_ms: Count
    agent_version: Text
    gpus: Annotated[list[GpuStatus], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    workloads: Annotated[list[WorkloadReport], msgspec.Meta(max_length=MAX_GPUS_PER_HOST * 4)]
    spool: SpoolStatus
    notices: Annotated[list[HostNotice], msgspec.Meta(max_length=MAX_NOTICES)] = []
    #: Of the machine's own boot; empty: not known.
    kernel_boot_id: Text = ""


class GpuSample(msgspec.Struct, frozen=True):
    gpu_uuid: Id
    sampled_at_ms: Count
    energy_counter_millijoules: Count | None = None
    power_milliwatts: Count | None = None
    utilization_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    memory_used_mib: Count | None = None
    temperature_celsius: Annotated[int, msgspec.Meta(ge=-50, le=200)] | None = None


class EnergyInterval(msgspec.Struct, frozen=True):
    """Energy of one GPU between two readings, cut at every lease boundary.

    Intervals of one (rental, GPU) are numbered from 0 without holes and the last has ``final`` set, so a
    reader can tell a lost interval from one that never was. ``rental_id`` is ``None`` for unrented time.
    """

    gpu_uuid: Id
    started_at_ms: Count
    ended_at_ms: Count
    energy_millijoules: Count
    method: EnergyMethod
    rental_id: Id | None = None
    #: Lease epoch under which the energy was used (the start command's, not the stop command's).
    epoch: Count = 0
    interval_index: Count = 0
    final: bool = False
    #: True when part of the interval had to be filled (counter reset, missing reading).
    estimated: bool = False
    counter_start_millijoules: Count | None = None
    counter_end_millijoules: Count | None = None
    #: The bounds that the agent vouches for; ``None`` from agents that did not state any.
    energy_min_millijoules: Count | None = None
    energy_max_millijoules: Count | None = None
    #: The integral of power over the same window, where there is one beside the counter: a cross-check.
    integral_millijoules: Count | None = None
    cause: EstimateCause = "none"


class XidEvent(msgspec.Struct, frozen=True):
    """One Xid error of one GPU, repeated ``count`` times; a flood is one event.

    The kernel's boot and record numbers identify it: the same event that is told twice has the same ones.
    """

    gpu_uuid: Id
    code: Count
    xid_class: XidClass
    count: Count
    first_at_ms: Count
    last_at_ms: Count
    kernel_boot_id: Text
    first_sequence: Count
    last_sequence: Count


class Telemetry(msgspec.Struct, frozen=True):
    samples: Annotated[list[GpuSample], msgspec.Meta(max_length=MAX_GPUS_PER_HOST)]
    intervals: Annotated[list[EnergyInterval], msgspec.Meta(max_length=MAX_INTERVALS_PER_RECORD)]
    xids: Annotated[list[XidEvent], msgspec.Meta(max_length=MAX_XIDS_PER_RECORD)] = []


class Envelope(msgspec.Struct, frozen=True):
    """What the agent puts on a queue. (host_id, boot_id, kind, seq) is unique for ever."""

    schema_version: Literal[1]
    kind: RecordKind
    host_id: Id
    #: Changes with every start of the agent process.
    boot_id: Id
    #: From 0, without holes, per (boot_id, kind).
    seq: Count
    record: str
    signature: str


class WorkloadSpec(msgspec.Struct, frozen=True):
    command: Annotated[list[str], msgspec.Meta(min_length=1, max_length=64)]
    image: str | None = None
    env: dict[str, str] = {}


class Command(msgspec.Struct, frozen=True):
    """From the cloud to one host, on that host's own queue. Delivered at least once, in any order.

    ``start`` carries the epochs of the lease; ``stop`` carries the next epochs, ends the workload, wipes
    and is answered by a ``terminated`` report with those same epochs.
    """

    schema_version: Literal[1]
    command_id: Id
    kind: Literal["start", "stop"]
    host_id: Id
    rental_id: Id
    leases: Annotated[list[Lease], msgspec.Meta(min_length=1, max_length=MAX_GPUS_PER_HOST)]
    issued_at_ms: Count
    workload: WorkloadSpec | None = None


class SignedCommand(msgspec.Struct, frozen=True):
    command: str
    signature: str


class InvalidMessage(ValueError):
    """The bytes are not a valid message of this version. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


_envelopes = msgspec.json.Decoder(Envelope)
_heartbeats = msgspec.json.Decoder(Heartbeat)
_telemetry = msgspec.json.Decoder(Telemetry)
_commands = msgspec.json.Decoder(Command)
_signed_commands = msgspec.json.Decoder(SignedCommand)


def encode_record(
    record: Heartbeat | Telemetry, *, host_id: str, boot_id: str, seq: int, signing_key: bytes
) -> bytes:
    """Return the signed message body for ``record`` (UTF-8 JSON).

    Raises:
        InvalidMessage: ``too_large`` when the body would exceed ``MAX_MESSAGE_BYTES``.
    """
    kind: RecordKind = "heartbeat" if isinstance(record, Heartbeat) else "telemetry"
    text = msgspec.json.encode(record).decode()
    signature = _sign(signing_key, kind, host_id, boot_id, str(seq), text)
    envelope = Envelope(SCHEMA_VERSION, kind, host_id, boot_id, seq, text, signature)
    body = msgspec.json.encode(envelope)
    if len(body) > MAX_MESSAGE_BYTES:
        raise InvalidMessage("too_large", f"{len(body)} bytes, {MAX_MESSAGE_BYTES} allowed")
    return body


def decode_envelope(body: bytes | str) -> Envelope:
    """Parse and validate an envelope; the record inside is neither verified nor parsed yet.

    Raises:
        InvalidMessage: ``too_large``, ``bad_json`` or ``wrong_schema``.
    """
    size = len(body) if isinstance(body, bytes) else len(body.encode("utf-8", "surrogatepass"))
    if size > MAX_MESSAGE_BYTES:
        raise InvalidMessage("too_large", f"{size} bytes, {MAX_MESSAGE_BYTES} allowed")
    return _decode(_envelopes, body)


def verify_envelope(envelope: Envelope, signing_key: bytes) -> None:
    """Raise ``InvalidMessage("bad_signature")`` unless ``signing_key`` signed this envelope."""
    expected = _sign(
        signing_key, envelope.kind, envelope.host_id, envelope.boot_id, str(envelope.seq), envelope.record
    )
    if not hmac.compare_digest(expected, envelope.signature):
        raise InvalidMessage("bad_signature", f"not signed by host {envelope.host_id}")


def decode_heartbeat(envelope: Envelope) -> Heartbeat:
    """Raises InvalidMessage: ``wrong_kind``, ``bad_json`` or ``wrong_schema``."""
    _require_kind(envelope, "heartbeat")
    return _decode(_heartbeats, envelope.record)


def decode_telemetry(envelope: Envelope) -> Telemetry:
    """Raises InvalidMessage: ``wrong_kind``, ``bad_json`` or ``wrong_schema``."""
    _require_kind(envelope, "telemetry")
    telemetry = _decode(_telemetry, envelope.record)
    for interval in telemetry.intervals:
        if interval.ended_at_ms < interval.started_at_ms:
            raise InvalidMessage("wrong_schema", "interval ends before it starts")
    return telemetry


def encode_command(command: Command, signing_key: bytes) -> str:
    """Return the signed message body for one command."""
    text = msgspec.json.encode(command).decode()
    return msgspec.json.encode(SignedCommand(text, _sign(signing_key, "command", text))).decode()


def decode_command(body: bytes | str, signing_key: bytes) -> Command:
    """Raises InvalidMessage: ``bad_json``, ``wrong_schema`` or ``bad_signature``."""
    signed = _decode(_signed_commands, body)
    if not hmac.compare_digest(_sign(signing_key, "command", signed.command), signed.signature):
        raise InvalidMessage("bad_signature", "not signed by the cloud")
    return _decode(_commands, signed.command)


def _require_kind(envelope: Envelope, kind: RecordKind) -> None:
    if envelope.kind != kind:
        raise InvalidMessage("wrong_kind", f"{envelope.kind} on the {kind} queue")


def _sign(signing_key: bytes, *parts: str) -> str:
    message = "\n".join(parts).encode("utf-8", "surrogatepass")
    return hmac.new(signing_key, message, hashlib.sha256).hexdigest()


def _decode(decoder: "msgspec.json.Decoder[T]", body: bytes | str) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidMessage("wrong_schema", str(error)) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidMessage("bad_json", str(error)) from error

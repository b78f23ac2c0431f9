"""From messages to signed bytes and back; every refusal has a stable reason."""

import hashlib
import hmac
from typing import TypeVar

import msgspec

from chalicelib.wire import packing
from chalicelib.wire.messages import (
    MAX_INTERVAL_MS,
    MAX_MESSAGE_BYTES,
    MAX_RECORD_BYTES,
    SCHEMA_VERSION,
    Command,
    Encoding,
    Envelope,
    Heartbeat,
    RecordKind,
    SignedCommand,
    Telemetry,
)

T = TypeVar("T")


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
    """Return the signed message body for ``record`` (UTF-8 JSON), packed if it is telemetry.

    Raises:
        InvalidMessage: ``too_large`` when the record or the body would exceed its limit.
    """
    kind: RecordKind = "heartbeat" if isinstance(record, Heartbeat) else "telemetry"
    text = msgspec.json.encode(record)
    data = text if kind == "heartbeat" else pack_text(text)
    return seal_record(kind, data, host_id=host_id, boot_id=boot_id, seq=seq, signing_key=signing_key)


def pack_text(text: bytes) -> bytes:
    """Raises InvalidMessage: ``too_large``."""
    if len(text) > MAX_RECORD_BYTES:
        raise InvalidMessage("too_large", f"record of {len(text)} bytes, {MAX_RECORD_BYTES} allowed")
    return packing.pack(text)


def unpack_text(data: bytes) -> bytes:
    """Raises InvalidMessage: ``bad_encoding`` or ``too_large``."""
    try:
        return packing.unpack(data, MAX_RECORD_BYTES)
    except packing.BadPacking as error:
        raise InvalidMessage(error.reason, str(error)) from error


def seal_record(
    kind: RecordKind, data: bytes, *, host_id: str, boot_id: str, seq: int, signing_key: bytes
) -> bytes:
    """Return the signed message body for the text of a record, packed or not.

    Raises:
        InvalidMessage: ``too_large``.
    """
    packed = packing.is_packed(data)
    encoding: Encoding = "zlib-base64" if packed else "none"
    record = packing.to_text(data) if packed else data.decode()
    unsigned = Envelope(SCHEMA_VERSION, kind, host_id, boot_id, seq, record, "", encoding)
    signed = msgspec.structs.replace(unsigned, signature=_sign_envelope(signing_key, unsigned))
    body = msgspec.json.encode(signed)
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
    expected = _sign_envelope(signing_key, envelope)
    if not hmac.compare_digest(expected, envelope.signature):
        raise InvalidMessage("bad_signature", f"not signed by host {envelope.host_id}")


def unpack_envelope(envelope: Envelope) -> Envelope:
    """Return the envelope with its record as JSON text. Verify it first: unpacking costs the reader.

    Raises:
        InvalidMessage: ``bad_encoding`` or ``too_large``.
    """
    if envelope.encoding == "none":
        return envelope
    try:
        text = unpack_text(packing.from_text(envelope.record)).decode()
    except packing.BadPacking as error:
        raise InvalidMessage(error.reason, str(error)) from error
    except UnicodeDecodeError as error:
        raise InvalidMessage("bad_encoding", str(error)) from error
    return msgspec.structs.replace(envelope, record=text, encoding="none")


def decode_heartbeat(envelope: Envelope) -> Heartbeat:
    """Raises InvalidMessage: ``wrong_kind``, ``bad_json``, ``wrong_schema`` or as `unpack_envelope`."""
    _require_kind(envelope, "heartbeat")
    return _decode(_heartbeats, unpack_envelope(envelope).record)


def decode_telemetry(envelope: Envelope) -> Telemetry:
    """Raises InvalidMessage: ``wrong_kind``, ``bad_json``, ``wrong_schema`` or as `unpack_envelope`."""
    _require_kind(envelope, "telemetry")
    telemetry = _decode(_telemetry, unpack_envelope(envelope).record)
    for interval in telemetry.intervals:
        if interval.ended_at_ms < interval.started_at_ms:
            raise InvalidMessage("wrong_schema", "interval ends before it starts")
        if interval.ended_at_ms - interval.started_at_ms > MAX_INTERVAL_MS:
            raise InvalidMessage("wrong_schema", f"interval longer than {MAX_INTERVAL_MS} ms")
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


def _sign_envelope(signing_key: bytes, envelope: Envelope) -> str:
    # A plain record is signed as it always was; no JSON text begins with the name of an encoding.
    names = [] if envelope.encoding == "none" else [envelope.encoding]
    parts = (envelope.kind, envelope.host_id, envelope.boot_id, str(envelope.seq), *names, envelope.record)
    return _sign(signing_key, *parts)


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

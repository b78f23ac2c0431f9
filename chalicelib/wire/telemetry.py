"""A telemetry record in the form in which a host keeps it until it is sent."""

import msgspec

from chalicelib.wire.v1 import InvalidMessage, Telemetry, pack_text, seal_record, unpack_text

_decoder = msgspec.json.Decoder(Telemetry)


def pack_telemetry(record: Telemetry) -> bytes:
    """Raises InvalidMessage: ``too_large``."""
    return pack_text(msgspec.json.encode(record))


def unpack_telemetry(packed: bytes) -> Telemetry:
    """Raises InvalidMessage: ``bad_encoding``, ``too_large`` or ``wrong_schema``."""
    try:
        return _decoder.decode(unpack_text(packed))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidMessage("wrong_schema", str(error)) from error


def seal_telemetry(packed: bytes, *, host_id: str, boot_id: str, seq: int, signing_key: bytes) -> bytes:
    """Return the signed message body. Raises InvalidMessage: ``too_large``."""
    return seal_record(
        "telemetry", packed, host_id=host_id, boot_id=boot_id, seq=seq, signing_key=signing_key
    )

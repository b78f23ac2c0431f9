"""Frames of a spool segment: length (4 bytes), CRC-32 (4 bytes), payload.

CRC-32 comes from zlib because the standard library has no CRC-32C; both find torn and rotten frames equally
well here, and forgery is the signature's business, not the spool's.
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

_HEADER = struct.Struct("<II")
MAX_FRAME_BYTES = 256 * 1024


class Frame(msgspec.Struct, frozen=True, array_like=True):
    boot_id: str
    seq: int
    #: What `wire.pack_telemetry` made, or the plain JSON of an older agent; signed when it is sent.
    record: bytes
    #: msgpack of the meter's state after this record; empty where a newer frame has long replaced it.
    state: bytes
    #: A lease boundary or an error: no part of it is ever given up.
    required: bool = False
    #: How far its segment was thinned; see `host_agent.thinning`.
    level: int = 0


def encode_frame(frame: Frame) -> bytes:
    payload = msgspec.msgpack.encode(frame)
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def scan_frames(data: bytes) -> Iterator[tuple[int, Frame]]:
    """Yield (end offset, frame) up to the first frame that is torn or does not check out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, offset)
        end = offset + _HEADER.size + length
        payload = data[offset + _HEADER.size : end]
        if length > MAX_FRAME_BYTES or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        try:
            frame = msgspec.msgpack.decode(payload, type=Frame)
        except msgspec.DecodeError:
            return
        yield end, frame
        offset = end

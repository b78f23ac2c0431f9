"""Records as a zlib stream: what SQS carries and what the host's disk keeps is a fifth of the JSON.

A packed record is told from a plain one by its first byte: a JSON object begins with a brace, a zlib stream
never does (RFC 1950: its first byte is 0x78 for the window that we use).
"""

import binascii
import zlib

#: Below this a stream is hardly smaller than its text, and its base64 form is larger.
MIN_PACKED_BYTES = 512
#: zlib's own default: a record of eight GPUs (5.4 kB) takes 30 µs.
LEVEL = 6


class BadPacking(ValueError):
    """The bytes are not one whole stream, or more than was allowed comes out. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def pack(text: bytes) -> bytes:
    """Return ``text`` (a JSON object) as a zlib stream, or as it is where that would not help."""
    if len(text) < MIN_PACKED_BYTES:
        return text
    stream = zlib.compress(text, LEVEL)
    return stream if len(stream) * 4 < len(text) * 3 else text


def is_packed(data: bytes) -> bool:
    return data[:1] != b"{"


def unpack(data: bytes, limit: int) -> bytes:
    """Return the text of ``data``, packed or not; never more than ``limit`` bytes are made of it.

    Raises:
        BadPacking: ``too_large`` or ``bad_encoding``.
    """
    if not is_packed(data):
        return data
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, limit)
        # What is left may be the end mark alone; one byte more is one too many.
        if not stream.eof and stream.decompress(stream.unconsumed_tail, 1):
            raise BadPacking("too_large", f"more than {limit} bytes when unpacked")
    except zlib.error as error:
        raise BadPacking("bad_encoding", str(error)) from error
    if not stream.eof or stream.unused_data:
        raise BadPacking("bad_encoding", "not one whole stream")
    return text


def to_text(stream: bytes) -> str:
    """Return a stream in the characters that every queue takes (RFC 4648, base64)."""
    return binascii.b2a_base64(stream, newline=False).decode()


def from_text(text: str) -> bytes:
    """Raises BadPacking: ``bad_encoding``."""
    try:
        stream = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise BadPacking("bad_encoding", str(error)) from error
    if not is_packed(stream):
        raise BadPacking("bad_encoding", "no zlib stream")
    return stream

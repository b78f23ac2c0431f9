"""Contents as JSON (msgspec): fields in their order, so that the same content comes to the same bytes."""

from dataclasses import dataclass

import msgspec

from chalicelib.reporting.model import Content


@dataclass(frozen=True, slots=True)
class JsonContents:
    """`ports.ContentCodec`."""

    def encode(self, content: Content) -> bytes:
        return msgspec.json.encode(content)

    def decode(self, data: bytes) -> Content:
        return msgspec.json.decode(data, type=Content)

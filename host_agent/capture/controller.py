"""A unit whose controller answers HTTP with JSON.

``GET`` the configured URL; the answer is ``{"datapoints": [{"sensor_id", "quantity", "value", "unit",
"standard_deviation", "sampled_at"}, …]}`` with RFC 3339 instants. The key of `KEY_VARIABLE` goes along as
a bearer token and nowhere else.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

import msgspec

from chalicelib.wire.v1 import MAX_CAPTURE_PER_RECORD, CaptureQuantity
from host_agent.capture.datapoint import BadDatapoint, CaptureRound, CaptureUnavailable, build_datapoint
from host_agent.clock import Clock
from host_agent.origin import HttpFailure, Origin

KEY_VARIABLE = "CARBON_CAPTURE_API_KEY"
TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1 << 20
_OK = 200


class _Told(msgspec.Struct):
    sensor_id: str
    quantity: CaptureQuantity
    value: Decimal
    unit: str
    standard_deviation: Decimal
    sampled_at: datetime


class _Answer(msgspec.Struct):
    #: Decoded one by one.
    datapoints: list[msgspec.Raw]


class HttpReader:
    """Implements `host_agent.capture.datapoint.CaptureReader`."""

    def __init__(
        self, unit_id: str, url: str, clock: Clock, environment: Mapping[str, str] = os.environ
    ) -> None:
        parts = urlsplit(url)
        self._unit_id, self._clock = unit_id, clock
        self._origin = Origin(url, TIMEOUT_SECONDS)
        self._path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        key = environment.get(KEY_VARIABLE, "")
        self._headers = {"Host": self._origin.host_header, "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def read(self) -> CaptureRound:
        try:
            answer = self._origin.get(self._path, self._headers, MAX_ANSWER_BYTES)
        except HttpFailure as error:
            raise CaptureUnavailable(f"{self._unit_id}: {error}") from error
        if answer.status != _OK:
            raise CaptureUnavailable(f"{self._unit_id}: HTTP {answer.status}")
        try:
            told = msgspec.json.decode(answer.body, type=_Answer).datapoints
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise CaptureUnavailable(f"{self._unit_id}: not the expected JSON: {error}") from error
        found, refused = [], {}
        for place, raw in enumerate(told[:MAX_CAPTURE_PER_RECORD]):
            sensor_id = f"#{place}"
            try:
                each = msgspec.json.decode(raw, type=_Told)
                sensor_id = each.sensor_id
                found.append(
                    build_datapoint(
                        unit_id=self._unit_id,
                        sensor_id=sensor_id,
                        quantity=each.quantity,
                        value=each.value,
                        standard_deviation=each.standard_deviation,
                        unit=each.unit,
                        sampled_at_ms=_read_instant(each.sampled_at),
                        now_ms=self._clock.now_ms(),
                    )
                )
            except (msgspec.DecodeError, BadDatapoint) as error:
                refused[sensor_id] = str(error)
        for place in range(MAX_CAPTURE_PER_RECORD, len(told)):
            refused[f"#{place}"] = f"more than {MAX_CAPTURE_PER_RECORD} datapoints at once"
        return CaptureRound(found, refused)

    def close(self) -> None:
        self._origin.close()


def _read_instant(instant: datetime) -> int:
    """Return milliseconds since the epoch. Raises BadDatapoint."""
    if instant.tzinfo is None:
        raise BadDatapoint("sampled_at has no time zone")
    return int(instant.timestamp() * 1000)

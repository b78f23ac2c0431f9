"""A unit whose controller answers HTTP with JSON.

``GET`` the configured URL; the answer is ``{"datapoints": [{"sensor_id", "quantity", "value", "unit",
"standard_deviation", "sampled_at"}, …]}`` with RFC 3339 instants. The key of `KEY_VARIABLE` goes along as
a bearer token and nowhere else.
"""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from chalicelib.wire.v1 import MAX_CAPTURE_PER_RECORD, CaptureQuantity, Id
from host_agent.capture.datapoint import BadDatapoint, CaptureRound, CaptureUnavailable, build_datapoint
from host_agent.clock import Clock
from host_agent.config import ConfigError
from host_agent.origin import HttpFailure, Origin

KEY_VARIABLE = "CARBON_CAPTURE_API_KEY"
TIMEOUT_SECONDS = 10.0
#: Far more than that many datapoints need.
MAX_ANSWER_BYTES = 1 << 18
_OK = 200


class _Told(msgspec.Struct):
    sensor_id: Id
    quantity: CaptureQuantity
    value: Decimal
    unit: Annotated[str, msgspec.Meta(max_length=16)]
    standard_deviation: Decimal
    sampled_at: datetime


class _Answer(msgspec.Struct):
    #: Converted one by one.
    datapoints: list[Any]


class HttpReader:
    """Implements `host_agent.capture.datapoint.CaptureReader`."""

    def __init__(
        self, unit_id: str, url: str, clock: Clock, environment: Mapping[str, str] = os.environ
    ) -> None:
        """Raises ConfigError: the key cannot stand in a header."""
        parts = urlsplit(url)
        self._unit_id, self._clock = unit_id, clock
        self._origin = Origin(url, TIMEOUT_SECONDS)
        self._path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
        key = environment.get(KEY_VARIABLE, "")
        if not (key.isascii() and key.isprintable()) or " " in key:
            # Found here, for the error that http.client raises holds the key.
            raise ConfigError(f"{KEY_VARIABLE} holds a space or a character that no key has")
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
            told = _read_datapoints(answer.body)
        except (ValueError, RecursionError) as error:
            raise CaptureUnavailable(f"{self._unit_id}: not the expected JSON: {error}") from error
        if not told:
            raise CaptureUnavailable(f"{self._unit_id}: it shows nothing")
        found, refused = [], {}
        for place, raw in enumerate(told[:MAX_CAPTURE_PER_RECORD]):
            sensor_id = f"#{place}"
            try:
                each = msgspec.convert(raw, _Told)
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
            except (msgspec.ValidationError, BadDatapoint) as error:
                refused[sensor_id] = str(error)
        if len(told) > MAX_CAPTURE_PER_RECORD:
            last = len(told) - 1
            refused[f"#{MAX_CAPTURE_PER_RECORD}-#{last}"] = f"only {MAX_CAPTURE_PER_RECORD} are read at once"
        return CaptureRound(found, refused)

    def close(self) -> None:
        self._origin.close()


def _read_datapoints(body: bytes) -> list[Any]:
    """Return the datapoints, their numbers as `Decimal`. Raises ValueError or RecursionError.

    By the standard library: controllers write NaN, which is no JSON, and it must not cost the others.
    """
    answer = json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    return msgspec.convert(answer, _Answer).datapoints


def _read_instant(instant: datetime) -> int:
    """Return milliseconds since the epoch. Raises BadDatapoint."""
    if instant.tzinfo is None:
        raise BadDatapoint("sampled_at has no time zone")
    return int(instant.timestamp() * 1000)

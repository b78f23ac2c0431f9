"""Request bodies: bytes in, validated model or a clear 4xx out."""

import base64
import binascii
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema

from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput

B = TypeVar("B", bound="RequestBody")
MAX_BODY_BYTES = 256 * 1024
MAX_DEPTH = 20
#: With a fraction of nanoseconds and an offset an instant has 35.
MAX_INSTANT_CHARACTERS = 64
#: A number with an exponent is read as a whole one up to so many digits.
MAX_DIGITS = 20
_SHOWN_ERRORS = 20


def _read_instant(value: object) -> int:
    if not isinstance(value, str) or len(value) > MAX_INSTANT_CHARACTERS:
        # pydantic turns this into its own error; a TypeError would be a fault of ours.
        raise ValueError("an instant is a text such as 2026-11-23T09:00:00Z")
    try:
        return parse_instant(value)
    except InvalidInput as error:
        raise ValueError(error.detail) from error


#: RFC 3339 outside, milliseconds since the epoch inside, so that no year is before 1970.
INSTANT_SCHEMA: Mapping[str, str | int] = {
    "type": "string",
    "format": "date-time",
    "maxLength": MAX_INSTANT_CHARACTERS,
    "pattern": "^(19[7-9][0-9]|[2-9][0-9]{3})-",
}
Instant = Annotated[int, BeforeValidator(_read_instant), WithJsonSchema(dict(INSTANT_SCHEMA))]


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields and type juggling are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class ResponseBody(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True, defer_build=True)


def read_bytes(event: Mapping[str, Any]) -> bytes:
    """Return the raw body of an API Gateway event (payload version 1).

    Raises:
        InvalidInput: ``payload_too_large`` above ``MAX_BODY_BYTES``, ``invalid_json`` for broken base64.
    """
    body = event.get("body") or ""
    try:
        raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidInput("The body is not valid UTF-8 JSON.", code="invalid_json") from error
    if len(raw) > MAX_BODY_BYTES:
        raise InvalidInput(f"The body may have {MAX_BODY_BYTES} bytes at most.", code="payload_too_large")
    return raw


def parse_body(raw: bytes, model: type[B]) -> B:
    """Parse strictly: what `read_object` takes, no unknown field, no coercion.

    Raises:
        InvalidInput: ``invalid_json``, or ``invalid_request`` with a list of what is wrong where.
    """
    return validate(read_object(raw), model)


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object: no duplicate keys, no NaN, bounded depth.

    Raises:
        InvalidInput: ``invalid_json``, or ``invalid_request`` of another value and of one too deep.
    """
    try:
        value = json.loads(
            raw,
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_read_number,
        )
        if b"\\u" in raw:
            # Half of a surrogate pair is JSON, but no text: nothing could store or send it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput("The body is not valid JSON.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    if _measure_depth(value) > MAX_DEPTH:
        raise InvalidInput(f"The body may nest {MAX_DEPTH} levels at most.")
    return value


def validate(value: Mapping[str, Any], model: type[B]) -> B:
    """Raises InvalidInput: ``invalid_request`` with a list of what is wrong where."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(
            "Some fields are wrong; see errors.", extra={"errors": _describe(error)}
        ) from error


def _describe(error: ValidationError) -> list[dict[str, str]]:
    return [
        {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"]}
        for each in error.errors(include_url=False, include_context=False, include_input=False)[
            :_SHOWN_ERRORS
        ]
    ]


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _read_number(text: str) -> int | float:
    """Return a whole number as one, however it is written: to JSON Schema 1.0 and 1e3 are integers.

    Source: JSON Schema Core 2020-12, section 4.2.3; Validation, section 6.1.1.
    """
    try:
        number = Decimal(text)
    except ArithmeticError:
        # An exponent beyond all that Decimal counts.
        return float(text)
    if number.is_finite() and number.adjusted() < MAX_DIGITS and number == number.to_integral_value():
        return int(number)
    return float(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _measure_depth(value: object) -> int:
    depth = 0
    level: list[Any] = [value]
    while level:
        depth += 1
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return depth

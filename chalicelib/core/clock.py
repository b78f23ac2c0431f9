"""Instants are integers of milliseconds since the Unix epoch, UTC. Only adapters read the real clock."""

import re
from datetime import UTC, datetime, timedelta

from chalicelib.core.errors import InvalidInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Date, time of day, fraction and an offset that must be there. Source: RFC 3339, section 5.6.
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def format_instant(epoch_ms: int) -> str:
    """Return RFC 3339 with milliseconds: ``2026-11-23T09:00:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


def parse_instant(text: str) -> int:
    """Return the instant that RFC 3339 text names; what is finer than a millisecond is cut.

    Raises:
        InvalidInput: ``invalid_instant``, also for an instant before 1970.
    """
    match = _RFC_3339.fullmatch(text)
    epoch_ms = -1 if match is None else _read_parts(match)
    if epoch_ms < 0:
        raise InvalidInput(
            "An instant is written as in RFC 3339: 2026-11-23T09:00:00Z.", code="invalid_instant"
        )
    return epoch_ms


def _read_parts(match: re.Match[str]) -> int:
    offset = "+00:00" if match[3] in "Zz" else match[3]
    try:
        moment = datetime.fromisoformat(f"{match[1].upper()}{offset}")
    except ValueError:
        return -1
    milliseconds = (match[2] or "").ljust(3, "0")[:3]
    return (moment - _EPOCH) // timedelta(milliseconds=1) + int(milliseconds)


def format_hour(epoch_ms: int) -> str:
    """Return the UTC hour that contains the instant: ``2026-11-23T09``."""
    return (_EPOCH + timedelta(milliseconds=epoch_ms)).strftime("%Y-%m-%dT%H")


def name_month(epoch_ms: int) -> str:
    """Return the UTC month that contains the instant: ``2026-11``."""
    return (_EPOCH + timedelta(milliseconds=epoch_ms)).strftime("%Y-%m")

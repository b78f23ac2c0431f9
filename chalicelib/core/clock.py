"""Instants are integers of milliseconds since the Unix epoch, UTC. Only adapters read the real clock."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def format_instant(epoch_ms: int) -> str:
    """Return RFC 3339 with milliseconds: ``2026-11-23T09:00:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


def format_hour(epoch_ms: int) -> str:
    """Return the UTC hour that contains the instant: ``2026-11-23T09``."""
    return (_EPOCH + timedelta(milliseconds=epoch_ms)).strftime("%Y-%m-%dT%H")


def parse_instant(text: str) -> int:
    """Return the milliseconds of an RFC 3339 instant with an offset.

    Raises:
        ValueError: it is none, or names no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("an instant needs an offset, as in 2026-11-23T09:00:00Z")
    return int((moment - _EPOCH) / timedelta(milliseconds=1))

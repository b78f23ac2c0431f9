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

"""What an account used: seconds and micros by hour, day or month, in all or by rental, label or GPU type.

Read from the lines that each charge adds to in its own transaction: sums are the ledger's to the unit, before
reversals, which are entries of their own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from chalicelib.billing.ports import BillingPorts, UsageLine
from chalicelib.billing.rating import HOUR_MS
from chalicelib.core.clock import name_month
from chalicelib.core.errors import InvalidInput

Bucket = Literal["hour", "day", "month"]
GroupBy = Literal["none", "rental", "label", "gpu_type"]
BUCKETS: tuple[Bucket, ...] = ("hour", "day", "month")
GROUPS: tuple[GroupBy, ...] = ("none", "rental", "label", "gpu_type")
MAX_DAYS: dict[Bucket, int] = {"hour": 31, "day": 400, "month": 400}
#: Of a bucket's start, as instants are written, without what lies within.
_STARTS: dict[Bucket, str] = {"hour": "%Y-%m-%dT%H:00:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}
_DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Of one bucket and group. ``group``: a rental's id, a label or GPU type; ``None``: no label, or all."""

    start: str
    group: str | None
    seconds: int
    gpu_seconds: int
    micros: int


def sum_usage(
    ports: BillingPorts, account_id: str, from_ms: int, to_ms: int, bucket: Bucket, group_by: GroupBy
) -> list[UsageSum]:
    """Return what was used in [from, to), rounded out to whole hours, by bucket, then group.

    Raises:
        InvalidInput: ``invalid_range``: nothing lies in it, or more than `MAX_DAYS`.
    """
    first_ms, end_ms = from_ms // HOUR_MS * HOUR_MS, -(-to_ms // HOUR_MS) * HOUR_MS
    if first_ms >= end_ms:
        raise InvalidInput("The range ends before it begins.", code="invalid_range")
    if end_ms - first_ms > MAX_DAYS[bucket] * _DAY_MS:
        raise InvalidInput(f"By {bucket}, a range has {MAX_DAYS[bucket]} days at most.", code="invalid_range")
    sums: dict[tuple[str, str | None], list[int]] = {}
    first_day, last_day = _name_day(first_ms), _name_day(end_ms - 1)
    # Time stands in the month that charged it, which is its own or a later one.
    for month in ports.months.list_months(account_id, name_month(first_ms)):
        for line in ports.usage.list_usage(account_id, month, first_day, last_day):
            day = datetime.fromisoformat(f"{line.day}T00:00:00+00:00")
            for hour, seconds, micros in line.hours:
                at = day + timedelta(hours=hour)
                if not first_ms <= int(at.timestamp()) * 1000 < end_ms:
                    continue
                row = sums.setdefault((at.strftime(_STARTS[bucket]), _name_group(line, group_by)), [0, 0, 0])
                row[0] += seconds
                row[1] += seconds * line.gpu_count
                row[2] += micros
    return [UsageSum(*key, *sums[key]) for key in sorted(sums, key=lambda each: (each[0], each[1] or ""))]


def _name_group(line: UsageLine, group_by: GroupBy) -> str | None:
    if group_by == "rental":
        return line.rental_id
    if group_by == "label":
        return line.label
    return line.gpu_type if group_by == "gpu_type" else None


def _name_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")

"""Meters as DynamoDB has them: each heartbeat and each charge reads one, too often for a model of each."""

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.core.leases import Lease
from chalicelib.metering.model import Activity, Meter

Row = Mapping[str, Mapping[str, Any]]


def read_meter(row: Row) -> Meter:
    """Raises KeyError: an attribute that every meter has is not there."""
    return Meter(
        rental_id=row["rental_id"]["S"],
        segment=int(row["segment"]["N"]),
        account_id=row["account_id"]["S"],
        host_id=row["host_id"]["S"],
        region=row["region"]["S"],
        leases=tuple(Lease(gpu_uuid, epoch) for gpu_uuid, epoch in json.loads(row["leases"]["S"])),
        price_micros_per_gpu_hour=int(row["price_micros_per_gpu_hour"]["N"]),
        state=row["state"]["S"],
        started_at_ms=int(row["started_at_ms"]["N"]),
        alive_through_ms=int(row["alive_through_ms"]["N"]),
        unproven_ms=int(row["unproven_ms"]["N"]),
        charge_seq=int(row["charge_seq"]["N"]),
        charged_seconds=int(row["charged_seconds"]["N"]),
        charged_micros=int(row["charged_micros"]["N"]),
        end_reason=row["end_reason"]["S"] if "end_reason" in row else None,
        slowed_hours=frozenset(row["slowed_hours"]["SS"]) if "slowed_hours" in row else frozenset(),
        slowed_at_ms=int(row["slowed_at_ms"]["N"]) if "slowed_at_ms" in row else 0,
        slowdown_micros=int(row["slowdown_micros"]["N"]) if "slowdown_micros" in row else 0,
        activity=_read_activity(row),
    )


def _read_activity(row: Row) -> Activity | None:
    if "observed_through_ms" not in row:
        return None
    idle_since_ms = int(row["idle_since_ms"]["N"]) if "idle_since_ms" in row else None
    return Activity(int(row["observed_through_ms"]["N"]), idle_since_ms)

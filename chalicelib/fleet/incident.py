"""Incidents: what went wrong in the fleet, one record each, derived from the change itself. All pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from chalicelib.core.ids import RANDOM_BYTES, build_id
from chalicelib.fleet.model import Host, HostGpu

#: Kept this long; what is older is not shown, whether it was removed already or not.
RETENTION_MS = 400 * 86_400_000

IncidentKind = Literal[
    "host_lost",
    "gpu_fault",
    "host_cordoned",
    "gpu_forced_free",
    "storm_brake",
    "blind",
    "orphan",
    "reservation_broken",
]


@dataclass(frozen=True, slots=True)
class Incident:
    """``host_id`` is ``None`` for what befalls a region."""

    incident_id: str
    kind: IncidentKind
    region: str
    at_ms: int
    host_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def build_incident(
    kind: IncidentKind,
    region: str,
    at_ms: int,
    details: Mapping[str, Any],
    *,
    host_id: str | None = None,
    cause: tuple[object, ...] = (),
) -> Incident:
    """Return an incident whose id follows from its cause: told twice, it is the same one."""
    named = "#".join(str(part) for part in (kind, region, host_id, at_ms, *cause))
    randomness = hashlib.sha256(named.encode()).digest()[:RANDOM_BYTES]
    incident_id = build_id("inc", now_ms=at_ms, randomness=randomness)
    return Incident(incident_id, kind, region, at_ms, host_id, details)


def derive_incidents(old: Host, new: Host, gpus: Sequence[tuple[HostGpu, HostGpu]]) -> list[Incident]:
    """Return what a change of a host's health has to record; ``gpus`` are (before, after)."""
    found = [
        _describe_fault(new, after)
        for before, after in gpus
        if after.fault is not None and after.fault.open and before.fault != after.fault
    ]
    version = (old.health_version,)
    if new.lost is not None and old.lost != new.lost:
        lost = {"reason": new.lost.reason, "last_seen_at_ms": new.lost.last_seen_at_ms}
        found.append(
            build_incident("host_lost", new.region, new.lost.at_ms, lost, host_id=new.host_id, cause=version)
        )
    if new.cordon is not None and new.cordon.automatic and old.cordon != new.cordon:
        why = {"reason": new.cordon.reason}
        found.append(
            build_incident(
                "host_cordoned", new.region, new.cordon.at_ms, why, host_id=new.host_id, cause=version
            )
        )
    return found


def _describe_fault(host: Host, gpu: HostGpu) -> Incident:
    fault = gpu.fault
    assert fault is not None
    return build_incident(
        "gpu_fault",
        host.region,
        fault.at_ms,
        {
            "gpu_uuid": gpu.gpu.gpu_uuid,
            "xid": fault.code,
            "xid_class": fault.error_class,
            "rental_id": gpu.rental_id,
        },
        host_id=host.host_id,
        cause=(gpu.gpu.gpu_uuid, fault.code, fault.kernel_boot_id, fault.last_sequence, host.health_version),
    )


def name_month(at_ms: int) -> str:
    """Return the UTC month of an instant: ``2026-11``."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m")


def list_months(now_ms: int, count: int) -> list[str]:
    """Return the newest ``count`` UTC months, newest first."""
    moment = datetime.fromtimestamp(now_ms / 1000, UTC)
    year, month = moment.year, moment.month
    months = []
    for _ in range(count):
        months.append(f"{year:04d}-{month:02d}")
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return months

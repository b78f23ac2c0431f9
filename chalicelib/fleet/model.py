"""Hosts, GPUs, leases with fencing, and commands to hosts.

Invariant: a GPU has one lease record; its epoch rises with every change of that record, and whoever acts
on a GPU names the epoch.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chalicelib.core.capacity import ClosedCause
from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Workload
from chalicelib.fleet.health import GpuFault, HostNotice
from chalicelib.fleet.reliability import LEMON_INCIDENTS, count_incident
from chalicelib.fleet.windows import PlannedMaintenance

#: ``withheld``: free, and not offered while its host says that it is not fit. ``unhealthy``: nobody has it
#: and nobody gets it before its fault is cleared.
LeaseState = Literal["free", "leased", "wiping", "withheld", "unhealthy"]
#: ``draining``: what runs goes on, nothing new is placed. ``lost``: given up, see `fleet.watch`.
HostState = Literal["active", "draining", "lost", "retired"]
LossReason = Literal["silent", "instance_ended"]

#: A host that was silent for longer gets no new lease (reliability knob SUSPECT: three heartbeats of 10 s).
SUSPECT_AFTER_MS = 30_000
ENROLMENT_LIFETIME_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Permission for one machine to become a host. ``install_id`` is set once it has been used."""

    enrolment_id: str
    host_id: str
    digest: str
    gpu_type: str
    region: str
    created_at_ms: int
    expires_at_ms: int
    install_id: str | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    gpu_uuid: str
    pci_bus_id: str
    model: str
    memory_mib: int
    #: Of an instance of a partitioned board: the board, and its part of the board's seven slices.
    parent_uuid: str | None = None
    slices: int | None = None
    #: The name, within its host, of the GPUs that it is joined to by NVLink, or else by PCIe; if known.
    link_group: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Why and when, by our clock, a host was given up; ``last_seen_at_ms`` by the queue's."""

    reason: LossReason
    at_ms: int
    last_seen_at_ms: int


@dataclass(frozen=True, slots=True)
class Cordon:
    """Nothing new is placed before an operator lifts it; ``automatic``: the platform set it."""

    reason: str
    at_ms: int
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    host_id: str
    gpu_type: str
    region: str
    state: HostState
    gpu_count: int
    free_gpus: int
    install_id: str
    agent_version: str
    created_at_ms: int
    commands_queue_url: str
    api_key_id: str
    notice: HostNotice | None = None
    #: The host's owner wants no new work on it.
    draining: bool = False
    #: Rises with every change of notice, owner's wish and the GPUs' faults.
    health_version: int = 0
    #: Kept for reservations: only reserved and spot rentals are placed on it.
    #: Its place in the index follows from it and from ``state``: a change raises ``health_version``.
    reservable: bool = False
    #: The network that joins it to other hosts (InfiniBand or EFA fabric, placement group), if any.
    fabric_id: str | None = None
    #: The last loss; kept when the host is back.
    lost: Loss | None = None
    cordon: Cordon | None = None
    maintenance: PlannedMaintenance | None = None
    #: Silence in milliseconds by UTC day, and instants of hardware incidents (`fleet.reliability`).
    downtime_ms: dict[str, int] = field(default_factory=dict)
    hardware_incidents_ms: tuple[int, ...] = ()
    #: GPUs with an open fault that keeps them from new leases. Follows from the GPUs, see `settle`.
    faulty_gpus: int = 0
    #: Announced maintenance of the last 30 days, from and to: no downtime.
    past_maintenance_ms: tuple[tuple[int, int], ...] = ()

    @property
    def planned_ms(self) -> tuple[tuple[int, int], ...]:
        """All announced maintenance that may lie in the last 30 days."""
        if self.maintenance is None:
            return self.past_maintenance_ms
        return (*self.past_maintenance_ms, (self.maintenance.starts_at_ms, self.maintenance.ends_at_ms))


@dataclass(frozen=True, slots=True)
class ReservableHost:
    """A host on whose calendar may be booked: read from an index, so only a hint."""

    host_id: str
    gpu_count: int
    fabric_id: str | None = None
    #: Of ``gpu_count``: they are promised to nobody.
    faulty_gpus: int = 0


@dataclass(frozen=True, slots=True)
class HostGpu:
    """A GPU with its lease record."""

    gpu: Gpu
    lease_state: LeaseState
    epoch: int
    rental_id: str | None
    #: What the driver of its board answers, call by call, and where power comes from; not known at first.
    capabilities: dict[str, Any] | None = None
    fault: GpuFault | None = None

    @property
    def faulty(self) -> bool:
        return self.fault is not None and self.fault.open


@dataclass(frozen=True, slots=True)
class Liveness:
    """The last proof that a host was there, by the queue's clock."""

    last_seen_at_ms: int
    boot_id: str
    agent_version: str
    gpus_ok: int
    spool_records: int
    records_lost: int
    #: Broken health rules and failed checks by GPU, of those that have any.
    conditions: dict[str, list[str]] = field(default_factory=dict)
    #: A digest of what the host announced of itself; a heartbeat with another one needs a look.
    announced: str = ""
    #: What to add to the host's clock to have the queue's.
    clock_offset_ms: int = 0
    #: Under which key its silence is noticed (`fleet.detector`); empty: nobody watches.
    watch_key: str = ""
    #: While it counts as silent: when it was last heard before.
    suspect_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HostCommand:
    """An order to a host, kept in the outbox until its queue has it."""

    command_id: str
    kind: Literal["start", "stop", "preempt", "log"]
    host_id: str
    rental_id: str
    leases: tuple[Lease, ...]
    issued_at_ms: int
    workload: Workload | None = None
    #: ``stop`` only: the volume outlives the stay.
    keep_volume: bool = False
    #: ``preempt`` only: when the workload ends.
    deadline_at_ms: int | None = None


def derive_signing_key(host_id: str, pepper: bytes) -> bytes:
    """Return the key with which a host signs its messages and the cloud signs its commands (32 bytes).

    Derived, so that consumers verify without a read and nothing secret is stored per host.
    """
    return hmac.new(pepper, f"host-signing-key:{host_id}".encode(), hashlib.sha256).digest()


def announce(
    host: Host,
    gpus: Sequence[HostGpu],
    notice: HostNotice | None,
    *,
    draining: bool,
    heard_at_ms: int | None = None,
) -> Host:
    """Return the host under what its provider and its owner say; ``gpus`` are all that it has.

    A lost host that is heard again comes back when none of its GPUs is owed a wipe.
    """
    said = replace(host, notice=notice, draining=draining)
    if is_returning(said, gpus, heard_at_ms):
        said = replace(said, state="draining")
    return settle(said, gpus)


def is_returning(host: Host, gpus: Sequence[HostGpu], heard_at_ms: int | None) -> bool:
    """Say whether a lost host may come back: it spoke after it was given up, and has nothing to wipe."""
    if host.state != "lost" or host.lost is None or heard_at_ms is None:
        return False
    return heard_at_ms > host.lost.at_ms and not any(gpu.lease_state == "wiping" for gpu in gpus)


def give_up(host: Host, reason: LossReason, now_ms: int, last_seen_at_ms: int) -> Host:
    return replace(host, state="lost", lost=Loss(reason, now_ms, last_seen_at_ms))


def set_fault(
    host: Host, gpus: Sequence[HostGpu], gpu_uuid: str, fault: GpuFault
) -> tuple[Host, list[HostGpu]]:
    """Return host and GPUs with a fault on one: if it is free, nobody gets it any more."""

    def change(gpu: HostGpu) -> HostGpu:
        if gpu.gpu.gpu_uuid != gpu_uuid:
            return gpu
        state: LeaseState = "unhealthy" if gpu.lease_state == "free" else gpu.lease_state
        return replace(gpu, fault=fault, lease_state=state)

    changed = [change(gpu) for gpu in gpus]
    return settle(_count_fault(host, fault), changed), changed


def _count_fault(host: Host, fault: GpuFault) -> Host:
    """Count a hardware incident; a host that has too many gets nothing new before somebody looked."""
    if not fault.rule.cordons_gpu:
        return host
    instants_ms = count_incident(host.hardware_incidents_ms, fault.at_ms)
    cordon = host.cordon
    if cordon is None and len(instants_ms) >= LEMON_INCIDENTS:
        reason = f"{len(instants_ms)} hardware incidents in 30 days"
        cordon = Cordon(reason, fault.at_ms, automatic=True)
    return replace(host, hardware_incidents_ms=instants_ms, cordon=cordon)


def clear_faults(
    host: Host, gpus: Sequence[HostGpu], at_ms: int, mended: Callable[[HostGpu], bool]
) -> tuple[Host, list[HostGpu]]:
    """Return host and GPUs without the open faults of the ``mended`` ones, which may be leased again."""

    def change(gpu: HostGpu) -> HostGpu:
        if gpu.fault is None or not gpu.fault.open or not mended(gpu):
            return gpu
        state: LeaseState = "free" if gpu.lease_state == "unhealthy" else gpu.lease_state
        return replace(gpu, fault=replace(gpu.fault, cleared_at_ms=at_ms), lease_state=state)

    changed = [change(gpu) for gpu in gpus]
    return settle(host, changed), changed


def settle(host: Host, gpus: Sequence[HostGpu]) -> Host:
    """Return the host in the state that follows from all that is known of it and its GPUs."""
    if host.state == "retired":
        return host
    rules = [gpu.fault.rule for gpu in gpus if gpu.fault is not None and gpu.fault.open]
    host = replace(host, faulty_gpus=sum(rule.cordons_gpu for rule in rules))
    if host.state == "lost":
        return host
    drained = any(rule.drains_host for rule in rules) or host.cordon is not None
    return replace(host, state="draining" if drained or is_serviced(host) else "active")


def is_serviced(host: Host) -> bool:
    """Say whether somebody's plan closes a host: its owner's, its provider's, announced maintenance."""
    planned = host.maintenance is not None and host.maintenance.closed
    return planned or host.draining or host.notice is not None


def count_closed(host: Host) -> dict[ClosedCause, int]:
    """Return how many of a host's GPUs get nothing new, by cause. A retired host has none.

    A cordon is maintenance when an operator set it, bad health when the platform did.
    """
    if host.state == "active":
        return {"unhealthy": host.faulty_gpus}
    operated = host.cordon is not None and not host.cordon.automatic
    if host.state == "draining" and (operated or is_serviced(host)):
        return {"maintenance": host.gpu_count}
    return {} if host.state == "retired" else {"unhealthy": host.gpu_count}

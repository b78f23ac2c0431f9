"""Hosts, GPUs, leases with fencing, and commands to hosts.

Invariant: a GPU has one lease record; its epoch rises with every change of that record, and whoever acts
on a GPU names the epoch.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Workload
from chalicelib.fleet.health import GpuFault, HostNotice

#: ``withheld``: free, and not offered while its host says that it is not fit. ``unhealthy``: nobody has it
#: and nobody gets it before its fault is cleared.
LeaseState = Literal["free", "leased", "wiping", "withheld", "unhealthy"]
#: ``draining``: what runs goes on, nothing new is placed.
HostState = Literal["active", "draining", "retired"]

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
    reservable: bool = False
    #: The network that joins it to other hosts (InfiniBand or EFA fabric, placement group), if any.
    fabric_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReservableHost:
    """A host on whose calendar may be booked: read from an index, so only a hint."""

    host_id: str
    gpu_count: int
    fabric_id: str | None = None


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """A host that may have room: read from an index, so it is only a hint until the transaction holds."""

    host_id: str
    region: str
    free_leases: tuple[Lease, ...]


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


def choose_leases(candidate: Candidate, gpu_count: int, rental_id: str) -> tuple[Lease, ...]:
    """Return ``gpu_count`` of the candidate's free leases.

    The choice is spread by the rental's id: parallel starts on one host then mostly want different GPUs.
    """

    def rank(lease: Lease) -> bytes:
        return hashlib.sha256(f"{rental_id}:{lease.gpu_uuid}".encode()).digest()

    return tuple(
        sorted(sorted(candidate.free_leases, key=rank)[:gpu_count], key=lambda lease: lease.gpu_uuid)
    )


def order_candidates(candidates: list[Candidate], rental_id: str) -> list[Candidate]:
    """Best fit first: the host with the fewest free GPUs that still fits, equal ones spread by rental."""

    def rank(candidate: Candidate) -> tuple[int, bytes]:
        spread = hashlib.sha256(f"{rental_id}:{candidate.host_id}".encode()).digest()
        return len(candidate.free_leases), spread

    return sorted(candidates, key=rank)


def announce(host: Host, gpus: Sequence[HostGpu], notice: HostNotice | None, *, draining: bool) -> Host:
    """Return the host under what its provider and its owner say; ``gpus`` are all that it has."""
    return _settle(replace(host, notice=notice, draining=draining), gpus)


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
    return _settle(host, changed), changed


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
    return _settle(host, changed), changed


def _settle(host: Host, gpus: Sequence[HostGpu]) -> Host:
    if host.state == "retired":
        return host
    drained = any(gpu.fault is not None and gpu.fault.open and gpu.fault.rule.drains_host for gpu in gpus)
    closed = drained or host.draining or host.notice is not None
    return replace(host, state="draining" if closed else "active")

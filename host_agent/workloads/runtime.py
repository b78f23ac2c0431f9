"""What the agent needs of whatever runs workloads. Every method may be repeated, also after a crash.

No method waits: what takes time is begun, and the next call says how far it is. A slow engine must not hold
up the energy of the host's other GPUs.
"""

from typing import Literal, Protocol

import msgspec

from chalicelib.wire.v1 import GpuMemoryWipe, PublishedPort, WorkloadSpec
from host_agent.workloads.notice import Notice


class WorkloadOrder(msgspec.Struct, frozen=True):
    """One start. ``instance_id`` tells it from an earlier start of the same rental."""

    rental_id: str
    instance_id: str
    spec: WorkloadSpec
    gpu_uuids: list[str]


class WorkloadStatus(msgspec.Struct, frozen=True):
    """``absent``: never started, or wiped. ``failed``: it could not be started; ``detail`` says why."""

    state: Literal["absent", "starting", "running", "exited", "failed"]
    exit_code: int | None = None
    ended_at_ms: int | None = None
    detail: str = ""
    ports: list[PublishedPort] = []


class Wiped(msgspec.Struct, frozen=True):
    """Nothing of the workload is left, except a volume that was to be kept."""

    gpu_memory: GpuMemoryWipe
    volume_kept: bool = False


#: What only some runtimes can give a workload.
Feature = Literal["image", "ports", "ssh_public_keys", "volume"]
FEATURES: tuple[Feature, ...] = ("image", "ports", "ssh_public_keys", "volume")


def find_refusal(spec: WorkloadSpec, *, supported: frozenset[Feature]) -> str:
    """Return why a runtime with these features cannot start ``spec``; empty when it can."""
    for feature in FEATURES:
        if getattr(spec, feature) and feature not in supported:
            return f"{feature}_not_supported"
    return "" if spec.command or spec.image else "command_required"


class WorkloadRuntime(Protocol):
    def start(self, order: WorkloadOrder) -> None:
        """Begin once; a second call for the same order changes nothing.

        Raises:
            OSError: the host cannot start anything now.
        """

    def inspect(self, rental_id: str) -> WorkloadStatus: ...

    def find_cgroup(self, rental_id: str) -> str | None:
        """Return the control group that is the workload's alone; ``None``: it has none, or does not run."""

    def stop(self, rental_id: str, grace_seconds: float) -> bool:
        """End the workload and all that it started, politely first. Return whether nothing is left.

        Raises:
            OSError: it does not end.
        """

    def wipe(self, rental_id: str, *, keep_volume: bool, unreachable: bool) -> Wiped | None:
        """Destroy what the workload left. ``None``: not yet. Raises OSError when something remains.

        ``unreachable``: one of its GPUs does not answer, so none of its memory can be overwritten.
        """

    def prepare_discard(self, order: WorkloadOrder) -> None:
        """Make a volume that an earlier wipe kept the next wipe's. Raises OSError: nothing has changed."""

    def announce(self, rental_id: str, notice: Notice | None) -> None:
        """Tell the workload when it will end, or that it will not. Raises OSError: it was not told."""

    def read_log(self, rental_id: str, max_bytes: int) -> bytes | None:
        """Return the last of what the workload wrote. ``None``: not yet, ask again."""

"""What the agent needs of a host's GPUs. ``None`` means that a value is not known; it is never zero."""

from typing import Protocol

import msgspec


class GpuInfo(msgspec.Struct, frozen=True):
    gpu_uuid: str
    pci_bus_id: str
    model: str
    memory_mib: int
    #: Enforced board limit; bounds what a counter can plausibly gain.
    power_limit_milliwatts: int | None = None


class Reading(msgspec.Struct, frozen=True):
    """One look at one GPU. ``energy_counter_millijoules`` counts since the driver was loaded."""

    sampled_at_ms: int
    energy_counter_millijoules: int | None = None
    power_milliwatts: int | None = None
    utilization_percent: int | None = None
    memory_used_mib: int | None = None
    temperature_celsius: int | None = None


class GpuError(Exception):
    """A GPU could not be read. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class GpuLost(GpuError):
    """The GPU fell off the bus or needs a reset; it will not come back by asking again."""


class GpuUnavailable(GpuError):
    """No answer now (driver not loaded, permission, socket gone); nothing is known about the GPU."""


class GpuReader(Protocol):
    def list_gpus(self) -> list[GpuInfo]:
        """Return every GPU of the host, at least one.

        Raises:
            GpuUnavailable: also when the driver answers but shows no GPU at all.
        """

    def read(self, gpu_uuid: str) -> Reading:
        """Raises GpuLost or GpuUnavailable."""

    def close(self) -> None: ...

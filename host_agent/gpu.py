"""What the agent needs of a host's GPUs. ``None`` means that a value is not known; it is never zero."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

GpuState = Literal["ok", "unknown", "lost"]
#: Which of NVML's power figures a reading holds. They differ: an average lags, an instant can miss a spike.
PowerSource = Literal["field_average", "field_instant", "power_usage"]


class MigInstance(msgspec.Struct, frozen=True):
    """One GPU instance of a partitioned board. ``slices`` of the board's seven are its own."""

    mig_uuid: str
    slices: int
    memory_mib: int = 0


class Capabilities(msgspec.Struct, frozen=True):
    """What one GPU's driver answers, call by call, as probed when the reader met the GPU.

    ``calls`` maps each call to ``ok``, ``not_supported``, ``no_permission`` or another stable code.
    """

    calls: dict[str, str] = {}
    power_source: PowerSource | None = None
    mig: list[MigInstance] = []
    #: Of the host, told with each of its GPUs.
    driver_version: str | None = None


class GpuInfo(msgspec.Struct, frozen=True):
    """What can be rented: a board, or an instance of a partitioned one with that board's bus id and limit."""

    gpu_uuid: str
    pci_bus_id: str
    model: str
    memory_mib: int
    #: Enforced board limit; bounds what a counter can plausibly gain.
    power_limit_milliwatts: int | None = None
    capabilities: Capabilities = Capabilities()
    #: Of an instance: its board, and its part of the board's seven slices.
    parent_uuid: str | None = None
    slices: int | None = None
    #: The name, within its host, of the boards that it reaches fast; ``None``: the driver does not say.
    link_group: str | None = None

    @property
    def board_uuid(self) -> str:
        return self.parent_uuid or self.gpu_uuid


class InstanceReading(msgspec.Struct, frozen=True):
    """What one instance of a partitioned board did since the last look that was deep."""

    #: How much of the instance worked.
    activity_permille: int | None = None
    #: Part of the time in which anything of it worked.
    busy_permille: int | None = None
    memory_used_mib: int | None = None
    memory_total_mib: int | None = None
    process_ids: tuple[int, ...] | None = None


class NvLink(msgspec.Struct, frozen=True):
    """``errors`` are replays, recoveries and CRC errors of all links since the driver was loaded."""

    links: int
    active: int
    errors: int | None = None


class SlowdownCounters(msgspec.Struct, frozen=True):
    """For how long each reason has slowed a GPU since its driver was loaded."""

    software_thermal_ns: int | None = None
    hardware_thermal_ns: int | None = None
    power_brake_ns: int | None = None


class Reading(msgspec.Struct, frozen=True):
    """One look at one GPU. ``energy_counter_millijoules`` counts since the driver was loaded."""

    sampled_at_ms: int
    #: The same instant on a clock that never jumps and starts with the machine; ``None``: not known.
    monotonic_ms: int | None = None
    energy_counter_millijoules: int | None = None
    power_milliwatts: int | None = None
    utilization_percent: int | None = None
    memory_used_mib: int | None = None
    temperature_celsius: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    #: Kelvin until the hardware slows down; 0 or less: it does.
    slowdown_margin_celsius: int | None = None
    #: Bit mask of NVML's nvmlClocksEventReasons.
    clocks_event_reasons: int | None = None
    #: Errors since the driver was loaded.
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None
    row_remap_pending: bool | None = None
    row_remap_failed: bool | None = None
    pcie_replays: int | None = None
    pcie_link_width: int | None = None
    pcie_max_link_width: int | None = None
    memory_total_mib: int | None = None
    #: At a deep look, of a board that has links.
    nvlink: NvLink | None = None
    #: The programs that have the GPU open for compute, at a deep look. They stay on the host.
    process_ids: tuple[int, ...] | None = None
    #: The instances that are there now, of a partitioned board at a deep look.
    instances: dict[str, InstanceReading] | None = None
    #: At a deep look.
    slowdown: SlowdownCounters | None = None


def is_known(reading: Reading) -> bool:
    """Say whether a reading tells anything about energy."""
    return (
        reading.energy_counter_millijoules is not None
        or reading.power_milliwatts is not None
        or reading.utilization_percent is not None
        or reading.instances is not None
    )


class GpuError(Exception):
    """A GPU could not be read. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class GpuLost(GpuError):
    """The GPU fell off the bus or needs a reset; it will not come back by asking again."""


class GpuUnavailable(GpuError):
    """No answer now (driver not loaded, permission, hung call); nothing is known about the GPU."""


class GpuReader(Protocol):
    def list_gpus(self) -> list[GpuInfo]:
        """Return every GPU that this agent manages, at least one.

        Raises:
            GpuUnavailable: also when the driver answers but shows no GPU at all.
        """

    def read(self, gpu_uuid: str, *, deep: bool = False) -> Reading:
        """Look at one board; ``deep`` also asks what takes the driver long.

        Raises:
            GpuLost, GpuUnavailable.
        """

    def close(self) -> None: ...


#: A look at several GPUs: each has its reading, or why there is none.
Round = Mapping[str, Reading | GpuError]


class RoundReader(Protocol):
    def read_round(self, gpu_uuids: Sequence[str], *, deep: bool = False) -> Round: ...

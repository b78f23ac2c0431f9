"""GPU reader over NVML. The only module that imports ``pynvml``, and only when a reader is made.

At first sight of a GPU each call is probed once, and the answers are published as its capabilities; what a
GPU does not offer is never asked again. GPUs are known by UUID and PCI bus id: an index changes with the bus.

Power comes from field 185 (one-second average), else 186 (instant), else ``nvmlDeviceGetPowerUsage``, whose
meaning depends on the board. The energy counter exists from Volta on and moves in steps of 20 to 100 ms.
Sources: NVML API reference (field values, ``nvmlDeviceGetTotalEnergyConsumption``).
"""

import importlib
import os
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from host_agent.clock import Clock
from host_agent.gpu import (
    Capabilities,
    GpuInfo,
    GpuLost,
    GpuUnavailable,
    InstanceReading,
    NvLink,
    PowerSource,
    Reading,
    SlowdownCounters,
)
from host_agent.nvlink import read_nvlink
from host_agent.nvml_events import WaitingXids, XidEvents
from host_agent.nvml_mig import BoardInstances
from host_agent.nvml_slowdown import read_slowdown
from host_agent.topology import find_link_groups

T = TypeVar("T")

#: NVML_FI_DEV_POWER_AVERAGE and NVML_FI_DEV_POWER_INSTANT.
_POWER_FIELDS: dict[PowerSource, int] = {"field_average": 185, "field_instant": 186}
#: Scope of a power field: the GPU, else the whole module (GH200, GB200).
_POWER_SCOPES = (0, 1)
_BYTES_PER_MIB = 1024 * 1024
#: Between two attempts to open a driver that is being replaced.
_REOPEN_SECONDS = 5.0
VISIBLE_DEVICES = "NVIDIA_VISIBLE_DEVICES"


class _Device(msgspec.Struct):
    """What is known of a GPU while the driver is open. ``offered`` are the calls that it answers."""

    handle: Any
    offered: frozenset[str]
    power: tuple[PowerSource, int] | None
    slowdown_celsius: int | None
    #: Of a partitioned board.
    instances: BoardInstances | None = None


class NvmlReader:
    """Raises GpuUnavailable at construction when the library or the driver is not there."""

    def __init__(self, clock: Clock, visible_devices: str | None = None) -> None:
        self._clock = clock
        self._visible = os.environ.get(VISIBLE_DEVICES, "all") if visible_devices is None else visible_devices
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError as error:
            raise GpuUnavailable("bindings_missing", "nvidia-ml-py is not installed") from error
        nvml = self._nvml
        self._codes = {
            nvml.NVML_ERROR_NOT_SUPPORTED: "not_supported",
            nvml.NVML_ERROR_NO_DATA: "not_supported",
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND: "not_supported",
            nvml.NVML_ERROR_NO_PERMISSION: "no_permission",
            nvml.NVML_ERROR_GPU_IS_LOST: "gpu_lost",
            nvml.NVML_ERROR_RESET_REQUIRED: "reset_required",
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "library_missing",
            nvml.NVML_ERROR_UNINITIALIZED: "uninitialized",
            nvml.NVML_ERROR_DRIVER_NOT_LOADED: "driver_not_loaded",
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "driver_mismatch",
        }
        self._calls = _list_calls(nvml)
        self._devices: dict[str, _Device] = {}
        self._events, self._waiting = XidEvents(nvml), WaitingXids()
        self._open = False
        self._reopen_at = 0.0
        self._connect()

    def list_gpus(self) -> list[GpuInfo]:
        self._connect()
        nvml = self._nvml
        count = self._call(nvml.nvmlDeviceGetCount)
        handles = [self._call(nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
        described = [(handle, gpu) for handle in handles for gpu in self._describe(handle)]
        if not described:
            raise GpuUnavailable("no_gpus", "the driver shows no GPU, or boards with no instance")
        # Instances reach each other through their board's memory only: they have no links.
        boards = {gpu.gpu_uuid: (gpu.pci_bus_id, handle) for handle, gpu in described if gpu.slices is None}
        groups = find_link_groups(nvml, boards)
        gpus = [msgspec.structs.replace(gpu, link_group=groups.get(gpu.gpu_uuid)) for _, gpu in described]
        return select_visible(gpus, self._visible)

    def read(self, gpu_uuid: str, *, deep: bool = False) -> Reading:
        self._connect()
        device = self._devices.get(gpu_uuid)
        if device is None:
            handle = self._call(self._nvml.nvmlDeviceGetHandleByUUID, gpu_uuid)
            device, _ = self._meet(gpu_uuid, handle)
        if deep:
            self._waiting.add(self._call(self._events.drain))
        # The counter first, its instant at once: what it shows is true of then.
        counter = self._read_value(device, "energy_counter")
        sampled_at_ms = self._clock.now_ms()
        rates = self._read_value(device, "utilization")
        memory = self._read_value(device, "memory")
        temperature = self._read_value(device, "temperature")
        remap = self._read_value(device, "row_remapping")
        slowdown = device.slowdown_celsius
        return Reading(
            sampled_at_ms=sampled_at_ms,
            monotonic_ms=int(self._clock.monotonic() * 1000),
            energy_counter_millijoules=counter,
            power_milliwatts=self._read_power(device),
            utilization_percent=None if rates is None else int(rates.gpu),
            memory_used_mib=None if memory is None else int(memory.used) // _BYTES_PER_MIB,
            memory_total_mib=None if memory is None else int(memory.total) // _BYTES_PER_MIB,
            temperature_celsius=temperature,
            sm_clock_mhz=self._read_value(device, "sm_clock"),
            memory_clock_mhz=self._read_value(device, "memory_clock"),
            slowdown_margin_celsius=None
            if temperature is None or slowdown is None
            else slowdown - temperature,
            clocks_event_reasons=self._read_value(device, "clocks_event_reasons"),
            ecc_uncorrected=self._read_value(device, "ecc_uncorrected"),
            ecc_corrected=self._read_value(device, "ecc_corrected"),
            row_remap_pending=None if remap is None else bool(remap[2]),
            row_remap_failed=None if remap is None else bool(remap[3]),
            pcie_replays=self._read_value(device, "pcie_replays"),
            pcie_link_width=self._read_value(device, "pcie_link_width"),
            pcie_max_link_width=self._read_value(device, "pcie_max_link_width"),
            nvlink=self._read_nvlink(device) if deep else None,
            process_ids=self._read_value(device, "processes") if deep else None,
            instances=self._read_instances(device) if deep else None,
            slowdown=self._read_slowdown(device) if deep else None,
        )

    def take_xids(self) -> list[tuple[str, int]]:
        """Return (board UUID, code) of what deep looks have found; calls no driver."""
        return self._waiting.take()

    def close(self) -> None:
        if self._open:
            self._forget()
            self._nvml.nvmlShutdown()

    def _connect(self) -> None:
        """Open the driver, at most once in a while: one that is being replaced needs its time."""
        if self._open:
            return
        if self._clock.monotonic() < self._reopen_at:
            raise GpuUnavailable("driver_not_loaded", "waiting before the driver is tried again")
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            self._reopen_at = self._clock.monotonic() + _REOPEN_SECONDS
            raise GpuUnavailable(self._name(error), str(error)) from error
        self._open = True

    def _forget(self) -> None:
        self._open = False
        self._devices.clear()
        self._events.close()

    def _describe(self, handle: Any) -> list[GpuInfo]:
        """Return a board, or the instances of a partitioned one."""
        nvml = self._nvml
        gpu_uuid = _text(self._call(nvml.nvmlDeviceGetUUID, handle))
        device, capabilities = self._meet(gpu_uuid, handle)
        memory = self._read_value(device, "memory")
        board = GpuInfo(
            gpu_uuid=gpu_uuid,
            pci_bus_id=_text(self._call(nvml.nvmlDeviceGetPciInfo, handle).busId),
            model=_text(self._call(nvml.nvmlDeviceGetName, handle)),
            memory_mib=0 if memory is None else int(memory.total) // _BYTES_PER_MIB,
            power_limit_milliwatts=self._read_value(device, "power_limit"),
            capabilities=capabilities,
        )
        if device.instances is None:
            return [board]
        return [
            msgspec.structs.replace(
                board,
                gpu_uuid=instance.mig_uuid,
                model=name,
                memory_mib=instance.memory_mib,
                parent_uuid=gpu_uuid,
                slices=instance.slices,
            )
            for instance, name in device.instances.describe()
        ]

    def _meet(self, gpu_uuid: str, handle: Any) -> tuple[_Device, Capabilities]:
        """Probe every call of a GPU once. Raises GpuLost or GpuUnavailable: it does not answer at all."""
        calls = {name: self._probe(call, handle) for name, call in self._calls.items()}
        power: tuple[PowerSource, int] | None = None
        for source, field in _POWER_FIELDS.items():
            scope = next(
                (each for each in _POWER_SCOPES if self._read_field(handle, field, each) is not None), None
            )
            calls[source] = "not_supported" if scope is None else "ok"
            if power is None and scope is not None:
                power = (source, scope)
        if power is None and calls["power_usage"] == "ok":
            power = ("power_usage", 0)
        counts = self._call(read_slowdown, self._nvml, handle) is not None
        calls["slowdown_counters"] = "ok" if counts else "not_supported"
        offered = frozenset(name for name, answer in calls.items() if answer == "ok")
        device = _Device(handle, offered, power, None)
        device.slowdown_celsius = self._read_value(device, "slowdown_temperature")
        self._devices[gpu_uuid] = device
        calls["xid_events"] = self._events.register(gpu_uuid, handle)
        if "mig_mode" in offered:
            device.instances = self._open_instances(handle)
        shown = []
        if device.instances is not None:
            calls["instance_activity"] = device.instances.activity
            shown = [instance for instance, _ in device.instances.describe()]
        driver = _text(self._call(self._nvml.nvmlSystemGetDriverVersion))
        return device, Capabilities(calls, None if power is None else power[0], shown, driver)

    def _open_instances(self, handle: Any) -> BoardInstances | None:
        if self._call(self._nvml.nvmlDeviceGetMigMode, handle)[0] != self._nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        return self._call(BoardInstances, self._nvml, handle, self._clock.monotonic())

    def _read_instances(self, device: _Device) -> dict[str, InstanceReading] | None:
        if device.instances is None:
            return None
        return self._call(device.instances.look, self._clock.monotonic())

    def _probe(self, call: Callable[[Any], Any], handle: Any) -> str:
        try:
            call(handle)
        except self._nvml.NVMLError as error:
            name = self._name(error)
            if name not in {"not_supported", "no_permission", "nvml_error"}:
                raise self._translate(error) from error
            return name
        return "ok"

    def _read_value(self, device: _Device, name: str) -> Any:
        """Call NVML; ``None`` when this GPU does not offer the value, or not now."""
        if name not in device.offered:
            return None
        try:
            return self._calls[name](device.handle)
        except self._nvml.NVMLError as error:
            if self._name(error) in {"not_supported", "no_permission"}:
                return None
            raise self._translate(error) from error

    def _read_power(self, device: _Device) -> int | None:
        if device.power is None:
            return None
        source, scope = device.power
        if source == "power_usage":
            value: int | None = self._read_value(device, "power_usage")
            return value
        return self._read_field(device.handle, _POWER_FIELDS[source], scope)

    def _read_field(self, handle: Any, field: int, scope: int) -> int | None:
        try:
            (value,) = self._nvml.nvmlDeviceGetFieldValues(handle, [(field, scope)])
        except self._nvml.NVMLError as error:
            if self._name(error) in {"not_supported", "no_permission"}:
                return None
            raise self._translate(error) from error
        return int(value.value.uiVal) if value.nvmlReturn == self._nvml.NVML_SUCCESS else None

    def _read_nvlink(self, device: _Device) -> NvLink | None:
        if "nvlink" not in device.offered:
            return None
        return self._call(read_nvlink, self._nvml, device.handle)

    def _read_slowdown(self, device: _Device) -> SlowdownCounters | None:
        if "slowdown_counters" not in device.offered:
            return None
        return self._call(read_slowdown, self._nvml, device.handle)

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            raise self._translate(error) from error

    def _name(self, error: Any) -> str:
        return self._codes.get(error.value, "nvml_error")

    def _translate(self, error: Any) -> GpuLost | GpuUnavailable:
        name = self._name(error)
        if name in {"gpu_lost", "reset_required"}:
            return GpuLost(name, str(error))
        if name in {"uninitialized", "driver_not_loaded", "driver_mismatch"}:
            # A driver upgrade leaves every handle stale: the next call starts over.
            self._forget()
        return GpuUnavailable(name, str(error))


def _list_calls(nvml: Any) -> dict[str, Callable[[Any], Any]]:
    """Return what is asked of every GPU, by the name under which its capabilities list it."""
    uncorrected, corrected = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED
    volatile = nvml.NVML_VOLATILE_ECC
    return {
        "energy_counter": nvml.nvmlDeviceGetTotalEnergyConsumption,
        "power_usage": nvml.nvmlDeviceGetPowerUsage,
        "power_limit": nvml.nvmlDeviceGetEnforcedPowerLimit,
        "utilization": nvml.nvmlDeviceGetUtilizationRates,
        "memory": nvml.nvmlDeviceGetMemoryInfo,
        "temperature": lambda handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "slowdown_temperature": lambda handle: nvml.nvmlDeviceGetTemperatureThreshold(
            handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        ),
        "sm_clock": lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock": lambda handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "clocks_event_reasons": nvml.nvmlDeviceGetCurrentClocksEventReasons,
        "ecc_uncorrected": lambda handle: nvml.nvmlDeviceGetTotalEccErrors(handle, uncorrected, volatile),
        "ecc_corrected": lambda handle: nvml.nvmlDeviceGetTotalEccErrors(handle, corrected, volatile),
        "row_remapping": nvml.nvmlDeviceGetRemappedRows,
        "pcie_replays": nvml.nvmlDeviceGetPcieReplayCounter,
        "pcie_link_width": nvml.nvmlDeviceGetCurrPcieLinkWidth,
        "pcie_max_link_width": nvml.nvmlDeviceGetMaxPcieLinkWidth,
        "nvlink": lambda handle: nvml.nvmlDeviceGetNvLinkState(handle, 0),
        "processes": lambda handle: tuple(
            process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        ),
        "mig_mode": nvml.nvmlDeviceGetMigMode,
    }


def select_visible(gpus: list[GpuInfo], visible: str) -> list[GpuInfo]:
    """Return the GPUs that ``NVIDIA_VISIBLE_DEVICES`` names, by UUID (or its beginning) or PCI bus id.

    Raises:
        GpuUnavailable: it names an index, nothing, or a GPU that is not there.
    """
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if names == ["all"]:
        return gpus
    if not names or names in (["none"], ["void"]):
        raise GpuUnavailable("no_gpus", f"{VISIBLE_DEVICES} hides every GPU")
    chosen: dict[str, GpuInfo] = {}
    for name in names:
        if name.isdigit():
            raise GpuUnavailable("bad_visible_devices", f"name GPUs by UUID, not by index ({name})")
        found = [gpu for gpu in gpus if _is_named(gpu, name)]
        if len({gpu.board_uuid for gpu in found}) != 1:
            raise GpuUnavailable("bad_visible_devices", f"{name} names {len(found)} GPUs of this host")
        chosen.update((gpu.gpu_uuid, gpu) for gpu in found)
    return list(chosen.values())


def _is_named(gpu: GpuInfo, name: str) -> bool:
    """A board's name stands for all its instances."""
    return (
        gpu.gpu_uuid.startswith(name)
        or gpu.board_uuid.startswith(name)
        or gpu.pci_bus_id.lower() == name.lower()
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

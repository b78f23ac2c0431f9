"""GPU reader over NVML. The only module that imports ``pynvml``, and only when a reader is made.

Power comes from field 185 (one-second average) and, where the driver has no such field, from
``nvmlDeviceGetPowerUsage``. The energy counter exists from Volta on and moves in steps of 20 to 100 ms.
Sources: NVML API reference (field values, ``nvmlDeviceGetTotalEnergyConsumption``).
"""

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from host_agent.clock import Clock
from host_agent.gpu import GpuInfo, GpuLost, GpuUnavailable, Reading

T = TypeVar("T")

#: NVML_FI_DEV_POWER_AVERAGE; scope 0 is the GPU, scope 1 the module (GH200).
_POWER_AVERAGE_FIELD = 185
_BYTES_PER_MIB = 1024 * 1024


class NvmlReader:
    """Raises GpuUnavailable at construction when the library or the driver is not there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError as error:
            raise GpuUnavailable("bindings_missing", "nvidia-ml-py is not installed") from error
        nvml = self._nvml
        self._lost = {nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED}
        self._absent = {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_DATA}
        self._reopen = {
            nvml.NVML_ERROR_UNINITIALIZED,
            nvml.NVML_ERROR_DRIVER_NOT_LOADED,
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        }
        self._handles: dict[str, Any] = {}
        self._open = False
        self._connect()

    def list_gpus(self) -> list[GpuInfo]:
        self._connect()
        nvml = self._nvml
        count = self._call(nvml.nvmlDeviceGetCount)
        gpus = [self._describe(self._call(nvml.nvmlDeviceGetHandleByIndex, i)) for i in range(count)]
        if not gpus:
            raise GpuUnavailable("no_gpus", "the driver shows no GPU")
        return gpus

    def read(self, gpu_uuid: str) -> Reading:
        self._connect()
        nvml = self._nvml
        handle = self._handles.get(gpu_uuid)
        if handle is None:
            handle = self._call(nvml.nvmlDeviceGetHandleByUUID, gpu_uuid)
            self._handles[gpu_uuid] = handle
        counter = self._optional(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        sampled_at_ms = self._clock.now_ms()
        rates = self._optional(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._optional(nvml.nvmlDeviceGetMemoryInfo, handle)
        return Reading(
            sampled_at_ms=sampled_at_ms,
            energy_counter_millijoules=counter,
            power_milliwatts=self._read_power(handle),
            utilization_percent=None if rates is None else int(rates.gpu),
            memory_used_mib=None if memory is None else int(memory.used) // _BYTES_PER_MIB,
            temperature_celsius=self._optional(
                nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU
            ),
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            self._handles.clear()
            self._nvml.nvmlShutdown()

    def _connect(self) -> None:
        if self._open:
            return
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise GpuUnavailable("nvml_init", str(error)) from error
        self._open = True

    def _describe(self, handle: Any) -> GpuInfo:
        nvml = self._nvml
        memory = self._optional(nvml.nvmlDeviceGetMemoryInfo, handle)
        return GpuInfo(
            gpu_uuid=_text(self._call(nvml.nvmlDeviceGetUUID, handle)),
            pci_bus_id=_text(self._call(nvml.nvmlDeviceGetPciInfo, handle).busId),
            model=_text(self._call(nvml.nvmlDeviceGetName, handle)),
            memory_mib=0 if memory is None else int(memory.total) // _BYTES_PER_MIB,
            power_limit_milliwatts=self._optional(nvml.nvmlDeviceGetEnforcedPowerLimit, handle),
        )

    def _read_power(self, handle: Any) -> int | None:
        nvml = self._nvml
        values = self._optional(nvml.nvmlDeviceGetFieldValues, handle, [(_POWER_AVERAGE_FIELD, 0)])
        if values is not None and values[0].nvmlReturn == nvml.NVML_SUCCESS:
            return int(values[0].value.uiVal)
        return self._optional(nvml.nvmlDeviceGetPowerUsage, handle)

    def _optional(self, function: Callable[..., T], *arguments: Any) -> T | None:
        """Call NVML; ``None`` when this GPU does not offer the value."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            if error.value in self._absent:
                return None
            raise self._translate(error) from error

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            raise self._translate(error) from error

    def _translate(self, error: Any) -> GpuLost | GpuUnavailable:
        if error.value in self._lost:
            return GpuLost("gpu_lost", str(error))
        if error.value in self._reopen:
            # A driver upgrade leaves every handle stale: the next call starts over.
            self._open = False
            self._handles.clear()
        return GpuUnavailable("nvml_error", str(error))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

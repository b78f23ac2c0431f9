"""The instances of one partitioned board, through NVML: what is there, and what each did.

Calls about instances are slow (50 to 100 ms have been seen), so the partition is listed once, again when an
instance no longer answers, and once a minute for new ones. Activity comes from GPM, as the difference of two
samples: graphics engine active (DCGM's 1001), else SM active (1002), on Hopper and newer; elsewhere and where
several compute instances share one GPU instance it is not known.
Sources: NVML API reference (GPM, multi-instance GPU management); DCGM issue 226.
"""

from collections import Counter
from typing import Any

import msgspec

from host_agent.gpu import InstanceReading, MigInstance

RELIST_SECONDS = 60.0
_GRAPHICS_UTIL, _SM_UTIL = 1, 2
_ABSURD_PERCENT = 1000
_BYTES_PER_MIB = 1024 * 1024


class _Instance(msgspec.Struct):
    handle: Any
    shown: MigInstance
    name: str
    gpu_instance_id: int
    #: No other compute instance has a part of the same GPU instance.
    alone: bool
    #: The last GPM sample and a spare one.
    sample: Any = None
    spare: Any = None


class BoardInstances:
    """Not thread-safe. Every method raises ``nvml.NVMLError`` when the board itself does not answer."""

    def __init__(self, nvml: Any, board: Any, now: float) -> None:
        self._nvml = nvml
        self._board = board
        self._gpm = self._has_gpm()
        self._listed_at = now
        self._instances = self._list()

    @property
    def activity(self) -> str:
        return "ok" if self._gpm else "not_supported"

    def describe(self) -> list[tuple[MigInstance, str]]:
        """Return each instance with the driver's name of it."""
        return [(each.shown, each.name) for each in self._instances.values()]

    def look(self, now: float) -> dict[str, InstanceReading]:
        """Return what each instance that is there did since the look before."""
        if now - self._listed_at >= RELIST_SECONDS:
            self._list_again(now)
        found = {uuid: self._read(each) for uuid, each in self._instances.items()}
        if None in found.values():
            self._list_again(now)
            found = {uuid: self._read(each) for uuid, each in self._instances.items()}
        return {uuid: reading for uuid, reading in found.items() if reading is not None}

    def close(self) -> None:
        """Give GPM's samples back."""
        for each in self._instances.values():
            self._free(each)

    def _list_again(self, now: float) -> None:
        before, self._instances, self._listed_at = self._instances, self._list(), now
        for uuid, old in before.items():
            new = self._instances.get(uuid)
            if new is not None and new.gpu_instance_id == old.gpu_instance_id:
                new.sample, new.spare = old.sample, old.spare
            else:
                self._free(old)

    def _list(self) -> dict[str, _Instance]:
        nvml = self._nvml
        if nvml.nvmlDeviceGetMigMode(self._board)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return {}
        found = []
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(self._board)):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(self._board, index)
                found.append((handle, nvml.nvmlDeviceGetGpuInstanceId(handle)))
            except nvml.NVMLError_NotFound:
                continue
        sharing = Counter(number for _, number in found)
        instances = [self._describe(handle, number, sharing[number] == 1) for handle, number in found]
        return {each.shown.mig_uuid: each for each in instances}

    def _describe(self, handle: Any, number: int, alone: bool) -> _Instance:  # noqa: FBT001
        nvml = self._nvml
        about = nvml.nvmlDeviceGetAttributes_v2(handle)
        slices = about.gpuInstanceSliceCount if alone else about.computeInstanceSliceCount
        shown = MigInstance(_text(nvml.nvmlDeviceGetUUID(handle)), int(slices), int(about.memorySizeMB))
        return _Instance(handle, shown, _text(nvml.nvmlDeviceGetName(handle)), number, alone)

    def _read(self, instance: _Instance) -> InstanceReading | None:
        """Return ``None`` when the instance is no longer there."""
        nvml = self._nvml
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(instance.handle)
            used, total = int(memory.used) // _BYTES_PER_MIB, int(memory.total) // _BYTES_PER_MIB
        except (nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            return None
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
            return InstanceReading(*self._measure(instance))
        return InstanceReading(*self._measure(instance), used, total, self._list_processes(instance))

    def _list_processes(self, instance: _Instance) -> tuple[int, ...] | None:
        try:
            found = self._nvml.nvmlDeviceGetComputeRunningProcesses(instance.handle)
            return tuple(process.pid for process in found)
        except self._nvml.NVMLError:
            return None

    def _measure(self, instance: _Instance) -> tuple[int | None, int | None]:
        """Return activity and busy time in thousandths since the last sample."""
        nvml = self._nvml
        if not self._gpm or not instance.alone:
            return None, None
        try:
            if instance.spare is None:
                instance.spare = nvml.nvmlGpmSampleAlloc()
            nvml.nvmlGpmMigSampleGet(self._board, instance.gpu_instance_id, instance.spare)
            old, new = instance.sample, instance.spare
            instance.sample, instance.spare = new, old
            if old is None:
                return None, None
            asked = nvml.c_nvmlGpmMetricsGet_t(nvml.NVML_GPM_METRICS_GET_VERSION, 2, old, new)
            asked.metrics[0].metricId, asked.metrics[1].metricId = _GRAPHICS_UTIL, _SM_UTIL
            nvml.nvmlGpmMetricsGet(asked)
        except nvml.NVMLError:
            return None, None
        graphics, multiprocessors = (_read_metric(asked.metrics[index]) for index in (0, 1))
        return (multiprocessors if graphics is None else graphics), graphics

    def _has_gpm(self) -> bool:
        try:
            return bool(self._nvml.nvmlGpmQueryDeviceSupport(self._board).isSupportedDevice)
        except self._nvml.NVMLError:
            return False

    def _free(self, instance: _Instance) -> None:
        for sample in (instance.sample, instance.spare):
            if sample is not None:
                self._nvml.nvmlGpmSampleFree(sample)


def _read_metric(metric: Any) -> int | None:
    """Return a percentage in thousandths; what is above 100 % has been seen (DCGM issue 152) and is 100 %."""
    value = float(metric.value)
    if metric.nvmlReturn != 0 or not 0 <= value <= _ABSURD_PERCENT:
        return None
    return min(1000, round(value * 10))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value

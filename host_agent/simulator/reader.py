"""`GpuReader` over a simulated device."""

from pathlib import Path

import msgspec

from host_agent.gpu import GpuInfo, GpuUnavailable, Reading
from host_agent.simulator.client import DeviceConnection


class SimulatorReader:
    def __init__(self, path: Path) -> None:
        self._device = DeviceConnection(path)

    def list_gpus(self) -> list[GpuInfo]:
        gpus = msgspec.convert(self._device.ask(op="list").get("gpus"), list[GpuInfo])
        if not gpus:
            raise GpuUnavailable("no_gpus", "the simulator shows no GPU")
        return gpus

    def read(self, gpu_uuid: str, *, deep: bool = False) -> Reading:  # noqa: ARG002 - it has nothing deeper
        return msgspec.convert(self._device.ask(op="read", gpu_uuid=gpu_uuid), Reading)

    def close(self) -> None:
        self._device.close()

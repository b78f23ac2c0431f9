"""The GPUs of one simulated host, as a process of its own: like hardware, it outlives the agent.

JSON lines over a Unix socket. Requests: ``list``; ``read`` and ``truth`` of a GPU; ``slow``, by heat or by
the power brake, until it is taken back; ``load``, which holds as long as its connection is open, as a kernel
runs as long as its process does.
"""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_agent.clock import Clock
from host_agent.health import HW_POWER_BRAKE, HW_THERMAL
from host_agent.simulator.address import open_address
from host_agent.simulator.model import SimulatedGpu

MODEL_NAME = "NVIDIA H100 80GB HBM3 (simulated)"
_ADVANCE_SECONDS = 0.5
_MAX_LINE = 64 * 1024


@dataclass(slots=True)
class Device:
    """``loads`` maps a GPU to what each open connection asks of it; the sum counts."""

    gpus: dict[str, SimulatedGpu]
    clock: Clock
    #: How many GPUs, in the order of the list, are joined by NVLink; 0: all of them.
    link_group_gpus: int = 0
    loads: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))

    def answer(self, request: dict[str, Any], connection: int) -> dict[str, Any]:
        """Raises KeyError for an unknown operation or GPU, ValueError for a bad value."""
        now_ms = self.clock.now_ms()
        operation = request["op"]
        if operation == "list":
            return {"gpus": [self._describe(index, gpu) for index, gpu in enumerate(self.gpus.values())]}
        if operation == "load":
            for gpu_uuid in request["gpu_uuids"]:
                self.loads[self.gpus[gpu_uuid].gpu_uuid][connection] = float(request["utilization"])
                self._apply(gpu_uuid, now_ms)
            return {}
        gpu = self.gpus[request["gpu_uuid"]]
        if operation == "slow":
            gpu.set_slowdown(now_ms, is_hot=bool(request["thermal"]), is_braked=bool(request["power_brake"]))
            return {}
        gpu.advance(now_ms)
        if operation == "read":
            return self._read(gpu)
        if operation == "truth":
            return {"energy_millijoules": gpu.read_truth(int(request["from_ms"]), int(request["to_ms"]))}
        raise KeyError(operation)

    def release(self, connection: int) -> None:
        """The connection is gone: so is its load."""
        now_ms = self.clock.now_ms()
        for gpu_uuid, loads in self.loads.items():
            if loads.pop(connection, None) is not None:
                self._apply(gpu_uuid, now_ms)

    def advance(self) -> None:
        now_ms = self.clock.now_ms()
        for gpu in self.gpus.values():
            gpu.advance(now_ms)

    def _apply(self, gpu_uuid: str, now_ms: int) -> None:
        self.gpus[gpu_uuid].set_load(now_ms, sum(self.loads[gpu_uuid].values()))

    def _describe(self, index: int, gpu: SimulatedGpu) -> dict[str, Any]:
        return {
            "gpu_uuid": gpu.gpu_uuid,
            "pci_bus_id": f"00000000:{index + 0x10:02X}:00.0",
            "model": MODEL_NAME,
            "memory_mib": gpu.memory_mib,
            "power_limit_milliwatts": int(gpu.limit_watts * 1000),
            "capabilities": {"power_source": "field_instant"},
            "link_group": f"nvlink-{index // (self.link_group_gpus or len(self.gpus))}",
        }

    def _read(self, gpu: SimulatedGpu) -> dict[str, Any]:
        return {
            # The instant of the counter's last step: what it shows is true of then.
            "sampled_at_ms": gpu.now_ms,
            "energy_counter_millijoules": gpu.energy_counter_millijoules,
            "power_milliwatts": int(gpu.power_watts * 1000),
            "utilization_percent": round(gpu.utilization * 100),
            "memory_used_mib": gpu.memory_used_mib,
            "temperature_celsius": round(gpu.temperature_celsius),
            "clocks_event_reasons": HW_THERMAL * gpu.is_hot | HW_POWER_BRAKE * gpu.is_braked,
            "slowdown": {
                "software_thermal_ns": 0,
                "hardware_thermal_ns": gpu.hot_ms * 1_000_000,
                "power_brake_ns": gpu.braked_ms * 1_000_000,
            },
        }


def build_device(count: int, seed: int, clock: Clock, link_group_gpus: int = 0) -> Device:
    """Return ``count`` idle GPUs whose identities and noise follow from ``seed``."""
    now_ms = clock.now_ms()
    gpus = {}
    for index in range(count):
        gpu_uuid = f"GPU-{seed:08x}-5111-0000-0000-{index:012x}"
        gpus[gpu_uuid] = SimulatedGpu(gpu_uuid, seed=seed * 1000 + index, start_ms=now_ms)
    return Device(gpus, clock, link_group_gpus)


async def serve(device: Device, path: Path) -> None:
    """Answer on ``path``, which must not exist, until cancelled."""
    count = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        connection = count
        try:
            while line := await reader.readline():
                writer.write(json.dumps(_answer_line(device, line, connection)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            device.release(connection)
            writer.close()

    with open_address(path) as address:
        server = await asyncio.start_unix_server(converse, address, limit=_MAX_LINE)
    async with server:
        while True:
            device.advance()
            await asyncio.sleep(_ADVANCE_SECONDS)


def _answer_line(device: Device, line: bytes, connection: int) -> dict[str, Any]:
    try:
        return device.answer(json.loads(line), connection)
    except (KeyError, ValueError, TypeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}

"""The memory-mapped state of the simulated NVML library: the layout of ``nvml.c``, written from Python."""

import ctypes
import mmap
from collections.abc import Sequence
from pathlib import Path

MAX_GPUS, MAX_INSTANCES = 16, 7
SUCCESS, NOT_SUPPORTED, GPU_IS_LOST, RESET_REQUIRED = 0, 3, 15, 16
DRIVER_NOT_LOADED, VERSION_MISMATCH = 9, 18

#: The cells of a GPU, in the order of the enum in ``nvml.c``, with what an idle H100 says.
CELLS = {
    "energy": 0,
    "power_usage": 72_000,
    "power_average": 72_000,
    "power_instant": 72_000,
    "power_limit": 700_000,
    "utilization_gpu": 0,
    "utilization_memory": 0,
    "memory_total": 81_559 * 1024 * 1024,
    "memory_used": 540 * 1024 * 1024,
    "temperature": 29,
    "slowdown_temperature": 87,
    "clock_sm": 1980,
    "clock_memory": 2619,
    "clocks_event_reasons": 0,
    "ecc_uncorrected": 0,
    "ecc_corrected": 0,
    "remap_pending": 0,
    "remap_failed": 0,
    "pcie_replays": 0,
    "pcie_width": 16,
    "pcie_max_width": 16,
    "mig_mode": 0,
    "gpm_support": 1,
    "nvlinks": 18,
    "nvlinks_active": 18,
    "nvlink_errors": 0,
    "nvlink_peer": 255,
    "numa_node": 0,
    "xids": 0,
    "xid_code": 0,
    "processes": 0,
    "software_thermal": 0,
    "hardware_thermal": 0,
    "power_brake": 0,
}


class _Cell(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("value", ctypes.c_uint64))


class _Instance(ctypes.Structure):
    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("profile", ctypes.c_char * 32),
        ("slices", ctypes.c_uint32),
        ("number", ctypes.c_uint32),
        ("graphics", ctypes.c_uint32),
        ("graphics_code", ctypes.c_uint32),
        ("multiprocessors", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("memory_total", ctypes.c_uint64),
        ("memory_used", ctypes.c_uint64),
    )


class _Gpu(ctypes.Structure):
    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("name", ctypes.c_char * 96),
        ("bus_id", ctypes.c_char * 32),
        ("fault", ctypes.c_uint32),
        ("hang_ms", ctypes.c_uint32),
        ("instance", _Instance * MAX_INSTANCES),
        ("cells", _Cell * len(CELLS)),
    )


class _State(ctypes.Structure):
    _fields_ = (
        ("init_code", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("driver", ctypes.c_char * 80),
        ("gpus", _Gpu * MAX_GPUS),
    )


SIZE = ctypes.sizeof(_State)
_INDEX = {name: index for index, name in enumerate(CELLS)}


class Simulation:
    """A host's GPUs as NVML shows them. Every change is seen by the next call of any process."""

    def __init__(self, path: Path, gpus: int = 2, name: str = "NVIDIA H100 80GB HBM3 (simulated)") -> None:
        path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._state = _State.from_buffer(self._map)
        self._state.driver = b"580.65.06"
        self._state.count = gpus
        self.uuids = [f"GPU-51110000-0000-0000-0000-{index:012x}" for index in range(gpus)]
        for index, uuid in enumerate(self.uuids):
            gpu = self._state.gpus[index]
            gpu.uuid, gpu.name = uuid.encode(), name.encode()
            gpu.bus_id = f"00000000:{index + 0x10:02X}:00.0".encode()
            for cell, value in CELLS.items():
                self.set(index, **{cell: value})

    def set(self, index: int, **values: int | None) -> None:
        """Set cells of a GPU; ``None`` makes the call answer *not supported*."""
        for name, value in values.items():
            cell = self._state.gpus[index].cells[_INDEX[name]]
            if value is None:
                cell.code = NOT_SUPPORTED
            else:
                cell.value, cell.code = value, SUCCESS

    def add(self, index: int, energy_millijoules: int) -> None:
        self._state.gpus[index].cells[_INDEX["energy"]].value += energy_millijoules

    def fail(self, index: int, code: int) -> None:
        """Make every call on a GPU answer ``code``; 0 mends it."""
        self._state.gpus[index].fault = code

    def hang(self, index: int, milliseconds: int) -> None:
        self._state.gpus[index].hang_ms = milliseconds

    def fail_driver(self, code: int) -> None:
        self._state.init_code = code

    def show(self, count: int) -> None:
        """Make the driver show the first ``count`` GPUs only."""
        self._state.count = count

    def partition(self, index: int, slices: Sequence[int]) -> list[str]:
        """Switch a GPU to MIG with instances of so many slices; return their UUIDs."""
        uuids = [f"MIG-51110000-{index:04x}-0000-0000-{number:012x}" for number in range(len(slices))]
        for number, (uuid, count) in enumerate(zip(uuids, slices, strict=True)):
            self.create(index, number, uuid, count)
        self.set(index, mig_mode=1, utilization_gpu=None, utilization_memory=None)
        return uuids

    def create(self, index: int, number: int, uuid: str, slices: int) -> None:
        """Put an instance into a place of a GPU."""
        instance = self._state.gpus[index].instance[number]
        instance.uuid, instance.profile = uuid.encode(), f"{slices}g.{slices * 10}gb".encode()
        instance.slices, instance.number = slices, number + 1
        instance.memory_total, instance.memory_used = slices * 10_000 * 2**20, 20 * 2**20
        instance.graphics_code = SUCCESS

    def destroy(self, index: int, number: int) -> None:
        self._state.gpus[index].instance[number].uuid = b""

    def work(self, index: int, number: int, graphics: int | None, multiprocessors: int) -> None:
        """Set an instance's activity in thousandths; ``None``: the GPU does not tell graphics activity."""
        instance = self._state.gpus[index].instance[number]
        instance.graphics, instance.multiprocessors = graphics or 0, multiprocessors
        instance.graphics_code = NOT_SUPPORTED if graphics is None else SUCCESS

    def close(self) -> None:
        del self._state
        self._map.close()

"""The simulated device: its counter is what a real one shows, its truth is exact."""

import asyncio
import contextlib
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_agent.clock import SystemClock
from host_agent.gpu import GpuUnavailable
from host_agent.simulator.client import DeviceConnection
from host_agent.simulator.device import build_device, serve
from host_agent.simulator.model import GAIN_ERROR, STEP_MS, SimulatedGpu
from host_agent.simulator.reader import SimulatorReader

START_MS = 1_800_000_000_000


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.floats(0, 1)), min_size=1, max_size=10), st.integers(0, 99)
)
def test_the_counter_is_within_its_stated_error_of_the_truth_and_never_falls(steps, seed):
    gpu = SimulatedGpu("GPU", seed, START_MS)
    now_ms, before = START_MS, 0
    for wait_ms, load in steps:
        now_ms += wait_ms
        gpu.set_load(now_ms, load)
        assert gpu.energy_counter_millijoules >= before
        before = gpu.energy_counter_millijoules
        assert gpu.idle_watts * 0.9 <= gpu.power_watts <= gpu.limit_watts
    truth = gpu.read_truth(START_MS, gpu.now_ms)
    assert abs(gpu.energy_counter_millijoules - truth) <= truth * GAIN_ERROR + 1


def test_windows_of_the_truth_add_up_and_the_future_is_not_known():
    gpu = SimulatedGpu("GPU", 1, START_MS)
    gpu.set_load(START_MS, 0.9)
    gpu.advance(START_MS + 60_000)
    parts = [gpu.read_truth(START_MS + n * 1_234, START_MS + (n + 1) * 1_234) for n in range(40)]
    assert sum(parts) == pytest.approx(gpu.read_truth(START_MS, START_MS + 40 * 1_234))
    with pytest.raises(ValueError, match="outside"):
        gpu.read_truth(START_MS, START_MS + 60_000 + STEP_MS)


def test_the_same_seed_gives_the_same_device():
    readings = []
    for _ in range(2):
        gpu = SimulatedGpu("GPU", 7, START_MS)
        gpu.set_load(START_MS, 0.5)
        gpu.advance(START_MS + 10_000)
        readings.append((gpu.energy_counter_millijoules, gpu.power_watts, gpu.temperature_celsius))
    assert readings[0] == readings[1]


def list_when_up(reader: SimulatorReader) -> list:
    deadline = time.monotonic() + 10
    while True:
        try:
            return reader.list_gpus()
        except GpuUnavailable:
            assert time.monotonic() < deadline


def test_load_holds_as_long_as_its_connection(tmp_path):
    device = build_device(2, 3, SystemClock())
    loop = asyncio.new_event_loop()
    task = loop.create_task(serve(device, tmp_path / "device.sock"))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=run)
    thread.start()
    reader = SimulatorReader(tmp_path / "device.sock")
    gpus = list_when_up(reader)
    assert len(gpus) == 2
    workload = DeviceConnection(tmp_path / "device.sock")
    workload.ask(op="load", gpu_uuids=[gpus[0].gpu_uuid], utilization=0.8)
    assert reader.read(gpus[0].gpu_uuid).utilization_percent == 80
    assert reader.read(gpus[1].gpu_uuid).utilization_percent == 0
    workload.close()
    while reader.read(gpus[0].gpu_uuid).utilization_percent:
        pass
    with pytest.raises(GpuUnavailable):
        reader.read("GPU-unknown")
    reader.close()
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    with pytest.raises(GpuUnavailable):
        reader.read(gpus[0].gpu_uuid)

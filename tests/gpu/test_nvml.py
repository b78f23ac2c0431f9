"""The NVML reader against the real library, wherever there is one."""

import pytest

from host_agent.clock import SystemClock
from host_agent.gpu import GpuUnavailable
from host_agent.nvml import NvmlReader


@pytest.fixture(scope="module")
def reader():
    try:
        opened = NvmlReader(SystemClock())
    except GpuUnavailable as error:
        pytest.skip(f"no NVIDIA driver here: {error}")
    yield opened
    opened.close()


def test_every_gpu_is_named_by_uuid_and_read_without_guessing(reader):
    for gpu in reader.list_gpus():
        assert gpu.gpu_uuid.startswith("GPU-")
        reading = reader.read(gpu.gpu_uuid)
        assert reading.sampled_at_ms > 0
        if reading.power_milliwatts is not None and gpu.power_limit_milliwatts is not None:
            assert 0 < reading.power_milliwatts <= gpu.power_limit_milliwatts * 1.2


def test_the_energy_counter_never_falls(reader):
    for gpu in reader.list_gpus():
        first = reader.read(gpu.gpu_uuid).energy_counter_millijoules
        second = reader.read(gpu.gpu_uuid).energy_counter_millijoules
        if first is not None:
            assert second is not None
            assert second >= first

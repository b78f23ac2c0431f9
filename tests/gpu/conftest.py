"""The reader on the library that is here: the real one on a GPU host, and the simulated one everywhere."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from host_agent.clock import SystemClock
from host_agent.gpu import GpuUnavailable
from host_agent.nvml import NvmlReader
from tests.gpu.simulation.library import build_library
from tests.gpu.simulation.state import Simulation


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Two simulated GPUs, behind the library that pynvml calls through ctypes."""
    library = ctypes.CDLL(str(build_library()))
    state = Simulation(tmp_path / "nvml.state")
    monkeypatch.setenv("NVML_SIMULATION", str(tmp_path / "nvml.state"))
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    yield state
    library.nvmlShutdown()
    state.close()


@pytest.fixture(params=["real", "simulated"])
def reader(request: pytest.FixtureRequest) -> Iterator[NvmlReader]:
    if request.param == "simulated":
        request.getfixturevalue("simulation")
    try:
        opened = NvmlReader(SystemClock())
    except GpuUnavailable as error:
        pytest.skip(f"no NVIDIA driver here: {error}")
    yield opened
    opened.close()

"""What a tenant left in a GPU's memory is overwritten, and that is proved by reading it back."""

import os
import subprocess
import sys

import pytest

from tests.gpu.simulation.library import CUDA_SONAME, compile_library

MIB = 1 << 20
PROGRAM = "import sys; from host_agent.workloads.gpu_memory import scrub; print(scrub(sys.argv[1:]))"


@pytest.fixture
def boards(tmp_path):
    """Two boards full of what the last tenant left there."""
    for name in ("GPU-0", "GPU-1"):
        (tmp_path / name).write_bytes(b"secret" * (9 * MIB // 6))
    return tmp_path


def scrub(*gpu_uuids: str, library: str | None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), **variables}
    if library is not None:
        environment["LD_LIBRARY_PATH"] = library
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *gpu_uuids],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def library() -> str:
    return str(compile_library("cuda.c", CUDA_SONAME).parent)


def test_the_memory_of_the_rented_gpu_is_overwritten_and_no_other(boards, library):
    done = scrub("GPU-1", library=library, CUDA_SIMULATION=str(boards))
    assert done.stdout.strip() == "verified", done.stderr
    left = (boards / "GPU-1").read_bytes()
    # What is smaller than the smallest block belongs to the driver's own context.
    assert left[: 8 * MIB].count(0) == 8 * MIB
    assert b"secret" in (boards / "GPU-0").read_bytes()


def test_several_gpus_are_all_overwritten(boards, library):
    done = scrub("GPU-1", "GPU-0", library=library, CUDA_SIMULATION=str(boards))
    assert done.stdout.strip() == "verified", done.stderr
    for name in ("GPU-0", "GPU-1"):
        assert b"secret" not in (boards / name).read_bytes()[: 8 * MIB]


def test_memory_that_does_not_read_back_as_written_is_a_failure(boards, library):
    stuck = {"CUDA_SIMULATION": str(boards), "CUDA_SIMULATION_STUCK": str(3 * MIB + 5)}
    done = scrub("GPU-0", library=library, **stuck)
    assert done.returncode != 0
    assert "did not read back" in done.stderr


def test_a_gpu_that_cuda_does_not_see_is_a_failure_and_never_a_success(boards, library):
    done = scrub("GPU-0", "GPU-7", library=library, CUDA_SIMULATION=str(boards))
    assert "CUDA sees 1 of 2 GPUs" in done.stderr
    assert done.returncode != 0


def test_without_a_driver_it_is_not_said_to_be_verified():
    done = scrub("GPU-0", library=None)
    # Where a driver is, it has no board of this name.
    assert done.stdout.strip() == "not_supported" or "cuInit" in done.stderr

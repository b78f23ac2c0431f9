"""Builds the simulated ``libnvidia-ml.so.1`` and ``libcuda.so.1`` once per change of their sources."""

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path

from infra.local.environments import ensure_environment
from infra.local.paths import LOCAL
from infra.local.progress import Progress
from tests.gpu.simulation import state

HERE = Path(__file__).parent
SONAME = "libnvidia-ml.so.1"
CUDA_SONAME = "libcuda.so.1"


def build_library() -> Path:
    """Return the path of the simulated NVML."""
    library = compile_library("nvml.c", SONAME)
    size = ctypes.CDLL(str(library)).simulation_size()
    assert size == state.SIZE, f"nvml.c and state.py differ: {size} and {state.SIZE} bytes"
    return library


def compile_library(source: str, soname: str) -> Path:
    """Return the library's path. The compiler comes from PyPI (ziglang), like everything else."""
    path = HERE / source
    digest = hashlib.sha256(path.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:16]
    library = LOCAL / "nvml" / digest / soname
    if not library.exists():
        python = ensure_environment("compiler", "a C compiler for the simulated NVML", Progress())
        library.parent.mkdir(parents=True, exist_ok=True)
        partial = library.with_name(f"partial-{os.getpid()}")
        cache = {f"ZIG_{kind}_CACHE_DIR": str(LOCAL / "cache" / "zig") for kind in ("GLOBAL", "LOCAL")}
        subprocess.run(
            [
                *(str(python), "-m", "ziglang", "cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror"),
                *("-o", str(partial), str(path)),
            ],
            check=True,
            env={**os.environ, **cache},
        )
        partial.rename(library)
    return library


def build_environment(state_file: Path) -> dict[str, str]:
    """Return what makes a process find the simulated library instead of a real one."""
    return {"LD_LIBRARY_PATH": str(build_library().parent), "NVML_SIMULATION": str(state_file)}

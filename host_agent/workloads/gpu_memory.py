"""Overwrites a GPU's memory and reads it back, so that no tenant finds what another left there.

Uses the driver's own library alone (libcuda.so.1, CUDA Driver API), so no toolkit is needed. The driver
scrubs memory of ended contexts on most boards; this proves it where it can be proved.
"""

import ctypes
import os
from collections.abc import Sequence
from typing import Any

from chalicelib.wire.v1 import GpuMemoryWipe

#: Names of the driver's library, tried in this order. Source: CUDA Driver API on Linux.
LIBRARY = "libcuda.so.1"
#: Blocks get smaller until the rest is below the smallest; what is left belongs to the driver's own context.
BLOCK_BYTES = (1 << 30, 64 << 20, 2 << 20)
#: Every block is read back in steps of this many bytes.
READ_BACK_BYTES = 1 << 20
PATTERN = 0
#: At least this part of what the driver calls free must have been overwritten.
REQUIRED_PERCENT = 99
_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


class ScrubFailed(OSError):
    """The memory may still hold something; the GPU must not be rented."""


def wipe(gpu_uuids: Sequence[str], *, simulated: bool, unreachable: bool) -> GpuMemoryWipe:
    """Overwrite what can be. Raises ScrubFailed: a GPU that answers still holds something, or may."""
    if simulated:
        return "not_supported"
    return "unreachable" if unreachable else scrub(gpu_uuids)


def scrub(gpu_uuids: Sequence[str]) -> GpuMemoryWipe:
    """Overwrite and verify the memory of every GPU; to be called in a process of its own.

    Raises:
        ScrubFailed: something could not be overwritten or did not read back as written.
    """
    # CUDA numbers what it sees; by UUID nothing else is seen. Must be set before the library starts.
    os.environ[_VISIBLE_DEVICES] = ",".join(gpu_uuids)
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return "not_supported"
    cuda = _Cuda(library)
    cuda.call("cuInit", 0)
    count = ctypes.c_int()
    cuda.call("cuDeviceGetCount", ctypes.byref(count))
    if count.value != len(gpu_uuids):
        raise ScrubFailed(f"CUDA sees {count.value} of {len(gpu_uuids)} GPUs")
    for ordinal in range(count.value):
        _scrub_device(cuda, ordinal)
    return "verified"


class _Cuda:
    def __init__(self, library: Any) -> None:
        self._library = library

    def call(self, name: str, *arguments: object) -> None:
        code = self.attempt(name, *arguments)
        if code:
            raise ScrubFailed(f"{name} failed with CUDA error {code}")

    def attempt(self, name: str, *arguments: object) -> int:
        return int(getattr(self._library, name)(*arguments))


def _scrub_device(cuda: _Cuda, ordinal: int) -> None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda.call("cuDeviceGet", ctypes.byref(device), ordinal)
    cuda.call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    try:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        cuda.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        overwritten = _overwrite(cuda, free.value)
    finally:
        cuda.call("cuCtxDestroy_v2", context)
    if overwritten * 100 < free.value * REQUIRED_PERCENT - BLOCK_BYTES[-1] * 100:
        raise ScrubFailed(f"{overwritten} of {free.value} bytes could be overwritten")


def _overwrite(cuda: _Cuda, free_bytes: int) -> int:
    """Take all memory, write it and read it back; return how many bytes that were.

    Nothing is given back before everything is taken: a block that is freed early could be handed out again
    while another stays untouched.
    """
    taken: list[tuple[ctypes.c_uint64, int]] = []
    for size in BLOCK_BYTES:
        while free_bytes - sum(each for _, each in taken) >= size:
            pointer = ctypes.c_uint64()
            if cuda.attempt("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size)):
                break
            taken.append((pointer, size))
    read = ctypes.create_string_buffer(READ_BACK_BYTES)
    expected = bytes([PATTERN]) * READ_BACK_BYTES
    for pointer, size in taken:
        cuda.call("cuMemsetD8_v2", pointer, ctypes.c_ubyte(PATTERN), ctypes.c_size_t(size))
        for offset in range(0, size, READ_BACK_BYTES):
            source = ctypes.c_uint64(pointer.value + offset)
            cuda.call("cuMemcpyDtoH_v2", read, source, ctypes.c_size_t(READ_BACK_BYTES))
            if read.raw != expected:
                raise ScrubFailed("memory did not read back as it was written")
    return sum(size for _, size in taken)

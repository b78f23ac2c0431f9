"""Reads GPUs under a time limit: a driver call that hangs makes one GPU unknown and stops nothing else.

A round runs in a thread of its own. When it does not come back in time, the GPU that it is at is given up
until that thread returns, and another thread goes on with the rest. A hung thread is never killed: it is
inside the driver, and may hold the driver's locks.
"""

import threading
from collections.abc import Sequence

from host_agent.gpu import GpuError, GpuReader, GpuUnavailable, Reading, Round

#: No NVML call of a healthy board takes this long; MIG calls have been seen at 0.1 s.
LIMIT_SECONDS = 5.0


class WatchedReader:
    """Not thread-safe: one caller at a time."""

    def __init__(self, reader: GpuReader, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._reader = reader
        self._limit_seconds = limit_seconds
        #: GPU -> the thread that hangs in one of its calls.
        self._hung: dict[str, threading.Thread] = {}

    def read_round(self, gpu_uuids: Sequence[str], *, deep: bool = False) -> Round:
        """Return a reading or an error for each GPU, after ``limit_seconds`` per hung GPU at most."""
        self._hung = {uuid: thread for uuid, thread in self._hung.items() if thread.is_alive()}
        hung = GpuUnavailable("nvml_hung", f"a driver call takes more than {self._limit_seconds:g} s")
        found: dict[str, Reading | GpuError] = {uuid: hung for uuid in gpu_uuids if uuid in self._hung}
        left = [uuid for uuid in gpu_uuids if uuid not in found]
        while left:
            done: list[Reading | GpuError] = []
            thread = threading.Thread(target=self._read, args=(left, deep, done), name="gpus", daemon=True)
            thread.start()
            thread.join(self._limit_seconds)
            # A copy: a thread that comes back late must not change what was reported.
            results = list(done)
            found.update(zip(left, results, strict=False))
            left = left[len(results) :]
            if left and thread.is_alive():
                self._hung[left[0]] = thread
                found[left[0]] = hung
                left = left[1:]
        return found

    def _read(self, gpu_uuids: Sequence[str], deep: bool, done: list[Reading | GpuError]) -> None:  # noqa: FBT001
        for gpu_uuid in gpu_uuids:
            try:
                done.append(self._reader.read(gpu_uuid, deep=deep))
            except GpuError as error:
                done.append(error)
            except Exception as error:
                # Garbage from the driver, such as a text that is no UTF-8.
                done.append(GpuUnavailable("nvml_garbage", type(error).__name__))
            if threading.current_thread() in self._hung.values():
                # Given up meanwhile: somebody else reads the rest.
                return

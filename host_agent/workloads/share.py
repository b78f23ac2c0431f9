"""A rental's part of its host: memory, processors and processes in proportion to its GPUs."""

import os

import msgspec

#: Left to the host and the agent, so that tenants together can never starve them.
RESERVED_PERCENT = 5
#: Enough for data loaders of a whole rack; a fork bomb ends here.
PROCESSES_PER_GPU = 4096


class Share(msgspec.Struct, frozen=True):
    memory_bytes: int
    cpu_millis: int
    processes: int

    def multiply(self, gpus: int) -> "Share":
        """Return what ``gpus`` GPUs' rental may use."""
        return Share(self.memory_bytes * gpus, self.cpu_millis * gpus, self.processes * gpus)


def divide_host(memory_bytes: int, cpus: int, gpus: int) -> Share:
    """Return the share of one GPU of a host with so much of each.

    Raises:
        ValueError: there is no GPU to divide by.
    """
    if gpus < 1:
        raise ValueError("a host without GPUs has nothing to rent")
    usable = 100 - RESERVED_PERCENT
    return Share(memory_bytes * usable // 100 // gpus, cpus * 1000 * usable // 100 // gpus, PROCESSES_PER_GPU)


def measure_host() -> tuple[int, int]:
    """Return the machine's memory in bytes and the processors that this process may use."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), len(os.sched_getaffinity(0))

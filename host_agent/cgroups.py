"""Whose a process is, by its control group alone: no name, no command line, no environment is read."""

from collections.abc import Callable, Mapping
from pathlib import Path

from host_agent.durable import read_if_there
from host_agent.gpu import Reading

PROC = Path("/proc")
#: cgroup v2's one hierarchy has no controller names; of v1's any that engines always use will do.
_UNIFIED, _LEGACY = "", "pids"


def read_cgroup(pid: int, proc: Path = PROC) -> str | None:
    """Return the path of a process's control group; ``None`` when it is gone. Source: cgroups(7)."""
    try:
        data = read_if_there(proc / str(pid) / "cgroup")
    except OSError:
        return None
    if data is None:
        return None
    paths = {}
    for line in data.decode("utf-8", "replace").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths.get(_LEGACY) or paths.get(_UNIFIED)


def find_foreign(
    cgroups: Mapping[str, str],
    readings: Mapping[str, Reading],
    read: Callable[[int], str | None] = read_cgroup,
) -> Mapping[str, int]:
    """Return how many processes on each leased GPU live neither in its tenant's control group nor below it.

    Args:
        cgroups: the tenant's group by GPU.
        readings: with the processes that each GPU has.
        read: gives the group of a process; one that is gone is nobody's.
    """
    counts = {}
    for gpu_uuid, cgroup in cgroups.items():
        pids = readings[gpu_uuid].process_ids if gpu_uuid in readings else None
        paths = (read(pid) for pid in pids or ())
        counts[gpu_uuid] = sum(path is not None and not _holds(cgroup, path) for path in paths)
    return counts


def _holds(cgroup: str, path: str) -> bool:
    return path == cgroup or path.startswith(f"{cgroup.rstrip('/')}/")

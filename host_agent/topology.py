"""Which boards of a host reach each other fast, through NVML: by NVLink, else below one NUMA node.

Source: NVML API reference (NvLink methods, ``nvmlDeviceGetTopologyCommonAncestor`` and its levels).
"""

from collections.abc import Mapping
from typing import Any

#: All links that end in an NVSwitch end in the same fabric of the host.
_SWITCH = "switch"


def find_link_groups(nvml: Any, boards: Mapping[str, tuple[str, Any]]) -> dict[str, str]:
    """Return the name of each board's group, or nothing where the driver does not say.

    ``boards`` has PCI bus id and handle by UUID. Where any board has an NVLink to another, only NVLinks
    count: a path over PCIe is many times slower.
    """
    peers = {gpu_uuid: _list_nvlink_peers(nvml, handle) for gpu_uuid, (_, handle) in boards.items()}
    by_bus = {bus_id.lower(): gpu_uuid for gpu_uuid, (bus_id, _) in boards.items()}
    switched = [gpu_uuid for gpu_uuid, found in peers.items() if _SWITCH in found]
    linked = [
        (gpu_uuid, by_bus[peer]) for gpu_uuid, found in peers.items() for peer in found if peer in by_bus
    ]
    linked += [(switched[0], other) for other in switched[1:]]
    if linked:
        return _name_groups("nvlink", list(boards), linked)
    near = _list_near(nvml, boards)
    return {} if near is None else _name_groups("pcie", list(boards), near)


def _list_nvlink_peers(nvml: Any, handle: Any) -> set[str]:
    """Return the bus ids of the GPUs at the other ends of a board's active links, and whether a switch is."""
    found = set()
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            if not nvml.nvmlDeviceGetNvLinkState(handle, link):
                continue
            kind = nvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)
            if kind == nvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
                # A board's links all end there.
                return {_SWITCH}
            if kind == nvml.NVML_NVLINK_DEVICE_TYPE_GPU:
                bus_id = nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link).busId
                found.add((bus_id.decode() if isinstance(bus_id, bytes) else bus_id).lower())
        except nvml.NVMLError:
            # No such link, or nothing is told of it.
            break
    return found


def _list_near(nvml: Any, boards: Mapping[str, tuple[str, Any]]) -> list[tuple[str, str]] | None:
    """Return the pairs of boards below one NUMA node, or nearer; ``None``: the driver does not say of any."""
    near, told = [], False
    listed = [(gpu_uuid, handle) for gpu_uuid, (_, handle) in boards.items()]
    for index, (gpu_uuid, handle) in enumerate(listed):
        for other_uuid, other in listed[index + 1 :]:
            try:
                level = nvml.nvmlDeviceGetTopologyCommonAncestor(handle, other)
            except nvml.NVMLError:
                continue
            told = True
            if level < nvml.NVML_TOPOLOGY_SYSTEM:
                near.append((gpu_uuid, other_uuid))
    return near if told else None


def _name_groups(kind: str, gpu_uuids: list[str], pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Join what the pairs join; a group is named by the place of its first board in the list."""
    first = {gpu_uuid: place for place, gpu_uuid in enumerate(gpu_uuids)}
    for one, other in pairs:
        low, high = sorted((first[one], first[other]))
        first = {gpu_uuid: low if place == high else place for gpu_uuid, place in first.items()}
    return {gpu_uuid: f"{kind}-{place}" for gpu_uuid, place in first.items()}

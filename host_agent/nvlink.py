"""NVLinks of one board, through NVML. Source: NVML API reference, NvLink methods."""

from typing import Any

from host_agent.gpu import NvLink

#: What a link counts: replay, recovery and CRC (flit) errors; the CRC data counter repeats the flits.
_COUNTERS = ("NVML_NVLINK_ERROR_DL_REPLAY", "NVML_NVLINK_ERROR_DL_RECOVERY", "NVML_NVLINK_ERROR_DL_CRC_FLIT")


def read_nvlink(nvml: Any, handle: Any) -> NvLink:
    """Raises nvml.NVMLError: the board does not answer."""
    links = active = errors = 0
    counted = False
    for link in range(nvml.NVML_NVLINK_MAX_LINKS):
        try:
            is_active = nvml.nvmlDeviceGetNvLinkState(handle, link)
        except (nvml.NVMLError_InvalidArgument, nvml.NVMLError_NotSupported):
            break
        links += 1
        if not is_active:
            continue
        active += 1
        for name in _COUNTERS:
            try:
                errors += nvml.nvmlDeviceGetNvLinkErrorCounter(handle, link, getattr(nvml, name))
                counted = True
            except (nvml.NVMLError_InvalidArgument, nvml.NVMLError_NotSupported):
                continue
    return NvLink(links, active, errors if counted else None)

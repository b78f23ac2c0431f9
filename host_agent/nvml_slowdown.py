"""NVML's counters of the time for which a GPU was slowed. Takes the bindings; see `host_agent.nvml`."""

from typing import Any

from host_agent.gpu import SlowdownCounters

#: NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN, _HW_THERM_SLOWDOWN, _HW_POWER_BRAKE_SLOWDOWN, in ns.
#: Not nvmlDeviceGetViolationStatus: its power policy includes the board's own cap, which is how it works.
_FIELDS = (269, 270, 271)


def read_slowdown(nvml: Any, handle: Any) -> SlowdownCounters | None:
    """Return what one call tells; ``None``: this driver counts none of them.

    Raises:
        NVMLError.
    """
    values = nvml.nvmlDeviceGetFieldValues(handle, [(field, 0) for field in _FIELDS])
    told = [int(each.value.ullVal) if each.nvmlReturn == nvml.NVML_SUCCESS else None for each in values]
    return None if told == [None] * len(_FIELDS) else SlowdownCounters(*told)

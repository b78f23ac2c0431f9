"""What is wrong with a GPU, by rules over one reading. Pure; an unknown value breaks no rule.

A condition that makes a GPU *unfit* keeps new work off it; a running rental goes on. The table says why and
by whose word.
"""

from collections.abc import Callable

import msgspec

from host_agent.gpu import Reading

#: nvmlClocksEventReason bits. Source: NVML API reference, nvmlClocksEventReasons.
SW_THERMAL, HW_SLOWDOWN, HW_THERMAL, HW_POWER_BRAKE = 0x20, 0x08, 0x40, 0x80
#: Kelvin below the hardware's own slowdown at which the cooling is no longer good.
LOW_MARGIN_CELSIUS = 5
#: Corrected errors since the driver was loaded that ask for a look at the memory.
MANY_CORRECTED = 1000


class Rule(msgspec.Struct, frozen=True):
    condition: str
    #: No new work until it has passed.
    unfit: bool
    meaning: str
    source: str
    holds: Callable[[Reading], bool]


def _has_reason(bits: int) -> Callable[[Reading], bool]:
    return lambda reading: bool((reading.clocks_event_reasons or 0) & bits)


def _is_narrow(reading: Reading) -> bool:
    now, most = reading.pcie_link_width, reading.pcie_max_link_width
    return now is not None and most is not None and now < most


def _has_lost_link(reading: Reading) -> bool:
    links = reading.nvlink
    return links is not None and 0 < links.active < links.links


RULES = (
    Rule(
        "row_remap_failed",
        unfit=True,
        meaning="a memory row is bad and no spare is left: replace the board",
        source="NVIDIA GPU memory error management: a remapping failure is an RMA criterion",
        holds=lambda reading: reading.row_remap_failed is True,
    ),
    Rule(
        "row_remap_pending",
        unfit=True,
        meaning="a bad memory row is remapped at the next reset: reset the GPU when it is free",
        source="NVIDIA GPU memory error management: row remapping takes effect at the next reset",
        holds=lambda reading: reading.row_remap_pending is True,
    ),
    Rule(
        "ecc_uncorrected",
        unfit=True,
        meaning="memory errors that could not be corrected since the driver was loaded: reset the GPU",
        source="NVIDIA GPU memory error management: uncorrectable errors ask for a reset",
        holds=lambda reading: (reading.ecc_uncorrected or 0) > 0,
    ),
    Rule(
        "ecc_corrected_many",
        unfit=False,
        meaning=f"{MANY_CORRECTED} or more corrected memory errors since the driver was loaded",
        source="our own threshold: a warning, nothing is decided by it",
        holds=lambda reading: (reading.ecc_corrected or 0) >= MANY_CORRECTED,
    ),
    Rule(
        "pcie_width_reduced",
        unfit=True,
        meaning="fewer PCIe lanes than board and slot can: reseat the board",
        source="NVML nvmlDeviceGetCurrPcieLinkWidth, nvmlDeviceGetMaxPcieLinkWidth",
        holds=_is_narrow,
    ),
    Rule(
        "nvlink_down",
        unfit=True,
        meaning="some NVLinks are up and some are not: work on several GPUs would be slow or fail",
        source="NVML nvmlDeviceGetNvLinkState",
        holds=_has_lost_link,
    ),
    Rule(
        "thermal_margin_low",
        unfit=False,
        meaning=f"{LOW_MARGIN_CELSIUS} K or less until the hardware slows down: look at the cooling",
        source="NVML nvmlDeviceGetTemperatureThreshold, slowdown",
        holds=lambda reading: (
            reading.slowdown_margin_celsius is not None
            and reading.slowdown_margin_celsius <= LOW_MARGIN_CELSIUS
        ),
    ),
    Rule(
        "thermal_slowdown",
        unfit=False,
        meaning="the clocks are reduced because of heat",
        source="NVML nvmlClocksEventReasonSwThermalSlowdown, HwThermalSlowdown",
        holds=_has_reason(SW_THERMAL | HW_THERMAL),
    ),
    Rule(
        "hardware_slowdown",
        unfit=False,
        meaning="the hardware has cut the clocks in half or more",
        source="NVML nvmlClocksEventReasonHwSlowdown",
        holds=_has_reason(HW_SLOWDOWN),
    ),
    Rule(
        "power_brake",
        unfit=False,
        meaning="the power supply asked the board to slow down",
        source="NVML nvmlClocksEventReasonHwPowerBrakeSlowdown",
        holds=_has_reason(HW_POWER_BRAKE),
    ),
)


def find_conditions(reading: Reading) -> list[Rule]:
    """Return the rules that hold, the gravest first."""
    return [rule for rule in RULES if rule.holds(reading)]

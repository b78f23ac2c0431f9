"""How long a GPU was slowed for reasons that are the machine's own: heat, or a brake on its power. Pure.

The board's own power cap, idle clocks and clocks that were set are not among them: they are how a healthy
board works. Heat is either the driver's slowdown or the hardware's, which may coincide, so the longer counts.

Counters (ns since the driver was loaded) are exact. Where a driver has none, or they were reset or jump, the
reasons seen at the looks between two cuts are added up: a step counts when both its ends show one, which
can miss time and never invents any. Source: NVML API reference, nvmlClocksEventReasons and the fields
NVML_FI_DEV_CLOCKS_EVENT_REASON_*.
"""

import msgspec

from chalicelib.wire.v1 import SlowdownSource
from host_agent.gpu import Reading, SlowdownCounters
from host_agent.health import HW_POWER_BRAKE, HW_THERMAL, SW_THERMAL

#: Nobody knows what happened in a longer step between two looks.
MAX_STEP_MS = 10_000
#: A window and its counters are not read at the same instant.
SLACK_MS = 1000
_NS_PER_MS = 1_000_000


class Watch(msgspec.Struct, frozen=True, array_like=True):
    """What was seen since the running window began."""

    #: At its beginning.
    counters: SlowdownCounters | None = None
    #: At the last look.
    reasons: int | None = None
    #: What of the window lies between two looks that told.
    watched_ms: int = 0
    thermal_ms: int = 0
    power_brake_ms: int = 0


class Slowdown(msgspec.Struct, frozen=True):
    """Of one window. ``None``: not known."""

    thermal_ms: int | None = None
    power_brake_ms: int | None = None
    source: SlowdownSource | None = None


def begin_watch(reading: Reading) -> Watch:
    return Watch(reading.slowdown, reading.clocks_event_reasons)


def watch(before: Watch, reading: Reading, step_ms: int) -> Watch:
    """Add the step from the last look to ``reading``."""
    was, now = before.reasons, reading.clocks_event_reasons
    if was is None or now is None or step_ms > MAX_STEP_MS:
        return msgspec.structs.replace(before, reasons=now)

    def lasted(bits: int) -> int:
        return step_ms if was & bits and now & bits else 0

    return msgspec.structs.replace(
        before,
        reasons=now,
        watched_ms=before.watched_ms + step_ms,
        thermal_ms=before.thermal_ms + lasted(SW_THERMAL | HW_THERMAL),
        power_brake_ms=before.power_brake_ms + lasted(HW_POWER_BRAKE),
    )


def measure_slowdown(seen: Watch, reading: Reading, duration_ms: int) -> Slowdown:
    """Return how long the window that ends at ``reading`` was slowed; never longer than it was."""
    start, end = seen.counters, reading.slowdown
    if start is not None and end is not None:
        heat = [
            _gain(start.software_thermal_ns, end.software_thermal_ns, duration_ms),
            _gain(start.hardware_thermal_ns, end.hardware_thermal_ns, duration_ms),
        ]
        thermal = max((each for each in heat if each is not None), default=None)
        brake = _gain(start.power_brake_ns, end.power_brake_ns, duration_ms)
        if thermal is not None or brake is not None:
            return Slowdown(thermal, brake, "counter")
    if not seen.watched_ms:
        return Slowdown()
    return Slowdown(
        min(seen.thermal_ms, duration_ms), min(seen.power_brake_ms, duration_ms), source="sampled"
    )


def _gain(start_ns: int | None, end_ns: int | None, duration_ms: int) -> int | None:
    """Return a counter's gain in ms; one that was reset, or gained more than the time, tells nothing."""
    if start_ns is None or end_ns is None or end_ns < start_ns:
        return None
    gained_ms = (end_ns - start_ns) // _NS_PER_MS
    return None if gained_ms > duration_ms + SLACK_MS else min(gained_ms, duration_ms)

"""How accurate energy is, and what is believed of a board: the agent measures by it, the cloud publishes it.

Energy is integer millijoules, time milliseconds, power milliwatts.
"""

from collections.abc import Mapping

#: NVML counters and sensors move in steps of up to 100 ms: either end of a window may be off by one.
COUNTER_STEP_MS = 100
#: A power integral over a longer step than this is a guess.
MAX_INTEGRATION_STEP_MS = 30_000
#: No board draws more than this part of its limit for long; more is not energy. Source: zeus issue 113.
PLAUSIBLE_FACTOR_PERCENT = 120
#: NVML states a power reading to within 5 %. Source: NVML API reference, nvmlDeviceGetPowerUsage.
GAIN_PERCENT = 5
#: For boards that do not tell their limit: above every single GPU sold (1.4 kW) with room.
DEFAULT_POWER_LIMIT_MILLIWATTS = 2_000_000
#: Time before a reading of averaged power that it speaks for. Source: NVML API reference, field 185.
AVERAGED_MS = 1000
#: Power model of a board that tells neither energy nor power: part of the limit when idle; the rest follows
#: utilisation. Coarse on purpose; its bounds are those of the board.
MODEL_IDLE_PERCENT = 10
#: Compute slices of every board that can be partitioned.
BOARD_SLICES = 7
#: More than this part of its limit no board draws when idle: until an idle board was seen, what it draws is
#: taken for work. H100: 10 %, A100 and B200: 14 to 18 %.
MAX_IDLE_PERCENT = 20
#: What an instance did is told for a time that begins and ends up to this long beside its board's window.
LOOK_MS = 100

_NVML, _OWN = "NVML API reference", "choice of this platform"
#: Name -> what it is, unit, source, version of the source.
ORIGINS: Mapping[str, tuple[str, str, str, str | None]] = {
    "COUNTER_STEP_MS": ("longest step of an energy counter or power sensor", "ms", _NVML, "undated"),
    "GAIN_PERCENT": ("error of a power reading, and of a counter", "%", _NVML, "undated"),
    "AVERAGED_MS": (
        "time that a reading of averaged power speaks for",
        "ms",
        f"{_NVML}, field 185",
        "undated",
    ),
    "PLAUSIBLE_FACTOR_PERCENT": (
        "most that a board draws, of its power limit",
        "%",
        "zeus (ml.energy), issue 113",
        "undated",
    ),
    "DEFAULT_POWER_LIMIT_MILLIWATTS": ("power limit of a board that does not tell its own", "mW", _OWN, None),
    "MAX_INTEGRATION_STEP_MS": ("longest step between two power samples that is no guess", "ms", _OWN, None),
    "MODEL_IDLE_PERCENT": ("idle power of a board without any meter, of its power limit", "%", _OWN, None),
    "BOARD_SLICES": ("compute slices of a partitioned board", "slices", "NVIDIA MIG user guide", "undated"),
    "MAX_IDLE_PERCENT": ("most idle power of a partitioned board, of its power limit", "%", _OWN, None),
    "LOOK_MS": ("what a reading of an instance's activity may be off its window by", "ms", _OWN, None),
}

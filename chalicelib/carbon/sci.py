"""Software carbon intensity: ``SCI = (O + M) / R``, R an hour of one GPU (specification v1.1, ISO/IEC 21031).

Offsets, removals, certificates and contracts for power may not lower it, so nothing here takes any.
"""

from dataclasses import dataclass

from chalicelib.carbon.embodied import Interval
from chalicelib.core.methodology import Constant

SPECIFICATION, SPECIFICATION_VERSION = "SCI specification (ISO/IEC 21031)", "1.1"
SECONDS_PER_HOUR = 3600
CONSTANTS = (
    Constant(
        "SECONDS_PER_HOUR",
        "functional unit R: one GPU for this long",
        SECONDS_PER_HOUR,
        "s",
        SPECIFICATION,
        SPECIFICATION_VERSION,
    ),
)


@dataclass(frozen=True, slots=True)
class Sci:
    """mg CO2e per GPU-hour. ``per_gpu_hour`` has the interval of the embodied share."""

    operational_mg: int
    embodied: Interval
    gpu_seconds: int

    @property
    def per_gpu_hour(self) -> Interval:
        low, value, high = (
            self.operational_mg + each
            for each in (self.embodied.low_mg, self.embodied.value_mg, self.embodied.high_mg)
        )
        seconds = self.gpu_seconds
        return Interval(
            low * SECONDS_PER_HOUR // seconds,
            (2 * value * SECONDS_PER_HOUR + seconds) // (2 * seconds),
            -(-high * SECONDS_PER_HOUR // seconds),
        )


def compute_sci(*, operational_mg: int, embodied: Interval, gpu_seconds: int) -> Sci:
    """Return the score of ``gpu_seconds`` of GPU time that emitted ``operational_mg`` where the grid is.

    Raises:
        ValueError: no GPU time, or an emission below nothing.
    """
    if gpu_seconds <= 0:
        raise ValueError("the score is per GPU-hour: there must be GPU time")
    if operational_mg < 0 or embodied.low_mg < 0:
        raise ValueError("an emission is not negative")
    return Sci(operational_mg, embodied, gpu_seconds)

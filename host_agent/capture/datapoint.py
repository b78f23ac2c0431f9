"""Readings of carbon-capture units: what is measured, in which unit, and how sure it is.

Controllers tell decimal numbers in units of their trade; here they become integers in one small unit per
quantity, by exact factors. What is not a number, has no deviation, or stands in no unit of its quantity is
refused one by one: a broken sensor must not silence the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from chalicelib.wire.v1 import CaptureDatapoint, CaptureQuantity, CaptureUnit

#: A controller's clock may be ahead by this, and keep readings for that long.
MAX_AHEAD_MS = 300_000
MAX_AGE_MS = 7 * 86_400_000
#: Beyond it is no reading of such a plant, and no integer that every reader keeps.
_MAX_VALUE = 2**53
#: Far beyond it, in every unit.
_MAX_DIGITS = 30
#: A float64 has 24 at most. Exact arithmetic on a million digits would hold up every thread for seconds.
_MAX_CHARACTERS = 64


class CaptureUnavailable(OSError):
    """The unit does not answer, or not with readings."""


class BadDatapoint(ValueError):
    """One reading that cannot be used; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Scale:
    """``stored = told * factor + offset``; a deviation is scaled and never shifted."""

    factor: Fraction
    offset: int = 0


_HOUR = 3600
FRACTIONS: Mapping[str, Scale] = {
    "%": Scale(Fraction(10**7)),
    "ppm": Scale(Fraction(1000)),
    "1": Scale(Fraction(10**9)),
}
#: Accepted units by quantity, with the integer unit that is stored. Exact by definition of SI and of the kWh.
SCALES: Mapping[CaptureQuantity, tuple[CaptureUnit, Mapping[str, Scale]]] = {
    "gas_mass_flow": (
        "milligrams_per_hour",
        {
            "kg/h": Scale(Fraction(10**6)),
            "g/s": Scale(Fraction(10**3 * _HOUR)),
            "kg/s": Scale(Fraction(10**6 * _HOUR)),
            "mg/h": Scale(Fraction(1)),
        },
    ),
    # By mass or by volume is for the sensor to say: captured mass is gas flow times the fraction by mass.
    "co2_mass_fraction": ("parts_per_billion", FRACTIONS),
    "co2_volume_fraction": ("parts_per_billion", FRACTIONS),
    "cycle": ("cycles", {"1": Scale(Fraction(1))}),
    "temperature": ("millikelvin", {"degC": Scale(Fraction(1000), 273_150), "K": Scale(Fraction(1000))}),
    "heat": (
        "joules",
        {"kWh": Scale(Fraction(3_600_000)), "MJ": Scale(Fraction(10**6)), "J": Scale(Fraction(1))},
    ),
    "electricity": (
        "joules",
        {"kWh": Scale(Fraction(3_600_000)), "MJ": Scale(Fraction(10**6)), "J": Scale(Fraction(1))},
    ),
    "tank_mass": (
        "grams",
        {"kg": Scale(Fraction(1000)), "g": Scale(Fraction(1)), "t": Scale(Fraction(10**6))},
    ),
}


class CaptureReader(Protocol):
    """One unit. ``read`` returns what is readable now, and says of each other reading why it is not.

    Raises CaptureUnavailable.
    """

    def read(self) -> "CaptureRound": ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CaptureRound:
    datapoints: list[CaptureDatapoint]
    #: By sensor, or by place in the answer where not even that is known.
    refused: Mapping[str, str]


def build_datapoint(
    *,
    unit_id: str,
    sensor_id: str,
    quantity: CaptureQuantity,
    value: Decimal,
    standard_deviation: Decimal,
    unit: str,
    sampled_at_ms: int,
    now_ms: int,
) -> CaptureDatapoint:
    """Return a reading in the stored unit, rounded half to even; its deviation is rounded up.

    A deviation that rounding made smaller would claim what the sensor does not. Raises BadDatapoint.
    """
    stored_unit, accepted = SCALES[quantity]
    scale = accepted.get(unit)
    if scale is None:
        raise BadDatapoint(f"{quantity} in {unit!r}; one of {', '.join(accepted)} is needed")
    if max(len(str(value)), len(str(standard_deviation))) > _MAX_CHARACTERS:
        raise BadDatapoint(f"a number of more than {_MAX_CHARACTERS} characters is no reading")
    if not value.is_finite() or not standard_deviation.is_finite() or standard_deviation < 0:
        raise BadDatapoint(f"{value} with the deviation {standard_deviation} is no reading")
    if not now_ms - MAX_AGE_MS <= sampled_at_ms <= now_ms + MAX_AHEAD_MS:
        raise BadDatapoint(f"sampled {(now_ms - sampled_at_ms) / 1000:.0f} s ago by the unit's clock")
    stored = round(_scale(value, scale.factor)) + scale.offset
    deviation = math.ceil(_scale(standard_deviation, scale.factor))
    if abs(stored) > _MAX_VALUE or deviation > _MAX_VALUE:
        raise BadDatapoint(f"{value} {unit} is beyond any such plant")
    return CaptureDatapoint(
        unit_id=unit_id,
        sensor_id=sensor_id,
        quantity=quantity,
        value=stored,
        standard_deviation=deviation,
        unit=stored_unit,
        sampled_at_ms=sampled_at_ms,
    )


def _scale(value: Decimal, factor: Fraction) -> Fraction:
    # An exponent of a million must not become a million digits: what is so large or small is told first.
    if value.adjusted() > _MAX_DIGITS:
        return Fraction(_MAX_VALUE + 1)
    return Fraction(0) if value.adjusted() < -_MAX_DIGITS else Fraction(value) * factor

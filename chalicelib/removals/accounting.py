"""From what a unit captured to what may be credited, in integer milligrams of CO2. Pure.

    net = gross - counterfactual - losses - activity
    credited = net - sigma, where sigma² is the sum of the components' sigma²

Source: the component types of Isometric's data schema; its uncertainty discount is one standard deviation of
the net. Deviations are of independent meters, and are rounded up: rounding never credits anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chalicelib.core.errors import InvalidInput
from chalicelib.core.units import MILLIJOULES_PER_KWH

ComponentKind = Literal["sequestration", "counterfactual", "loss", "activity"]
COMPONENT_KINDS: tuple[ComponentKind, ...] = get_args(ComponentKind)


#: A COP of 1 gives no more heat than it takes power.
_UNIT = 1000


@dataclass(frozen=True, slots=True)
class Component:
    """``mass_mg`` is not negative: the kind says whether it adds or takes. ``source``: who says so."""

    kind: ComponentKind
    mass_mg: int
    standard_deviation_mg: int
    source: str


@dataclass(frozen=True, slots=True)
class Removal:
    """The chain of one window. ``net_mg`` and ``credited_mg`` may be negative, and are shown so."""

    gross_mg: int
    counterfactual_mg: int
    losses_mg: int
    activity_mg: int
    standard_deviation_mg: int

    @property
    def net_mg(self) -> int:
        return self.gross_mg - self.counterfactual_mg - self.losses_mg - self.activity_mg

    @property
    def credited_mg(self) -> int:
        return self.net_mg - self.standard_deviation_mg

    @property
    def issuable_mg(self) -> int:
        """What credits may be issued for: never less than nothing."""
        return max(0, self.credited_mg)


def combine(deviations: Sequence[int]) -> int:
    """Return the deviation of a sum of independent terms, in quadrature, rounded up."""
    return ceil_root(sum(deviation * deviation for deviation in deviations))


def ceil_root(square: int) -> int:
    """Return the smallest integer whose square is not less than ``square``."""
    return 0 if square <= 0 else math.isqrt(square - 1) + 1


def account(components: Sequence[Component]) -> Removal:
    """Return the chain of a window's components.

    Raises:
        InvalidInput: ``negative_mass``, of a component or of its deviation.
    """
    for each in components:
        if each.mass_mg < 0 or each.standard_deviation_mg < 0:
            raise InvalidInput(
                f"The {each.kind} from {each.source} is negative; its kind says that it is taken away.",
                code="negative_mass",
            )
    sums = dict.fromkeys(COMPONENT_KINDS, 0)
    for each in components:
        sums[each.kind] += each.mass_mg
    return Removal(
        sums["sequestration"],
        sums["counterfactual"],
        sums["loss"],
        sums["activity"],
        combine([each.standard_deviation_mg for each in components]),
    )


def emit(
    energy_millijoules: int, deviation_millijoules: int, intensity_mg_per_kwh: int, source: str
) -> Component:
    """Return electricity of fans, pumps and the heat pump as activity, both figures rounded up.

    It stands outside PUE: the reuse of heat is no part of the data centre (ISO/IEC 30134-6), and what is
    deducted here must not be in a tenant's overhead too.
    """
    mass, deviation = (
        -(-each * intensity_mg_per_kwh // MILLIJOULES_PER_KWH)
        for each in (energy_millijoules, deviation_millijoules)
    )
    return Component("activity", mass, deviation, source)


def estimate_heat_pump(heat_millijoules: int, cop_milli: int) -> int:
    """Return the electricity, in millijoules and rounded up, that delivers ``heat_millijoules``.

    ``W = Q / COP``, Q at the sorbent's temperature; ``cop_milli`` is the COP times 1000. For plants whose
    electricity meter does not see the heat pump.
    """
    if heat_millijoules < 0 or cop_milli <= _UNIT:
        raise InvalidInput("A heat pump delivers heat, and more than it takes.", code="invalid_heat_pump")
    return -(-heat_millijoules * _UNIT // cop_milli)

"""From what a unit captured to what may be credited, in integer milligrams of CO2. Pure.

    net = gross - counterfactual - losses - activity
    credited = net - sigma, where sigma² is the sum of the components' sigma²

Source: the component types of Isometric's data schema; its uncertainty discount is one standard deviation of
the net. Deviations are of independent meters, and are rounded up: rounding never credits anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from chalicelib.core.errors import InvalidInput
from chalicelib.core.units import MILLIJOULES_PER_KWH

ComponentKind = Literal["sequestration", "counterfactual", "loss", "activity"]
COMPONENT_KINDS: tuple[ComponentKind, ...] = get_args(ComponentKind)


PPM = 1_000_000
#: A COP of 1 gives no more heat than it takes power.
_UNIT = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """What a kilowatt-hour of one hour is counted with, and who says so.

    ``annual``: the hour has no figure of its own, and the region's year stands in for it.
    """

    mg_per_kwh: int
    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    annual: bool


@dataclass(frozen=True, slots=True)
class CountedEnergy:
    """What of a component's electricity was counted with figures of one source."""

    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    annual: bool
    energy_millijoules: int
    mass_mg: int


@dataclass(frozen=True, slots=True)
class Component:
    """``mass_mg`` is not negative: the kind says whether it adds or takes. ``source``: who says so.

    ``counted``: of electricity, by which figures; the masses sum to that of the component.
    """

    kind: ComponentKind
    mass_mg: int
    standard_deviation_mg: int
    source: str
    counted: tuple[CountedEnergy, ...] = ()

    @property
    def estimated(self) -> bool:
        """Some of its electricity was counted with what is no measurement of its hour."""
        used = [each for each in self.counted if each.energy_millijoules]
        return any(each.estimated for each in used or self.counted)

    @property
    def annual_ppm(self) -> int:
        """The part of its energy that was counted with an annual figure, rounded up."""
        whole = sum(each.energy_millijoules for each in self.counted)
        by_year = sum(each.energy_millijoules for each in self.counted if each.annual)
        if whole <= 0:
            return PPM if any(each.annual for each in self.counted) else 0
        return -(-by_year * PPM // whole)


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


def emit(parts: Sequence[tuple[int, Rate]], deviation_millijoules: int, what: str) -> Component:
    """Return electricity of fans, pumps or the heat pump as activity.

    ``parts``: (millijoules, rate) of each hour in turn, at least one. The whole is rounded up once, and each
    part is what it adds. The deviation is that of the meter at the highest rate, rounded up.

    It stands outside PUE: the reuse of heat is no part of the data centre (ISO/IEC 30134-6), and what is
    deducted here must not be in a tenant's overhead too.
    """
    product = given = 0
    grouped: dict[Rate, CountedEnergy] = {}
    for energy, rate in parts:
        product += energy * rate.mg_per_kwh
        total = -(-product // MILLIJOULES_PER_KWH)
        key = replace(rate, mg_per_kwh=0)
        before = grouped.get(key) or _begin(rate)
        grouped[key] = replace(
            before,
            energy_millijoules=before.energy_millijoules + energy,
            mass_mg=before.mass_mg + total - given,
        )
        given = total
    highest = max(rate.mg_per_kwh for _, rate in parts)
    deviation = -(-deviation_millijoules * highest // MILLIJOULES_PER_KWH)
    cited = dict.fromkeys(f"{each.source}, {each.version}, {each.zone}" for each in grouped)
    return Component("activity", given, deviation, "; ".join((what, *cited)), tuple(grouped.values()))


def _begin(rate: Rate) -> CountedEnergy:
    return CountedEnergy(rate.method, rate.source, rate.version, rate.zone, rate.estimated, rate.annual, 0, 0)


def estimate_heat_pump(heat_millijoules: int, cop_milli: int) -> int:
    """Return the electricity, in millijoules and rounded up, that delivers ``heat_millijoules``.

    ``W = Q / COP``, Q at the sorbent's temperature; ``cop_milli`` is the COP times 1000. For plants whose
    electricity meter does not see the heat pump.
    """
    if heat_millijoules < 0 or cop_milli <= _UNIT:
        raise InvalidInput("A heat pump delivers heat, and more than it takes.", code="invalid_heat_pump")
    return -(-heat_millijoules * _UNIT // cop_milli)

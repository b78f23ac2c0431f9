"""What cannot be, and what is strange, about a unit's telemetry. Pure.

A bound that physics sets refuses; what a badly read meter may show is flagged for the verifier.
Meters are believed within two of their standard deviations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chalicelib.core.methodology import Constant
from chalicelib.removals.accounting import Removal, combine

Severity = Literal["flag", "reject"]
Code = Literal[
    "no_mass_flow",
    "missing_meter",
    "purity_out_of_range",
    "negative_mass",
    "below_thermodynamic_minimum",
    "heat_exceeds_gpu_heat",
    "mass_balance",
    "exceeds_rated_cycles",
    "net_exceeds_gross",
    "negative_net",
    "clock_went_back",
    "clock_ahead",
    "counter_reset",
    "counter_gap",
    "gap",
    "wrong_unit",
]

#: R T ln(1 / 420 ppm) at 298 K is 19 264 J/mol, over 44.0095 g/mol: 437.7 J/g, which is 121.6 kWh/t.
MINIMUM_MILLIJOULES_PER_GRAM = 437_700
#: Of the electricity of a GPU, what its loop carries away at most.
LOOP_SHARE_PERCENT = 97
SIGMAS = 2
PPB = 10**9
CONSTANTS = (
    Constant(
        "MINIMUM_MILLIJOULES_PER_GRAM",
        "least work of separating CO2 from air of 420 ppm at 298 K",
        MINIMUM_MILLIJOULES_PER_GRAM,
        "mJ/g",
        "R T ln(1/420 ppm) over 44.0095 g/mol, R by CODATA",
        "2018",
    ),
    Constant(
        "LOOP_SHARE_PERCENT",
        "most of a GPU's electricity that its loop carries away as heat",
        LOOP_SHARE_PERCENT,
        "%",
    ),
    Constant("SIGMAS", "a meter is believed within so many standard deviations", SIGMAS, "sigma"),
)
#: What each code says, for whoever reads the methodology.
MEANINGS: Mapping[Code, str] = {
    "no_mass_flow": "gas flow and its CO2 by mass do not come in pairs of meters",
    "missing_meter": "nothing tells the heat, or the electricity",
    "purity_out_of_range": "a CO2 fraction is below nothing or above one",
    "negative_mass": "less than nothing was captured",
    "below_thermodynamic_minimum": "heat and electricity at most are less than the least work of separation",
    "heat_exceeds_gpu_heat": (
        "more heat was used than the GPUs gave: flagged, and refused where the meter cannot be that wrong"
    ),
    "mass_balance": "flow and tank differ by more than their deviations",
    "exceeds_rated_cycles": "more was captured than the cycles give by the maker's rating",
    "net_exceeds_gross": "the net is above the gross",
    "negative_net": "the unit emitted more than it took",
    "clock_went_back": "a reading that came later is of earlier",
    "clock_ahead": "a reading came before it happened",
    "counter_reset": "a counter fell: what it shows then is a lower bound",
    "counter_gap": (
        "a counter was silent over the window's edge: what it gained counts where it tells again"
    ),
    "gap": "for a time nothing told the flow, and nothing is counted for it",
    "wrong_unit": "a quantity is told in another unit than its own",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A reading summed over a window, with its standard deviation, in the same unit.

    ``hours``: of a counter, (start of the hour in ms, its part) in order; the parts sum to the value.
    """

    value: int
    standard_deviation: int
    hours: tuple[tuple[int, int], ...] = ()

    @property
    def low(self) -> int:
        return self.value - SIGMAS * self.standard_deviation

    @property
    def high(self) -> int:
        return self.value + SIGMAS * self.standard_deviation


@dataclass(frozen=True, slots=True)
class Finding:
    """``detail`` is for the verifier: what was seen and what it was held against."""

    code: Code
    severity: Severity
    detail: str


@dataclass(frozen=True, slots=True)
class Readings:
    """A unit's window. ``None``: nothing told it. Masses in mg, energies in mJ, fractions in ppb.

    ``observed``: what was already strange about the datapoints themselves.
    """

    captured: Measured
    lowest_fraction_ppb: int | None
    highest_fraction_ppb: int | None
    heat: Measured | None
    electricity: Measured | None
    tank: Measured | None
    cycles: int | None
    observed: tuple[Finding, ...] = ()


def check(
    readings: Readings, *, gpu_heat_millijoules: int, rated_mg_per_cycle: int | None
) -> tuple[Finding, ...]:
    """Return everything that is wrong or strange, what was observed first."""
    return (
        *readings.observed,
        *_check_purity(readings),
        *_check_mass(readings, rated_mg_per_cycle),
        *_check_energy(readings, gpu_heat_millijoules),
    )


def check_chain(removal: Removal) -> tuple[Finding, ...]:
    found: list[Finding] = []
    if removal.net_mg > removal.gross_mg:
        found.append(_reject("net_exceeds_gross", f"net {removal.net_mg} mg of gross {removal.gross_mg} mg"))
    if removal.net_mg < 0:
        found.append(_flag("negative_net", f"net {removal.net_mg} mg: the unit emitted more than it took"))
    return tuple(found)


def is_refused(findings: Sequence[Finding]) -> bool:
    return any(each.severity == "reject" for each in findings)


def _check_purity(readings: Readings) -> Iterator[Finding]:
    for fraction in (readings.lowest_fraction_ppb, readings.highest_fraction_ppb):
        if fraction is not None and not 0 <= fraction <= PPB:
            yield _reject("purity_out_of_range", f"a CO2 fraction of {fraction} ppb is outside 0 to {PPB}")


def _check_mass(readings: Readings, rated_mg_per_cycle: int | None) -> Iterator[Finding]:
    captured, tank = readings.captured, readings.tank
    if captured.value < 0:
        yield _reject("negative_mass", f"{captured.value} mg were captured")
    if tank is not None:
        gap = abs(captured.value - tank.value)
        if gap > SIGMAS * combine([captured.standard_deviation, tank.standard_deviation]):
            yield _flag("mass_balance", f"the flow says {captured.value} mg, the tank {tank.value} mg")
    if rated_mg_per_cycle is not None and readings.cycles is not None:
        rated = readings.cycles * rated_mg_per_cycle
        if captured.low > rated:
            yield _reject(
                "exceeds_rated_cycles",
                f"{captured.value} mg of {readings.cycles} cycles that give {rated} mg at most",
            )


def _check_energy(readings: Readings, gpu_heat_millijoules: int) -> Iterator[Finding]:
    heat, electricity = readings.heat, readings.electricity
    for name, found in (("heat", heat), ("electricity", electricity)):
        if found is None:
            yield _reject("missing_meter", f"nothing tells the {name}, without which nothing can be judged")
    if heat is not None:
        available = gpu_heat_millijoules * LOOP_SHARE_PERCENT // 100
        if heat.value > available:
            told = f"{heat.value} mJ of heat were used, {available} mJ were there of the GPUs"
            judge = _reject if heat.low > available else _flag
            yield judge("heat_exceeds_gpu_heat", told)
    if heat is not None and electricity is not None:
        used = heat.high + electricity.high
        needed = max(0, readings.captured.low) * MINIMUM_MILLIJOULES_PER_GRAM // 1000
        if used < needed:
            yield _reject(
                "below_thermodynamic_minimum",
                f"{used} mJ were used at most, {readings.captured.low} mg need {needed} mJ at least",
            )


def _reject(code: Code, detail: str) -> Finding:
    return Finding(code, "reject", detail)


def _flag(code: Code, detail: str) -> Finding:
    return Finding(code, "flag", detail)

"""What a rental's energy emitted, with where each figure comes from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.carbon.intensity import Figure
from chalicelib.core.units import MILLIJOULES_PER_KWH, split_emissions_mg


@dataclass(frozen=True, slots=True)
class Pue:
    """Power usage effectiveness of a region: 1150 permille is 1.15."""

    permille: int
    source: str
    version: str


@dataclass(frozen=True, slots=True)
class GridIntensity:
    """Carbon intensity of a region's grid. 1 g/kWh = 1000 mg/kWh."""

    region: str
    mg_co2e_per_kwh: int
    year: int
    #: How the figure was made, e.g. location-based annual average of consumption.
    method: str
    source: str
    version: str


@dataclass(frozen=True, slots=True)
class SourceShare:
    """What of a region's energy was counted with figures of one source: their mean by energy, half up."""

    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    mg_co2e_per_kwh: int
    energy_millijoules: int
    mg_co2e: int


@dataclass(frozen=True, slots=True)
class Accounted:
    """Mass of one region's energy by one signal and accounting, and what it was counted with."""

    mg_co2e: int
    sources: tuple[SourceShare, ...]

    @property
    def estimated(self) -> bool:
        used = [each for each in self.sources if each.energy_millijoules]
        return any(each.estimated for each in used or self.sources)

    @property
    def mg_co2e_per_kwh(self) -> int:
        """The mean by energy, half up."""
        return _average([(each.energy_millijoules, each.mg_co2e_per_kwh) for each in self.sources])


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the site used beyond the energy: ``energy * (PUE - 1)``, at the hours' average intensity."""

    pue: Pue
    energy_millijoules: int
    mg_co2e: int


@dataclass(frozen=True, slots=True)
class RegionFigures:
    """By hour (its start in ms). ``market`` is one for all of them; ``None`` where it is not known.

    ``annual`` is named where there is no energy yet.
    """

    average: Mapping[int, Figure | None]
    marginal: Mapping[int, Figure | None]
    market: Figure | None
    annual: Figure
    pue: Pue | None


@dataclass(frozen=True, slots=True)
class RegionalEmissions:
    """What was used on one region's grid. ``average`` counts; the others stand beside it, never added."""

    region: str
    energy_millijoules: int
    average: Accounted
    marginal: Accounted | None
    market: Accounted | None
    overhead: Overhead | None


@dataclass(frozen=True, slots=True)
class Emissions:
    """Location-based average. ``estimated``: of some energy the intensity is no measurement of its hour.

    ``regions``: one after the other as the rental came to them; none before its first stay.
    """

    mg_co2e: int
    regions: tuple[RegionalEmissions, ...]
    estimated: bool


def compute_emissions(
    energy_millijoules: Mapping[str, Mapping[int, int]], figures: Mapping[str, RegionFigures]
) -> Emissions:
    """Return the emissions of the GPUs' energy by region and hour (no removals).

    ``O = sum of E_h * I_h`` (SCI, ISO/IEC 21031): each hour's energy with that hour's own figure.
    """
    regions = tuple(
        compute_regional(region, hours, figures[region]) for region, hours in energy_millijoules.items()
    )
    return Emissions(
        sum(each.average.mg_co2e for each in regions),
        regions,
        not regions or any(each.average.estimated for each in regions),
    )


def compute_regional(region: str, hours: Mapping[int, int], figures: RegionFigures) -> RegionalEmissions:
    average = _account(hours, figures.average)
    assert average is not None, "each region has an annual average"
    if not hours:
        average = Accounted(0, (_share(figures.annual, [], 0),))
    market: Mapping[int, Figure | None] = dict.fromkeys(hours, figures.market)
    return RegionalEmissions(
        region=region,
        energy_millijoules=sum(hours.values()),
        average=average,
        marginal=_account(hours, figures.marginal),
        market=_account(hours, market),
        overhead=None if figures.pue is None else _compute_overhead(hours, figures.average, figures.pue),
    )


def _account(hours: Mapping[int, int], figures: Mapping[int, Figure | None]) -> Accounted | None:
    """Return ``None`` where an hour has no figure: half a sum looks like a whole one."""
    known = [(hours[hour], figure) for hour in sorted(hours) if (figure := figures[hour]) is not None]
    if len(known) < len(hours):
        return None
    masses = split_emissions_mg([(energy, figure.mg_co2e_per_kwh) for energy, figure in known])
    grouped: dict[tuple[str, str, str, str, bool], list[tuple[int, Figure, int]]] = {}
    for (energy, figure), mass in zip(known, masses, strict=True):
        key = (figure.method, figure.source, figure.version, figure.zone, figure.estimated)
        grouped.setdefault(key, []).append((energy, figure, mass))
    sources = tuple(
        _share(
            rows[0][1], [(energy, each.mg_co2e_per_kwh) for energy, each, _ in rows], sum(r[2] for r in rows)
        )
        for rows in grouped.values()
    )
    return Accounted(sum(masses), sources)


def _share(figure: Figure, parts: Sequence[tuple[int, int]], mass: int) -> SourceShare:
    return SourceShare(
        figure.method,
        figure.source,
        figure.version,
        figure.zone,
        figure.estimated,
        _average(parts or [(0, figure.mg_co2e_per_kwh)]),
        sum(energy for energy, _ in parts),
        mass,
    )


def _average(parts: Sequence[tuple[int, int]]) -> int:
    """Return the mean of (weight, value) half up; of the values alone where nothing has a weight."""
    weight = sum(each for each, _ in parts)
    if not weight:
        return _average([(1, value) for _, value in parts])
    return (2 * sum(each * value for each, value in parts) + weight) // (2 * weight)


def _compute_overhead(hours: Mapping[int, int], figures: Mapping[int, Figure | None], pue: Pue) -> Overhead:
    """Rounded once, half up: hours of little energy are not lost."""
    product = sum(
        hours[hour] * figure.mg_co2e_per_kwh for hour, figure in figures.items() if figure is not None
    )
    extra, whole = pue.permille - 1000, 1000 * MILLIJOULES_PER_KWH
    energy = (2 * sum(hours.values()) * extra + 1000) // 2000
    return Overhead(pue, energy, (2 * product * extra + whole) // (2 * whole))


@dataclass(frozen=True, slots=True)
class TelemetryCount:
    """Energy intervals of a rental: ``sent`` and ``lost`` are known once the final ones are in."""

    stored: int
    duplicates_dropped: int
    sent: int | None
    lost: int | None


def count_telemetry(*, stored: int, expected: int | None, duplicates: int) -> TelemetryCount:
    lost = None if expected is None else expected - stored
    return TelemetryCount(stored, duplicates, expected, lost)


def list_missing(*, settled: bool, telemetry: TelemetryCount) -> Sequence[str]:
    """Return what a receipt still waits for; empty means that it is final."""
    missing = []
    if not settled:
        missing.append("final_charge")
    if telemetry.lost != 0:
        missing.append("telemetry")
    return missing

"""A report's rows, one a stay and hour, counted with the figures of the grid, and what they sum to.

Masses of a region are rounded once over its rows, in their order: rows, groups and the whole agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.carbon.embodied import LIFE_SECONDS, amortise, find_embodied
from chalicelib.carbon.hardware import find_node_power
from chalicelib.carbon.intensity import Figure
from chalicelib.carbon.model import RegionFigures
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import NotFound
from chalicelib.core.units import MILLIJOULES_PER_KWH
from chalicelib.reporting.model import (
    HOUR_MS,
    Group,
    HourUse,
    SiteDay,
    Source,
    Span,
    StayDay,
    Step,
    Sum,
    add,
)

RENTED, PLATFORM = "rented", "platform"


@dataclass(frozen=True, slots=True)
class Line:
    """What was metered of one stay, or of a host's rented or idle GPUs, in one hour."""

    day: str
    region: str
    host_id: str
    gpu_type: str
    gpu_count: int
    rental_id: str
    segment: int
    label: str
    user: str
    use: HourUse

    @property
    def hour_ms(self) -> int:
        return parse_instant(f"{self.day}T00:00:00Z") + self.use.hour * HOUR_MS


@dataclass(frozen=True, slots=True)
class Row:
    """A line with its figure and what it comes to."""

    line: Line
    figure: Figure
    total: Sum


def list_stay_lines(days: Iterable[StayDay]) -> list[Line]:
    """Return an account's lines by rental, stay, host and hour."""
    ordered = sorted(days, key=lambda each: (each.rental_id, each.segment, each.host_id))
    return [
        Line(
            each.day,
            each.region,
            each.host_id,
            each.gpu_type,
            each.gpu_count,
            each.rental_id,
            each.segment,
            each.label,
            "",
            use,
        )
        for each in ordered
        for use in each.hours
    ]


def list_site_lines(days: Iterable[SiteDay]) -> list[Line]:
    """Return a site's lines by host, user and hour."""
    return [
        Line(each.day, each.region, each.host_id, each.gpu_type, each.gpu_count, "", 0, "", user, use)
        for each in sorted(days, key=lambda each: each.host_id)
        for user, uses in ((RENTED, each.rented), (PLATFORM, each.platform))
        for use in uses
    ]


def count_rows(
    lines: Sequence[Line], figures: Mapping[str, RegionFigures], power_limits_watts: Mapping[str, int]
) -> list[Row]:
    """Return each line with its figure, in the same order. ``power_limits_watts``: by GPU type."""
    counters = {region: _Counter(each, power_limits_watts) for region, each in figures.items()}
    return [counters[line.region].count(line) for line in lines]


class _Counter:
    """Counts the rows of one region; what a rounding takes from one row it gives to a later one."""

    def __init__(self, figures: RegionFigures, power_limits_watts: Mapping[str, int]) -> None:
        self.figures, self.power_limits_watts = figures, power_limits_watts
        self.sums: dict[str, tuple[int, int]] = {}

    def count(self, line: Line) -> Row:
        figures, energy, hour = self.figures, line.use.energy_millijoules, line.hour_ms
        average = figures.average[hour]
        assert average is not None, "each region has an annual average"
        marginal, market = figures.marginal[hour], figures.market
        node = find_node_power(line.gpu_type)
        node_energy = 0 if node is None else node.milliwatts * line.use.covered_ms // 1000
        extra = 0 if figures.pue is None else figures.pue.permille - 1000
        used, intensity = energy + node_energy, average.mg_co2e_per_kwh
        embodied = _amortise(line)
        limit_watts = self.power_limits_watts.get(line.gpu_type)
        return Row(
            line,
            average,
            Sum(
                energy_millijoules=energy,
                estimated_millijoules=line.use.estimated_millijoules,
                covered_ms=line.use.covered_ms,
                gap_ms=line.use.gap_ms,
                gap_millijoules=None if limit_watts is None else limit_watts * line.use.gap_ms,
                average_mg=self._weigh("average", energy, intensity),
                average_estimated_millijoules=energy if average.estimated else 0,
                marginal_mg=None
                if marginal is None
                else self._weigh("marginal", energy, marginal.mg_co2e_per_kwh),
                market_mg=None if market is None else self._weigh("market", energy, market.mg_co2e_per_kwh),
                node_millijoules=node_energy,
                node_mg=self._weigh("node", node_energy, intensity),
                node_unknown_ms=line.use.covered_ms if node is None else 0,
                overhead_millijoules=self._share("overhead energy", used * extra, 1000),
                overhead_mg=self._weigh("overhead", used * extra, intensity, 1000),
                overhead_unknown_millijoules=energy if figures.pue is None else 0,
                embodied=embodied or Span(),
                embodied_unknown_ms=line.use.covered_ms if embodied is None else 0,
            ),
        )

    def _weigh(self, name: str, energy: int, mg_per_kwh: int, parts: int = 1) -> int:
        return self._share(name, energy * mg_per_kwh, parts * MILLIJOULES_PER_KWH)

    def _share(self, name: str, product: int, whole: int) -> int:
        """Return what ``product / whole`` adds to the sum so far, which is rounded half up."""
        before, given = self.sums.get(name, (0, 0))
        now = (2 * (before + product) + whole) // (2 * whole)
        self.sums[name] = (before + product, now)
        return now - given


def _amortise(line: Line) -> Span | None:
    try:
        factor = find_embodied(line.gpu_type)
    except NotFound:
        return None
    found = amortise(
        factor.total,
        reserved_seconds=line.use.covered_ms,
        life_seconds=LIFE_SECONDS * 1000,
        reserved=1,
        of_resources=1,
    )
    return Span(found.low_mg, found.value_mg, found.high_mg)


def group_rows(rows: Iterable[Row]) -> tuple[Group, ...]:
    grouped: dict[tuple[str, str, str, str], list[Sum]] = {}
    for row in rows:
        line = row.line
        grouped.setdefault((line.region, line.label, line.gpu_type, line.user), []).append(row.total)
    return tuple(Group(*key, add(sums)) for key, sums in sorted(grouped.items()))


def list_steps(rows: Iterable[Row]) -> tuple[Step, ...]:
    """Return the hours that have rows."""
    hours: dict[str, tuple[int, int]] = {}
    for row in rows:
        name = f"{row.line.use.hour:02d}"
        energy, mass = hours.get(name, (0, 0))
        hours[name] = (energy + row.total.energy_millijoules, mass + row.total.average_mg)
    return tuple(Step(name, *figures) for name, figures in sorted(hours.items()))


def list_sources(rows: Sequence[Row], figures: Mapping[str, RegionFigures]) -> tuple[Source, ...]:
    """Return the sources of all three accountings, and how much energy each was used for."""
    sums: dict[tuple[str, str, str, str, str, bool], int] = {}
    for row in rows:
        of_region = figures[row.line.region]
        used = {
            "average": row.figure,
            "marginal": of_region.marginal[row.line.hour_ms],
            "market": of_region.market,
        }
        for signal, figure in used.items():
            if figure is not None:
                key = (signal, figure.method, figure.source, figure.version, figure.zone, figure.estimated)
                sums[key] = sums.get(key, 0) + row.total.energy_millijoules
    return tuple(Source(*key, energy) for key, energy in sorted(sums.items()))

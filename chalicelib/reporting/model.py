"""Energy and emissions of an account, or of a site, over a UTC day or month. Pure.

What was metered is kept by stay, host and hour (`StayDay`, `SiteDay`); a report joins it with the figures of
the grid. Reports are made of whole rows, so a group is the sum of its rows, a day of its groups, a month of
its days, to the millijoule and the milligram. Removals stand beside the emissions, never taken from them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from chalicelib.core.clock import format_hour, parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.core.units import MILLIJOULES_PER_KWH

OwnerKind = Literal["account", "site"]
Kind = Literal["day", "month"]
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2})?")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a report is about: an account, or a site by its region."""

    kind: OwnerKind
    owner_id: str

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.owner_id}"


def read_owner(name: str) -> Owner:
    kind, _, owner_id = name.partition(":")
    assert kind in ("account", "site")
    return Owner("account" if kind == "account" else "site", owner_id)


@dataclass(frozen=True, slots=True)
class Period:
    """A UTC day (``2026-11-30``) or month (``2026-11``)."""

    name: str

    @property
    def kind(self) -> Kind:
        return "day" if len(self.name) > len("2026-11") else "month"

    @property
    def from_ms(self) -> int:
        return parse_instant(f"{self.name}{'-01' if self.kind == 'month' else ''}T00:00:00Z")

    @property
    def until_ms(self) -> int:
        if self.kind == "day":
            return self.from_ms + DAY_MS
        year, month = (int(part) for part in self.name.split("-"))
        return parse_instant(f"{year + month // 12}-{month % 12 + 1:02d}-01T00:00:00Z")

    @property
    def month(self) -> "Period":
        return Period(self.name[:7])


def read_period(text: str) -> Period:
    """Raises InvalidInput: it is no day and no month."""
    try:
        if _PERIOD.fullmatch(text):
            date.fromisoformat(text if len(text) > len("2026-11") else f"{text}-01")
            return Period(text)
    except ValueError:
        pass
    raise InvalidInput("A period is a day, 2026-11-30, or a month, 2026-11.", code="invalid_period")


def name_day(at_ms: int) -> str:
    return format_hour(at_ms)[:10]


@dataclass(frozen=True, slots=True)
class HourUse:
    """``hour``: of the day. ``expected_ms``: GPU-milliseconds in which there was something to measure."""

    hour: int
    energy_millijoules: int
    estimated_millijoules: int
    covered_ms: int
    expected_ms: int

    @property
    def gap_ms(self) -> int:
        return max(0, self.expected_ms - self.covered_ms)


@dataclass(frozen=True, slots=True)
class StayDay:
    """What a stay's GPUs used on one day of one host. ``version``: each restatement is one more."""

    account_id: str
    day: str
    host_id: str
    rental_id: str
    segment: int
    region: str
    gpu_type: str
    gpu_count: int
    label: str
    hours: tuple[HourUse, ...]
    version: int = 1


@dataclass(frozen=True, slots=True)
class SiteDay:
    """What a host's GPUs used on one day: in rentals, and for nobody, which is the platform's."""

    region: str
    day: str
    host_id: str
    gpu_type: str
    gpu_count: int
    rented: tuple[HourUse, ...]
    platform: tuple[HourUse, ...]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """What energy was counted with: where a figure comes from, and for how much."""

    signal: str
    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    energy_millijoules: int


@dataclass(frozen=True, slots=True)
class Span:
    """mg CO2e with its bounds."""

    low_mg: int = 0
    value_mg: int = 0
    high_mg: int = 0

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low_mg + other.low_mg, self.value_mg + other.value_mg, self.high_mg + other.high_mg)


@dataclass(frozen=True, slots=True)
class Sum:
    """Of rows. ``None``: of some of the energy nobody knows it, and half a sum looks like a whole one.

    ``node``: the servers around the GPUs, by a model; ``overhead``: what the site used beyond both (PUE);
    ``embodied``: of the hardware's making. They are what is known; ``unknown`` says of how much it is not.
    ``gap_millijoules``: what the gaps may hide at most.
    """

    energy_millijoules: int = 0
    estimated_millijoules: int = 0
    covered_ms: int = 0
    gap_ms: int = 0
    gap_millijoules: int | None = 0
    average_mg: int = 0
    #: Of the energy, what was counted with no measurement of its hour.
    average_estimated_millijoules: int = 0
    marginal_mg: int | None = 0
    market_mg: int | None = 0
    node_millijoules: int = 0
    node_mg: int = 0
    node_unknown_ms: int = 0
    overhead_millijoules: int = 0
    overhead_mg: int = 0
    overhead_unknown_millijoules: int = 0
    embodied: Span = Span()
    embodied_unknown_ms: int = 0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(
            self.energy_millijoules + other.energy_millijoules,
            self.estimated_millijoules + other.estimated_millijoules,
            self.covered_ms + other.covered_ms,
            self.gap_ms + other.gap_ms,
            _plus(self.gap_millijoules, other.gap_millijoules),
            self.average_mg + other.average_mg,
            self.average_estimated_millijoules + other.average_estimated_millijoules,
            _plus(self.marginal_mg, other.marginal_mg),
            _plus(self.market_mg, other.market_mg),
            self.node_millijoules + other.node_millijoules,
            self.node_mg + other.node_mg,
            self.node_unknown_ms + other.node_unknown_ms,
            self.overhead_millijoules + other.overhead_millijoules,
            self.overhead_mg + other.overhead_mg,
            self.overhead_unknown_millijoules + other.overhead_unknown_millijoules,
            self.embodied + other.embodied,
            self.embodied_unknown_ms + other.embodied_unknown_ms,
        )

    @property
    def operational_mg(self) -> int:
        """Location-based: the GPUs', and what is known of their servers' and the site's."""
        return self.average_mg + self.node_mg + self.overhead_mg

    @property
    def mg_co2e_per_kwh(self) -> int | None:
        """The mean intensity of its energy, half up; ``None`` without energy."""
        energy = self.energy_millijoules
        return (2 * self.average_mg * MILLIJOULES_PER_KWH + energy) // (2 * energy) if energy else None


@dataclass(frozen=True, slots=True)
class Group:
    """``user``: empty in an account's report; ``rented`` or ``platform`` in a site's."""

    region: str
    label: str
    gpu_type: str
    user: str
    total: Sum


@dataclass(frozen=True, slots=True)
class Step:
    """An hour of a day (``05``) or a day of a month (``17``)."""

    name: str
    energy_millijoules: int
    average_mg: int


@dataclass(frozen=True, slots=True)
class Removed:
    """Removals in one state: ``provisional`` or ``final`` allocations, or ``purchased``."""

    state: str
    mass_mg: int
    serials: tuple[str, ...] = ()


def name_allocated(state: str) -> str:
    """Return the state of a removal that was allocated: ``provisional`` or ``final``."""
    return f"allocated, {state}"


#: What a verifier has looked at, and credits were issued for.
FINAL = name_allocated("final")


@dataclass(frozen=True, slots=True)
class Content:
    """What a report says: the same records and figures give the same content."""

    owner: str
    period: str
    groups: tuple[Group, ...]
    steps: tuple[Step, ...]
    #: By the hour of the day, whichever day it is.
    by_hour: tuple[Step, ...]
    sources: tuple[Source, ...]
    removals: tuple[Removed, ...]
    #: Days of a month that it has.
    days: tuple[str, ...] = ()

    @property
    def total(self) -> Sum:
        return add(each.total for each in self.groups)

    @property
    def estimated(self) -> bool:
        """Some of it is no measurement: energy, or the figure of an hour."""
        total = self.total
        return bool(total.estimated_millijoules or total.average_estimated_millijoules or total.gap_ms)


@dataclass(frozen=True, slots=True)
class Report:
    """A version of a report that is kept. ``digest``: SHA-256 of its content."""

    owner: Owner
    period: Period
    version: int
    created_at_ms: int
    digest: str
    energy_millijoules: int
    operational_mg: int
    estimated: bool

    def name_document(self, form: str) -> str:
        """Return where one of its documents is kept."""
        kind, owner_id = self.owner.kind, self.owner.owner_id
        return f"carbon/{kind}/{owner_id}/{self.period.name}/v{self.version}.{form}"

    def name_file(self, form: str) -> str:
        """Return what a document is called on a person's disk."""
        return f"carbon-{self.owner.owner_id}-{self.period.name}-v{self.version}.{form}"


@dataclass(frozen=True, slots=True)
class Due:
    """A report to make at an instant or after it; ``marked_at_ms`` of the last that asked for it."""

    due_at_ms: int
    owner: Owner
    period: Period
    marked_at_ms: int


def add(sums: Iterable[Sum]) -> Sum:
    return sum(sums, Sum())


def combine(
    owner: Owner, month: Period, days: Mapping[str, Content], purchased: Iterable[Removed]
) -> Content:
    """Return a month out of the reports of its days, by day."""
    groups: dict[tuple[str, str, str, str], list[Sum]] = {}
    hours: dict[str, list[Step]] = {}
    sources: dict[Source, int] = {}
    removed: dict[str, list[Removed]] = {}
    for content in days.values():
        for each in content.groups:
            groups.setdefault((each.region, each.label, each.gpu_type, each.user), []).append(each.total)
        for step in content.by_hour:
            hours.setdefault(step.name, []).append(step)
        for source in content.sources:
            blank = Source(*_identify(source), 0)
            sources[blank] = sources.get(blank, 0) + source.energy_millijoules
        for removal in content.removals:
            removed.setdefault(removal.state, []).append(removal)
    return Content(
        owner=owner.name,
        period=month.name,
        groups=tuple(Group(*key, add(sums)) for key, sums in sorted(groups.items())),
        steps=tuple(_condense(day[8:], content.steps) for day, content in sorted(days.items())),
        by_hour=tuple(_condense(name, steps) for name, steps in sorted(hours.items())),
        sources=tuple(
            Source(*_identify(blank), energy) for blank, energy in sorted(sources.items(), key=_order)
        ),
        removals=(
            *(
                Removed(state, sum(r.mass_mg for r in rows), tuple(s for r in rows for s in r.serials))
                for state, rows in sorted(removed.items())
            ),
            *purchased,
        ),
        days=tuple(sorted(days)),
    )


def _identify(source: Source) -> tuple[str, str, str, str, str, bool]:
    return (source.signal, source.method, source.source, source.version, source.zone, source.estimated)


def _order(item: tuple[Source, int]) -> tuple[str, str, str, str, str, bool]:
    return _identify(item[0])


def _condense(name: str, steps: Iterable[Step]) -> Step:
    parts = list(steps)
    return Step(name, sum(each.energy_millijoules for each in parts), sum(each.average_mg for each in parts))


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other

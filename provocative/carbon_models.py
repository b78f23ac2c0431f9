"""What the API says of grids and emissions."""

from typing import TypedDict


class Intensity(TypedDict):
    value: str
    unit: str
    method: str
    source: str
    version: str


class IntensityPoint(Intensity):
    provider: str
    zone: str
    signal: str
    accounting: str
    #: ``actual`` or ``forecast``.
    kind: str
    valid_from: str
    valid_until: str
    fetched_at: str
    estimated: bool
    revision: int
    generated_at: str | None


class RegionalIntensity(TypedDict):
    region: str
    signal: str
    items: list[IntensityPoint]
    annual: Intensity | None


class IntensityForecast(TypedDict):
    provider: str
    zone: str
    generated_at: str
    points: list[IntensityPoint]


class IntensityForecasts(TypedDict):
    region: str
    signal: str
    #: The instant of which is said what was known then.
    at: str
    items: list[IntensityForecast]


class SourceShare(Intensity):
    zone: str
    estimated: bool
    energy_millijoules: int
    mg_co2e: int


class Accounted(TypedDict):
    mg_co2e: int
    estimated: bool
    sources: list[SourceShare]


class Overhead(TypedDict):
    pue: str
    energy_millijoules: int
    mg_co2e: int
    source: str
    version: str


class RegionalEmissions(TypedDict):
    region: str
    energy_millijoules: int
    mg_co2e: int
    #: The mean by energy; names are joined where there are several sources.
    intensity: Intensity
    estimated: bool
    sources: list[SourceShare]
    marginal: Accounted | None
    market: Accounted | None
    overhead: Overhead | None


class MassInterval(TypedDict):
    low_mg: int
    value_mg: int
    high_mg: int


class Embodied(TypedDict):
    mg_co2e: MassInterval
    total_per_gpu: MassInterval
    life_seconds: int
    scope: str
    method: str
    source: str
    version: str


class Sci(TypedDict):
    mg_co2e_per_gpu_hour: MassInterval
    operational_mg: int
    gpu_seconds: int
    method: str


class BestStart(TypedDict):
    region: str
    starts_at: str
    ends_at: str
    why: str
    moved: bool
    value: str
    immediate_value: str
    unit: str
    saved_ppm: int
    price_micros_per_gpu_hour: int | None
    provider: str
    generated_at: str


class BestStarts(TypedDict):
    home_region: str
    signal: str
    earliest: str
    deadline: str
    duration_seconds: int
    items: list[BestStart]
    excluded: dict[str, str]


class UsedForecast(TypedDict):
    provider: str
    zone: str
    generated_at: str
    covers_until: str
    mg_co2e_per_kwh: int
    immediate_mg_co2e_per_kwh: int | None


class WhyThen(TypedDict):
    code: str
    text: str


class Replan(TypedDict):
    at: str
    planned_start_at: str
    region: str
    why: str


class StartPlan(TypedDict):
    policy: str
    duration_seconds: int
    latest_start_at: str
    deadline: str
    threshold_mg_per_kwh: int | None
    planned_start_at: str
    region: str
    regions: list[str]
    forecast: UsedForecast | None
    expected_saving_permille: int | None
    why: WhyThen
    replanned: list[Replan]


class CarbonSaving(TypedDict):
    rental_id: str
    status: str
    missing: list[str]
    policy: str
    started_at: str | None
    immediate_start_at: str
    home_region: str
    energy_millijoules: int
    mg_co2e: int
    immediate_mg_co2e: int
    #: Negative: a start at once would have been better.
    saved_mg_co2e: int
    saved_permille: int
    expected_saving_permille: int | None
    estimated: bool
    method: str


class Emissions(TypedDict):
    scope: str
    mg_co2e: int
    regions: list[RegionalEmissions]
    estimated: bool
    embodied: Embodied | None
    sci: Sci | None


class Constant(TypedDict):
    """``value``: an integer, or an exact decimal as text. ``version``: of the source; none: our choice."""

    symbol: str
    meaning: str
    value: int | str
    unit: str
    source: str
    version: str | None


class MethodStatement(TypedDict):
    """``code``: the functions that do it."""

    title: str
    formula: str
    detail: str
    source: str
    version: str | None
    constants: list[Constant]
    code: list[str]


class MethodColumn(TypedDict):
    name: str
    unit: str


class MethodTable(TypedDict):
    """A cell is ``None`` where the source is blank."""

    title: str
    columns: list[MethodColumn]
    rows: list[list[int | str | None]]
    source: str
    version: str | None
    note: str


class MethodSection(TypedDict):
    key: str
    title: str
    statements: list[MethodStatement]
    tables: list[MethodTable]


class Methodology(TypedDict):
    """How energy, emissions and removals are counted; another ``version``, another way."""

    version: str
    sections: list[MethodSection]


class GpuHour(TypedDict):
    """What one GPU used in one UTC hour, such as 2026-11-30T09."""

    hour: str
    gpu_uuid: str
    epoch: int
    energy_millijoules: int
    estimated_millijoules: int
    intervals: int


class GpuHours(TypedDict):
    rental_id: str
    day: str
    energy_millijoules: int
    items: list[GpuHour]

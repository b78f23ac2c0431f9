"""What the API answers of carbon reports: energy is in millijoules, mass in milligrams of CO2 equivalent."""

from typing import TypedDict


class ReportHead(TypedDict):
    """A restated report is another version of its period."""

    period: str
    version: int
    created_at: str
    energy_millijoules: int
    operational_mg_co2e: int
    estimated: bool


class ReportSpan(TypedDict):
    low_mg_co2e: int
    mg_co2e: int
    high_mg_co2e: int


class ReportSum(TypedDict):
    """``None``: nobody knows it of all of the energy."""

    energy_millijoules: int
    estimated_millijoules: int
    covered_gpu_ms: int
    gap_gpu_ms: int
    gap_at_most_millijoules: int | None
    location_average_mg_co2e: int
    location_average_estimated_millijoules: int
    location_marginal_mg_co2e: int | None
    market_mg_co2e: int | None
    node_millijoules: int
    node_mg_co2e: int
    node_unknown_gpu_ms: int
    overhead_millijoules: int
    overhead_mg_co2e: int
    overhead_unknown_millijoules: int
    embodied: ReportSpan
    embodied_unknown_gpu_ms: int


class ReportGroup(TypedDict):
    region: str
    label: str
    gpu_type: str
    user: str
    total: ReportSum


class ReportStep(TypedDict):
    name: str
    energy_millijoules: int
    location_average_mg_co2e: int


class ReportSource(TypedDict):
    signal: str
    method: str
    source: str
    version: str
    zone: str
    estimated: bool
    energy_millijoules: int


class ReportRemoved(TypedDict):
    state: str
    mass_mg_co2e: int
    serials: list[str]


class ReportComparison(TypedDict):
    name: str
    thousandths: int
    unit: str
    source: str


class CarbonReport(TypedDict):
    report: ReportHead
    owner: str
    total: ReportSum
    groups: list[ReportGroup]
    steps: list[ReportStep]
    by_hour: list[ReportStep]
    sources: list[ReportSource]
    removals: list[ReportRemoved]
    comparisons: list[ReportComparison]
    days: list[str]
    note: str

"""What a rental's energy emitted, with where each figure comes from. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.units import compute_emissions_mg


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
class RegionalEmissions:
    """What was used on one region's grid."""

    energy_millijoules: int
    mg_co2e: int
    intensity: GridIntensity


@dataclass(frozen=True, slots=True)
class Emissions:
    """``estimated`` says that the intensity is no measurement of the hours in which the energy was used.

    ``regions``: one after the other as the rental came to them; none before its first stay.
    """

    mg_co2e: int
    regions: tuple[RegionalEmissions, ...]
    estimated: bool


def compute_emissions(
    energy_millijoules: Mapping[str, int], find_intensity: Callable[[str], GridIntensity]
) -> Emissions:
    """Return location-based emissions of the GPUs' energy by region (no overhead, no removals).

    An annual mean stands for every hour, so the figure is always marked as estimated.
    """
    regions = []
    for region, energy in energy_millijoules.items():
        intensity = find_intensity(region)
        mass = compute_emissions_mg(energy_millijoules=energy, intensity_mg_per_kwh=intensity.mg_co2e_per_kwh)
        regions.append(RegionalEmissions(energy, mass, intensity))
    return Emissions(sum(each.mg_co2e for each in regions), tuple(regions), estimated=True)


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

"""Grids by region: a versioned table of annual figures, and how the providers of hourly ones name each grid.

Source: Green Software Foundation, real-time-cloud, Cloud_Region_Metadata.csv at commit b2858aa, of the latest
year given for each AWS region: g CO2e per kWh (consumption-based location average, marginal, market-based),
power usage effectiveness, the Electricity Maps zone and the WattTime region. A blank there is ``None`` here:
a market-based 0 is what a provider claims, a blank is what nobody has said.
"""

from dataclasses import dataclass

from chalicelib.carbon.intensity import Accounting, Figure, Series, Signal
from chalicelib.carbon.model import GridIntensity, Pue
from chalicelib.core.errors import NotFound

METHOD = "location-based annual average, consumption-based"
MARGINAL_METHOD = "location-based annual marginal"
MARKET_METHOD = "market-based annual average, as the provider states it"
SOURCE = "Green Software Foundation real-time-cloud Cloud_Region_Metadata.csv"
VERSION = "b2858aa"

UK, ELECTRICITY_MAPS, WATTTIME = "uk_carbon_intensity", "electricity_maps", "watttime"
#: The zone of Electricity Maps that the UK's own API covers.
GREAT_BRITAIN = "GB"


@dataclass(frozen=True, slots=True)
class _Row:
    """Intensities in mg CO2e per kWh; ``pue_permille`` 1150 is 1.15."""

    year: int
    pue_permille: int | None
    average: int
    marginal: int
    market: int | None
    electricity_maps_zone: str
    watttime_region: str


_TABLE: dict[str, _Row] = {
    "af-south-1": _Row(2024, 1240, 702_030, 890_210, None, "ZA", "ZAF"),
    "ap-east-1": _Row(2023, None, 435_360, 486_380, None, "HK", "HKG"),
    "ap-northeast-1": _Row(2024, 1270, 536_060, 535_910, 0, "JP-TK", "JP_TK"),
    "ap-northeast-2": _Row(2023, None, 443_050, 736_690, None, "KR", "KOR"),
    "ap-northeast-3": _Row(2023, None, 370_300, 549_890, 0, "JP-KN", "JP_KN"),
    "ap-south-1": _Row(2024, 1420, 746_980, 832_740, 0, "IN-WE", "IND"),
    "ap-south-2": _Row(2024, 1460, 551_310, 832_740, 0, "IN-SO", "IND"),
    "ap-southeast-1": _Row(2024, 1320, 487_520, 349_010, None, "SG", "SGP"),
    "ap-southeast-2": _Row(2024, 1160, 545_010, 727_590, None, "AU-NSW", "NEM_NSW"),
    "ap-southeast-3": _Row(2024, 1400, 652_360, 779_090, None, "ID", "IDN"),
    "ap-southeast-4": _Row(2024, 1070, 498_190, 548_150, None, "AU-VIC", "NEM_VIC"),
    "ca-central-1": _Row(2024, 1190, 30_510, 457_850, 0, "CA-QC", "HQ"),
    "eu-central-1": _Row(2024, 1350, 370_930, 731_220, 0, "DE", "DE"),
    "eu-central-2": _Row(2023, None, 83_800, 915_490, 0, "CH", "CH"),
    "eu-north-1": _Row(2024, 1100, 24_710, 791_260, 0, "SE", "SE"),
    "eu-south-1": _Row(2023, None, 298_620, 386_080, 0, "IT-NO", "IT"),
    "eu-south-2": _Row(2024, 1090, 153_860, 363_460, 0, "ES", "ES"),
    "eu-west-1": _Row(2024, 1110, 403_400, 488_250, 0, "IE", "IE"),
    "eu-west-2": _Row(2023, None, 187_890, 424_480, 0, "GB", "UK"),
    "eu-west-3": _Row(2023, None, 52_870, 394_640, 0, "FR", "FR"),
    "il-central-1": _Row(2023, None, 533_040, 497_070, None, "IL", "ISR"),
    "me-central-1": _Row(2024, 1270, 381_540, 416_600, None, "AE", "ARE"),
    "me-south-1": _Row(2024, 1330, 700_000, 413_690, None, "BH", "BHR"),
    "sa-east-1": _Row(2024, 1170, 89_550, 709_620, None, "BR-CS", "BRA"),
    "us-east-1": _Row(2024, 1150, 396_250, 557_170, 0, "US-MIDA-PJM", "PJM_DC"),
    "us-east-2": _Row(2024, 1130, 396_250, 557_000, 0, "US-MIDA-PJM", "PJM_SOUTHWEST_OH"),
    "us-gov-east-1": _Row(2023, None, 396_250, 557_170, 0, "US-MIDA-PJM", "PJM_DC"),
    "us-gov-west-1": _Row(2023, None, 119_760, 476_660, 0, "US-NW-BPAT", "BPA"),
    "us-west-1": _Row(2024, 1180, 261_280, 381_370, 0, "US-CAL-CISO", "CAISO_NORTH"),
    "us-west-2": _Row(2024, 1120, 119_760, 476_660, 0, "US-NW-BPAT", "BPA"),
}

REGIONS = frozenset(_TABLE)


def read_intensity(region: str) -> int | None:
    """Return mg CO2e per kWh, ``None`` for a region that the table does not have."""
    row = _TABLE.get(region)
    return None if row is None else row.average


def find_intensity(region: str) -> GridIntensity:
    """Return the average. Raises NotFound for a region that the table does not have."""
    row = _find(region)
    return GridIntensity(region, row.average, row.year, METHOD, SOURCE, f"{VERSION}/{row.year}")


def find_annual(region: str, signal: Signal, accounting: Accounting = "location") -> Figure | None:
    """Return what stands for each hour of the year, as an estimate; ``None`` where the table is blank.

    Raises:
        NotFound: the table does not have the region.
    """
    row = _find(region)
    value: int | None = row.average
    method = METHOD
    if accounting == "market":
        value, method = (row.market if signal == "average" else None), MARKET_METHOD
    elif signal == "marginal":
        value, method = row.marginal, MARGINAL_METHOD
    if value is None:
        return None
    return Figure(value, method, SOURCE, f"{VERSION}/{row.year}", region, estimated=True)


def find_pue(region: str) -> Pue | None:
    """Raises NotFound for a region that the table does not have."""
    row = _find(region)
    if row.pue_permille is None:
        return None
    return Pue(row.pue_permille, SOURCE, f"{VERSION}/{row.year}")


def list_series(region: str, signal: Signal) -> list[Series]:
    """Return the hourly series of a region's grid in the order of preference: the grid's own operator first.

    Raises:
        NotFound: the table does not have the region.
    """
    row = _find(region)
    own = [Series(WATTTIME, row.watttime_region, signal)]
    if signal == "marginal":
        return own
    zone = row.electricity_maps_zone
    operator = [Series(UK, zone, signal)] if zone == GREAT_BRITAIN else []
    return [*operator, Series(ELECTRICITY_MAPS, zone, signal), *own]


def _find(region: str) -> _Row:
    if region not in _TABLE:
        raise NotFound(f"No grid intensity is known for {region}.", code="unknown_region")
    return _TABLE[region]

"""Grid intensity by region: a versioned table of annual figures.

Source: Green Software Foundation, real-time-cloud, Cloud_Region_Metadata.csv at commit b2858aa, column
"consumption-based location average", g CO2e per kWh of the latest year given for each AWS region.
Average, location-based; marginal and market-based figures are not comparable and are not in this table.
"""

from chalicelib.carbon.model import GridIntensity
from chalicelib.core.errors import NotFound

METHOD = "location-based annual average, consumption-based"
SOURCE = "Green Software Foundation real-time-cloud Cloud_Region_Metadata.csv"
VERSION = "b2858aa"

#: region: (year, mg CO2e per kWh)
_TABLE: dict[str, tuple[int, int]] = {
    "af-south-1": (2024, 702_030),
    "ap-east-1": (2023, 435_360),
    "ap-northeast-1": (2024, 536_060),
    "ap-northeast-2": (2023, 443_050),
    "ap-northeast-3": (2023, 370_300),
    "ap-south-1": (2024, 746_980),
    "ap-south-2": (2024, 551_310),
    "ap-southeast-1": (2024, 487_520),
    "ap-southeast-2": (2024, 545_010),
    "ap-southeast-3": (2024, 652_360),
    "ap-southeast-4": (2024, 498_190),
    "ca-central-1": (2024, 30_510),
    "eu-central-1": (2024, 370_930),
    "eu-central-2": (2023, 83_800),
    "eu-north-1": (2024, 24_710),
    "eu-south-1": (2023, 298_620),
    "eu-south-2": (2024, 153_860),
    "eu-west-1": (2024, 403_400),
    "eu-west-2": (2023, 187_890),
    "eu-west-3": (2023, 52_870),
    "il-central-1": (2023, 533_040),
    "me-central-1": (2024, 381_540),
    "me-south-1": (2024, 700_000),
    "sa-east-1": (2024, 89_550),
    "us-east-1": (2024, 396_250),
    "us-east-2": (2024, 396_250),
    "us-gov-east-1": (2023, 396_250),
    "us-gov-west-1": (2023, 119_760),
    "us-west-1": (2024, 261_280),
    "us-west-2": (2024, 119_760),
}

REGIONS = frozenset(_TABLE)


def read_intensity(region: str) -> int | None:
    """Return mg CO2e per kWh, ``None`` for a region that the table does not have."""
    row = _TABLE.get(region)
    return None if row is None else row[1]


def find_intensity(region: str) -> GridIntensity:
    """Raises NotFound for a region that the table does not have."""
    if region not in _TABLE:
        raise NotFound(f"No grid intensity is known for {region}.", code="unknown_region")
    year, mg_co2e_per_kwh = _TABLE[region]
    return GridIntensity(region, mg_co2e_per_kwh, year, METHOD, SOURCE, f"{VERSION}/{year}")

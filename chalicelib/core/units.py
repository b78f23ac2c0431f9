"""Energy and mass as integers: millijoules, and milligrams of CO2 equivalent.

Intensity is ``mg CO2e per kWh`` (1 g/kWh = 1000), so published values with up to three decimals are exact.
"""

from collections.abc import Sequence

from chalicelib.core.methodology import Constant

#: 1 kWh = 3.6e6 J, the definition of the kilowatt-hour (SI brochure, table 8).
MILLIJOULES_PER_KWH = 3_600_000_000
CONSTANTS = (
    Constant(
        "MILLIJOULES_PER_KWH",
        "a kilowatt-hour",
        MILLIJOULES_PER_KWH,
        "mJ",
        "SI brochure, table 8",
        "9th edition, 2019",
    ),
)


def compute_emissions_mg(*, energy_millijoules: int, intensity_mg_per_kwh: int) -> int:
    """Return mg CO2e of ``energy_millijoules`` at ``intensity_mg_per_kwh``, rounded half up.

    ``O = E * I`` of the SCI specification (ISO/IEC 21031).

    Raises:
        ValueError: the energy is negative (a meter never runs backwards).
    """
    if energy_millijoules < 0:
        raise ValueError("energy must not be negative")
    product = energy_millijoules * intensity_mg_per_kwh
    return (2 * product + MILLIJOULES_PER_KWH) // (2 * MILLIJOULES_PER_KWH)


def split_emissions_mg(parts: Sequence[tuple[int, int]]) -> list[int]:
    """Return the mg CO2e of each (millijoules, mg per kWh) in turn; their sum is that of the whole.

    The whole is rounded once, half up, and each part is what it adds: no part is off by a milligram or more.

    Raises:
        ValueError: an energy is negative.
    """
    shares, product, given = [], 0, 0
    for energy_millijoules, intensity_mg_per_kwh in parts:
        if energy_millijoules < 0:
            raise ValueError("energy must not be negative")
        product += energy_millijoules * intensity_mg_per_kwh
        total = (2 * product + MILLIJOULES_PER_KWH) // (2 * MILLIJOULES_PER_KWH)
        shares.append(total - given)
        given = total
    return shares

"""What a mass or an energy is like, for people: each with the source of its factor. Pure."""

from dataclasses import dataclass

#: 400 g CO2 a mile of a typical passenger vehicle, by 1.609344 km: EPA-420-F-23-014 (2023).
_CAR_MG_PER_KM = 248_548
_CAR_SOURCE = "US EPA, Greenhouse Gas Emissions from a Typical Passenger Vehicle, EPA-420-F-23-014 (2023)"
#: 10,791 kWh a year, by 365 days.
_HOME_MILLIJOULES_PER_DAY = 10_791 * 3_600_000_000 // 365
_HOME_SOURCE = "US EIA, average residential customer in 2022"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``thousandths`` of ``unit``, half up."""

    name: str
    thousandths: int
    unit: str
    source: str


def compare(*, operational_mg: int, energy_millijoules: int) -> tuple[Comparison, ...]:
    return (
        Comparison(
            "as much CO2 as a car emits on a way of",
            _divide(operational_mg, _CAR_MG_PER_KM),
            "km",
            _CAR_SOURCE,
        ),
        Comparison(
            "as much electricity as is used in a day by",
            _divide(energy_millijoules, _HOME_MILLIJOULES_PER_DAY),
            "homes",
            _HOME_SOURCE,
        ),
    )


def _divide(amount: int, one: int) -> int:
    return (2 * 1000 * amount + one) // (2 * one)

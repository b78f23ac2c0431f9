"""Published figures that the formulas must give: printed as a table, each held to its last digit.

Net removal per gross tonne: 650 kWh of electricity and 60 kg of life-cycle emissions, and a heat pump that
delivers the 2,000 kWh of heat of a published plant at COP 3, 667 kWh: 1,317 kWh in all.
"""

import math

import pytest

from chalicelib.carbon.embodied import LIFE_SECONDS, Interval, amortise, find_embodied
from chalicelib.removals.accounting import Component, Rate, account, emit, estimate_heat_pump
from chalicelib.removals.plausibility import MINIMUM_MILLIJOULES_PER_GRAM

KWH = 3_600_000_000
TONNE_MG = 10**9
YEAR_SECONDS = 365 * 24 * 3600


def compute_net_per_tonne(grams_per_kwh):
    pump = estimate_heat_pump(2000 * KWH, 3000)
    rate = Rate(grams_per_kwh * 1000, "of the table", "grid", "v1", "x", estimated=True, annual=True)
    removal = account(
        [
            Component("sequestration", TONNE_MG, 0, "flow"),
            emit([(650 * KWH + pump, rate)], 0, "electricity"),
            Component("activity", 60 * 10**6, 0, "sorbent and plant, life-cycle assessment"),
        ]
    )
    return removal.net_mg / TONNE_MG


def compute_sci_example():
    """1,000 kg of hardware, kept for four years, reserved whole for an hour: in grams."""
    total = Interval(*[1000 * 10**6] * 3)
    share = amortise(total, reserved_seconds=3600, life_seconds=4 * YEAR_SECONDS, reserved=1, of_resources=1)
    return share.value_mg / 1000


def compute_h100_hour():
    share = amortise(
        find_embodied("H100-SXM-80GB").total,
        reserved_seconds=3600,
        life_seconds=LIFE_SECONDS,
        reserved=1,
        of_resources=1,
    )
    return share.low_mg / 1000, share.value_mg / 1000, share.high_mg / 1000


ROWS = [
    ("SCI specification: 1000 kg, 4 y, 1 h [g]", 28.5, 0.05, compute_sci_example),
    ("p5.48xlarge / 8, low [g/GPU-h]", 18.2, 0.06, lambda: compute_h100_hour()[0]),
    ("p5.48xlarge / 8, value [g/GPU-h]", 24.5, 0.05, lambda: compute_h100_hour()[1]),
    ("p5.48xlarge / 8, high [g/GPU-h]", 40.0, 0.06, lambda: compute_h100_hour()[2]),
    ("net per gross tonne at 25 g/kWh", 0.91, 0.005, lambda: compute_net_per_tonne(25)),
    ("net per gross tonne at 120 g/kWh", 0.78, 0.005, lambda: compute_net_per_tonne(120)),
    ("net per gross tonne at 313 g/kWh", 0.53, 0.005, lambda: compute_net_per_tonne(313)),
    ("net per gross tonne at 396 g/kWh", 0.42, 0.005, lambda: compute_net_per_tonne(396)),
    ("net g per kWh of GPU heat at 396 g/kWh", 209, 0.5, lambda: compute_net_per_tonne(396) * 10**6 / 2000),
    (
        "least work of separation [kWh/t]",
        121.6,
        0.05,
        lambda: MINIMUM_MILLIJOULES_PER_GRAM * 10**6 / KWH,
    ),
]


@pytest.mark.parametrize(("what", "published", "tolerance", "compute"), ROWS, ids=[row[0] for row in ROWS])
def test_the_published_figure_comes_out(what, published, tolerance, compute):
    found = compute()
    print(f"{what:44} {published:>8} {found:>12.4f}")
    assert found == pytest.approx(published, abs=tolerance)


def test_the_least_work_is_that_of_an_ideal_gas_at_420_ppm():
    joules_per_mole = 8.314462618 * 298 * math.log(1 / 420e-6)
    assert pytest.approx(joules_per_mole / 44.0095 * 1000, rel=1e-3) == MINIMUM_MILLIJOULES_PER_GRAM

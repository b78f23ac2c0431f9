"""What Wiesner et al. published, by region, to compare with.

Source: "Let's Wait Awhile: How Temporal Workload Shifting Can Reduce Carbon Emissions in the Cloud",
Middleware '21, arXiv 2110.13234: the figures of the public repository dos-group/lets-wait-awhile at 5e0d155
(nightly_result.pdf, ml_results.pdf) and the printed cells of its notebooks.
"""

from dataclasses import dataclass
from typing import Literal

Deadline = Literal["next workday", "semi-weekly"]
#: Deadline, and whether the work may be interrupted.
Cell = tuple[Deadline, bool]
CELLS: tuple[Cell, ...] = (
    ("next workday", False),
    ("next workday", True),
    ("semi-weekly", False),
    ("semi-weekly", True),
)


@dataclass(frozen=True, slots=True)
class Published:
    """Percent of emissions avoided; ``training`` has the range of what is printed in several places.

    ``nightly``: windows of 0 to 8 hours to each side; the half-hours between were published as a curve only.
    """

    label: str
    #: Of the file; ``None`` where the file is not public.
    sha256: str | None
    mean_g_per_kwh: float
    weekend_percent: float
    nightly: tuple[float, ...]
    training: dict[Cell, tuple[float, float]]


def _pair(*ranges: tuple[float, float]) -> dict[Cell, tuple[float, float]]:
    return dict(zip(CELLS, ranges, strict=True))


REGIONS = {
    "ger": Published(
        "Germany",
        "bb9aa67ed4ce191d8fa0d48346c0c6c0fa8fe82f8e4c94e7cf1c8156c7fb001c",  # pragma: allowlist secret
        313.396,
        -25.42,
        (0.0, 0.54, 1.40, 1.74, 2.20, 3.27, 5.46, 8.45, 11.74),
        _pair((5.91, 5.91), (7.92, 7.93), (14.10, 14.10), (18.10, 18.10)),
    ),
    "gb": Published(
        "Great Britain",
        "5c771b6d31c6082343e0d9e3a3fc03d05defb6f4cdcc525a374a26ec337a86ac",  # pragma: allowlist secret
        212.942,
        -22.68,
        (0.0, 3.04, 4.77, 5.76, 6.30, 6.52, 6.74, 7.03, 7.95),
        _pair((6.55, 6.56), (9.03, 9.03), (14.72, 14.72), (19.65, 19.65)),
    ),
    "cal": Published(
        "California",
        None,
        279.706,
        -6.20,
        (0.0, 0.21, 0.82, 0.96, 1.11, 3.67, 13.11, 25.60, 33.66),
        _pair((2.45, 2.45), (5.71, 5.71), (6.14, 6.14), (14.32, 14.32)),
    ),
}


def find_region(sha256: str) -> str | None:
    return next((name for name, each in REGIONS.items() if each.sha256 == sha256), None)

"""The tables that are printed, with what was published beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.carbon.reproduce.published import CELLS, REGIONS, Published
from chalicelib.carbon.reproduce.scenarios import describe_year, run_nightly, run_training
from chalicelib.carbon.reproduce.series import SeriesError

#: Published figures have two decimals.
TOLERANCE_PP = 0.01
MEAN_TOLERANCE_G_PER_KWH = 0.001


@dataclass(frozen=True, slots=True)
class Report:
    """``passed``: everything was measured, and what was published of the region was met."""

    text: str
    passed: bool


class _Lines:
    """Lines of text, and whether each published figure was met."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.passed = True

    def compare(
        self,
        label: str,
        measured: float,
        published: tuple[float, float] | None,
        tolerance: float,
        rest: str = "",
    ) -> None:
        """Add a row; ``published`` is the range of what is printed."""
        printed, difference = "", ""
        if published is not None:
            low, high = published
            printed = f"{low:.3f}" if low > 100 else f"{low:.2f}" if low == high else f"{low:.2f}-{high:.2f}"  # noqa: PLR2004
            missed = measured - min(max(measured, low), high)
            difference = f"{_round(missed):+.4f}"
            self.passed = self.passed and abs(missed) <= tolerance
        self.lines.append(f"  {label:<28}{_round(measured):>10.4f}{printed:>14}{difference:>12}{rest}")


def _round(value: float) -> float:
    """Round for four decimals; never to a negative zero."""
    return round(value, 4) + 0.0


def render_report(name: str, year: int, values: Sequence[float], region: str | None) -> Report:
    """Measure a year and return its tables."""
    published = None if region is None else REGIONS[region]
    lines = _Lines()
    lines.lines.append(
        f"{name}: {year}, {len(values)} half-hours from January 1; "
        f"{'nothing published to compare with' if published is None else published.label}"
    )
    lines.lines.append(f"  {'':<28}{'measured':>10}{'published':>14}{'off by':>12}")
    _add_year(lines, values, year, published)
    _add_nightly(lines, values, published)
    _add_training(lines, values, year, published)
    return Report("\n".join(lines.lines) + "\n", lines.passed)


def _add_year(lines: _Lines, values: Sequence[float], year: int, published: Published | None) -> None:
    found = describe_year(values, year)
    mean = None if published is None else (published.mean_g_per_kwh,) * 2
    weekend = None if published is None else (published.weekend_percent,) * 2
    lines.lines.append("Level 0")
    lines.compare("mean, g/kWh", found.mean_g_per_kwh, mean, MEAN_TOLERANCE_G_PER_KWH)
    lines.compare("weekend/workday, medians, %", found.profile_weekend_percent, weekend, TOLERANCE_PP)
    lines.compare("weekend/workday, means, %", found.weekend_percent, None, TOLERANCE_PP)


def _add_nightly(lines: _Lines, values: Sequence[float], published: Published | None) -> None:
    lines.lines.append(f"Scenario I, nightly job, % avoided{'same jobs':>46}{'perfect':>12}")
    found, perfect = run_nightly(values), run_nightly(values, perfect=True)
    for half, percent in enumerate(found.published):
        hours, odd = divmod(half, 2)
        printed = None if odd or published is None else (published.nightly[hours],) * 2
        rest = f"{_round(found.same_jobs[half]):>16.4f}{perfect.published[half]:>12.4f}"
        lines.compare(f"+-{half / 2:.1f} h", percent, printed, TOLERANCE_PP, rest)
    lines.lines.append(
        "  From +-1.5 h on, the published sum misses the first night and its mean does not;\n"
        "  'same jobs' leaves it out of both. Perfect: a forecast without error, counted as published."
    )


def _add_training(lines: _Lines, values: Sequence[float], year: int, published: Published | None) -> None:
    lines.lines.append(f"Scenario II, machine learning, % avoided{'truly agnostic':>40}{'perfect':>12}")
    try:
        found, perfect = run_training(values, year), run_training(values, year, perfect=True)
    except SeriesError as error:
        lines.lines.append(f"  not measured: {error}")
        lines.passed = False
        return
    for cell in CELLS:
        deadline, interrupting = cell
        label = f"{deadline}, {'with pauses' if interrupting else 'no pause'}"
        printed = None if published is None else published.training[cell]
        rest = f"{found.agnostic[cell]:>16.4f}{perfect.agnostic[cell]:>12.4f}"
        lines.compare(label, found.published[cell], printed, TOLERANCE_PP, rest)
    lines.lines.append(
        f"  {found.job_hours:,.0f} job-hours. The published baseline starts at once or half an hour later,\n"
        "  whichever is better in truth. The truly agnostic one starts at once; perfect forecasts, too,\n"
        "  are compared with it."
    )

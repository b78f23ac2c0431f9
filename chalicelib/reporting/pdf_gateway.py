"""A carbon report as PDF (reportlab): each figure with its unit, each source named."""

from collections.abc import Sequence
from typing import Any

from reportlab.graphics.charts.barcharts import HorizontalBarChart, VerticalBarChart
from reportlab.graphics.charts.lineplots import LinePlot
from reportlab.graphics.shapes import Drawing, Line, String
from reportlab.lib import colors
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Spacer

from chalicelib.core.clock import format_instant
from chalicelib.core.units import MILLIJOULES_PER_KWH
from chalicelib.reporting.comparisons import compare
from chalicelib.reporting.model import FINAL, Content, Report, Step, Sum
from chalicelib.runtime.printing import (
    ACCENT,
    FAINT,
    INK,
    RULE,
    WIDTH,
    build_table,
    load_fonts,
    print_pages,
    write_text,
)

WARM = colors.HexColor("#b45309")
MG_PER_G, MG_PER_KG, MG_PER_T = 1_000, 1_000_000, 1_000_000_000
MAX_GROUPS = 60
MS_PER_HOUR = 3_600_000
ACCOUNTINGS = (
    "Location-based: the energy of each hour by the mean intensity of the grid in that hour. Market-based: "
    "by what the provider states it has bought. Marginal: by what one kWh more would have emitted. They are "
    "answers to different questions and are never added or mixed."
)
BESIDE = (
    "Removals are shown beside the emissions and never subtracted: capture does not make work on a dirty "
    "grid neutral. Provisional: measured, and not verified yet. Final: verified by a person on evidence and "
    "issued under a serial that the certificate page shows."
)
UNKNOWN = "A dash is what nobody knows; it is not zero."


def print_report(content: Content, report: Report) -> bytes:
    """Return the document."""
    load_fonts()
    title = f"Carbon report {content.period}"
    return print_pages(
        [
            *_build_head(content, report, title),
            *_build_summary(content),
            *_build_steps(content),
            *_build_intensity(content),
            *_build_removals(content),
            *_build_groups(content),
            *_build_sources(content),
            *_build_notes(content),
        ],
        title=f"{title}, version {report.version}",
        author="Provocative Cloud",
    )


def _build_head(content: Content, report: Report, title: str) -> list[Flowable]:
    kind = "Account" if report.owner.kind == "account" else "Site"
    facts = [
        f"{kind} {report.owner.owner_id}, {report.period.kind} {content.period} (UTC)",
        f"Version {report.version}, made {format_instant(report.created_at_ms)[:16].replace('T', ' ')} UTC",
    ]
    if report.period.kind == "month":
        facts.append(f"Days with energy: {len(content.days)}")
    if content.estimated:
        facts.append("Estimated: some of it is no measurement; sources and gaps are named below.")
    head = [write_text(title, 18, bold=True), *(write_text(each, 9, color=FAINT) for each in facts)]
    return [*head, Spacer(0, 5 * mm)]


def _build_summary(content: Content) -> list[Flowable]:
    total = content.total
    hours = total.covered_ms / MS_PER_HOUR
    rows = [
        ["Energy of the GPUs, metered", _energy(total.energy_millijoules), f"{hours:,.1f} GPU-hours"],
        ["1. Emissions by location", _mass(total.operational_mg), _score(total)],
        ["    GPUs", _mass(total.average_mg), _intensity(total)],
        [
            "    Servers around them (model)",
            *_known(total.node_mg, total.node_millijoules, total.node_unknown_ms, total.covered_ms),
        ],
        [
            "    Overhead of the site (PUE)",
            *_known(
                total.overhead_mg,
                total.overhead_millijoules,
                total.overhead_unknown_millijoules,
                total.energy_millijoules,
            ),
        ],
        ["    Making of the hardware", *_bounds(total)],
        ["2. Emissions by market", _mass(total.market_mg), "GPUs; as the provider states it"],
        ["    Marginal, for comparison", _mass(total.marginal_mg), "GPUs; location"],
    ]
    removed = content.removals
    final = sum(each.mass_mg for each in removed if each.state == FINAL)
    rows.append(["3. Removals, verified and allocated", _mass(final), "beside the emissions, not off them"])
    rows += [
        [f"    {each.state[:1].upper()}{each.state[1:]}", _mass(each.mass_mg), _count(each.serials)]
        for each in removed
        if each.state != FINAL
    ]
    strong = tuple(at + 1 for at, row in enumerate(rows) if not row[0].startswith(" "))
    body = [[row[0].replace("    ", "\u00a0\u00a0\u00a0\u00a0"), *row[1:]] for row in rows]
    table = build_table(
        ["What", "CO2e or energy", ""],
        body,
        [WIDTH - 42 * mm - 62 * mm, 42 * mm, 62 * mm],
        numbers=2,
        strong_rows=strong,
    )
    return [table, Spacer(0, 5 * mm)]


def _build_steps(content: Content) -> list[Flowable]:
    if not content.steps:
        return []
    what = "hour of the day" if len(content.period) > len("2026-11") else "day of the month"
    unit, factor = _choose_unit(max(each.average_mg for each in content.steps))
    drawing = Drawing(WIDTH, 46 * mm)
    drawing.add(_bars([each.name for each in content.steps], [s.average_mg / factor for s in content.steps]))
    heading = f"Emissions of the GPUs by {what}, {unit} CO2e by location (UTC)"
    return [KeepTogether([write_text(heading, 10, bold=True), drawing, Spacer(0, 4 * mm)])]


def _build_intensity(content: Content) -> list[Flowable]:
    """Use as bars, the grid's intensity as a line: whether work ran when power was clean."""
    steps = [each for each in content.by_hour if each.energy_millijoules]
    if not steps:
        return []
    drawing = Drawing(WIDTH, 50 * mm)
    energies = [each.energy_millijoules / MILLIJOULES_PER_KWH for each in steps]
    chart = _bars([each.name for each in steps], energies, right=16 * mm)
    drawing.add(chart)
    line = LinePlot()
    line.x, line.y, line.width, line.height = chart.x, chart.y, chart.width, chart.height
    values = [_mean(each) for each in steps]
    # A bar's middle is half a step from the axis.
    line.data = [[(at + 0.5, value) for at, value in enumerate(values)]]
    line.lines[0].strokeColor, line.lines[0].strokeWidth = WARM, 1.4
    line.xValueAxis.valueMin, line.xValueAxis.valueMax = 0, len(steps)
    line.xValueAxis.visible = False
    axis = line.yValueAxis
    axis.valueMin, axis.valueMax = 0, max(1, *values) * 1.1
    axis.joinAxisMode, axis.visibleGrid = "right", False
    axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = "Text", 7, WARM
    axis.labels.boxAnchor, axis.labels.dx = "w", 4
    axis.tickLeft, axis.tickRight, axis.strokeColor = 0, 3, RULE
    axis.labelTextFormat = "%d"
    drawing.add(line)
    top = 48 * mm
    drawing.add(Line(chart.x, top, chart.x + 10, top, strokeColor=ACCENT, strokeWidth=4))
    drawing.add(
        String(chart.x + 14, top - 2.5, "Energy, kWh (left)", fontName="Text", fontSize=7, fillColor=INK)
    )
    drawing.add(Line(chart.x + 110, top, chart.x + 120, top, strokeColor=WARM, strokeWidth=1.4))
    drawing.add(
        String(
            chart.x + 124,
            top - 2.5,
            "Mean intensity by energy, g CO2e per kWh (right)",
            fontName="Text",
            fontSize=7,
            fillColor=INK,
        )
    )
    heading = "Intensity of the grid against use, by hour of the day (UTC)"
    return [KeepTogether([write_text(heading, 10, bold=True), drawing, Spacer(0, 4 * mm)])]


def _build_removals(content: Content) -> list[Flowable]:
    if not content.removals:
        return []
    shown = content.removals[::-1]
    unit, factor = _choose_unit(max(each.mass_mg for each in shown))
    height = (8 + 7 * len(shown)) * mm
    drawing = Drawing(WIDTH, height)
    chart = HorizontalBarChart()
    chart.x, chart.y = int(44 * mm), int(6 * mm)
    chart.width, chart.height = int(WIDTH - 50 * mm), int(height - 8 * mm)
    chart.data = [[each.mass_mg / factor for each in shown]]
    chart.categoryAxis.categoryNames = [each.state for each in shown]
    chart.bars[0].fillColor, chart.bars[0].strokeColor = ACCENT, None
    _style_axes(chart)
    drawing.add(chart)
    heading = f"Removals by state, {unit} CO2e"
    return [KeepTogether([write_text(heading, 10, bold=True), drawing, Spacer(0, 4 * mm)])]


def _build_groups(content: Content) -> list[Flowable]:
    if not content.groups:
        return []
    ordered = sorted(content.groups, key=lambda each: -each.total.energy_millijoules)
    body = [
        [
            write_text(each.label or each.user or "no label", 8),
            write_text(f"{each.gpu_type}, {each.region}", 8),
            f"{each.total.covered_ms / MS_PER_HOUR:,.1f}",
            _energy(each.total.energy_millijoules),
            _mass(each.total.operational_mg),
            _mass(each.total.market_mg),
        ]
        for each in ordered[:MAX_GROUPS]
    ]
    header = ["Label", "GPUs", "GPU-hours", "Energy", "By location", "By market"]
    widths = [36 * mm, WIDTH - 36 * mm - 20 * mm - 3 * 27 * mm, 20 * mm, *[27 * mm] * 3]
    left = len(ordered) - MAX_GROUPS
    rest = [write_text(f"And {left:,} more; the CSV has each row.", 8, color=FAINT)] if left > 0 else []
    table = build_table(header, body, widths, numbers=4)
    return [write_text("By label, GPU and region", 10, bold=True), table, *rest, Spacer(0, 5 * mm)]


def _build_sources(content: Content) -> list[Flowable]:
    energy = content.total.energy_millijoules
    body = [
        [
            each.signal,
            write_text(f"{each.source}: {each.method}", 7.5),
            write_text(f"{each.zone} {each.version}", 7.5),
            "yes" if each.estimated else "no",
            f"{100 * each.energy_millijoules / energy:.1f} %" if energy else "-",
        ]
        for each in content.sources
    ]
    widths = [18 * mm, WIDTH - 18 * mm - 40 * mm - 20 * mm - 22 * mm, 40 * mm, 20 * mm, 22 * mm]
    table = build_table(
        ["Signal", "Source of the intensity", "Grid, version", "Estimated", "Of the energy"],
        body,
        widths,
        numbers=2,
    )
    return [write_text("What the energy was counted with", 10, bold=True), table, Spacer(0, 5 * mm)]


def _build_notes(content: Content) -> list[Flowable]:
    total = content.total
    lines = [ACCOUNTINGS, BESIDE, UNKNOWN]
    if total.gap_ms:
        hidden = "unknown energy"
        if total.gap_millijoules is not None:
            hidden = f"at most {_energy(total.gap_millijoules)}"
        hours = f"{total.gap_ms / MS_PER_HOUR:,.2f} GPU-hours"
        lines.append(f"Gaps: {hours} without a reading, with {hidden}, are not in the sums.")
    compared = compare(operational_mg=total.operational_mg, energy_millijoules=total.energy_millijoules)
    lines += [
        f"For scale: {each.name}: {each.thousandths / 1000:,.1f} {each.unit} ({each.source})."
        for each in compared
    ]
    lines.append("Formulas, constants and versions: GET /v1/carbon/methodology.")
    return [write_text(each, 7.5, color=FAINT) for each in lines]


def _bars(names: Sequence[str], values: Sequence[float], right: float = 1 * mm) -> VerticalBarChart:
    chart = VerticalBarChart()
    chart.x, chart.y = int(16 * mm), int(8 * mm)
    chart.width, chart.height = int(WIDTH - 16 * mm - right), int(35 * mm)
    chart.data = [list(values)]
    chart.categoryAxis.categoryNames = list(names)
    chart.bars[0].fillColor, chart.bars[0].strokeColor = ACCENT, None
    chart.groupSpacing = 3
    chart.categoryAxis.labels.dy = -1
    _style_axes(chart)
    return chart


def _style_axes(chart: Any) -> None:
    for axis in (chart.categoryAxis, chart.valueAxis):
        axis.labels.fontName, axis.labels.fontSize, axis.labels.fillColor = "Text", 7, FAINT
        axis.strokeColor = RULE
    chart.valueAxis.valueMin = 0
    chart.valueAxis.labelTextFormat = lambda value: f"{value:,.3g}"
    chart.valueAxis.visibleGrid, chart.valueAxis.gridStrokeColor = True, RULE


def _mean(step: Step) -> float:
    return step.average_mg * MILLIJOULES_PER_KWH / step.energy_millijoules / MG_PER_G


def _choose_unit(mass_mg: int) -> tuple[str, int]:
    if mass_mg >= MG_PER_T:
        return "t", MG_PER_T
    return ("kg", MG_PER_KG) if mass_mg >= MG_PER_KG else ("g", MG_PER_G)


def _mass(mass_mg: int | None) -> str:
    if mass_mg is None:
        return "-"
    unit, factor = _choose_unit(abs(mass_mg))
    return f"{mass_mg / factor:,.3f} {unit}"


def _energy(millijoules: int | None) -> str:
    return "-" if millijoules is None else f"{millijoules / MILLIJOULES_PER_KWH:,.3f} kWh"


def _intensity(total: Sum) -> str:
    mean = total.mg_co2e_per_kwh
    return "" if mean is None else f"{mean / MG_PER_G:,.1f} g/kWh, mean by energy"


def _known(mass_mg: int, millijoules: int, unknown: int, whole: int) -> tuple[str, str]:
    if unknown and unknown >= whole:
        return "-", "not stated for these GPUs or this site"
    rest = f"; not stated for {100 * unknown / whole:.1f} %" if unknown else ""
    return _mass(mass_mg), _energy(millijoules) + rest


def _bounds(total: Sum) -> tuple[str, str]:
    if total.embodied_unknown_ms and total.embodied_unknown_ms >= total.covered_ms:
        return "-", "not stated for these GPUs"
    rest = " for those stated" if total.embodied_unknown_ms else ""
    span = total.embodied
    return _mass(span.value_mg), f"{_mass(span.low_mg)} to {_mass(span.high_mg)}{rest}; not in 1."


def _score(total: Sum) -> str:
    if not total.covered_ms or total.embodied_unknown_ms:
        return ""
    score = (total.operational_mg + total.embodied.value_mg) * MS_PER_HOUR / total.covered_ms / MG_PER_G
    return f"SCI {score:,.1f} g per GPU-hour with making"


def _count(serials: Sequence[str]) -> str:
    return f"{len(serials)} certificates" if serials else ""

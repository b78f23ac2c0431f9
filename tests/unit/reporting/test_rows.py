"""What a row comes to, and the printed report: units, sources, three lines."""

import io

import pytest
from pypdf import PdfReader

from chalicelib.carbon.hardware import find_node_power
from chalicelib.carbon.intensity import Figure
from chalicelib.carbon.model import Pue, RegionFigures
from chalicelib.reporting.building import COLUMNS, list_values
from chalicelib.reporting.comparisons import compare
from chalicelib.reporting.model import (
    HOUR_MS,
    Content,
    HourUse,
    Owner,
    Period,
    Removed,
    Report,
    StayDay,
)
from chalicelib.reporting.pdf_gateway import print_report
from chalicelib.reporting.rows import count_rows, group_rows, list_sources, list_stay_lines, list_steps

DAY = "2026-11-30"
KWH = 3_600_000_000


def build_figures(region="eu-north-1", mg=100_000, *, pue=1200):
    hours = range(Period(DAY).from_ms, Period(DAY).until_ms, HOUR_MS)

    def figure(value, method, *, estimated=False):
        return Figure(value, method, "a source", "v1", region, estimated=estimated)

    return {
        region: RegionFigures(
            average={hour: figure(mg + at * 1000, "measured") for at, hour in enumerate(hours)},
            marginal=dict.fromkeys(hours),
            market=figure(0, "as the provider states it", estimated=True),
            annual=figure(mg, "annual", estimated=True),
            pue=None if pue is None else Pue(pue, "a source", "v1"),
        )
    }


def build_stay(gpu_type="H100-SXM-80", energy=KWH, hours=(8,), label="train", gap_ms=0):
    uses = tuple(HourUse(hour, energy, 0, HOUR_MS, HOUR_MS + gap_ms) for hour in hours)
    return StayDay("acc_1", DAY, "hst_1", "rnt_1", 1, "eu-north-1", gpu_type, 1, label, uses)


def count(stays, figures, limits=None):
    return count_rows(list_stay_lines(stays), figures, limits or {})


def test_the_servers_around_the_gpus_are_a_line_of_their_own_or_a_dash():
    (row,) = count([build_stay()], build_figures())
    assert find_node_power("H100-SXM-80").milliwatts == 107_000
    assert row.total.node_millijoules == 107_000 * 3600
    assert row.total.node_mg == 107 * 108
    assert row.total.average_mg == 108_000, "the hour's own figure, and no server in it"
    (unknown,) = count([build_stay("A10")], build_figures())
    assert (unknown.total.node_mg, unknown.total.node_unknown_ms, unknown.total.embodied_unknown_ms) == (
        0,
        HOUR_MS,
        HOUR_MS,
    )
    (group,) = group_rows(count([build_stay(), build_stay("H100-SXM-80", hours=(9,))], build_figures()))
    assert group.total.node_unknown_ms == 0
    values = dict(zip(COLUMNS, list_values(unknown), strict=True))
    assert {values[name] for name in ("node_millijoules", "node_mg_co2e", "embodied_mg_co2e")} == {""}


def test_the_sites_overhead_is_of_gpus_and_servers_and_unknown_without_a_pue():
    (row,) = count([build_stay()], build_figures(pue=1500))
    assert row.total.overhead_millijoules == (KWH + 107_000 * 3600) // 2
    (unknown,) = count([build_stay()], build_figures(pue=None))
    assert (unknown.total.overhead_mg, unknown.total.overhead_unknown_millijoules) == (0, KWH)
    assert unknown.total.operational_mg == row.total.average_mg + row.total.node_mg


def test_a_marginal_figure_that_an_hour_lacks_makes_the_sum_unknown():
    (row,) = count([build_stay()], build_figures())
    assert (row.total.marginal_mg, row.total.market_mg) == (None, 0)


def test_a_gap_of_a_model_without_a_limit_is_unknown_and_not_nothing():
    (row,) = count([build_stay(gap_ms=1000)], build_figures(), {"other": 700})
    assert (row.total.gap_ms, row.total.gap_millijoules) == (1000, None)
    (known,) = count([build_stay(gap_ms=1000)], build_figures(), {"H100-SXM-80": 700})
    assert known.total.gap_millijoules == 700_000


@pytest.mark.parametrize(
    ("mg", "energy", "km", "homes"), [(248_548_000, 0, 1_000_000, 0), (0, 29_564 * KWH, 0, 1_000_000)]
)
def test_comparisons_are_the_published_factors(mg, energy, km, homes):
    car, home = compare(operational_mg=mg, energy_millijoules=energy)
    assert car.thousandths == pytest.approx(km, abs=1)
    assert home.thousandths == pytest.approx(homes, rel=1e-4)
    assert car.source.startswith("US EPA")
    assert home.source.startswith("US EIA")


def build_content(**changes):
    figures = build_figures()
    rows = count([build_stay(hours=range(24)), build_stay("A10", label="")], figures, {"H100-SXM-80": 700})
    steps = list_steps(rows)
    members = {
        "owner": "account:acc_1",
        "period": DAY,
        "groups": group_rows(rows),
        "steps": steps,
        "by_hour": steps,
        "sources": list_sources(rows, figures),
        "removals": (Removed("allocated, final", 10**6, ("PC-1",)), Removed("allocated, provisional", 5000)),
    }
    return Content(**{**members, **changes})


def test_groups_sum_to_the_whole_where_some_of_them_are_not_known():
    content = build_content()
    assert len(content.groups) == 2
    assert sum(each.total.operational_mg for each in content.groups) == content.total.operational_mg
    assert 0 < content.total.node_unknown_ms < content.total.covered_ms


def print_text(content, version=2):
    owner, period = Owner("account", "acc_1"), Period(content.period)
    total = content.total
    report = Report(
        owner, period, version, period.until_ms, "", total.energy_millijoules, total.operational_mg, False
    )
    document = print_report(content, report)
    assert document == print_report(content, report), "the same comes to the same bytes"
    pages = PdfReader(io.BytesIO(document)).pages
    return "\n".join(page.extract_text() for page in pages)


def test_the_printed_report_has_three_lines_units_and_sources_and_no_netted_headline():
    text = print_text(build_content())
    for line in ("1. Emissions by location", "2. Emissions by market", "3. Removals, verified and allocated"):
        assert line in text
    for unit in ("kg CO2e", "kWh", "g CO2e per kWh", "GPU-hours"):
        assert unit in text
    assert "a source: measured" in text
    assert "version 2" in text
    assert "never subtracted" in text
    assert "net emissions" not in text.lower()


def test_a_report_of_nothing_is_printed_too():
    empty = build_content(groups=(), steps=(), by_hour=(), sources=(), removals=())
    assert "Carbon report 2026-11-30" in print_text(empty)

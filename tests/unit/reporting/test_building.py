"""Reports: rows, groups, days and months agree; each version once; what is not known is not zero."""

import csv
import gzip
import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.carbon.grid import list_series
from chalicelib.carbon.intensity import IntensityPoint
from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.metering.model import HOUR_MS
from chalicelib.removals.model import Share, Window
from chalicelib.reporting import service
from chalicelib.reporting.building import build, build_reports
from chalicelib.reporting.model import Owner, Period, Sum, add
from chalicelib.reporting.rolling import roll_up
from tests.factories import REGION
from tests.fakes import Crash
from tests.unit.reporting.months import DAY_MS, FAR_MS, Fleet

MINUTE_MS = 60_000


def run(fleet):
    """Roll up, and make an hour later what is due."""
    roll_up(fleet.ports, FAR_MS)
    fleet.clock.value_ms += HOUR_MS
    return build_reports(fleet.ports, FAR_MS)


def read(fleet, period=None, version=None, owner=None):
    return service.read_report(fleet.ports, owner or fleet.account, period or fleet.day, version)


def read_rows(fleet, report):
    packed = fleet.cloud.documents.files[report.name_document("csv.gz")]
    return list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))


def sum_column(rows, name):
    return sum(int(row[name]) for row in rows)


def measure(fleet, hour_ms, mg_per_kwh, *, revision=0):
    """The grid's operator tells the intensity of an hour."""
    series = list_series(REGION, "average")[0]
    fleet.cloud.grid_store.add_actual(
        IntensityPoint(
            series=series,
            kind="actual",
            valid_from_ms=hour_ms,
            valid_until_ms=hour_ms + HOUR_MS,
            mg_co2e_per_kwh=mg_per_kwh,
            method="measured",
            source=series.provider,
            dataset="v3",
            fetched_at_ms=hour_ms + 2 * HOUR_MS,
            estimated=False,
            revision=revision,
        )
    )


def test_a_day_is_reported_six_hours_after_its_end_with_rows_that_sum_to_it():
    fleet = Fleet()
    fleet.use(fleet.start_ms, 90 * MINUTE_MS, 3_600_000_001)
    fleet.use(fleet.start_ms, 90 * MINUTE_MS, 7_200_000_000, lease=1, estimated=True)
    fleet.use(fleet.start_ms, 30 * MINUTE_MS, 500, idle=True)
    fleet.end_day(hours=4)
    assert run(fleet).made == 0
    assert (run(fleet).made, run(fleet).made) == (2, 0)
    report, content = read(fleet)
    total, rows = content.total, read_rows(fleet, report)
    assert total.energy_millijoules == 10_800_000_001 == sum_column(rows, "energy_millijoules")
    assert total.average_mg == sum_column(rows, "location_average_mg_co2e") > 0
    assert total.estimated_millijoules == 7_200_000_000 == sum_column(rows, "estimated_millijoules")
    assert (report.version, report.operational_mg, report.estimated) == (1, total.operational_mg, True)
    assert {(row["bill_day"], row["rental_id"], row["segment"]) for row in rows} == {
        (fleet.day, fleet.rental.rental_id, "1")
    }
    _, site = read(fleet, owner=fleet.site)
    assert {each.user: each.total.energy_millijoules for each in site.groups} == {
        "rented": 10_800_000_001,
        "platform": 500,
    }


def test_each_hour_is_counted_with_its_own_intensity_and_the_source_is_named():
    fleet = Fleet()
    first, second = (fleet.start_ms // HOUR_MS * HOUR_MS + each * HOUR_MS for each in (0, 1))
    measure(fleet, first, 100_000)
    measure(fleet, second, 900_000)
    fleet.use(first, HOUR_MS, 3_600_000_000)
    fleet.use(second, HOUR_MS, 3_600_000_000)
    fleet.end_day()
    run(fleet)
    report, content = read(fleet)
    assert content.total.average_mg == 1_000_000
    assert content.total.average_estimated_millijoules == 0
    assert [row["intensity_mg_co2e_per_kwh"] for row in read_rows(fleet, report)] == ["100000", "900000"]
    average = [each for each in content.sources if each.signal == "average"]
    assert [(each.method, each.energy_millijoules) for each in average] == [("measured", 7_200_000_000)]
    assert content.total.market_mg == 0, "as the provider states it"
    assert content.total.marginal_mg is not None


def test_a_figure_that_is_revised_restates_the_day_and_its_month_and_keeps_what_was_said():
    fleet = Fleet()
    hour = fleet.start_ms // HOUR_MS * HOUR_MS
    measure(fleet, hour, 100_000)
    fleet.use(hour, HOUR_MS, 3_600_000_000)
    fleet.end_day()
    run(fleet)
    fleet.end_day(days=40)
    run(fleet)
    month = fleet.day[:7]
    assert read(fleet, month)[1].total.average_mg == 100_000
    measure(fleet, hour, 200_000, revision=1)
    assert build(fleet.ports, fleet.account, Period(fleet.day)).version == 2
    fleet.clock.value_ms += HOUR_MS
    build_reports(fleet.ports, FAR_MS)
    assert read(fleet, month)[1].total.average_mg == 200_000
    assert [read(fleet, month, each)[1].total.average_mg for each in (1, 2)] == [100_000, 200_000]
    kept = service.list_reports(fleet.ports, fleet.account, "month", 10, None).items
    assert [each.version for each in kept] == [2, 1]


def test_a_day_is_looked_at_again_when_figures_may_have_been_revised():
    fleet = Fleet()
    hour = fleet.start_ms // HOUR_MS * HOUR_MS
    fleet.use(hour, HOUR_MS, 3_600_000_000)
    fleet.end_day()
    run(fleet)
    assert read(fleet)[0].estimated
    measure(fleet, hour, 100_000)
    fleet.end_day(days=9, hours=1)
    assert build_reports(fleet.ports, FAR_MS).made >= 1
    report, content = read(fleet)
    assert (report.version, content.total.average_mg, report.estimated) == (2, 100_000, False)


def test_what_says_the_same_is_no_new_version():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.end_day()
    run(fleet)
    assert build(fleet.ports, fleet.account, Period(fleet.day)) is None
    assert read(fleet)[0].version == 1


def test_a_month_is_its_days_and_its_rows_are_theirs():
    fleet = Fleet()
    for day in range(3):
        fleet.use(fleet.start_ms + day * DAY_MS, 90 * MINUTE_MS, 10**10 + day)
    for day in range(1, 5):
        fleet.end_day(days=day)
        run(fleet)
    fleet.end_day(days=40)
    run(fleet)
    report, content = read(fleet, fleet.day[:7])
    days = [read(fleet, name)[1] for name in content.days]
    assert len(days) == 3
    assert content.total == add(each.total for each in days)
    assert [each.energy_millijoules for each in content.steps] == [10**10, 10**10 + 1, 10**10 + 2]
    rows = read_rows(fleet, report)
    assert sum_column(rows, "energy_millijoules") == content.total.energy_millijoules
    assert sum_column(rows, "location_average_mg_co2e") == content.total.average_mg
    assert {row["bill_day"] for row in rows} == set(content.days)


def test_removals_stand_beside_by_state_and_lower_nothing():
    fleet = Fleet()
    fleet.use(fleet.start_ms, HOUR_MS, 3_600_000_000)
    fleet.end_day()
    run(fleet)
    before = read(fleet)[1]
    tx = fleet.db.begin()
    shares = (
        Share(fleet.rental.account_id, Window(fleet.host_id, "dac-1", fleet.day), 1, 5_000, "final", "PC-1"),
        Share(fleet.rental.account_id, Window(fleet.host_id, "dac-2", fleet.day), 1, 70, "provisional"),
        Share(fleet.rental.account_id, Window(fleet.host_id, "dac-3", fleet.day), 1, 900, "withdrawn"),
        Share("acc_other", Window(fleet.host_id, "dac-1", fleet.day), 1, 11, "final", "PC-2"),
    )
    for share in shares:
        fleet.cloud.removals.store.put_share(tx, share)
    tx.commit()
    build(fleet.ports, fleet.account, Period(fleet.day))
    after = read(fleet)[1]
    assert [(each.state, each.mass_mg, each.serials) for each in after.removals] == [
        ("allocated, final", 5_000, ("PC-1",)),
        ("allocated, provisional", 70, ()),
    ]
    assert replace(after, removals=()) == before
    fleet.cloud.purchases.bought[(fleet.rental.account_id, fleet.day[:7])] = {"delivered": 10**7}
    build(fleet.ports, fleet.account, Period(fleet.day[:7]))
    month = read(fleet, fleet.day[:7])[1]
    assert [(each.state, each.mass_mg) for each in month.removals] == [
        ("allocated, final", 5_000),
        ("allocated, provisional", 70),
        ("purchased, delivered", 10**7),
    ]
    assert month.total == after.total


def test_a_gap_is_bounded_by_the_boards_limit_and_makes_the_report_an_estimate():
    fleet = Fleet()
    measure(fleet, fleet.start_ms // HOUR_MS * HOUR_MS, 100_000)
    fleet.use(fleet.start_ms, 10 * MINUTE_MS, 100)
    fleet.live_until(fleet.start_ms + 10 * MINUTE_MS)
    fleet.end_day()
    run(fleet)
    report, content = read(fleet)
    assert content.total.gap_ms == 10 * MINUTE_MS
    assert content.total.gap_millijoules == 700 * 1000 * 600, "a board of 700 W, ten minutes"
    assert report.estimated


def test_nobody_sees_anothers_report_and_a_period_is_a_day_or_month():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.end_day()
    run(fleet)
    with pytest.raises(NotFound):
        read(fleet, owner=Owner("account", "acc_other"))
    for text in ("2026-13", "2026-02-30", "yesterday", "2026", "2026-1-1"):
        with pytest.raises(InvalidInput, match="period"):
            read(fleet, text)
    with pytest.raises(NotFound):
        read(fleet, version=2)
    link = service.link_document(fleet.ports, fleet.account, fleet.day, None, "pdf")
    assert f"{fleet.day}/v1.pdf" in link.url


def test_a_report_that_fails_is_left_and_does_not_keep_the_others_back():
    fleet = Fleet()
    fleet.use(fleet.start_ms, MINUTE_MS, 100)
    fleet.end_day()
    roll_up(fleet.ports, FAR_MS)
    fleet.clock.value_ms += HOUR_MS
    fleet.cloud.documents.fails = 1
    done = build_reports(fleet.ports, FAR_MS)
    assert (done.made, [code for *_, code in done.failed]) == (1, ["temporarily_unavailable"])
    assert build_reports(fleet.ports, FAR_MS).made == 1


@pytest.mark.parametrize("where", ["crash_before", "crash_after"])
def test_who_dies_at_any_write_of_a_report_is_followed_by_a_run_that_ends_it(where):
    for commit in range(5):
        fleet = Fleet()
        fleet.use(fleet.start_ms, MINUTE_MS, 100)
        fleet.end_day()
        roll_up(fleet.ports, FAR_MS)
        fleet.clock.value_ms += HOUR_MS
        setattr(fleet.db, where, fleet.db.commits + commit)
        died = False
        try:
            build_reports(fleet.ports, FAR_MS)
        except Crash:
            died = True
        assert died == (commit < 4), "a report and its follow-up, of account and site"
        fleet.db.crash_before = fleet.db.crash_after = None
        build_reports(fleet.ports, FAR_MS)
        assert [read(fleet, owner=each)[0].version for each in (fleet.account, fleet.site)] == [1, 1]
        assert not list(fleet.ports.store.list_due(fleet.clock.value_ms))


numbers = st.integers(0, 10**9)
maybe = st.none() | numbers


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.builds(Sum, *[numbers] * 4, maybe, numbers, numbers, maybe, maybe, *[numbers] * 6), max_size=5
    )
)
def test_a_sum_does_not_hang_on_the_order_and_does_not_hide_what_is_not_known(sums):
    assert add(sums) == add(reversed(sums))
    assert (add(sums).marginal_mg is None) == any(each.marginal_mg is None for each in sums)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_rows_groups_and_total_of_any_day_agree_to_the_milligram(data):
    fleet = Fleet()
    hour = fleet.start_ms // HOUR_MS * HOUR_MS
    for at in range(data.draw(st.integers(0, 4))):
        measure(fleet, hour + at * HOUR_MS, data.draw(st.integers(0, 10**6)))
    for _ in range(data.draw(st.integers(1, 5))):
        fleet.use(
            hour + data.draw(st.integers(0, 4 * HOUR_MS)),
            data.draw(st.integers(0, 2 * HOUR_MS)),
            data.draw(st.integers(0, 10**10)),
            lease=data.draw(st.integers(0, 1)),
            idle=data.draw(st.booleans()),
        )
    fleet.end_day()
    run(fleet)
    for owner in (fleet.account, fleet.site):
        if fleet.ports.store.find_report(owner, Period(fleet.day)) is None:
            continue
        report, content = read(fleet, owner=owner)
        rows = read_rows(fleet, report)
        for column, figure in (
            ("energy_millijoules", content.total.energy_millijoules),
            ("location_average_mg_co2e", content.total.average_mg),
            ("location_marginal_mg_co2e", content.total.marginal_mg),
            ("overhead_mg_co2e", content.total.overhead_mg),
        ):
            assert sum_column(rows, column) == figure
        assert sum(each.average_mg for each in content.steps) == content.total.average_mg
        used = sum(each.energy_millijoules for each in content.sources if each.signal == "average")
        assert used == content.total.energy_millijoules

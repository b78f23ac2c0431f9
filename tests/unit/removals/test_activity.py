"""Electricity of a capture unit emits by the figure of its own hour; the year stands in for hours without."""

import pytest

from chalicelib.carbon.figures import find_average
from tests.unit.carbon.grids import SWEDEN, build_point
from tests.unit.removals.plant import DAY_MS, HEAT_JOULES, HOUR_MS, POWER_JOULES, START
from tests.unit.removals.site import Site

#: Of Sweden, where the host stands.
ANNUAL = find_average("eu-north-1")
KWH = 3_600_000_000


@pytest.fixture
def site():
    return Site()


def tell_hours(site, figures, **changes):
    for hour, mg in figures.items():
        assert site.ports.grid.add_actual(build_point(SWEDEN, START + hour * HOUR_MS, mg, **changes))


def activities(site, **more):
    return [each for each in site.draw(**more).content.components if each.kind == "activity"]


def test_each_hour_emits_by_its_own_figure_and_what_has_none_by_the_year(site):
    tell_hours(site, {0: 100_000, 1: 300_000})
    (found,) = activities(site)
    hourly = POWER_JOULES * 1000
    assert found.mass_mg == -(-hourly * (400_000 + 22 * ANNUAL.mg_co2e_per_kwh) // KWH)
    measured, by_year = found.counted
    assert (measured.source, measured.zone, measured.energy_millijoules) == (
        "electricity_maps",
        "SE",
        2 * hourly,
    )
    assert (measured.mass_mg, measured.estimated, measured.annual) == (
        -(-hourly * 400_000 // KWH),
        False,
        False,
    )
    assert (by_year.source, by_year.version, by_year.annual) == (ANNUAL.source, ANNUAL.version, True)
    assert found.mass_mg == measured.mass_mg + by_year.mass_mg
    assert found.estimated
    assert found.annual_ppm == -(-22 * 1_000_000 // 24)
    assert found.source == (
        f"electricity of the unit; electricity_maps, v0, SE; {ANNUAL.source}, {ANNUAL.version}, eu-north-1"
    )


def test_without_any_hours_figure_a_day_is_its_energy_at_the_annual_one(site):
    (found,) = activities(site)
    assert found.mass_mg == -(-24 * POWER_JOULES * 1000 * ANNUAL.mg_co2e_per_kwh // KWH)
    assert (found.annual_ppm, len(found.counted)) == (1_000_000, 1)


def test_a_day_whose_hours_are_all_measured_is_no_estimate(site):
    tell_hours(site, dict.fromkeys(range(24), 50_000))
    (found,) = activities(site)
    assert (found.estimated, found.annual_ppm) == (False, 0)
    assert found.mass_mg == -(-24 * POWER_JOULES * 1000 * 50_000 // KWH)


def test_what_a_provider_estimated_is_an_estimate_and_not_the_years(site):
    tell_hours(site, dict.fromkeys(range(24), 50_000), estimated=True)
    (found,) = activities(site)
    assert (found.estimated, found.annual_ppm) == (True, 0)


def test_the_heat_pump_emits_by_the_hours_in_which_it_gave_heat(site):
    tell_hours(site, {5: 1_000_000})
    unit, pump = activities(site, heat_pump_cop_milli=3000)
    heat = 24 * HEAT_JOULES * 1000
    assert sum(each.energy_millijoules for each in pump.counted) == heat // 3
    assert pump.mass_mg > unit.mass_mg
    dirty = next(each for each in pump.counted if not each.annual)
    assert dirty.mass_mg == pytest.approx(HEAT_JOULES * 1000 / 3 * 1_000_000 / KWH, abs=1)


def test_a_statement_is_the_same_whether_figures_came_before_it_or_between_two_drawings():
    early, late = Site(), Site()
    early.draw()
    for each in (early, late):
        tell_hours(each, {3: 700_000, 4: 10_000})
    order = [each.draw().content.components for each in (early, late)]
    assert order[0] == order[1]
    assert early.draw().content.components == order[0], "again, it changes nothing"


def test_a_figure_that_comes_after_the_verification_makes_a_revision(site):
    verified = site.draw() and site.submit() and site.verify()
    assert site.draw().revision == 1
    tell_hours(site, {7: 900_000})
    revised = site.draw()
    assert (revised.revision, revised.state) == (2, "draft")
    assert revised.content.removal.activity_mg > verified.content.removal.activity_mg


def test_energy_of_the_next_days_first_minutes_is_of_this_days_last_hour(site):
    tell_hours(site, {23: 500_000, 24: 3_000_000})
    site.cloud.clock.value_ms = START + DAY_MS + 7_200_000
    (found,) = activities(site)
    measured = next(each for each in found.counted if not each.annual)
    assert measured.energy_millijoules == POWER_JOULES * 1000
    assert measured.mass_mg == pytest.approx(POWER_JOULES * 1000 * 500_000 / KWH, abs=1)

"""Each hour's energy is counted with that hour's figure; nothing is lost by rounding, mixed, or netted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.carbon.figures import read_hours
from chalicelib.carbon.grid import find_annual, find_pue
from chalicelib.carbon.intensity import HOUR_MS, Figure
from chalicelib.carbon.model import Pue, RegionFigures, compute_emissions
from chalicelib.carbon.schemas import render_receipt
from chalicelib.core.units import MILLIJOULES_PER_KWH, split_emissions_mg
from chalicelib.metering.service import store_telemetry
from tests.factories import seed_cloud
from tests.fakes.database import MemoryDatabase
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import CALIFORNIA, GB, HOUR, SWEDEN, build_point
from tests.unit.carbon.test_receipt import grid_of, read, run_and_end
from tests.unit.metering.test_energy import build_interval, build_record

KWH = MILLIJOULES_PER_KWH
ANNUAL = Figure(300_000, "annual", "table", "v1", "x-1", estimated=True)
energies = st.integers(0, 50 * KWH)
intensities = st.integers(0, 3_000_000)


def build_figures(average, **changes):
    given_figures = {
        "average": average,
        "marginal": dict.fromkeys(average),
        "market": None,
        "annual": ANNUAL,
        "pue": None,
    }
    return RegionFigures(**(given_figures | changes))


def measure(mg, source="provider"):
    return Figure(mg, "hourly", source, "v3", "DE", estimated=False)


def test_energy_of_a_dirty_hour_is_not_counted_with_the_clean_ones_figure():
    hours = {HOUR: KWH, HOUR + HOUR_MS: 3 * KWH}
    figures = build_figures({HOUR: measure(500_000), HOUR + HOUR_MS: measure(100_000)})
    emitted = compute_emissions({"x-1": hours}, {"x-1": figures})
    assert (emitted.mg_co2e, emitted.estimated) == (800_000, False)
    (source,) = emitted.regions[0].average.sources
    assert (source.mg_co2e_per_kwh, source.energy_millijoules) == (200_000, 4 * KWH)


@given(st.lists(st.tuples(energies, intensities), max_size=48))
def test_hours_sum_to_the_whole_which_is_rounded_once(parts):
    shares = split_emissions_mg(parts)
    exact = sum(energy * intensity for energy, intensity in parts)
    assert abs(sum(shares) * 2 * KWH - 2 * exact) <= KWH
    for share, (energy, intensity) in zip(shares, parts, strict=True):
        assert abs(share * KWH - energy * intensity) < KWH
        assert share >= 0


@given(
    st.dictionaries(
        st.integers(0, 400), st.tuples(energies, intensities, st.sampled_from("abc")), min_size=1, max_size=48
    ),
    st.randoms(use_true_random=False),
)
def test_sources_sum_to_the_region_in_whatever_order_the_hours_come_and_as_often_as_it_is_stated(
    rows, random
):
    hours = {HOUR + each * HOUR_MS: energy for each, (energy, _, _) in rows.items()}
    figures = {HOUR + each * HOUR_MS: measure(mg, source) for each, (_, mg, source) in rows.items()}
    stated = compute_emissions({"x-1": hours}, {"x-1": build_figures(figures)})
    average = stated.regions[0].average
    assert sum(each.mg_co2e for each in average.sources) == average.mg_co2e == stated.mg_co2e
    assert sum(each.energy_millijoules for each in average.sources) == sum(hours.values())
    shuffled = list(hours)
    random.shuffle(shuffled)
    again = {hour: hours[hour] for hour in shuffled}
    assert compute_emissions({"x-1": again}, {"x-1": build_figures(figures)}) == stated


def test_what_is_partly_estimated_says_so_and_of_which_energy():
    hours = {HOUR: KWH, HOUR + HOUR_MS: KWH}
    figures = build_figures({HOUR: measure(500_000), HOUR + HOUR_MS: ANNUAL})
    emitted = compute_emissions({"x-1": hours}, {"x-1": figures})
    assert emitted.estimated
    measured, annual = emitted.regions[0].average.sources
    assert (measured.estimated, annual.estimated, annual.energy_millijoules) == (False, True, KWH)


def test_two_regions_emit_by_the_grid_of_each():
    energy = {"a": {HOUR: KWH}, "b": {HOUR: KWH // 2}}
    figures = {"a": build_figures({HOUR: measure(24_710)}), "b": build_figures({HOUR: measure(119_760)})}
    both = compute_emissions(energy, figures)
    assert [each.average.mg_co2e for each in both.regions] == [24_710, 59_880]
    assert both.mg_co2e == 24_710 + 59_880


def test_overhead_marginal_and_market_stand_beside_the_average_and_change_nothing_of_it():
    hours = {HOUR: KWH}
    claimed = replace(ANNUAL, mg_co2e_per_kwh=0, method="market-based")
    figures = build_figures(
        {HOUR: measure(100_000)},
        marginal={HOUR: measure(800_000)},
        market=claimed,
        pue=Pue(1150, "table", "v1"),
    )
    emitted = compute_emissions({"x-1": hours}, {"x-1": figures})
    (region,) = emitted.regions
    assert emitted.mg_co2e == region.average.mg_co2e == 100_000
    assert (region.marginal.mg_co2e, region.market.mg_co2e) == (800_000, 0)
    assert (region.overhead.energy_millijoules, region.overhead.mg_co2e) == (KWH * 15 // 100, 15_000)


def test_a_market_figure_that_nobody_has_stated_is_unknown_and_not_zero():
    emitted = compute_emissions({"x-1": {HOUR: KWH}}, {"x-1": build_figures({HOUR: measure(1)})})
    assert emitted.regions[0].market is None
    assert emitted.regions[0].marginal is None


def test_hours_are_read_from_the_store_by_preference_and_the_year_stands_in_for_the_rest():
    store = FakeIntensityStore(MemoryDatabase())
    half = HOUR_MS // 2
    for start, mg in ((HOUR, 200_000), (HOUR + half, 100_000), (HOUR + HOUR_MS, 50_000)):
        store.add_actual(build_point(GB, start, mg, valid_until_ms=start + half))
    store.add_actual(build_point(GB, HOUR, 220_000, valid_until_ms=HOUR + half, revision=1))
    hours = [HOUR, HOUR + HOUR_MS, HOUR + 90 * HOUR_MS]
    found = read_hours(store, "eu-west-2", "average", hours)
    annual = find_annual("eu-west-2", "average")
    assert found[HOUR].mg_co2e_per_kwh == 160_000
    # Half of the second hour is missing.
    assert [found[hour] for hour in hours[1:]] == [annual, annual]
    assert read_hours(store, "us-west-1", "marginal", [HOUR]) == {HOUR: find_annual("us-west-1", "marginal")}
    store.add_actual(build_point(CALIFORNIA, HOUR, 400_000))
    assert read_hours(store, "us-west-1", "marginal", [HOUR])[HOUR].mg_co2e_per_kwh == 400_000
    assert read_hours(store, "us-west-1", "average", [HOUR])[HOUR].estimated


def test_a_receipt_is_restated_once_the_hours_figure_is_there():
    seeded = seed_cloud()
    rental = run_and_end(seeded)
    interval = build_interval(rental, final=True, energy=KWH)
    store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    before = read(seeded, rental).emissions
    assert (before.mg_co2e, before.estimated) == (24_710, True)
    hour = interval.started_at_ms // HOUR_MS * HOUR_MS
    for start in (hour, hour + HOUR_MS):
        grid_of(seeded).add_actual(build_point(SWEDEN, start, 41_000))
    body = render_receipt(read(seeded, rental)).emissions
    assert (body.mg_co2e, body.estimated) == (41_000, False)
    (region,) = body.regions
    assert [each.zone for each in region.sources] == ["SE"]
    assert (region.intensity.value, region.market.mg_co2e) == ("41.000", 0)
    assert region.marginal.mg_co2e == 791_260
    assert (region.overhead.pue, region.overhead.mg_co2e) == ("1.100", 4_100)
    assert find_pue("eu-north-1").permille == 1100

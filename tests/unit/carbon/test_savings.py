"""What a flexible start saved, by the intensities that came: no forecast counts, and a loss is shown."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.carbon.intensity import HOUR_MS
from chalicelib.carbon.savings import measure_rental_saving, shift_energy
from chalicelib.core.clock import format_hour
from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.leases import Lease
from chalicelib.core.units import MILLIJOULES_PER_KWH as KWH
from chalicelib.metering.model import HourlyEnergy, Meter
from chalicelib.metering.service import store_telemetry
from chalicelib.rentals.life import terminate_rental
from tests.factories import REGION, add_renter, start
from tests.fakes.database import START_MS
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import GERMANY, SWEDEN, build_forecast, build_point
from tests.unit.metering.test_energy import build_interval, build_record
from tests.unit.platform import Platform
from tests.unit.rentals.flexible import HOME, NORTH, book, leave_open, pass_time, seed_two_regions

LEASE = Lease("GPU-1", 1)
SAVING = "GET /v1/rentals/{rental_id}/carbon-saving"


def run_as_planned(seeded, *, energies=(KWH, 3 * KWH), **wishes):
    """A flexible rental that starts two hours later in the north, and uses so much in each hour."""
    rental = book(seeded, **wishes)
    pass_time(seeded, hours=2)
    seeded.report(seeded.rental(rental.rental_id), "running")
    running = seeded.rental(rental.rental_id)
    for number, energy in enumerate(energies):
        for _ in range(60):
            seeded.cloud.clock.advance_seconds(60)
            seeded.report(running, "running")
        interval = build_interval(
            running,
            number,
            final=number == len(energies) - 1,
            energy=energy,
            start_ms=START_MS + (2 + number) * HOUR_MS,
            length_ms=HOUR_MS,
        )
        store_telemetry(seeded.cloud.meters, build_record(running, number), [interval])
    return running


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()


def put_actuals(seeded, series, grams):
    for number, mg in enumerate(grams):
        point = build_point(series, START_MS + number * HOUR_MS, mg * 1000)
        FakeIntensityStore(seeded.cloud.db).add_actual(point)


def measure(seeded, rental):
    grid = FakeIntensityStore(seeded.cloud.db)
    return measure_rental_saving(seeded.cloud.billing, grid, seeded.renter, rental.rental_id)


@pytest.fixture
def seeded():
    return seed_two_regions()


def test_each_hours_energy_is_counted_where_and_when_it_was_used_and_at_home_at_once(seeded):
    rental = run_as_planned(seeded)
    end(seeded, rental)
    put_actuals(seeded, SWEDEN, (1000, 1000, 40, 20, 1000))
    put_actuals(seeded, GERMANY, (300, 200, 1000, 1000))
    found = measure(seeded, rental)
    assert found.mg_co2e == 40_000 + 3 * 20_000
    assert found.immediate_mg_co2e == 300_000 + 3 * 200_000
    assert (found.saved_mg_co2e, found.saved_permille) == (800_000, 888)
    assert (found.estimated, found.missing, found.energy_millijoules) == (False, (), 4 * KWH)
    assert (found.home_region, found.immediate_start_ms) == (HOME, START_MS)
    assert found.started_at_ms == START_MS + 2 * HOUR_MS


def test_a_forecast_that_was_wrong_is_a_loss_and_shown_as_one(seeded):
    rental = run_as_planned(seeded)
    end(seeded, rental)
    put_actuals(seeded, SWEDEN, (20, 20, 300, 300))
    put_actuals(seeded, GERMANY, (100, 100))
    found = measure(seeded, rental)
    assert (found.saved_mg_co2e, found.saved_permille) == (-800_000, -2000)
    assert found.plan.choice.forecast.saving_permille > 0


@pytest.mark.parametrize(("swedish", "german"), [((0, 0, 40), (300, 300)), ((0, 0, 40, 20), (300,))])
def test_an_annual_figure_here_or_at_home_makes_it_an_estimate(seeded, swedish, german):
    rental = run_as_planned(seeded)
    put_actuals(seeded, SWEDEN, swedish)
    put_actuals(seeded, GERMANY, german)
    assert measure(seeded, rental).estimated


def test_it_is_what_the_receipt_says_and_waits_for_what_the_receipt_waits_for(seeded):
    rental = run_as_planned(seeded)
    assert measure(seeded, rental).missing == ("final_charge",)
    before = book(seeded, key="later")
    found = measure(seeded, before)
    assert (found.energy_millijoules, found.saved_mg_co2e, found.saved_permille) == (0, 0, 0)
    assert found.started_at_ms is None


def test_a_start_at_once_at_home_saves_nothing(seeded):
    rental = book(seeded, flexibility=leave_open(policy="none", regions=(NORTH,)))
    seeded.report(rental, "running")
    running = seeded.rental(rental.rental_id)
    store_telemetry(
        seeded.cloud.meters, build_record(running), [build_interval(running, energy=KWH, final=True)]
    )
    put_actuals(seeded, SWEDEN, (123, 456))
    found = measure(seeded, running)
    assert found.mg_co2e == found.immediate_mg_co2e > 0
    assert found.saved_mg_co2e == 0


def test_what_was_not_left_open_has_no_saving_and_anothers_rental_is_not_there(seeded):
    rental = start(seeded, 1, key="plain", region=REGION)
    with pytest.raises(Conflict) as refused:
        measure(seeded, rental)
    assert refused.value.code == "not_flexible"
    planned = book(seeded)
    seeded.renter = add_renter(seeded, name="other")
    with pytest.raises(NotFound):
        measure(seeded, planned)


def build_meter(started_ms, alive_ms):
    return Meter("rnt", 1, "acc", "hst", NORTH, (LEASE,), 1, "open", started_ms, alive_ms)


def build_hour(start_ms, energy):
    return HourlyEnergy(LEASE.gpu_uuid, LEASE.epoch, format_hour(start_ms), energy, 0, 1, None)


def test_an_hours_energy_moves_with_the_part_of_it_in_which_the_stay_ran():
    half = HOUR_MS // 2
    # It ran from half past until a quarter past the next hour, and is shifted to the full hour.
    meter = build_meter(START_MS + half, START_MS + HOUR_MS + half // 2)
    hours = [build_hour(START_MS, 600), build_hour(START_MS + HOUR_MS, 300)]
    assert shift_energy(hours, [meter], -half) == {START_MS: 900}
    later = shift_energy(hours, [meter], half // 2)
    assert later == {START_MS: 300, START_MS + HOUR_MS: 600}


@given(
    st.lists(st.integers(0, 2**50), min_size=1, max_size=30),
    st.integers(-40 * HOUR_MS, 40 * HOUR_MS),
    st.integers(0, 3 * HOUR_MS),
    st.integers(0, 40 * HOUR_MS),
)
def test_shifting_loses_and_makes_no_energy(energies, shift_ms, started, ran):
    hours = [build_hour(START_MS + number * HOUR_MS, each) for number, each in enumerate(energies)]
    meter = build_meter(START_MS + started, START_MS + started + ran)
    for meters in ([meter], []):
        shifted = shift_energy(hours, meters, shift_ms)
        assert sum(shifted.values()) == sum(energies)
        assert all(energy >= 0 and hour % HOUR_MS == 0 for hour, energy in shifted.items())
        if not shift_ms:
            assert {hour: energy for hour, energy in shifted.items() if energy} == {
                START_MS + number * HOUR_MS: each for number, each in enumerate(energies) if each
            }


def test_the_route_shows_both_sides_the_forecast_and_the_method(monkeypatch):
    platform = Platform(monkeypatch)
    platform.grid.store.add_forecast(build_forecast(SWEDEN, [40] * 12))
    body = {
        "gpu_type": "H100-SXM-80GB",
        "region": NORTH,
        "command": ["true"],
        "flexible": {"start_deadline": "2027-01-15T20:00:00Z", "duration_seconds": 3600},
    }
    _, made = platform.ask("POST /v1/rentals", body, role="renter")
    status, shown = platform.ask(SAVING, role="renter", rental_id=made["rental_id"])
    assert status == HTTPStatus.OK
    assert (shown["status"], shown["saved_mg_co2e"], shown["expected_saving_permille"]) == (
        "provisional",
        0,
        0,
    )
    assert (shown["home_region"], shown["policy"]) == (NORTH, "window")
    _, plain = platform.ask(
        "POST /v1/rentals", {"gpu_type": "H100-SXM-80GB", "command": ["true"]}, role="renter"
    )
    status, refused = platform.ask(SAVING, role="renter", rental_id=plain["rental_id"])
    assert (status, refused["code"]) == (HTTPStatus.CONFLICT, "not_flexible")

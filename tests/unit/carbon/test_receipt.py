"""The receipt: final only when nothing is missing, every figure with its source, nothing guessed."""

import re

import pytest

from chalicelib.carbon.grid import REGIONS, find_intensity
from chalicelib.carbon.model import count_telemetry, list_missing
from chalicelib.carbon.schemas import render_receipt
from chalicelib.carbon.service import build_receipt, compute_footprint
from chalicelib.core.errors import NotFound
from chalicelib.core.money import compute_charge_micros
from chalicelib.metering.service import store_telemetry
from chalicelib.rentals.life import stop_rental, terminate_rental
from tests.factories import PRICE, REGION, add_renter, rent, seed_cloud, start
from tests.fakes.grid import FakeIntensityStore
from tests.unit.metering.test_energy import build_interval, build_record

SECONDS = 30
ENERGY = 21_000_000


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()


def run_and_end(seeded, gpu_count=1):
    rental = start(seeded, gpu_count)
    for _ in range(SECONDS // 10):
        seeded.cloud.clock.advance_seconds(10)
        seeded.report(rental, "running")
    end(seeded, rental)
    return rental


def grid_of(seeded):
    return FakeIntensityStore(seeded.cloud.db)


def read(seeded, rental):
    return build_receipt(seeded.cloud.billing, grid_of(seeded), seeded.renter, rental.rental_id)


def test_a_receipt_is_provisional_until_money_is_settled_and_all_telemetry_is_there():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    assert read(seeded, rental).missing == ("final_charge", "telemetry")
    seeded.cloud.clock.advance_seconds(10)
    seeded.report(rental, "running")
    end(seeded, rental)
    assert read(seeded, rental).missing == ("telemetry",)
    interval = build_interval(rental, final=True, energy=ENERGY)
    store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    assert read(seeded, rental).missing == ()


def test_its_figures_are_those_of_the_ledger_and_the_counters():
    seeded = seed_cloud()
    rental = run_and_end(seeded)
    parts = [
        build_interval(rental, energy=ENERGY - 1000),
        build_interval(rental, 1, final=True, energy=1000),
    ]
    for seq, part in enumerate(parts):
        store_telemetry(seeded.cloud.meters, build_record(rental, seq), [part])
    store_telemetry(seeded.cloud.meters, build_record(rental, 1), [parts[1]])
    body = render_receipt(read(seeded, rental))
    charge = compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=1, seconds=SECONDS)
    assert (body.status, body.missing) == ("final", [])
    assert body.charge.billed_seconds == SECONDS
    assert body.charge.charge_micros == body.charge.debited_micros == charge
    assert body.charge.ledger_sum_micros == 0
    assert body.energy.energy_millijoules == ENERGY
    # 21 kJ at 24.71 g/kWh: 21e3 / 3.6e6 * 24.71 g = 0.1441 g.
    assert body.emissions.mg_co2e == 144
    (region,) = body.emissions.regions
    assert (region.region, region.energy_millijoules, region.mg_co2e) == ("eu-north-1", ENERGY, 144)
    assert (region.intensity.value, region.intensity.unit) == ("24.710", "gCO2e/kWh")
    assert body.emissions.estimated
    assert body.telemetry.model_dump() == {"sent": 2, "stored": 2, "duplicates_dropped": 1, "lost": 0}


def test_a_lost_interval_is_shown_and_keeps_the_receipt_provisional():
    seeded = seed_cloud()
    rental = run_and_end(seeded)
    final = build_interval(rental, 2, final=True)
    store_telemetry(seeded.cloud.meters, build_record(rental), [final])
    receipt = read(seeded, rental)
    assert (receipt.telemetry.sent, receipt.telemetry.stored, receipt.telemetry.lost) == (3, 1, 2)
    assert receipt.missing == ("telemetry",)


def test_a_rental_that_was_ended_before_its_workload_was_started_waits_for_no_energy():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded, 1).body)
    end(seeded, rental)
    receipt = read(seeded, rental)
    assert receipt.missing == ()
    assert (receipt.rental.charge_micros, receipt.energy.energy_millijoules) == (0, 0)


def test_a_workload_that_never_became_healthy_still_has_its_energy_counted():
    seeded = seed_cloud()
    rental = seeded.rental(rent(seeded, 1).body)
    store_telemetry(seeded.cloud.meters, build_record(rental), [build_interval(rental)])
    end(seeded, rental)
    assert read(seeded, rental).missing == ("telemetry",)
    final = build_interval(rental, 1, final=True)
    store_telemetry(seeded.cloud.meters, build_record(rental, 1), [final])
    receipt = read(seeded, rental)
    assert (receipt.missing, receipt.energy.energy_millijoules) == ((), 2000)


def test_another_accounts_receipt_looks_like_a_missing_one():
    seeded = seed_cloud()
    rental = start(seeded)
    other = add_renter(seeded, name="other", credit_micros=0)
    with pytest.raises(NotFound) as foreign:
        build_receipt(seeded.cloud.billing, grid_of(seeded), other, rental.rental_id)
    with pytest.raises(NotFound) as missing:
        build_receipt(seeded.cloud.billing, grid_of(seeded), other, "rnt_missing")
    assert str(foreign.value) == str(missing.value)


def test_every_region_has_an_intensity_that_says_where_it_comes_from():
    assert "eu-north-1" in REGIONS
    for region in REGIONS:
        intensity = find_intensity(region)
        assert 10_000 < intensity.mg_co2e_per_kwh < 1_000_000
        assert intensity.method
        assert intensity.source
        assert re.fullmatch(r"[0-9a-f]{7}/20\d\d", intensity.version)
    with pytest.raises(NotFound):
        find_intensity("mars-north-1")


def test_a_rental_of_any_region_has_a_receipt_wherever_it_is_and_when_it_is_nowhere():
    seeded = seed_cloud(gpus=1)
    placed = seeded.rental(rent(seeded, 1, region="any").body)
    waiting = rent(seeded, 1, key="waits", body=b"waits", region="any", waits=True).body
    seeded.report(placed, "running")
    assert [each.region for each in read(seeded, placed).emissions.regions] == [REGION]
    # Between two stays it has no region but the one it wished for.
    stop_rental(seeded.cloud.rentals, seeded.renter, placed.rental_id)
    seeded.report(seeded.rental(placed.rental_id), "terminated", wiped=True)
    assert seeded.rental(placed.rental_id).region == "any"
    assert [each.region for each in read(seeded, placed).emissions.regions] == [REGION]
    never = read(seeded, seeded.rental(waiting)).emissions
    assert (never.regions, never.mg_co2e) == ((), 0)


def test_unknown_is_not_zero():
    unknown = count_telemetry(stored=5, expected=None, duplicates=0)
    assert (unknown.sent, unknown.lost) == (None, None)
    assert list_missing(settled=True, telemetry=unknown) == ["telemetry"]


def test_the_hardwares_share_is_a_line_of_its_own_and_the_sci_is_never_below_what_was_emitted():
    seeded = seed_cloud()
    rental = run_and_end(seeded, 2)
    interval = build_interval(rental, final=True, energy=ENERGY)
    store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    receipt = read(seeded, rental)
    assert receipt.footprint is not None
    sci = receipt.footprint.sci
    assert sci is not None
    gpu_seconds = SECONDS * 2
    assert sci.gpu_seconds == gpu_seconds
    total = receipt.footprint.factor.total
    assert receipt.footprint.embodied.value_mg == round(total.value_mg * gpu_seconds / (52_560 * 3600))
    overhead = sum(each.overhead.mg_co2e for each in receipt.emissions.regions)
    assert overhead > 0
    assert sci.operational_mg == receipt.emissions.mg_co2e + overhead
    body = render_receipt(receipt)
    assert body.emissions.mg_co2e == receipt.emissions.mg_co2e, "nothing is added to it"
    per_hour = body.emissions.sci.mg_co2e_per_gpu_hour
    assert per_hour.low_mg < per_hour.value_mg < per_hour.high_mg
    assert per_hour.value_mg >= sci.operational_mg * 3600 // gpu_seconds


def test_of_a_gpu_that_the_table_does_not_have_nothing_is_guessed():
    assert compute_footprint("RTX-4090", (), read(*_started()).emissions) is None


def _started():
    seeded = seed_cloud()
    return seeded, start(seeded, 1)

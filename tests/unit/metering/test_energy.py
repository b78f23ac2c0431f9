"""Energy: the parts sum to the whole, a record counts once, what is missing is known."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.clock import format_hour
from chalicelib.metering.model import HOUR_MS, UNRENTED, Interval, split_by_hour, sum_energy
from chalicelib.metering.parts import merge_shares
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from tests.factories import seed_cloud, start
from tests.fakes import START_MS


def build_interval(
    rental, index=0, *, final=False, energy=1000, epoch=None, start_ms=START_MS, length_ms=60_000
):
    lease = rental.leases[0]
    return Interval(
        rental.rental_id,
        lease.gpu_uuid,
        lease.epoch if epoch is None else epoch,
        index,
        final,
        start_ms,
        start_ms + length_ms,
        energy,
        estimated=False,
    )


def build_record(rental, seq=0, boot="boot-1", host=None):
    return TelemetryRecord(host or rental.host_id, boot, seq, "{}", START_MS)


@given(
    st.integers(0, 10 * HOUR_MS),
    st.integers(0, 5 * HOUR_MS),
    st.integers(0, 2**53),
    st.booleans(),
    st.booleans(),
)
def test_hours_of_an_interval_sum_to_it_exactly(offset, length, energy, final, estimated):
    interval = Interval(
        "rnt", "GPU", 1, 4, final, START_MS + offset, START_MS + offset + length, energy, estimated
    )
    shares = list(split_by_hour(interval))
    assert sum(share.energy_millijoules for share in shares) == energy
    assert all(share.energy_millijoules >= 0 for share in shares)
    assert sum(share.estimated_millijoules for share in shares) == (energy if estimated else 0)
    assert sum(share.intervals for share in shares) == 1
    assert [share.intervals_expected for share in shares if share.intervals_expected] == (
        [5] if final else []
    )
    assert len({share.hour for share in shares}) == len(shares)
    merged = merge_shares([*shares, *shares])
    assert sum(share.energy_millijoules for share in merged) == 2 * energy


def test_a_record_that_comes_twice_counts_once_and_is_counted_as_a_duplicate():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    interval = build_interval(rental)
    assert store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    assert not store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    reading = sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases)
    assert (reading.energy_millijoules, reading.intervals_stored) == (1000, 1)
    assert seeded.cloud.meters.store.count_duplicates(rental.rental_id) == 1


def test_a_new_boot_of_the_agent_starts_its_numbers_again_without_loss():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    store_telemetry(seeded.cloud.meters, build_record(rental, 0, "boot-1"), [build_interval(rental, 0)])
    store_telemetry(
        seeded.cloud.meters, build_record(rental, 0, "boot-2"), [build_interval(rental, 1, final=True)]
    )
    reading = sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases)
    assert (reading.energy_millijoules, reading.intervals_stored, reading.intervals_expected) == (2000, 2, 2)


def test_a_lost_interval_is_seen_once_the_final_one_is_there():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    store_telemetry(seeded.cloud.meters, build_record(rental, 0), [build_interval(rental, 0)])
    store_telemetry(seeded.cloud.meters, build_record(rental, 2), [build_interval(rental, 2, final=True)])
    reading = sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases)
    assert (reading.intervals_expected, reading.intervals_stored) == (3, 2)


def test_without_the_final_interval_completeness_is_unknown_not_assumed():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    store_telemetry(seeded.cloud.meters, build_record(rental, 0), [build_interval(rental, 0)])
    assert (
        sum_energy(seeded.cloud.meters.store.list_energy(rental.rental_id), rental.leases).intervals_expected
        is None
    )


def test_energy_of_a_foreign_host_or_epoch_is_kept_as_evidence_and_not_counted():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    store_telemetry(seeded.cloud.meters, build_record(rental, 0, host="hst_x"), [build_interval(rental)])
    store_telemetry(seeded.cloud.meters, build_record(rental, 1), [build_interval(rental, epoch=99)])
    assert seeded.cloud.meters.store.list_energy(rental.rental_id) == []
    assert len(seeded.cloud.db.table("telemetry")) == 2


@given(st.integers(0, HOUR_MS), st.integers(0, 3 * HOUR_MS), st.integers(0, 4 * HOUR_MS))
def test_hours_of_a_slowdown_sum_to_it_and_no_host_can_tell_more_than_the_time(offset, length, told):
    start_ms = START_MS + offset
    interval = Interval(
        "rnt", "GPU", 1, 0, False, start_ms, start_ms + length, 1, False, told, None, "counter"
    )
    shares = list(split_by_hour(interval))
    assert sum(share.thermal_slowdown_ms for share in shares) == min(told, length)
    assert all(0 <= share.thermal_slowdown_ms <= HOUR_MS for share in shares)
    assert {share.power_brake_ms for share in shares} == {None}
    merged = merge_shares([*shares, *shares])
    assert sum(share.thermal_slowdown_ms for share in merged) == 2 * min(told, length)
    assert {share.power_brake_ms for share in merged} == {None}


def test_a_site_knows_by_the_hour_whose_gpus_warmed_it_and_what_nobody_rents_is_the_platforms():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    idle = replace(build_interval(rental, energy=300, length_ms=2 * HOUR_MS), rental_id=UNRENTED, epoch=0)
    foreign = build_interval(rental, epoch=99, energy=50)
    for _ in range(2):
        store_telemetry(
            seeded.cloud.meters, build_record(rental), [build_interval(rental, energy=1000), idle, foreign]
        )
    read = seeded.cloud.meters.store.list_site_energy
    first, last = format_hour(START_MS), format_hour(START_MS + 2 * HOUR_MS)
    assert read(rental.host_id, first, last) == {rental.account_id: 1000, "platform": 350}
    assert read(rental.host_id, first, first) == {rental.account_id: 1000, "platform": 200}
    assert read("hst_other", first, last) == {}
    uses = seeded.cloud.meters.store.list_site_uses(rental.host_id, first, first)[first]
    assert [(each.rental_id, each.segment, each.energy_millijoules) for each in uses] == [
        (rental.rental_id, 1, 1000),
        ("", 0, 200),
    ]
    assert all(each.covered_ms and not each.estimated_millijoules for each in uses)
    assert seeded.cloud.meters.store.list_late() == []


def test_energy_that_comes_when_its_day_is_over_is_told_as_late_until_nothing_more_came():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    meters, day = seeded.cloud.meters, format_hour(START_MS)[:10]
    seeded.cloud.clock.value_ms = START_MS // 86_400_000 * 86_400_000 + 26 * HOUR_MS - 1
    assert store_telemetry(meters, build_record(rental, seq=1), [build_interval(rental, index=0)])
    assert meters.store.list_late() == []
    seeded.cloud.clock.value_ms += 1
    assert store_telemetry(meters, build_record(rental, seq=2), [build_interval(rental, index=1)])
    (late,) = meters.store.list_late()
    assert (late.host_id, late.day) == (rental.host_id, day)
    seeded.cloud.clock.value_ms += 1
    assert store_telemetry(meters, build_record(rental, seq=3), [build_interval(rental, index=2)])
    meters.store.clear_late(late)
    (again,) = meters.store.list_late()
    assert again.marked_at_ms > late.marked_at_ms
    meters.store.clear_late(again)
    assert meters.store.list_late() == []

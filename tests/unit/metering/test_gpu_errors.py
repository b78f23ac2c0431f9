"""Faults F32 and F33 as the cloud sees them, and the table of what each class of error means."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.fleet.health import ERROR_RULES, ErrorClass, GpuFault, ends_rental, find_fault
from chalicelib.fleet.service import clear_host_faults
from chalicelib.metering.functions import TENANT_CLASSES
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.messages import MAX_WARNINGS, GpuWarning
from chalicelib.rentals.model import add_warning
from chalicelib.rentals.ports import NoCapacity
from chalicelib.wire import v1
from tests.factories import rent, seed_cloud, start
from tests.fakes import START_MS, Crash
from tests.unit.metering.incidents import (
    acknowledge,
    beat,
    build_error,
    find_gpu,
    report_error,
    run,
    snapshot,
)

# F32: a GPU falls off the bus while it is rented.


def test_f32_xid_79_mid_rental_drains_the_host_and_bills_to_the_first_evidence():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    run(seeded, rental, 30)
    # Seen at 33 s; told at 38 s, after another proof of life at 37 s.
    seeded.cloud.clock.advance_seconds(7)
    beat(seeded, rental.host_id, rental)
    seeded.cloud.clock.advance_seconds(1)
    report_error(seeded, rental, build_error(seeded, rental, 79, "D", ago_ms=5_000))

    ended = seeded.rental(rental.rental_id)
    assert (ended.state, ended.reason, ended.desired_state) == ("terminating", "gpu_failed", "terminated")
    assert seeded.cloud.fleet_store.commands[-1].kind == "stop"
    assert seeded.cloud.fleet_store.get_host(rental.host_id).state == "draining"
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="another")
    # A tick between evidence and wipe charges nothing beyond the evidence.
    seeded.cloud.charges.request_charge(rental.account_id, rental.rental_id, "tick")
    seeded.charge_all()
    assert seeded.rental(rental.rental_id).billed_seconds == 33

    acknowledge(seeded, rental)
    over = seeded.rental(rental.rental_id)
    assert (over.state, over.billing_state, over.billed_seconds) == ("failed", "settled", 33)
    gpu = find_gpu(seeded, rental)
    assert (gpu.lease_state, gpu.rental_id, gpu.fault.code) == ("unhealthy", None, 79)
    (entry,) = [each for each in seeded.cloud.audit.entries if each.action == "rental.ended.gpu_failed"]
    assert (entry.details["code"], entry.details["error_class"]) == (79, "D")
    assert entry.details["evidence_at_ms"] == START_MS + 33_000


def test_f32_xid_79_mid_rental_leaves_the_other_rentals_of_the_host_alone():
    seeded = seed_cloud(gpus=2)
    hit, other = start(seeded, 1, key="one"), start(seeded, 1, key="two")
    report_error(seeded, hit, build_error(seeded, hit, 79, "D"))
    assert seeded.rental(other.rental_id).state == "running"
    acknowledge(seeded, hit)
    terminate_rental(seeded.cloud.rentals, seeded.renter, other.rental_id)
    acknowledge(seeded, other)
    # The well GPU is free, and waits with its host.
    assert find_gpu(seeded, other).lease_state == "free"
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="three")


@pytest.mark.parametrize("skew_ms", [-3_600_000, -7_000, 0, 7_000, 3_600_000])
def test_f32_the_hosts_clock_is_corrected_and_can_only_shorten_the_bill(skew_ms):
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 40, skew_ms=skew_ms)
    error = build_error(seeded, rental, 79, "D", ago_ms=5_000 - skew_ms)
    report_error(seeded, rental, error)
    acknowledge(seeded, rental)
    assert seeded.rental(rental.rental_id).billed_seconds == 35


def test_f32_a_clock_from_the_future_does_not_lengthen_the_bill():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 40)
    report_error(seeded, rental, build_error(seeded, rental, 79, "D", ago_ms=-3_600_000))
    run(seeded, rental, 40)
    acknowledge(seeded, rental)
    assert seeded.rental(rental.rental_id).billed_seconds == 40


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
@pytest.mark.parametrize("commit", [0, 1])
def test_f32_a_crash_at_any_commit_is_finished_by_the_repeat(point, commit):
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 20)
    error = build_error(seeded, rental, 79, "D", ago_ms=5_000)
    setattr(seeded.cloud.db, point, seeded.cloud.db.commits + commit)
    with pytest.raises(Crash):
        report_error(seeded, rental, error)
    setattr(seeded.cloud.db, point, None)
    report_error(seeded, rental, error)
    acknowledge(seeded, rental)
    assert seeded.rental(rental.rental_id).billed_seconds == 15
    assert find_gpu(seeded, rental).lease_state == "unhealthy"
    assert [command.kind for command in seeded.cloud.fleet_store.commands] == ["start", "stop"]


def test_f32_the_gpu_comes_back_when_the_machine_has_booted_and_an_old_report_does_not_take_it_again():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    run(seeded, rental, 20)
    error = build_error(seeded, rental, 79, "D")
    report_error(seeded, rental, error)
    acknowledge(seeded, rental)
    gpu_uuid = rental.leases[0].gpu_uuid
    for ok in (set(), None):
        seeded.cloud.clock.advance_seconds(10)
        beat(seeded, rental.host_id, ok=ok)
        assert find_gpu(seeded, rental).faulty, "gone and back under the same boot"
    seeded.cloud.clock.advance_seconds(200)
    beat(seeded, rental.host_id, kernel="kernel-2", ok=set())
    assert find_gpu(seeded, rental).faulty, "booted, and the GPU is not back yet"
    seeded.cloud.clock.advance_seconds(10)
    beat(seeded, rental.host_id, kernel="kernel-2")
    assert find_gpu(seeded, rental).lease_state == "free"
    again = start(seeded, 1, key="again")
    assert again.leases[0].gpu_uuid == gpu_uuid
    before = snapshot(seeded)
    report_error(seeded, rental, error)
    assert snapshot(seeded) == before


def test_f32_broken_hardware_waits_for_an_operator_whatever_the_machine_does():
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    report_error(seeded, rental, build_error(seeded, rental, 81, "F"))
    acknowledge(seeded, rental)
    seeded.cloud.clock.advance_seconds(100)
    beat(seeded, rental.host_id, kernel="kernel-2")
    # Only this GPU is out: the other one of the host is rented as before.
    other = start(seeded, 1, key="other")
    assert other.leases[0].gpu_uuid != rental.leases[0].gpu_uuid
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="none left")
    clear_host_faults(seeded.cloud.fleet, seeded.operator, rental.host_id)
    entries = len(seeded.cloud.audit.entries)
    clear_host_faults(seeded.cloud.fleet, seeded.operator, rental.host_id)
    assert len(seeded.cloud.audit.entries) == entries
    assert seeded.rental(rent(seeded, 1, key="now").body).leases[0].gpu_uuid == rental.leases[0].gpu_uuid


def test_a_gpu_that_fails_unrented_is_offered_to_nobody_and_counted_as_not_free():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    acknowledge(seeded, rental)
    report_error(seeded, rental, build_error(seeded, rental, 48, "C"))
    assert find_gpu(seeded, rental).lease_state == "unhealthy"
    assert seeded.cloud.fleet_store.get_host(rental.host_id).free_gpus == 0
    with pytest.raises(NoCapacity):
        rent(seeded, 1, key="another")


def test_an_error_from_before_the_rental_ends_nothing_but_keeps_the_gpu_afterwards():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    report_error(seeded, rental, build_error(seeded, rental, 48, "C", ago_ms=60_000))
    assert seeded.rental(rental.rental_id).state == "running"
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    acknowledge(seeded, rental)
    assert find_gpu(seeded, rental).lease_state == "unhealthy"


def test_a_fabric_error_ends_a_rental_of_several_gpus_and_leaves_one_alone():
    seeded = seed_cloud(gpus=3)
    pair, single = start(seeded, 2, key="pair"), start(seeded, 1, key="single")
    for rental in (pair, single):
        report_error(seeded, rental, build_error(seeded, rental, 74, "E"))
    assert seeded.rental(pair.rental_id).reason == "gpu_failed"
    assert seeded.rental(single.rental_id).state == "running"
    assert seeded.cloud.fleet_store.get_host(pair.host_id).state == "draining"


# F33: the tenant's own program makes the GPU complain.


@pytest.mark.parametrize("code", [13, 31])
def test_f33_a_storm_by_the_tenants_code_warns_and_changes_nothing_else(code):
    seeded = seed_cloud(gpus=2)
    rental = start(seeded, 1)
    run(seeded, rental, 20)
    before = snapshot(seeded)
    for number in range(5):
        error = build_error(seeded, rental, code, "B", count=2000, sequence=1 + number * 2000)
        report_error(seeded, rental, error)
        # Delivered twice by the queue, or told twice by an agent that died in between.
        report_error(seeded, rental, error)
    warned = seeded.rental(rental.rental_id)
    (warning,) = warned.warnings
    assert (warning.code, warning.error_class, warning.count) == (code, "B", 10_000)
    assert warning.last_at_ms == seeded.cloud.clock.now_ms()
    after = snapshot(seeded)
    assert replace(warned, warnings=(), messages_version=0) == before["rentals"].pop(rental.rental_id)
    del after["rentals"][rental.rental_id]
    assert after == before
    assert rent(seeded, 1, key="host stays")


def test_f33_what_an_agent_that_died_tells_again_with_more_of_it_is_counted_once():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    report_error(seeded, rental, build_error(seeded, rental, 31, "B", count=50))
    report_error(seeded, rental, build_error(seeded, rental, 31, "B", count=80))
    report_error(seeded, rental, build_error(seeded, rental, 31, "B", count=30))
    assert [warning.count for warning in seeded.rental(rental.rental_id).warnings] == [80]


def test_f33_another_boot_of_the_machine_counts_on_and_an_older_one_does_not():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    old = build_error(seeded, rental, 31, "B", count=5, sequence=900)
    report_error(seeded, rental, old)
    seeded.cloud.clock.advance_seconds(60)
    report_error(seeded, rental, build_error(seeded, rental, 31, "B", count=2, kernel="kernel-2"))
    report_error(seeded, rental, old)
    assert [warning.count for warning in seeded.rental(rental.rental_id).warnings] == [7]


def test_f33_the_next_tenant_is_not_warned_of_what_the_last_one_did():
    seeded = seed_cloud(gpus=1)
    first = start(seeded, 1, key="first")
    error = build_error(seeded, first, 31, "B")
    terminate_rental(seeded.cloud.rentals, seeded.renter, first.rental_id)
    acknowledge(seeded, first)
    seeded.cloud.clock.advance_seconds(20)
    beat(seeded, first.host_id)
    second = start(seeded, 1, key="second")
    report_error(seeded, second, error)
    assert seeded.rental(second.rental_id).warnings == ()


def test_information_changes_nothing_at_all():
    seeded = seed_cloud(gpus=1)
    rental = start(seeded, 1)
    before = snapshot(seeded)
    report_error(seeded, rental, build_error(seeded, rental, 63, "A"))
    assert snapshot(seeded) == before


def test_kinds_of_warnings_are_bounded_and_those_that_stand_count_on():
    rental = start(seed_cloud(gpus=1), 1)
    for sequence, code in enumerate([*range(MAX_WARNINGS + 5), 0]):
        rental = add_warning(rental, GpuWarning("GPU", code, "B", 1, START_MS, "kernel", sequence), sequence)
    assert [warning.code for warning in rental.warnings] == list(range(MAX_WARNINGS))
    assert [warning.count for warning in rental.warnings] == [2] + [1] * (MAX_WARNINGS - 1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=30))
def test_warnings_that_are_repeated_change_nothing(events):
    rental = start(seed_cloud(gpus=1), 1)
    for code, sequence in events:
        warning = GpuWarning("GPU", code, "B", 1, START_MS + sequence, "kernel", sequence)
        rental = add_warning(rental, warning, sequence)
        assert add_warning(rental, warning, sequence) == rental
    assert all(warning.count <= 10 for warning in rental.warnings)


# The tables.


def test_every_class_has_a_decision_and_the_wire_knows_the_same_words():
    assert set(ERROR_RULES) == set(get_args(ErrorClass)) == set(get_args(v1.XidClass))
    # What is the tenant's own affair, or nobody's, touches no GPU and no host; all else takes the GPU out.
    for name, rule in ERROR_RULES.items():
        assert rule.cordons_gpu == (name not in TENANT_CLASSES)
        assert rule.cordons_gpu or not (rule.drains_host or rule.reboot_clears or ends_rental(rule, 8))
    gravities = [rule.gravity for rule in ERROR_RULES.values() if rule.cordons_gpu]
    assert len(set(gravities)) == len(gravities)


def test_a_graver_fault_replaces_a_lesser_one_and_not_the_other_way_round():
    reset = GpuFault(48, "C", 10, "kernel", 1)
    broken = GpuFault(81, "F", 20, "kernel", 2)
    assert find_fault(reset, broken) == broken
    assert find_fault(broken, reset) is None
    cleared = replace(reset, cleared_at_ms=50)
    assert find_fault(cleared, reset) is None
    assert find_fault(cleared, replace(broken, at_ms=40)) is None, "told late, from before the repair"
    assert find_fault(cleared, replace(broken, at_ms=60)) == replace(broken, at_ms=60)


# A board in MIG mode: errors name the board, tenants have instances of it.


def partition(seeded, rental, *others):
    """Make the rentals' GPUs instances of one board, and return an error of that board."""
    rows = seeded.cloud.db.table("gpus")
    for each in (rental, *others):
        key = (each.host_id, each.leases[0].gpu_uuid)
        rows[key] = replace(rows[key], gpu=replace(rows[key].gpu, parent_uuid="GPU-board"))
    return replace(build_error(seeded, rental, 79, "D"), gpu_uuid="GPU-board")


def test_f32_an_error_of_a_partitioned_board_is_one_of_all_its_instances():
    seeded = seed_cloud(gpus=3)
    first, second, apart = (start(seeded, 1, key=key) for key in "abc")
    report_error(seeded, first, partition(seeded, first, second))
    assert [seeded.rental(each.rental_id).reason for each in (first, second, apart)] == [
        "gpu_failed",
        "gpu_failed",
        None,
    ]


def test_f33_nobody_is_blamed_for_an_error_of_a_board_that_several_share():
    seeded = seed_cloud(gpus=2)
    first, second = (start(seeded, 1, key=key) for key in "ab")
    error = replace(partition(seeded, first, second), code=31, error_class="B")
    report_error(seeded, first, error)
    assert not seeded.rental(first.rental_id).warnings
    assert not seeded.rental(second.rental_id).warnings
    terminate_rental(seeded.cloud.rentals, seeded.renter, second.rental_id)
    acknowledge(seeded, second)
    report_error(seeded, first, replace(error, first_sequence=9, last_sequence=9))
    assert [each.code for each in seeded.rental(first.rental_id).warnings] == [31]

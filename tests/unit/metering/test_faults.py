"""Faults F26 and F31 as the cloud sees them: what is old or foreign is evidence and changes nothing."""

from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat, Report, store_telemetry
from chalicelib.rentals.life import terminate_rental
from tests.factories import rent, seed_cloud, start
from tests.unit.metering.test_energy import build_interval, build_record


def build_beat(rental, state, sent_at_ms):
    report = Report(rental.rental_id, rental.leases, state, None, None, wiped=False)
    return Beat(rental.host_id, "boot-1", "0.1.0", 8, 0, 0, sent_at_ms, (report,))


def snapshot(seeded):
    tables = ("rentals", "meters", "gpus", "energy", "balances", "legs", "commands")
    return {name: dict(seeded.cloud.db.table(name)) for name in tables}


def end(seeded, rental):
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()


def test_f26_messages_captured_last_week_neither_revive_a_lease_nor_raise_a_bill():
    seeded = seed_cloud()
    rental = start(seeded, 1)
    beats = []
    for _ in range(3):
        sent_at_ms = seeded.cloud.clock.advance_seconds(10)
        beats.append(build_beat(rental, "running", sent_at_ms))
        record_heartbeat(seeded.cloud.meters, beats[-1])
    interval = build_interval(rental, final=True)
    store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    end(seeded, rental)
    before = snapshot(seeded)
    seeded.cloud.clock.advance_seconds(7 * 86_400)
    now_ms = seeded.cloud.clock.now_ms()
    for beat in beats:
        record_heartbeat(seeded.cloud.meters, beat)
        # Sent again, so that the queue's clock says now.
        record_heartbeat(seeded.cloud.meters, build_beat(rental, "running", now_ms))
    assert not store_telemetry(seeded.cloud.meters, build_record(rental), [interval])
    seeded.charge_all()
    assert snapshot(seeded) == before


def test_f31_an_old_host_that_returns_under_a_stale_epoch_changes_nothing_of_the_next_rental():
    seeded = seed_cloud(gpus=1)
    first = start(seeded, 1, key="first")
    end(seeded, first)
    second = seeded.rental(rent(seeded, 1, key="second").body)
    assert [lease.gpu_uuid for lease in second.leases] == [lease.gpu_uuid for lease in first.leases]
    assert second.leases[0].epoch > first.leases[0].epoch
    seeded.report(second, "running")
    before = snapshot(seeded)
    # The host speaks of the first rental, and of the second under the first one's epoch.
    now_ms = seeded.cloud.clock.advance_seconds(20)
    record_heartbeat(seeded.cloud.meters, build_beat(first, "running", now_ms))
    stale = build_beat(first, "running", now_ms).reports[0]
    confused = Beat(
        second.host_id, "boot-1", "0.1.0", 1, 0, 0, now_ms, (type(stale)(second.rental_id, *_facts(stale)),)
    )
    record_heartbeat(seeded.cloud.meters, confused)
    late = build_interval(second, epoch=first.leases[0].epoch)
    assert store_telemetry(seeded.cloud.meters, build_record(second, 7), [late])
    assert snapshot(seeded) == before


def _facts(report):
    return report.leases, report.state, report.exit_code, report.ended_at_ms, report.wiped

"""Heartbeats and errors of hosts, as tests of incidents build them."""

from chalicelib.metering.incidents import GpuError, apply_gpu_errors, record_heartbeat
from chalicelib.metering.service import Announcement, Beat, Report

TABLES = ("hosts", "gpus", "rentals", "meters", "balances", "legs", "commands", "audit")


def snapshot(seeded):
    return {name: dict(seeded.cloud.db.table(name)) for name in TABLES}


def build_beat(seeded, host_id, *rentals, notices=(), kernel="kernel-1", ok=None, skew_ms=0, state="running"):
    now_ms = seeded.cloud.clock.now_ms()
    gpus = {gpu.gpu.gpu_uuid for gpu in seeded.cloud.fleet_store.list_gpus(host_id)}
    reports = tuple(
        Report(
            rental.rental_id,
            rental.wipe_leases if state == "terminated" else rental.leases,
            state,
            None,
            None,
            wiped=state == "terminated",
        )
        for rental in rentals
    )
    ok = gpus if ok is None else ok
    return Beat(
        host_id,
        "boot-1",
        "0.1.0",
        len(ok),
        0,
        0,
        now_ms,
        reports,
        observed_at_ms=now_ms + skew_ms,
        notices=tuple(notices),
        kernel_boot_id=kernel,
        ok_gpu_uuids=frozenset(ok),
    )


def beat(seeded, host_id, *rentals, **facts):
    record_heartbeat(seeded.cloud.meters, build_beat(seeded, host_id, *rentals, **facts))


def run(seeded, rental, seconds, **facts):
    """The host beats every ten seconds while the workload runs."""
    for _ in range(seconds // 10):
        seeded.cloud.clock.advance_seconds(10)
        beat(seeded, rental.host_id, rental, **facts)


def build_error(seeded, rental, code, error_class, *, count=1, sequence=1, ago_ms=0, kernel="kernel-1"):
    at_ms = seeded.cloud.clock.now_ms() - ago_ms
    gpu_uuid = rental.leases[0].gpu_uuid
    return GpuError(gpu_uuid, code, error_class, count, at_ms, at_ms, kernel, sequence, sequence + count - 1)


def report_error(seeded, rental, error):
    apply_gpu_errors(seeded.cloud.meters, rental.host_id, [error], seeded.cloud.clock.now_ms())


def find_gpu(seeded, rental):
    return seeded.cloud.db.table("gpus")[rental.host_id, rental.leases[0].gpu_uuid]


def acknowledge(seeded, rental):
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()


def spot(seeded, seconds=120):
    ends_at_ms = seeded.cloud.clock.now_ms() + seconds * 1000
    return Announcement("spot_interruption", "terminate", ends_at_ms)

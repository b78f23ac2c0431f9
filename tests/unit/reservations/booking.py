"""A seeded cloud with hosts that are kept for reservations, and short ways to book on them."""

from dataclasses import replace
from typing import Any

from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.principal import Principal
from chalicelib.fleet.health import GpuFault
from chalicelib.fleet.model import clear_faults, set_fault
from chalicelib.fleet.service import list_moved
from chalicelib.reservations.hosts import make_reservable
from chalicelib.reservations.model import SLOT_MS, Reservation
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.service import (
    Created,
    CreateReservation,
    ReservationRequest,
    create_reservation,
    redeem,
    release,
)
from tests.factories import GPU_TYPE, REGION, Seeded, add_host, seed_cloud
from tests.fakes import START_MS

HOUR_MS = 3_600_000
#: Covers the deposits of all that a test books.
WEALTH = 10**11
#: Eight in the morning, UTC: midnight is 64 slots ahead.
SLOTS_TO_MIDNIGHT = 64
assert START_MS % SLOT_MS == 0


def seed_calendars(*gpus: int, credit_micros: int = WEALTH) -> tuple[Seeded, list[str]]:
    """A cloud whose hosts, one for each number of GPUs, may all be reserved."""
    seeded = seed_cloud(hosts=0, every_class=True, credit_micros=credit_micros)
    hosts = [add_host(seeded, f"machine-{number}", count).host_id for number, count in enumerate(gpus)]
    for host_id in hosts:
        make_reservable(seeded.cloud.reservations, seeded.operator, host_id)
        seeded.beat(host_id)
    return seeded, hosts


def book(
    seeded: Seeded,
    gpu_count: int = 2,
    *,
    start: int = 4,
    slots: int = 8,
    key: str = "key-1",
    principal: Principal | None = None,
    ports: ReservationPorts | None = None,
    body: bytes = b"{}",
    **wishes: Any,
) -> Created:
    """Book from ``start`` slots after `START_MS` on."""
    from_ms = START_MS + start * SLOT_MS
    request = ReservationRequest(
        **{"gpu_type": GPU_TYPE, "region": REGION, "gpu_count": gpu_count, **wishes},
        starts_at_ms=from_ms,
        ends_at_ms=from_ms + slots * SLOT_MS,
    )
    command = CreateReservation(
        request, key, compute_fingerprint("POST /v1/reservations", body), lambda made: made.reservation_id
    )
    return create_reservation(ports or seeded.cloud.reservations, principal or seeded.renter, command)


def read(seeded: Seeded, reservation_id: str) -> Reservation:
    found = seeded.cloud.reservations.store.get_reservation(reservation_id)
    assert found is not None
    return found


def booked(seeded: Seeded, *args: Any, **wishes: Any) -> Reservation:
    return read(seeded, book(seeded, *args, **wishes).body)


def read_promises(seeded: Seeded, host_id: str) -> dict[int, int]:
    """The promised GPUs of a host by slot since `START_MS`, where there are any."""
    ports = seeded.cloud.reservations
    found = {}
    for day, counts in ports.store.read_days(host_id, "0000", "9999").items():
        midnight_ms = _parse_day(day)
        for index, count in enumerate(counts):
            if count:
                found[(midnight_ms - START_MS) // SLOT_MS + index] = count
    return found


def _parse_day(day: str) -> int:
    from chalicelib.core.clock import parse_instant

    return parse_instant(f"{day}T00:00:00Z")


def take(seeded: Seeded, reservation: Reservation, rental_id: str, gpus: int, host: int = 0) -> None:
    ports = seeded.cloud.reservations
    tx = ports.transactions()
    host_id = reservation.bookings[host].host_id
    redeem(ports, tx, reservation, host_id, rental_id, gpus, seeded.cloud.clock.now_ms())
    tx.commit()


def put_back(seeded: Seeded, reservation: Reservation, rental_id: str, gpus: int, host: int = 0) -> None:
    ports = seeded.cloud.reservations
    tx = ports.transactions()
    release(ports, tx, reservation.reservation_id, reservation.bookings[host].host_id, rental_id, gpus)
    tx.commit()


def change_host(seeded: Seeded, host_id: str, **changes: Any) -> None:
    rows = seeded.cloud.db.table("hosts")
    rows[host_id] = replace(rows[host_id], **changes)


def fail_gpus(seeded: Seeded, host_id: str, count: int = 1, error_class: str = "F") -> None:
    """Give so many GPUs of a host, that have none, an open fault."""
    store, now_ms = seeded.cloud.fleet_store, seeded.cloud.clock.now_ms()
    for _ in range(count):
        host, gpus = store.get_host(host_id), store.list_gpus(host_id)
        uuid = next(gpu.gpu.gpu_uuid for gpu in gpus if not gpu.faulty)
        changed, after = set_fault(host, gpus, uuid, GpuFault(95, error_class, now_ms, "boot", 7))
        tx = seeded.cloud.db.begin()
        store.replace_health(tx, host, changed, list_moved(gpus, after))
        tx.commit()


def mend(seeded: Seeded, host_id: str) -> None:
    store = seeded.cloud.fleet_store
    host, gpus = store.get_host(host_id), store.list_gpus(host_id)
    if not any(gpu.faulty for gpu in gpus):
        return
    changed, after = clear_faults(host, gpus, seeded.cloud.clock.now_ms(), lambda _gpu: True)
    tx = seeded.cloud.db.begin()
    store.replace_health(tx, host, changed, list_moved(gpus, after))
    tx.commit()


def pass_slots(seeded: Seeded, slots: float) -> int:
    return seeded.cloud.clock.advance_seconds(slots * SLOT_MS / 1000)


def list_actions(seeded: Seeded) -> list[str]:
    return [entry.action for entry in seeded.cloud.audit.entries if entry.action.startswith("reservation")]

"""Sees to it that the GPUs of a reservation are free when its window begins: spot there is told in time."""

import contextlib
from collections import Counter

from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import Unavailable
from chalicelib.rentals.dispatch import MAX_STAYS, preempt_stay
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.preemption import choose_victims
from chalicelib.reservations.model import KEPT_FREE_MS
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.upkeep import list_due


def clear_way(ports: RentalPorts, reservations: ReservationPorts, now_ms: int) -> int:
    """Announce the end of spot stays on hosts whose reservation begins within the lead; return how many.

    Reservations that begin together on a host need their GPUs together. What is free is lent to nobody any
    more before it is asked who must go, so that whoever came before is told, and nobody comes after.
    """
    needed: Counter[str] = Counter()
    pools: dict[str, str] = {}
    until_ms: dict[str, int] = {}
    for reservation in list_due(reservations, now_ms).starting:
        for booking in reservation.open_bookings:
            host_id = booking.host_id
            needed[host_id] += booking.gpu_count - booking.used_gpus
            pools[host_id] = name_pool(reservation.gpu_type, reservation.region)
            kept_until_ms = reservation.starts_at_ms + KEPT_FREE_MS
            until_ms[host_id] = max(until_ms.get(host_id, 0), kept_until_ms)
    told = 0
    for host_id, gpus in needed.items():
        candidate = ports.fleet.get_candidate(host_id)
        if candidate is None:
            continue
        if (candidate.kept_gpus, candidate.kept_until_ms) != (gpus, until_ms[host_id]):
            tx = ports.transactions()
            ports.fleet.keep_free(tx, host_id, gpus, until_ms[host_id])
            # The next minute tries again.
            with contextlib.suppress(Unavailable):
                tx.commit()
            candidate = ports.fleet.get_candidate(host_id) or candidate
        stays = ports.scheduling.list_stays(pools[host_id], MAX_STAYS)
        chosen = choose_victims(gpus, {host_id: len(candidate.free_leases)}, stays, now_ms)
        if chosen is not None:
            told += sum(preempt_stay(ports, stay, now_ms) for stay in chosen[1])
    return told

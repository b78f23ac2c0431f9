"""Sees to it that the GPUs of a reservation are free when its window begins: spot there is told in time."""

from chalicelib.core.capacity import name_pool
from chalicelib.rentals.dispatch import MAX_STAYS, preempt_stay
from chalicelib.rentals.ports import RentalPorts
from chalicelib.rentals.preemption import choose_victims
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.upkeep import list_due


def clear_way(ports: RentalPorts, reservations: ReservationPorts, now_ms: int) -> int:
    """Announce the end of spot stays on hosts whose reservation begins within the lead; return how many."""
    told = 0
    for reservation in list_due(reservations, now_ms).starting:
        stays = ports.scheduling.list_stays(name_pool(reservation.gpu_type, reservation.region), MAX_STAYS)
        for booking in reservation.bookings:
            candidate = ports.fleet.get_candidate(booking.host_id) if booking.state == "open" else None
            if candidate is None:
                continue
            needed = booking.gpu_count - booking.used_gpus
            free = {booking.host_id: len(candidate.free_leases)}
            chosen = choose_victims(needed, free, stays, now_ms)
            if chosen is not None:
                told += sum(preempt_stay(ports, stay, now_ms) for stay in chosen[1])
    return told

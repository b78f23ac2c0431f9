"""Whether the hosts of reservations can keep what they promised, and what follows when one cannot.

A host loses GPUs for good (it is lost or retired, a GPU is broken) or for a while (it drains, a GPU is to be
reset or is withheld). The first moves bookings whenever they begin, the second those that begin soon. What is
found is a function of the host as it is now: a look that comes twice, late, or after a crash does the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import Host, HostGpu
from chalicelib.reservations import model
from chalicelib.reservations.model import Booking, Reservation
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.upkeep import (
    BREAK_LEAD_MS,
    MAX_MOVES,
    Fate,
    find_due,
    pass_boundary,
    rebook,
    rebook_host,
)

#: What a host lacks for a while counts for windows that begin within this time: its slots, and one to spare.
SOON_MS = 2 * model.SLOT_MS
#: Each window begins within it.
FOR_GOOD_MS = model.MAX_AHEAD_MS
#: As many as a host's bookings can be listed at once, see `MAX_MOVES`; the last finds none.
VACATE_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Room:
    """GPUs of a host that may be promised: ``now``, and ``lasting`` when all that mends itself has."""

    lasting: int
    now: int

    def find_room(self, at_ms: int, now_ms: int) -> int:
        return min(self.lasting, self.now) if at_ms <= now_ms + SOON_MS else self.lasting


@dataclass(frozen=True, slots=True)
class Kept:
    """How many reservations had which `Fate`; ``left``: hosts of which something changed at the same time."""

    moved: int = 0
    broken: int = 0
    waiting: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class HostBookings:
    """The fleet's `Bookings`."""

    ports: ReservationPorts

    def vacate(self, host_id: str) -> None:
        """See `fleet.service.Bookings`."""
        for _ in range(VACATE_ROUNDS):
            fates = rebook_host(self.ports, host_id, "was retired", FOR_GOOD_MS)
            for reservation_id, fate in fates.items():
                reservation = self.ports.store.get_reservation(reservation_id)
                if fate == "unchanged" and reservation is not None:
                    # It has ended, and nobody has written that down yet.
                    pass_boundary(self.ports, reservation, self.ports.clock.now_ms())
            if len(fates) < MAX_MOVES:
                return
        raise Unavailable("The host has too many bookings; call again.")

    def require_none(self, tx: Transaction, host_id: str) -> None:
        """See `fleet.service.Bookings`."""
        self.ports.store.require_unbooked(tx, host_id)


def keep_promises(ports: ReservationPorts, pools: Iterable[tuple[str, str]], now_ms: int) -> Kept:
    """Look at each host that may not keep what it promised, of the pools (GPU type, region)."""
    hosts = {host_id: None for pool in pools for host_id in ports.fleet.list_impaired(*pool)}
    for reservation in find_due(ports, now_ms + SOON_MS):
        # A GPU that is withheld shows on no index.
        if reservation.state == "confirmed":
            hosts |= {booking.host_id: None for booking in reservation.open_bookings}
    fates: list[Fate] = []
    left = 0
    for host_id in hosts:
        try:
            fates += keep_host(ports, host_id, now_ms).values()
        except DomainError:
            # It changed at the same time: the others do not wait for it, and the next minute looks again.
            left += 1
    return Kept(fates.count("moved"), fates.count("broken"), fates.count("waiting"), left)


def keep_host(ports: ReservationPorts, host_id: str, now_ms: int) -> dict[str, Fate]:
    """Move from a host what it cannot keep; return what became of those reservations.

    Raises:
        Unavailable: a reservation changed at the same time; call again.
    """
    host = ports.fleet.get_host(host_id)
    if host is None or host.state in {"lost", "retired"}:
        return rebook_host(ports, host_id)
    room = measure_room(host, ports.fleet.list_gpus(host_id))
    if room.lasting == room.now == host.gpu_count:
        return {}
    found = [ports.store.get_reservation(each) for each in ports.store.list_on_host(host_id, MAX_MOVES)]
    there = [each for each in found if each is not None]
    for_good = choose_moves(there, host_id, Room(room.lasting, room.lasting), now_ms)
    return {
        each.reservation_id: rebook(
            ports,
            each.reservation_id,
            host_id,
            "has not enough sound GPUs",
            BREAK_LEAD_MS if each in for_good else None,
        )
        for each in choose_moves(there, host_id, room, now_ms)
    }


def measure_room(host: Host, gpus: Sequence[HostGpu]) -> Room:
    """Return what a host that is there can give. A reboot mends some faults, an operator the others."""
    rules = [gpu.fault.rule for gpu in gpus if gpu.fault is not None and gpu.fault.open]
    broken = [rule for rule in rules if rule.cordons_gpu and not rule.reboot_clears]
    lasting = 0 if any(rule.drains_host for rule in broken) else host.gpu_count - len(broken)
    unfit = sum(gpu.faulty or gpu.lease_state in {"withheld", "unhealthy"} for gpu in gpus)
    return Room(lasting, host.gpu_count - unfit if host.state == "active" else 0)


def choose_moves(
    reservations: Sequence[Reservation], host_id: str, room: Room, now_ms: int
) -> list[Reservation]:
    """Return those that a host has no room for: who uses its GPUs stays, then whoever begins first.

    One whose move is half done is among them.
    """
    kept: list[tuple[Reservation, Booking]] = []
    moves = []
    here = [
        (each, booking)
        for each in reservations
        for booking in each.bookings
        if booking.host_id == host_id and booking.state != "closed"
    ]
    here.sort(key=lambda pair: (not pair[1].uses, pair[0].starts_at_ms, pair[0].reservation_id))
    for reservation, booking in here:
        if booking.state == "moved":
            moves.append(reservation)
        elif booking.uses or _fits((reservation, booking), kept, room, now_ms):
            kept.append((reservation, booking))
        else:
            moves.append(reservation)
    return moves


def _fits(
    wanted: tuple[Reservation, Booking],
    kept: Sequence[tuple[Reservation, Booking]],
    room: Room,
    now_ms: int,
) -> bool:
    """Say whether there is room when the window begins: who is kept began before, so it is scarcest then."""
    reservation, booking = wanted
    at_ms = max(reservation.starts_at_ms, now_ms)
    taken = sum(each.gpu_count for other, each in kept if other.starts_at_ms <= at_ms < other.ends_at_ms)
    return taken + booking.gpu_count <= room.find_room(at_ms, now_ms)

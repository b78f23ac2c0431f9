"""GPUs that were slowed for reasons that are the platform's: telemetry notes it at the stay's meter, which
the minute's charge reads anyway (`billing.slowdowns`).
"""

from collections.abc import Mapping, Sequence

from chalicelib.core.leases import Lease
from chalicelib.core.ports import ChargeRequest, Transaction
from chalicelib.metering.model import EnergyShare
from chalicelib.metering.ports import MeterPorts, TelemetryRecord
from chalicelib.rentals.model import Rental
from chalicelib.rentals.rules import ACTIVE_STATES


def mark_slowed_stays(
    ports: MeterPorts,
    tx: Transaction,
    rentals: Mapping[str, Rental | None],
    shares: Sequence[EnergyShare],
    host_id: str,
    told_at_ms: int,
) -> list[Rental]:
    """Add to ``tx``: the hours in which a GPU was slowed are to be looked at; return whose they are.

    A stay that has no meter yet is not billed, so there is nothing to give back.
    """
    slowed: dict[tuple[str, int], set[str]] = {}
    for share in shares:
        rental = rentals[share.rental_id]
        if rental is None or not (share.thermal_slowdown_ms or share.power_brake_ms):
            continue
        used = Lease(share.gpu_uuid, share.epoch)
        for stay in rental.placements:
            if stay.host_id == host_id and used in stay.leases:
                slowed.setdefault((rental.rental_id, stay.segment), set()).add(share.hour)
    for (rental_id, segment), hours in slowed.items():
        meter = ports.store.get_meter(rental_id, segment)
        if meter is not None:
            ports.store.mark_slowed(tx, meter, frozenset(hours), told_at_ms)
    named = sorted({rental_id for rental_id, _ in slowed})
    return [rental for rental in (rentals[each] for each in named) if rental is not None]


def request_late_credits(ports: MeterPorts, slowed: Sequence[Rental], record: TelemetryRecord) -> None:
    """Ask for a charge of rentals that are over: no minute comes by any more.

    A record that comes again after a crash asks again.
    """
    name = f"slowed:{record.seq}:{record.boot_id}"
    requests = [
        ChargeRequest(rental.account_id, rental.rental_id, f"{rental.rental_id}:{name}"[:128])
        for rental in slowed
        if rental.state not in ACTIVE_STATES
    ]
    if requests:
        ports.charges.request_charges(requests)

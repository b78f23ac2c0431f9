"""Use cases of a host that has gone: its rentals end, or go to another host, without waiting for anything.

Each rental is one transaction: leases to the wiping epoch, so that whatever the old host still says is
refused; meter to the last proof of life; quota given back; the rental stopped, ended, or in line before
everybody else. Its GPUs stay in ``wiping`` until the host comes back and acknowledges, or is retired.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.fleet.model import LossReason
from chalicelib.fleet.service import StaleEpoch
from chalicelib.fleet.watch import NotLost, WatchStore
from chalicelib.metering.model import MAX_PROOF_GAP_MS, Meter
from chalicelib.metering.ports import MeterPorts
from chalicelib.metering.service import MAX_ATTEMPTS, close_meter, request_final_charge
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.life import add_stop, finish_stay
from chalicelib.rentals.model import Rental, begin_end
from chalicelib.rentals.ports import SYSTEM_ACTOR, add_audit
from chalicelib.rentals.rules import ACTIVE_STATES, Reason
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.reservations.upkeep import rebook_host

#: Adds a condition to each transaction that takes something from a host.
Guard = Callable[[Transaction], None]


@dataclass(frozen=True, slots=True)
class RentalFailover:
    """The fleet's `Failover`."""

    ports: MeterPorts
    watch: WatchStore
    reservations: ReservationPorts

    def fail_over_host(self, host_id: str, reason: LossReason, now_ms: int) -> None:
        """See `fleet.watch.Failover`. To a renter it is the same, silent or ended."""
        del reason
        # First: a ticket that redeems a reservation looks for it where it is then.
        rebook_host(self.reservations, host_id)
        # A host that has come back keeps what runs on it.
        with contextlib.suppress(NotLost):
            fail_over_host(
                self.ports, host_id, "host_lost", now_ms, lambda tx: self.watch.require_lost(tx, host_id)
            )


def fail_over_host(
    ports: MeterPorts, host_id: str, reason: Reason, now_ms: int, guard: Guard | None = None
) -> int:
    """End every stay on a host that has gone, and place again who wants it; return how many ended.

    Safe to repeat: who is no longer there is left alone.

    Raises:
        Unavailable: something changes all the time; the next tick goes on.
        Conflict: the ``guard`` says that the host has not gone.
    """
    rows = ports.rentals.fleet.list_gpus(host_id)
    held = sorted({row.rental_id for row in rows if row.rental_id is not None})
    return give_up_stays(ports, host_id, held, reason, now_ms, guard)


def give_up_stays(
    ports: MeterPorts,
    host_id: str,
    rental_ids: Sequence[str],
    reason: Reason,
    now_ms: int,
    guard: Guard | None = None,
) -> int:
    """End the stays of some rentals on a host without waiting for its word; return how many ended."""
    return _give_up(
        ports, host_id, rental_ids, lambda rental: lose_stay(ports, rental, reason, now_ms, guard), _has_stay
    )


def give_up_wipes(ports: MeterPorts, host_id: str, rental_ids: Sequence[str], now_ms: int) -> int:
    """End the stays that wait for a wipe which an operator has given up; return how many ended.

    A stay that runs is another one, on other GPUs of the host, and goes on.
    """
    return _give_up(
        ports,
        host_id,
        rental_ids,
        lambda rental: lose_stay(ports, rental, "operator_forced", now_ms),
        _is_ending,
    )


def _give_up(
    ports: MeterPorts,
    host_id: str,
    rental_ids: Sequence[str],
    lose: Callable[[Rental], Rental],
    is_meant: Callable[[Rental], bool],
) -> int:
    pools: dict[str, None] = {}
    ended = 0
    for rental_id in rental_ids:
        lost = _lose(ports, rental_id, host_id, lose, is_meant)
        if lost is not None:
            ended += 1
            pools |= dict.fromkeys(lost.waiting.pools if lost.waiting is not None else ())
    for pool in pools:
        dispatch_pool(ports.rentals, pool)
    return ended


def _lose(
    ports: MeterPorts,
    rental_id: str,
    host_id: str,
    lose: Callable[[Rental], Rental],
    is_meant: Callable[[Rental], bool],
) -> Rental | None:
    for _ in range(MAX_ATTEMPTS):
        rental = ports.rentals.store.get_rental(rental_id)
        if rental is None or rental.host_id != host_id or not is_meant(rental):
            return None
        try:
            return lose(rental)
        except (Unavailable, StaleEpoch):
            continue
    raise Unavailable(f"The rental {rental_id} changes all the time.")


def _has_stay(rental: Rental) -> bool:
    return rental.state in ACTIVE_STATES or _is_ending(rental)


def _is_ending(rental: Rental) -> bool:
    return rental.state in {"stopping", "terminating"}


def lose_stay(
    ports: MeterPorts, rental: Rental, reason: Reason, now_ms: int, guard: Guard | None = None
) -> Rental:
    """End the present stay without a host that could say so. Billed to the last proof of life.

    Raises:
        Unavailable or StaleEpoch: the rental changed at the same time.
        Conflict: it has no stay.
    """
    tx = ports.rentals.transactions()
    if guard is not None:
        guard(tx)
    ending = rental
    if rental.state in ACTIVE_STATES:
        meter = ports.store.get_meter(rental.rental_id, rental.segment)
        proven_ms = rental.created_at_ms if meter is None else meter.alive_through_ms
        ending = begin_end(rental, reason, proven_ms)
        # If the host comes back, it is to stop and wipe everything.
        add_stop(ports.rentals, tx, ending, keep_volume=False)
    if not _is_ending(ending):
        raise Conflict(f"The rental is {rental.state}.", code="invalid_transition")
    finished = finish_stay(ports.rentals, tx, ending, now_ms, before=rental)
    close_meter(ports, tx, ending, None)
    details = {"host_id": rental.host_id, "segment": rental.segment}
    add_audit(ports.rentals, tx, rental, SYSTEM_ACTOR, f"rental.stay_lost.{reason}", details)
    tx.commit()
    request_final_charge(ports, ending)
    return finished


def end_interrupted(ports: MeterPorts, meter: Meter, now_ms: int) -> bool:
    """End a stay whose host has gone as was announced; return whether it had.

    The deadline has passed and nothing was heard since: no wipe will be acknowledged, so nothing waits for
    one. Billing ends with the last proof of life; the GPUs stay in ``wiping`` unless the host comes back.

    Raises:
        Unavailable: the rental changed at the same time.
    """
    silent_since_ms = now_ms - MAX_PROOF_GAP_MS
    if meter.state != "open" or meter.alive_through_ms >= silent_since_ms:
        return False
    rental = ports.rentals.store.get_rental(meter.rental_id)
    if rental is None or rental.segment != meter.segment or not _has_stay(rental):
        return False
    if rental.interruption is None or rental.interruption.ends_at_ms is None or rental.host_id is None:
        return False
    liveness = ports.rentals.fleet.get_liveness(rental.host_id)
    heard_at_ms = 0 if liveness is None else liveness.last_seen_at_ms
    if max(rental.interruption.ends_at_ms, heard_at_ms) >= silent_since_ms:
        return False
    lose_stay(ports, rental, "host_interrupted", now_ms)
    return True

"""Which hosts are kept for reservations: an operator's word, and what stands against it."""

from chalicelib.core.errors import Conflict, NotFound
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.fleet.model import Host
from chalicelib.reservations.ports import ReservationPorts


def make_reservable(ports: ReservationPorts, principal: Principal, host_id: str) -> None:
    """Keep a host for reservations; on demand nothing is placed on it any more. Safe to repeat.

    Raises:
        NotFound: there is no such host.
        Conflict: ``host_in_use`` while anything runs on it, ``host_gone``.
        Unavailable: it changed at the same time; try again.
    """
    host = _get_host(ports, host_id)
    if host.state not in {"active", "draining"}:
        raise Conflict(f"The host is {host.state}.", code="host_gone")
    if host.reservable:
        return
    tx = ports.transactions()
    ports.fleet.set_reservable(tx, host, reservable=True)
    _add_audit(ports, tx, principal, host_id, "host.made_reservable")
    tx.commit()


def make_shared(ports: ReservationPorts, principal: Principal, host_id: str) -> None:
    """Offer a host to everybody again. Safe to repeat.

    Raises:
        NotFound: there is no such host.
        Conflict: ``host_booked`` while a reservation has not ended on it.
        Unavailable: it changed at the same time; try again.
    """
    host = _get_host(ports, host_id)
    if not host.reservable:
        return
    tx = ports.transactions()
    # A booking checks the host and counts itself; this asks the count and writes the host: one of them fails.
    ports.store.require_unbooked(tx, host_id)
    ports.fleet.set_reservable(tx, host, reservable=False)
    _add_audit(ports, tx, principal, host_id, "host.made_shared")
    tx.commit()


def _get_host(ports: ReservationPorts, host_id: str) -> Host:
    host = ports.fleet.get_host(host_id)
    if host is None:
        raise NotFound("There is no such host.")
    return host


def _add_audit(
    ports: ReservationPorts, tx: Transaction, principal: Principal, host_id: str, action: str
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        principal.account_id,
        principal.actor_id,
        action,
        host_id,
        ports.clock.now_ms(),
    )
    ports.audit.add_entry(tx, entry)

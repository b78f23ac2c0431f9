"""Use cases of operators on a host: cordon, uncordon, retire, and freeing a GPU that nobody will free.

Each is one audited transaction on what was read; repeating it changes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.fleet.incident import build_incident
from chalicelib.fleet.model import Cordon, Host, HostGpu, settle
from chalicelib.fleet.service import Bookings, FleetPorts, read_host
from chalicelib.fleet.watch import IncidentStore, WatchStore

#: A transaction holds 100 writes: one a GPU, the host, the audit entry, an incident, the totals.
MAX_FORCED_GPUS = 64
#: Ends the stays of these rentals that wait for a wipe on the host; a repeat changes nothing.
GiveUp = Callable[[str, Sequence[str]], None]
_HELD = frozenset({"leased", "wiping"})


@dataclass(frozen=True, slots=True)
class OperationPorts:
    fleet: FleetPorts
    watch: WatchStore
    incidents: IncidentStore
    bookings: Bookings


def cordon_host(ports: OperationPorts, principal: Principal, host_id: str, reason: str) -> Host:
    """Give nothing new to a host until it is uncordoned; what runs goes on.

    Raises:
        NotFound: there is no such host.
        Conflict: ``host_retired``.
        Unavailable: it changed at the same time.
    """
    host, gpus = _read(ports, host_id)
    if host.cordon is not None and (host.cordon.reason, host.cordon.automatic) == (reason, False):
        return host
    cordoned = settle(replace(host, cordon=Cordon(reason, _now_ms(ports))), gpus)
    return _replace(ports, principal, (host, cordoned), "host.cordoned", {"reason": reason})


def uncordon_host(ports: OperationPorts, principal: Principal, host_id: str) -> Host:
    """Lift a cordon. One that the platform set begins to count anew: somebody has looked.

    Raises: as `cordon_host`.
    """
    host, gpus = _read(ports, host_id)
    if host.cordon is None:
        return host
    counted = () if host.cordon.automatic else host.hardware_incidents_ms
    opened = settle(replace(host, cordon=None, hardware_incidents_ms=counted), gpus)
    return _replace(ports, principal, (host, opened), "host.uncordoned", {"reason": host.cordon.reason})


def retire_host(ports: OperationPorts, principal: Principal, host_id: str, reason: str) -> Host:
    """Take a host out for good: out of its pool, unwatched, its key revoked. It is cordoned first.

    A host that is closed gets no lease and no booking any more, so what is read after that is the truth. What
    it has promised for later is promised elsewhere first, or broken where nobody else has room.

    Raises:
        NotFound: there is no such host.
        Conflict: ``host_in_use``: a GPU is leased, or owes a wipe; ``host_booked`` a moment ago.
        Unavailable: it changed at the same time.
    """
    host, _, gpus = read_host(ports.fleet, host_id)
    if host.state == "retired":
        return host
    if host.state == "active":
        host = cordon_host(ports, principal, host_id, reason)
        host, _, gpus = read_host(ports.fleet, host_id)
    held = sorted(gpu.gpu.gpu_uuid for gpu in gpus if gpu.lease_state in _HELD)
    if held:
        raise Conflict(
            "GPUs of this host are leased or owe a wipe: wait for their rentals, or force the release.",
            code="host_in_use",
            extra={"gpus": held},
        )
    ports.bookings.vacate(host_id)
    accounts = ports.fleet.accounts
    tx = accounts.transactions()
    retired = replace(host, state="retired")
    ports.bookings.require_none(tx, host_id)
    ports.fleet.store.replace_health(tx, host, retired, ())
    if ports.fleet.store.get_liveness(host_id) is not None:
        ports.watch.drop_watch(tx, host_id)
    accounts.store.revoke_key(tx, host.api_key_id, accounts.clock.now_ms())
    _add_audit(ports, tx, principal, "host.retired", host_id, {"reason": reason})
    tx.commit()
    return retired


def force_release(
    ports: OperationPorts,
    principal: Principal,
    host_id: str,
    gpu_uuids: Sequence[str],
    reason: str,
    give_up: GiveUp,
) -> list[str]:
    """Free GPUs that are stuck in ``wiping``, on an operator's word that nothing of the renter is left.

    The epoch rises, so whatever their old holder or host still says of them is refused. Returns the rentals
    that had waited for the wipe: their stays end first, so that GPUs are stuck until all have, and who
    repeats it after a crash goes on. GPUs that are free already are left alone.

    Raises:
        NotFound: there is no such host.
        InvalidInput: ``unknown_gpu``, or none is named.
        Conflict: ``gpu_in_use``: one is leased; end its rental first. ``host_retired``.
        StaleEpoch, Unavailable: one changed at the same time.
    """
    host, gpus = _read(ports, host_id)
    wanted = _choose(gpus, gpu_uuids)
    stuck = [gpu for gpu in wanted if gpu.lease_state == "wiping"]
    if not stuck:
        return []
    rental_ids = sorted({gpu.rental_id for gpu in stuck if gpu.rental_id})
    uuids = sorted(gpu.gpu.gpu_uuid for gpu in stuck)
    details: dict[str, object] = {"reason": reason, "gpu_uuids": uuids, "rental_ids": rental_ids}
    give_up(host_id, rental_ids)
    tx = ports.fleet.accounts.transactions()
    ports.fleet.store.force_free(tx, host_id, stuck)
    epochs = tuple(gpu.epoch for gpu in stuck)
    incident = build_incident(
        "gpu_forced_free", host.region, _now_ms(ports), details, host_id=host_id, cause=(*uuids, *epochs)
    )
    ports.incidents.add_incident(tx, incident)
    _add_audit(ports, tx, principal, "host.gpus_forced_free", host_id, details)
    tx.commit()
    return rental_ids


def _choose(gpus: Sequence[HostGpu], gpu_uuids: Sequence[str]) -> list[HostGpu]:
    by_uuid = {gpu.gpu.gpu_uuid: gpu for gpu in gpus}
    wanted = sorted(set(gpu_uuids))
    unknown = [uuid for uuid in wanted if uuid not in by_uuid]
    if unknown or not 1 <= len(wanted) <= MAX_FORCED_GPUS:
        raise InvalidInput("Name GPUs of this host.", code="unknown_gpu", extra={"gpus": unknown})
    leased = [uuid for uuid in wanted if by_uuid[uuid].lease_state == "leased"]
    if leased:
        raise Conflict("A GPU is leased: end its rental first.", code="gpu_in_use", extra={"gpus": leased})
    return [by_uuid[uuid] for uuid in wanted]


def _read(ports: OperationPorts, host_id: str) -> tuple[Host, list[HostGpu]]:
    host, _, gpus = read_host(ports.fleet, host_id)
    if host.state == "retired":
        raise Conflict("This host was retired; enrol the machine anew.", code="host_retired")
    return host, gpus


def _replace(
    ports: OperationPorts,
    principal: Principal,
    change: tuple[Host, Host],
    action: str,
    details: dict[str, object],
) -> Host:
    before, after = change
    tx = ports.fleet.accounts.transactions()
    ports.fleet.store.replace_health(tx, before, after, ())
    _add_audit(ports, tx, principal, action, before.host_id, details)
    tx.commit()
    return after


def _now_ms(ports: OperationPorts) -> int:
    return ports.fleet.accounts.clock.now_ms()


def _add_audit(
    ports: OperationPorts,
    tx: Transaction,
    principal: Principal,
    action: str,
    subject: str,
    details: dict[str, object],
) -> None:
    accounts = ports.fleet.accounts
    entry_id, now_ms = accounts.ids.new_id("aud"), accounts.clock.now_ms()
    entry = AuditEntry(entry_id, principal.account_id, principal.actor_id, action, subject, now_ms, details)
    accounts.audit.add_entry(tx, entry)

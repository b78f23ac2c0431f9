"""Use cases of the fleet: enrolment, credentials, liveness, capacity."""

import contextlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Protocol

from chalicelib.accounts.model import ApiKey, build_token, compute_digest, is_same_digest, parse_token
from chalicelib.accounts.service import AccountPorts, IssuedKey, build_key
from chalicelib.catalog.model import Catalog
from chalicelib.core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from chalicelib.core.leases import Lease
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction, Transactions
from chalicelib.core.principal import Principal
from chalicelib.fleet.candidates import CandidateReader, ReservableHosts
from chalicelib.fleet.model import (
    ENROLMENT_LIFETIME_MS,
    Enrolment,
    Gpu,
    Host,
    HostCommand,
    HostGpu,
    Liveness,
    clear_faults,
)

MAX_CANDIDATES = 8


class CapacityTaken(Conflict):
    """The GPUs were leased, or the host fell silent, since the candidate was read."""

    code = "capacity_taken"


class StaleEpoch(Conflict):
    """Somebody acted on the lease before: the epoch is no longer the current one."""

    code = "stale_epoch"


class FleetStore(CandidateReader, ReservableHosts, Protocol):
    def get_enrolment(self, enrolment_id: str) -> Enrolment | None: ...
    def get_host(self, host_id: str) -> Host | None: ...
    def get_liveness(self, host_id: str) -> Liveness | None: ...
    def list_gpus(self, host_id: str) -> list[HostGpu]: ...
    def list_hosts(self, gpu_type: str, region: str) -> list[Host]: ...
    def add_enrolment(self, tx: Transaction, enrolment: Enrolment) -> None: ...
    def use_enrolment(self, tx: Transaction, enrolment: Enrolment, install_id: str) -> None:
        """Fails with Conflict when another machine has used it."""

    def add_host(self, tx: Transaction, host: Host, gpus: Sequence[Gpu]) -> None: ...
    def replace_host_key(self, tx: Transaction, host: Host, key_id: str) -> None: ...
    def record_liveness(self, host_id: str, liveness: Liveness, before: Liveness | None = None) -> int | None:
        """Keep the newest; return how many GPUs are withheld, ``None`` for one older than what is stored.

        ``None`` also when what is stored is not as ``before``: the host was given up, or must look again.
        """

    def extend_liveness(self, host_id: str, liveness: Liveness) -> int | None:
        """As `record_liveness`, but ``None`` when it announces what is not stored; watched as it was."""

    def end_silence(
        self, tx: Transaction, host_id: str, before: Liveness, sent_at_ms: int, watch_key: str
    ) -> None:
        """Count a host as heard and watch it; the next announcement counts as new.

        Fails with Unavailable when ``before`` is not what is stored any more.
        """

    def unsettle_liveness(self, tx: Transaction, host_id: str, sent_at_ms: int) -> None:
        """Make the next announcement count as new. Fails with Unavailable if a newer heartbeat is stored."""

    def withhold(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        """free@e -> withheld@e, and out of the host's free map. Fails with CapacityTaken."""

    def offer_again(self, tx: Transaction, host_id: str, lease: Lease) -> None:
        """withheld@e -> free@e, and back into the free map. Fails with StaleEpoch."""

    def store_capabilities(
        self, host_id: str, gpu_uuid: str, capabilities: dict[str, Any], at_ms: int
    ) -> None:
        """Keep the newest of a GPU that this host has."""

    def replace_health(
        self, tx: Transaction, old: Host, new: Host, gpus: Sequence[tuple[HostGpu, HostGpu]]
    ) -> None:
        """Write notice and state of the host, and fault and lease state of GPUs (before, after).

        Fails with Unavailable when any of them has moved.
        """

    def retire_unleased(self, tx: Transaction, host: Host, gpus: Sequence[HostGpu]) -> None:
        """Take a host out for good. ``gpus`` are all that it has, and none of them is leased.

        Fails with Unavailable when the host has changed, or any of its GPUs was leased or freed since.
        """

    def take_leases(
        self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease], alive_since_ms: int
    ) -> None:
        """free@e -> leased@e+1 for each given lease. Fails with CapacityTaken, also on a closed host."""

    def begin_wipe(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        """leased@e -> wiping@e+1. Fails with StaleEpoch."""

    def renew_leases(self, tx: Transaction, host_id: str, rental_id: str, leases: Sequence[Lease]) -> None:
        """wiping@e -> leased@e+1 for the same rental. Fails with StaleEpoch, also on a GPU with a fault."""

    def free_leases(
        self,
        tx: Transaction,
        host_id: str,
        rental_id: str,
        leases: Sequence[Lease],
        faulty: frozenset[str] = frozenset(),
    ) -> None:
        """wiping@e -> free@e, and back into the host's free map; wiping@e -> unhealthy@e for ``faulty`` ones.

        Fails with StaleEpoch, or with Unavailable when others are faulty now.
        """

    def force_free(self, tx: Transaction, host_id: str, gpus: Sequence[HostGpu]) -> None:
        """wiping@e -> free@e+1, or unhealthy@e+1 for a faulty one, as they were read.

        Fails with StaleEpoch, also on a retired host.
        """

    def add_command(self, tx: Transaction, command: HostCommand) -> None: ...


class Bookings(Protocol):
    """Implemented above: what is promised of a host for later."""

    def vacate(self, host_id: str) -> None:
        """Promise elsewhere what a host that goes for good has promised, or break it. Safe to repeat.

        Raises:
            Unavailable: something changed at the same time; call again.
        """

    def require_none(self, tx: Transaction, host_id: str) -> None:
        """Fails with Conflict (``host_booked``)."""


class HostIdentities(Protocol):
    """Queues and cloud credentials of hosts (SQS and STS)."""

    def ensure_command_queue(self, host_id: str) -> str:
        """Return the URL of the host's own queue, creating it if need be. Safe to repeat."""
        ...

    def issue_credentials(self, host_id: str) -> "HostCredentials":
        """Return credentials that may send to the ingest queues and read this host's commands only."""
        ...


@dataclass(frozen=True, slots=True)
class HostCredentials:
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class FleetPorts:
    store: FleetStore
    accounts: AccountPorts
    identities: HostIdentities


@dataclass(frozen=True, slots=True)
class EnrolledHost:
    host: Host
    key: IssuedKey
    created: bool


def create_enrolment(
    ports: FleetPorts, principal: Principal, catalog: Catalog, *, gpu_type: str, region: str
) -> tuple[Enrolment, str]:
    """Return a permission for one machine, and the token that is shown once.

    Raises:
        InvalidInput: there is no price for this GPU type in this region, so the host could not be offered.
    """
    if (gpu_type, region) not in catalog.list_pools():
        raise InvalidInput("Set a price for this GPU type and region first.", code="unknown_offer")
    ids, now_ms = ports.accounts.ids, ports.accounts.clock.now_ms()
    enrolment_id = ids.new_id("enr")
    token = build_token("enrol", enrolment_id, ids.new_secret())
    digest = compute_digest(token, ports.accounts.read_pepper())
    enrolment = Enrolment(
        enrolment_id, ids.new_id("hst"), digest, gpu_type, region, now_ms, now_ms + ENROLMENT_LIFETIME_MS
    )
    tx = ports.accounts.transactions()
    ports.store.add_enrolment(tx, enrolment)
    _add_audit(ports, tx, principal.account_id, principal.actor_id, "enrolment.created", enrolment_id)
    tx.commit()
    return enrolment, token


def enrol_host(
    ports: FleetPorts,
    token: str,
    *,
    install_id: str,
    agent_version: str,
    gpus: Sequence[Gpu],
    fabric_id: str | None = None,
) -> EnrolledHost:
    """Turn a machine into a host, once per token; the same machine may ask again and gets a new key.

    Raises:
        Unauthenticated: the token is malformed, unknown, wrong or expired.
        Conflict: ``enrolment_used`` by another machine.
        Forbidden: ``host_retired``.
        InvalidInput: a GPU is listed twice.
    """
    enrolment = _check_enrolment(ports, token)
    if enrolment.install_id not in {None, install_id}:
        raise Conflict("This token was used by another machine; create a new one.", code="enrolment_used")
    if len({gpu.gpu_uuid for gpu in gpus}) != len(gpus):
        raise InvalidInput("A GPU is listed twice.", code="duplicate_gpu")
    account_id = _read_operator_account(ports)
    issued = build_key(ports.accounts, account_id, "host", enrolment.host_id, enrolment.host_id)
    tx = ports.accounts.transactions()
    ports.accounts.store.add_key(tx, issued.key)
    host = ports.store.get_host(enrolment.host_id)
    if host is not None and host.state == "retired":
        raise Forbidden("This host was retired; enrol the machine anew.", code="host_retired")
    if host is None:
        host = _build_host(ports, enrolment, issued.key, install_id, agent_version, len(gpus))
        host = replace(host, fabric_id=fabric_id)
        ports.store.use_enrolment(tx, enrolment, install_id)
        ports.store.add_host(tx, host, gpus)
        created, action = True, "host.enrolled"
    else:
        ports.accounts.store.revoke_key(tx, host.api_key_id, ports.accounts.clock.now_ms())
        ports.store.replace_host_key(tx, host, issued.key.key_id)
        host = replace(host, api_key_id=issued.key.key_id)
        created, action = False, "host.key_replaced"
    _add_audit(ports, tx, account_id, enrolment.enrolment_id, action, host.host_id)
    tx.commit()
    return EnrolledHost(host, issued, created)


def issue_credentials(ports: FleetPorts, principal: Principal, host_id: str) -> HostCredentials:
    """Raises NotFound when the caller is not this host, Forbidden when the host was retired."""
    if principal.host_id != host_id:
        raise NotFound("There is no such host.")
    host = ports.store.get_host(host_id)
    if host is None or host.state == "retired":
        raise Forbidden("This host was retired.", code="host_retired")
    return ports.identities.issue_credentials(host_id)


def sort_out_unfit(
    store: FleetStore, transactions: Transactions, host_id: str, unfit: AbstractSet[str], withheld: int
) -> None:
    """Take free GPUs that are not fit out of what is offered, and give back those that are fit again.

    ``withheld`` is how many were; where none was and none is unfit, nothing is read. A leased GPU is left
    alone: it is seen to at a heartbeat after its release.
    """
    if not unfit and not withheld:
        return
    for row in store.list_gpus(host_id):
        lease = Lease(row.gpu.gpu_uuid, row.epoch)
        tx = transactions()
        if row.lease_state == "free" and lease.gpu_uuid in unfit:
            store.withhold(tx, host_id, lease)
        elif row.lease_state == "withheld" and lease.gpu_uuid not in unfit and not row.faulty:
            store.offer_again(tx, host_id, lease)
        else:
            continue
        # Somebody else was quicker: the next heartbeat looks again.
        with contextlib.suppress(CapacityTaken, StaleEpoch):
            tx.commit()


def record_capabilities(
    store: FleetStore, host_id: str, by_board: Mapping[str, dict[str, Any]], at_ms: int
) -> None:
    """Keep what drivers answer with each GPU; the instances of a board have what it has."""
    for row in store.list_gpus(host_id) if by_board else ():
        found = by_board.get(row.gpu.parent_uuid or row.gpu.gpu_uuid)
        if found is not None:
            store.store_capabilities(host_id, row.gpu.gpu_uuid, found, at_ms)


def list_hosts(ports: FleetPorts, catalog: Catalog) -> Page[tuple[Host, Liveness | None]]:
    """Return every offered host with its liveness, pool by pool."""
    hosts = [host for pool in catalog.list_pools() for host in ports.store.list_hosts(*pool)]
    return Page([(host, ports.store.get_liveness(host.host_id)) for host in hosts])


def read_host(ports: FleetPorts, host_id: str) -> tuple[Host, Liveness | None, list[HostGpu]]:
    """Raises NotFound."""
    host = ports.store.get_host(host_id)
    if host is None:
        raise NotFound("There is no such host.")
    return host, ports.store.get_liveness(host_id), ports.store.list_gpus(host_id)


def clear_host_faults(ports: FleetPorts, principal: Principal, host_id: str) -> Host:
    """Take an operator's word that a host's GPUs were repaired; they are offered again. Safe to repeat.

    Raises:
        NotFound: there is no such host.
        Unavailable: it changed at the same time.
    """
    host, _, gpus = read_host(ports, host_id)
    now_ms = ports.accounts.clock.now_ms()
    cleared, changed = clear_faults(host, gpus, now_ms, lambda _gpu: True)
    moved = list_moved(gpus, changed)
    if not moved:
        return host
    tx = ports.accounts.transactions()
    ports.store.replace_health(tx, host, cleared, moved)
    _add_audit(ports, tx, principal.account_id, principal.actor_id, "host.faults_cleared", host_id)
    tx.commit()
    return cleared


def list_moved(before: Sequence[HostGpu], after: Sequence[HostGpu]) -> list[tuple[HostGpu, HostGpu]]:
    """Return the GPUs that differ, before and after."""
    return [(old, new) for old, new in zip(before, after, strict=True) if old != new]


def _check_enrolment(ports: FleetPorts, token: str) -> Enrolment:
    enrolment = ports.store.get_enrolment(parse_token(token, "enrol"))
    refused = Unauthenticated("The enrolment token is not valid.")
    if enrolment is None:
        raise refused
    if not is_same_digest(enrolment.digest, compute_digest(token, ports.accounts.read_pepper())):
        raise refused
    if enrolment.install_id is None and enrolment.expires_at_ms < ports.accounts.clock.now_ms():
        raise refused
    return enrolment


def _read_operator_account(ports: FleetPorts) -> str:
    installation = ports.accounts.store.get_installation()
    if installation is None:
        raise Conflict("Bootstrap the installation first.", code="not_bootstrapped")
    return installation.account_id


def _build_host(
    ports: FleetPorts, enrolment: Enrolment, key: ApiKey, install_id: str, agent_version: str, gpu_count: int
) -> Host:
    return Host(
        host_id=enrolment.host_id,
        gpu_type=enrolment.gpu_type,
        region=enrolment.region,
        state="active",
        gpu_count=gpu_count,
        free_gpus=gpu_count,
        install_id=install_id,
        agent_version=agent_version,
        created_at_ms=ports.accounts.clock.now_ms(),
        # Named after the host, which the token fixed: a crash before the commit leaves nothing astray.
        commands_queue_url=ports.identities.ensure_command_queue(enrolment.host_id),
        api_key_id=key.key_id,
    )


def _add_audit(
    ports: FleetPorts, tx: Transaction, account_id: str, actor: str, action: str, subject: str
) -> None:
    now_ms = ports.accounts.clock.now_ms()
    entry = AuditEntry(ports.accounts.ids.new_id("aud"), account_id, actor, action, subject, now_ms)
    ports.accounts.audit.add_entry(tx, entry)

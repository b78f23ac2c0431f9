"""Use cases of rentals. A start is one transaction: slots, leases, rental, hold, key, command, audit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.catalog.model import Catalog, Price
from chalicelib.catalog.service import CachedCatalog, CatalogStore
from chalicelib.core.errors import Conflict, DomainError, InvalidInput, NotFound
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    IdempotencyStore,
    check_replay,
)
from chalicelib.core.money import compute_charge_micros
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Workload
from chalicelib.fleet.model import SUSPECT_AFTER_MS, Candidate, HostCommand, choose_leases, order_candidates
from chalicelib.fleet.service import MAX_CANDIDATES, CapacityTaken, FleetStore
from chalicelib.rentals.model import (
    ACTIVE_STATES,
    RUNWAY_SECONDS,
    LogExcerpt,
    Reason,
    Rental,
    begin_termination,
    finish_termination,
)

HTTP_CREATED = 201
#: Each round reads the candidates again and tries up to ATTEMPTS_PER_ROUND of them.
ROUNDS = 4
ATTEMPTS_PER_ROUND = 3
SYSTEM_ACTOR = "system"


class NoCapacity(Conflict):
    code = "no_capacity"


class RentalStore(Protocol):
    def get_rental(self, rental_id: str) -> Rental | None: ...
    def list_rentals(self, account_id: str, limit: int, start: str | None) -> Page[Rental]:
        """Newest first."""
        ...

    def add_rental(self, tx: Transaction, rental: Rental) -> None: ...
    def replace_rental(self, tx: Transaction, old: Rental, new: Rental) -> None:
        """Write the life-cycle facts. Fails with Unavailable when ``old.state`` is no longer the state."""

    def replace_messages(self, tx: Transaction, old: Rental, new: Rental) -> None:
        """Write interruption and warnings. Fails with Unavailable when ``old``'s are no longer the stored."""

    def get_log(self, rental_id: str) -> LogExcerpt | None: ...
    def keep_log(self, rental_id: str, excerpt: LogExcerpt) -> None:
        """Keep the newest."""

    def record_charge(
        self, tx: Transaction, rental_id: str, *, billed_seconds: int, charge_micros: int, settled: bool
    ) -> None: ...


class Wallets(Protocol):
    """Implemented by billing, which stands above."""

    def add_hold(self, tx: Transaction, account_id: str, rental_id: str, amount_micros: int) -> None:
        """Fails with InsufficientFunds."""


@dataclass(frozen=True, slots=True)
class RentalPorts:
    store: RentalStore
    fleet: FleetStore
    catalog: CatalogStore
    cached_catalog: CachedCatalog
    wallets: Wallets
    idempotency: IdempotencyStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    currency: str


@dataclass(frozen=True, slots=True)
class RentalRequest:
    gpu_type: str
    gpu_count: int
    region: str
    workload: Workload
    max_price_micros_per_gpu_hour: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class CreateRental:
    """A start as it was asked for. ``render`` gives the answer's bytes, stored for replays."""

    request: RentalRequest
    idempotency_key: str
    fingerprint: str
    render: Callable[[Rental], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Created:
    status: int
    body: str
    replayed: bool


def create_rental(ports: RentalPorts, principal: Principal, command: CreateRental) -> Created:
    """Place and start a rental, or replay the answer that this key got before.

    Raises:
        InvalidInput: ``unknown_gpu_type`` or ``unknown_region``.
        NoCapacity: no live host has that many free GPUs.
        Conflict: ``price_cap`` when every offer costs more than the request allows.
        InsufficientFunds: the wallet cannot cover the hold.
        IdempotencyMismatch: the key was used for another request.
    """
    try:
        return _place(ports, principal, command)
    except AlreadyAnswered as answered:
        record = check_replay(answered.record, command.fingerprint)
        return Created(record.status, record.body, replayed=True)
    except DomainError:
        # A repeat may fail where the first one succeeded (it took the last GPU): its answer wins.
        now_ms = ports.clock.now_ms()
        found = ports.idempotency.find(principal.account_id, command.idempotency_key, now_ms)
        if found is None:
            raise
        record = check_replay(found, command.fingerprint)
        return Created(record.status, record.body, replayed=True)


def get_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Raises NotFound: there is no such rental, or it is another account's."""
    rental = ports.store.get_rental(rental_id)
    if rental is None or rental.account_id != principal.account_id:
        raise NotFound("There is no such rental.")
    return rental


def terminate_rental(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """End a rental; asking again while it ends, or after, answers the same.

    Raises:
        NotFound: there is no such rental, or it is another account's.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state not in ACTIVE_STATES:
        return rental
    return end_rental(ports, rental, "renter_requested", ports.clock.now_ms(), principal.key_id)


def request_log(ports: RentalPorts, principal: Principal, rental_id: str) -> Rental:
    """Ask the rental's host for the end of its log; `read_log` shows it some seconds later.

    Raises:
        NotFound: there is no such rental, or it is another account's.
        Conflict: it has ended, and what it wrote was wiped.
    """
    rental = get_rental(ports, principal, rental_id)
    if rental.state not in ACTIVE_STATES:
        raise Conflict(f"The rental is {rental.state}; its log was wiped.", code="log_wiped")
    tx, now_ms = ports.transactions(), ports.clock.now_ms()
    ports.fleet.add_command(
        tx,
        HostCommand(ports.ids.new_id("cmd"), "log", rental.host_id, rental_id, rental.leases, now_ms),
    )
    add_audit(ports, tx, rental, principal.key_id, "rental.log_requested")
    tx.commit()
    return rental


def read_log(ports: RentalPorts, principal: Principal, rental_id: str) -> LogExcerpt:
    """Raises NotFound: there is no such rental, or (``log_not_fetched``) nobody asked or it did not come."""
    rental = get_rental(ports, principal, rental_id)
    excerpt = ports.store.get_log(rental.rental_id)
    if excerpt is None:
        raise NotFound("No log was fetched yet: POST here first, then ask again.", code="log_not_fetched")
    return excerpt


def end_rental(ports: RentalPorts, rental: Rental, reason: Reason, at_ms: int, actor: str) -> Rental:
    """Move the leases to the wiping epoch, order the stop, and fix where billable time ends.

    Raises:
        Unavailable: the rental changed at the same time.
        StaleEpoch: somebody else ended it.
    """
    tx = ports.transactions()
    ended = add_end(ports, tx, rental, reason, at_ms, actor)
    tx.commit()
    return ended


def add_end(
    ports: RentalPorts,
    tx: Transaction,
    rental: Rental,
    reason: Reason,
    at_ms: int,
    actor: str,
    evidence: Mapping[str, object] | None = None,
) -> Rental:
    """Add to ``tx`` what `end_rental` does; ``evidence`` goes into the audit entry."""
    ended = begin_termination(rental, reason, at_ms)
    ports.store.replace_rental(tx, rental, ended)
    ports.fleet.begin_wipe(tx, rental.host_id, rental.rental_id, rental.leases)
    ports.fleet.add_command(
        tx,
        HostCommand(
            command_id=ports.ids.new_id("cmd"),
            kind="stop",
            host_id=rental.host_id,
            rental_id=rental.rental_id,
            leases=rental.wipe_leases,
            issued_at_ms=ports.clock.now_ms(),
        ),
    )
    add_audit(ports, tx, rental, actor, f"rental.ended.{reason}", evidence)
    return ended


def release_rental(ports: RentalPorts, tx: Transaction, rental: Rental, at_ms: int) -> Rental:
    """Add to ``tx``: the wipe is acknowledged, the GPUs are free again, the rental is over."""
    finished = finish_termination(rental, at_ms)
    ports.store.replace_rental(tx, rental, finished)
    return_gpus(ports, tx, rental)
    return finished


def return_gpus(ports: RentalPorts, tx: Transaction, rental: Rental) -> None:
    """Add to ``tx``: the GPUs are wiped; those with a fault are offered to nobody."""
    faulty = frozenset(gpu.gpu.gpu_uuid for gpu in ports.fleet.list_gpus(rental.host_id) if gpu.faulty)
    ports.fleet.free_leases(tx, rental.host_id, rental.rental_id, rental.wipe_leases, faulty)


def _place(ports: RentalPorts, principal: Principal, command: CreateRental) -> Created:
    rental_id = ports.ids.new_id("rnt")
    for round_number in range(ROUNDS):
        # A price that changed under us shows as a failed check: read the catalogue anew then.
        catalog = ports.cached_catalog.get(fresh=round_number > 0)
        prices = _find_prices(catalog, command.request, ports.clock.now_ms())
        attempts = 0
        for price in prices:
            for candidate in _find_candidates(ports, price, command.request.gpu_count, rental_id):
                attempts += 1
                try:
                    return _start(ports, principal, command, price, candidate, rental_id)
                except CapacityTaken:
                    if attempts >= ATTEMPTS_PER_ROUND:
                        break
                except Conflict as conflict:
                    if conflict.code != "price_changed":
                        raise
                    break
        if attempts == 0:
            break
    raise NoCapacity("No host has that many free GPUs now.", extra={"why": "no_capacity"})


def _find_prices(catalog: Catalog, request: RentalRequest, now_ms: int) -> list[Price]:
    if request.gpu_type not in catalog.gpu_types:
        raise InvalidInput("There is no such GPU type.", code="unknown_gpu_type")
    prices = catalog.find_prices(request.gpu_type, request.region, at_ms=now_ms)
    if not prices:
        raise InvalidInput("This GPU type is not offered in that region.", code="unknown_region")
    cap = request.max_price_micros_per_gpu_hour
    affordable = [price for price in prices if cap is None or price.price_micros_per_gpu_hour <= cap]
    if not affordable:
        raise Conflict("Every offer costs more than max_price_micros_per_gpu_hour.", code="price_cap")
    return affordable


def _find_candidates(ports: RentalPorts, price: Price, gpu_count: int, rental_id: str) -> list[Candidate]:
    found = ports.fleet.find_candidates(price.gpu_type, price.region, gpu_count, MAX_CANDIDATES)
    # The index may lag behind the host's own map: what it lists must still be enough.
    return order_candidates([each for each in found if len(each.free_leases) >= gpu_count], rental_id)


def _start(
    ports: RentalPorts,
    principal: Principal,
    command: CreateRental,
    price: Price,
    candidate: Candidate,
    rental_id: str,
) -> Created:
    now_ms = ports.clock.now_ms()
    free = choose_leases(candidate, command.request.gpu_count, rental_id)
    rental = Rental(
        rental_id=rental_id,
        account_id=principal.account_id,
        gpu_type=price.gpu_type,
        region=price.region,
        host_id=candidate.host_id,
        leases=tuple(lease.advance() for lease in free),
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        currency=ports.currency,
        created_at_ms=now_ms,
        label=command.request.label,
    )
    body = command.render(rental)
    hold_micros = compute_charge_micros(
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        gpu_count=rental.gpu_count,
        seconds=RUNWAY_SECONDS,
    )
    tx = ports.transactions()
    # The key comes first: of several failed conditions, the answered request explains the others.
    ports.idempotency.add(
        tx,
        IdempotencyRecord(
            principal.account_id,
            command.idempotency_key,
            command.fingerprint,
            HTTP_CREATED,
            body,
            now_ms + LIFETIME_MS,
        ),
        now_ms,
    )
    ports.store.add_rental(tx, rental)
    ports.wallets.add_hold(tx, principal.account_id, rental_id, hold_micros)
    ports.fleet.take_leases(tx, candidate.host_id, rental_id, free, now_ms - SUSPECT_AFTER_MS)
    ports.catalog.require_price(tx, price)
    ports.fleet.add_command(tx, _build_start(ports, rental, command.request, now_ms))
    add_audit(ports, tx, rental, principal.key_id, "rental.created")
    tx.commit()
    return Created(HTTP_CREATED, body, replayed=False)


def _build_start(ports: RentalPorts, rental: Rental, request: RentalRequest, now_ms: int) -> HostCommand:
    return HostCommand(
        command_id=ports.ids.new_id("cmd"),
        kind="start",
        host_id=rental.host_id,
        rental_id=rental.rental_id,
        leases=rental.leases,
        issued_at_ms=now_ms,
        workload=request.workload,
    )


def add_audit(
    ports: RentalPorts,
    tx: Transaction,
    rental: Rental,
    actor: str,
    action: str,
    details: Mapping[str, object] | None = None,
) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        rental.account_id,
        actor,
        action,
        rental.rental_id,
        ports.clock.now_ms(),
        dict(details or {}),
    )
    ports.audit.add_entry(tx, entry)

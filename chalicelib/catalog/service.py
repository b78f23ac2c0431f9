"""Use cases of the catalogue: what is sold, where, at what price and from when."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from chalicelib.catalog.model import (
    Agreement,
    Catalog,
    GpuType,
    Price,
    PriceChange,
    PriceKey,
    PriceOrigin,
    PriceSchedule,
)
from chalicelib.catalog.spot import SpotBounds, find_step, move_price
from chalicelib.core.capacity import BillingClass, ClosedCause
from chalicelib.core.errors import Conflict, InvalidInput, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal

#: For so long a process may keep the catalogue that it has read.
CATALOG_TTL_MS = 60_000
#: How far ahead a price may be announced.
MAX_AHEAD_MS = 366 * 86_400_000
SYSTEM_ACTOR = "system"

Answered = TypeVar("Answered")


class PriceChanged(Conflict):
    """Another price has come into force since this one was read."""

    code = "price_changed"


class KindChanged(Conflict):
    """A whole GPU stays one, and a MIG profile stays the same one of the same parent."""

    code = "gpu_type_kind"


class VersionMismatch(Conflict):
    """It was changed since it was read."""

    code = "version_mismatch"


class CatalogStore(Protocol):
    def read_catalog(self) -> Catalog: ...
    def put_gpu_type(self, tx: Transaction, gpu_type: GpuType) -> None:
        """Fails with KindChanged when the stored type has another profile or parent."""

    def require_whole_type(self, tx: Transaction, name: str) -> None:
        """Fails with KindChanged unless the type is there and is no MIG profile."""

    def put_schedule(self, tx: Transaction, schedule: PriceSchedule) -> None:
        """Fails with Unavailable when the stored schedule is no longer at ``version - 1``."""

    def add_history(self, tx: Transaction, change: PriceChange) -> None: ...
    def list_history(
        self, key: PriceKey, from_ms: int, to_ms: int, limit: int, start: str | None
    ) -> Page[PriceChange]:
        """Rows whose price holds from an instant in ``from_ms <= instant < to_ms``, newest first."""
        ...

    def put_volume_price(self, tx: Transaction, region: str, price_micros_per_gib_hour: int) -> None: ...
    def put_agreement(self, tx: Transaction, agreement: Agreement) -> None:
        """Fails with VersionMismatch when the stored one is no longer at ``version - 1``."""

    def require_price(self, tx: Transaction, price: Price) -> None:
        """Fails with PriceChanged unless ``price`` is the one in force now.

        Raised at once when ``price.until_ms`` has passed, at the commit when the schedule was changed.
        """


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one pool has; ``None`` is what the fleet does not know.

    ``closed_gpus`` counts those that get nothing new by cause; ``total_gpus`` has them too.
    """

    free_gpus: int
    largest_block_gpus: int
    total_gpus: int | None = None
    closed_gpus: Mapping[ClosedCause, int] | None = None
    reliability_ppm: int | None = None

    def count_closed(self, cause: ClosedCause) -> int:
        return 0 if self.closed_gpus is None else self.closed_gpus.get(cause, 0)


class CapacityReader(Protocol):
    """Implemented by the fleet, which stands above the catalogue."""

    def read_capacity(self, gpu_type: str, region: str) -> Capacity:
        """A bounded read: its cost does not grow with the pool. Of many free GPUs some may not be counted."""
        ...

    def count_free(self, gpu_type: str, region: str) -> int:
        """Every free GPU, those that are kept for reservations too. Grows with the pool: for schedules."""
        ...


@dataclass(frozen=True, slots=True)
class CatalogPorts:
    store: CatalogStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids


def put_gpu_type(ports: CatalogPorts, principal: Principal, gpu_type: GpuType) -> GpuType:
    """Create or replace a GPU type.

    Raises:
        InvalidInput: a profile without a parent or the other way round, an unknown parent, one that is a
            profile itself, or less memory in the parent than in the profile.
        KindChanged: the type is stored with another profile or parent.
    """
    tx = ports.transactions()
    if gpu_type.parent_gpu_type is not None or gpu_type.mig_profile is not None:
        _check_profile(gpu_type, ports.store.read_catalog())
        ports.store.require_whole_type(tx, str(gpu_type.parent_gpu_type))
    ports.store.put_gpu_type(tx, gpu_type)
    add_audit(ports, tx, (principal.account_id, principal.actor_id), "gpu_type.put", gpu_type.name, {})
    tx.commit()
    return gpu_type


def put_volume_price(
    ports: CatalogPorts,
    principal: Principal,
    region: str,
    price_micros_per_gib_hour: int,
    known_regions: Collection[str],
) -> None:
    """Set what volumes of rentals cost that are placed from now on, while they are stopped; 0: nothing.

    Raises:
        InvalidInput: ``unknown_region``.
    """
    if region not in known_regions:
        raise InvalidInput("There is no such region.", code="unknown_region")
    tx = ports.transactions()
    ports.store.put_volume_price(tx, region, price_micros_per_gib_hour)
    facts: dict[str, object] = {"price_micros_per_gib_hour": price_micros_per_gib_hour}
    add_audit(ports, tx, (principal.account_id, principal.actor_id), "volume_price.put", region, facts)
    tx.commit()


def _check_profile(gpu_type: GpuType, catalog: Catalog) -> None:
    if gpu_type.parent_gpu_type is None or gpu_type.mig_profile is None:
        raise InvalidInput("mig_profile and parent_gpu_type are given together.", code="incomplete_profile")
    parent = catalog.gpu_types.get(gpu_type.parent_gpu_type)
    if parent is None or parent.name == gpu_type.name:
        raise InvalidInput("There is no such parent_gpu_type.", code="unknown_parent_gpu_type")
    if parent.mig_profile is not None:
        raise InvalidInput(
            "The parent is a MIG profile itself; name the whole GPU.", code="parent_is_profile"
        )
    if gpu_type.memory_mib > parent.memory_mib:
        raise InvalidInput("A profile has no more memory than its parent.", code="profile_too_large")


def put_price(
    ports: CatalogPorts,
    principal: Principal,
    *,
    gpu_type: str,
    region: str,
    price_micros_per_gpu_hour: int,
    known_regions: frozenset[str],
    billing_class: BillingClass = "on_demand",
    effective_from_ms: int | None = None,
    bounds: SpotBounds | None = None,
) -> Price:
    """Set a price from an instant on (now: ``None``); running rentals keep the price they started with.

    Prices announced for later stay announced. ``bounds`` are those of the spot rule; ``None`` leaves them.

    Raises:
        NotFound: no such GPU type.
        InvalidInput: a region without a grid intensity (its rentals could not be accounted for), an instant
            that is past or too far ahead, bounds of a class without a rule, or a spot price outside them.
        Unavailable: the price was changed at the same time.
    """
    if region not in known_regions:
        raise InvalidInput("There is no such region.", code="unknown_region")
    catalog = ports.store.read_catalog()
    if gpu_type not in catalog.gpu_types:
        raise NotFound("There is no such GPU type.", code="unknown_gpu_type")
    now_ms = ports.clock.now_ms()
    from_ms = now_ms if effective_from_ms is None else effective_from_ms
    if not now_ms <= from_ms <= now_ms + MAX_AHEAD_MS:
        raise InvalidInput(
            "effective_from is past or more than a year ahead; leave it out for a price from now on.",
            code="effective_from_out_of_range",
        )
    key = PriceKey(gpu_type, region, billing_class)
    current = catalog.find_schedule(key) or PriceSchedule(key, (), 0)
    if bounds is not None:
        current = replace(current, bounds=bounds)
    changed = current.set_price(from_ms, price_micros_per_gpu_hour, now_ms)
    if billing_class == "spot":
        _check_bounds(catalog, changed, from_ms, price_micros_per_gpu_hour)
    elif bounds is not None:
        raise InvalidInput("Only spot prices have a floor and a cap.", code="bounds_without_rule")
    _write_change(
        ports, (principal.account_id, principal.actor_id), changed, from_ms=from_ms, origin="operator"
    )
    price = changed.price_at(from_ms)
    assert price is not None
    return price


def _check_bounds(catalog: Catalog, schedule: PriceSchedule, from_ms: int, price_micros: int) -> None:
    on_demand = find_on_demand(catalog, schedule.key, from_ms)
    if on_demand is None:
        return
    floor, cap = schedule.bounds.compute_limits(on_demand)
    if not floor <= price_micros <= cap:
        raise InvalidInput(
            f"With this on-demand price a spot price is from {floor} to {cap} micros.",
            code="spot_price_out_of_bounds",
        )


def find_on_demand(catalog: Catalog, key: PriceKey, at_ms: int) -> int | None:
    """Return the on-demand price of the same pool at an instant, in micros per GPU-hour."""
    schedule = catalog.find_schedule(replace(key, billing_class="on_demand"))
    price = None if schedule is None else schedule.price_at(at_ms)
    return None if price is None else price.price_micros_per_gpu_hour


def move_spot_prices(ports: CatalogPorts, capacities: CapacityReader, account_id: str) -> int:
    """Move each spot price by the rule, at most once per step; return how many moved.

    Run twice in a step it moves nothing twice; not run for an hour, it moves by one step. A pool is left
    alone while its totals or its on-demand price are not known. ``account_id`` is whose audit trail tells of
    it.
    """
    now_ms = ports.clock.now_ms()
    catalog = ports.store.read_catalog()
    moved = 0
    for schedule in catalog.schedules:
        if schedule.key.billing_class != "spot" or schedule.moved_step >= find_step(now_ms):
            continue
        price = _find_moved(catalog, schedule, capacities, now_ms)
        if price is None:
            continue
        changed = replace(schedule, moved_step=find_step(now_ms)).set_price(now_ms, price, now_ms)
        try:
            _write_change(ports, (account_id, SYSTEM_ACTOR), changed, from_ms=now_ms, origin="spot_rule")
        except Unavailable:
            # Somebody set it meanwhile: the next step starts from there.
            continue
        moved += 1
    return moved


def _find_moved(
    catalog: Catalog, schedule: PriceSchedule, capacities: CapacityReader, now_ms: int
) -> int | None:
    price, on_demand = schedule.price_at(now_ms), find_on_demand(catalog, schedule.key, now_ms)
    if price is None or on_demand is None:
        return None
    pool = schedule.key.gpu_type, schedule.key.region
    capacity = capacities.read_capacity(*pool)
    if capacity.total_gpus is None or capacity.closed_gpus is None:
        return None
    # GPUs that nobody may rent say nothing about how much is wanted.
    offered = capacity.total_gpus - sum(capacity.closed_gpus.values())
    if offered <= 0:
        return None
    new = move_price(
        price_micros=price.price_micros_per_gpu_hour,
        on_demand_micros=on_demand,
        # The counts are read one after the other: they may disagree by what was leased in between.
        busy_gpus=min(max(offered - capacities.count_free(*pool), 0), offered),
        total_gpus=offered,
        bounds=schedule.bounds,
    )
    return None if new == price.price_micros_per_gpu_hour else new


def _write_change(
    ports: CatalogPorts, who: tuple[str, str], changed: PriceSchedule, *, from_ms: int, origin: PriceOrigin
) -> None:
    point = next(each for each in changed.points if each.from_ms == from_ms)
    key = changed.key
    tx = ports.transactions()
    ports.store.put_schedule(tx, changed)
    ports.store.add_history(tx, PriceChange(key, point, ports.clock.now_ms(), origin))
    details: dict[str, object] = {
        "price_micros_per_gpu_hour": point.price_micros_per_gpu_hour,
        "from_ms": from_ms,
        "version": point.version,
    }
    if key.billing_class == "spot":
        details |= {"floor_ppm": changed.bounds.floor_ppm, "cap_ppm": changed.bounds.cap_ppm}
    action = "price.put" if origin == "operator" else "price.moved"
    add_audit(ports, tx, who, action, f"{key.gpu_type}/{key.region}/{key.billing_class}", details)
    tx.commit()


@dataclass(slots=True)
class CachedCatalog:
    """The catalogue, kept in the process for ``ttl_ms``: small, hardly changing, guarded by versions."""

    read: Callable[[], Catalog]
    clock: Clock
    ttl_ms: int
    _catalog: Catalog | None = None
    _read_at_ms: int = 0

    def get(self, *, fresh: bool = False) -> Catalog:
        now_ms = self.clock.now_ms()
        if self._catalog is None or fresh or now_ms - self._read_at_ms > self.ttl_ms:
            self._catalog = self.read()
            self._read_at_ms = now_ms
        return self._catalog

    def ask(self, question: Callable[[Catalog], Answered], *, fresh: bool = False) -> Answered:
        """Answer from what is kept; what that refuses, the catalogue as it is now decides.

        A type or region that an operator added a moment ago is otherwise unknown in some processes.
        """
        try:
            return question(self.get(fresh=fresh))
        except InvalidInput:
            if fresh:
                raise
            return question(self.get(fresh=True))


def add_audit(
    ports: CatalogPorts,
    tx: Transaction,
    who: tuple[str, str],
    action: str,
    subject: str,
    details: dict[str, object],
) -> None:
    account_id, actor = who
    entry = AuditEntry(
        ports.ids.new_id("aud"), account_id, actor, action, subject, ports.clock.now_ms(), details
    )
    ports.audit.add_entry(tx, entry)

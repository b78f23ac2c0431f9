"""Use cases of the catalogue: what is sold, where, at what price."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from chalicelib.catalog.model import Catalog, GpuType, Price
from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions
from chalicelib.core.principal import Principal

Availability = Literal["NONE", "LOW", "MEDIUM", "HIGH"]
#: Free GPUs in a pool from which availability counts as MEDIUM and HIGH.
MEDIUM_GPUS = 4
HIGH_GPUS = 16


class CatalogStore(Protocol):
    def read_catalog(self) -> Catalog: ...
    def put_gpu_type(self, tx: Transaction, gpu_type: GpuType) -> None: ...
    def put_price(self, tx: Transaction, price: Price) -> None:
        """Fails with Unavailable when the price is no longer at ``version - 1``."""

    def require_price(self, tx: Transaction, price: Price) -> None:
        """Fails with PriceChanged unless the price still has this version."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is free in one pool."""

    free_gpus: int
    largest_block_gpus: int


class CapacityReader(Protocol):
    """Implemented by the fleet, which stands above the catalogue."""

    def read_capacity(self, gpu_type: str, region: str) -> Capacity: ...


@dataclass(frozen=True, slots=True)
class CatalogPorts:
    store: CatalogStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids


@dataclass(frozen=True, slots=True)
class Offer:
    price: Price
    gpu_type: GpuType
    availability: Availability
    largest_block_gpus: int


def put_gpu_type(ports: CatalogPorts, principal: Principal, gpu_type: GpuType) -> GpuType:
    tx = ports.transactions()
    ports.store.put_gpu_type(tx, gpu_type)
    _add_audit(ports, tx, principal, "gpu_type.put", gpu_type.name)
    tx.commit()
    return gpu_type


def put_price(
    ports: CatalogPorts,
    principal: Principal,
    *,
    gpu_type: str,
    region: str,
    price_micros_per_gpu_hour: int,
    known_regions: frozenset[str],
) -> Price:
    """Set the price of a GPU type in a region; running rentals keep the price they started with.

    Raises:
        NotFound: no such GPU type.
        InvalidInput: a region without a grid intensity; its rentals could not be accounted for.
    """
    if region not in known_regions:
        raise InvalidInput("There is no such region.", code="unknown_region")
    catalog = ports.store.read_catalog()
    if gpu_type not in catalog.gpu_types:
        raise NotFound("There is no such GPU type.", code="unknown_gpu_type")
    current = [price for price in catalog.find_prices(gpu_type, region) if price.region == region]
    version = current[0].version + 1 if current else 1
    price = Price(gpu_type, region, price_micros_per_gpu_hour, version)
    tx = ports.transactions()
    ports.store.put_price(tx, price)
    _add_audit(ports, tx, principal, "price.put", f"{gpu_type}/{region}")
    tx.commit()
    return price


def list_offers(catalog: Catalog, capacities: CapacityReader) -> list[Offer]:
    """Return every priced pool with its live availability, cheapest first."""
    offers = []
    for price in sorted(catalog.prices, key=lambda each: (each.price_micros_per_gpu_hour, each.region)):
        capacity = capacities.read_capacity(price.gpu_type, price.region)
        offers.append(
            Offer(
                price,
                catalog.gpu_types[price.gpu_type],
                rank_availability(capacity.free_gpus),
                capacity.largest_block_gpus,
            )
        )
    return offers


def rank_availability(free_gpus: int) -> Availability:
    if free_gpus <= 0:
        return "NONE"
    if free_gpus < MEDIUM_GPUS:
        return "LOW"
    return "MEDIUM" if free_gpus < HIGH_GPUS else "HIGH"


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


def _add_audit(ports: CatalogPorts, tx: Transaction, principal: Principal, action: str, subject: str) -> None:
    entry = AuditEntry(
        ports.ids.new_id("aud"), principal.account_id, principal.key_id, action, subject, ports.clock.now_ms()
    )
    ports.audit.add_entry(tx, entry)

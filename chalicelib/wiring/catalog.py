"""The catalogue: GPU types, prices, templates."""

from functools import cache
from typing import TYPE_CHECKING

from chalicelib.wiring.system import bind_tables, clock, ids, start_transaction

if TYPE_CHECKING:
    from chalicelib.catalog.service import CachedCatalog, CatalogPorts
    from chalicelib.catalog.templates import TemplatePorts


@cache
def catalog_ports() -> "CatalogPorts":
    from chalicelib.catalog.service import CatalogPorts
    from chalicelib.catalog.store import DynamoCatalogStore
    from chalicelib.compliance.store import DynamoAuditTrail

    bind_tables()
    return CatalogPorts(DynamoCatalogStore(clock()), DynamoAuditTrail(), start_transaction, clock(), ids())


@cache
def cached_catalog() -> "CachedCatalog":
    from chalicelib.catalog.service import CATALOG_TTL_MS, CachedCatalog

    return CachedCatalog(catalog_ports().store.read_catalog, clock(), CATALOG_TTL_MS)


def list_pools() -> "list[tuple[str, str]]":
    """Every pool that has a price, once."""
    return cached_catalog().get(fresh=True).list_pools()


def known_regions() -> frozenset[str]:
    from chalicelib.carbon.grid import REGIONS

    return REGIONS


@cache
def template_ports() -> "TemplatePorts":
    from chalicelib.catalog.template_store import DynamoTemplateStore
    from chalicelib.catalog.templates import TemplatePorts
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    catalog = catalog_ports()
    return TemplatePorts(
        DynamoTemplateStore(),
        catalog.store,
        DynamoIdempotencyStore(),
        catalog.audit,
        catalog.transactions,
        catalog.clock,
        catalog.ids,
    )

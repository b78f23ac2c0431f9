"""What an account pays by agreement: prices of its own, and discounts for what it has committed to use.

A stay keeps the price that it started with, whatever becomes of the agreement. Processes keep the catalogue
for `CATALOG_TTL_MS`, so a new term holds from then on at the earliest: nobody starts at more than is shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from chalicelib.catalog.model import ANY_GPU_TYPE, ANY_REGION, Agreement, Term
from chalicelib.catalog.service import CATALOG_TTL_MS, CatalogPorts, add_audit
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import InvalidInput, NotFound
from chalicelib.core.principal import Principal


def read_agreement(ports: CatalogPorts, account_id: str) -> Agreement:
    """Return the account's agreement; without one it has no terms, at version 0."""
    return ports.store.read_catalog().agreements.get(account_id) or Agreement(account_id, (), 0)


def put_agreement(
    ports: CatalogPorts,
    principal: Principal,
    agreement: Agreement,
    known_regions: frozenset[str],
    account_exists: Callable[[str], bool],
) -> Agreement:
    """Replace the account's terms; ``version`` is the one that was read. Return them as they will hold.

    Raises:
        NotFound: no such account, or ``unknown_gpu_type``.
        InvalidInput: ``unknown_region``, or ``empty_term`` where a term ends before it begins.
        VersionMismatch: it was changed since.
    """
    if not account_exists(agreement.account_id):
        raise NotFound("There is no such account.")
    catalog = ports.store.read_catalog()
    before = catalog.agreements.get(agreement.account_id)
    known = frozenset() if before is None else frozenset(before.terms)
    earliest_ms = ports.clock.now_ms() + CATALOG_TTL_MS
    terms = tuple(
        term if term in known else replace(term, from_ms=max(term.from_ms, earliest_ms))
        for term in agreement.terms
    )
    _check(terms, frozenset(catalog.gpu_types), known_regions)
    changed = Agreement(agreement.account_id, terms, agreement.version + 1)
    tx = ports.transactions()
    ports.store.put_agreement(tx, changed)
    who = agreement.account_id, principal.actor_id
    details: dict[str, object] = {
        "version": changed.version,
        "terms": [_describe(each) for each in changed.terms],
    }
    add_audit(ports, tx, who, "agreement.put", agreement.account_id, details)
    tx.commit()
    return changed


def _check(terms: Sequence[Term], gpu_types: frozenset[str], known_regions: frozenset[str]) -> None:
    for term in terms:
        if term.gpu_type not in gpu_types | {ANY_GPU_TYPE}:
            raise NotFound(f"There is no GPU type {term.gpu_type}.", code="unknown_gpu_type")
        if term.region not in known_regions | {ANY_REGION}:
            raise InvalidInput(f"There is no region {term.region}.", code="unknown_region")
        if term.until_ms is not None and term.until_ms <= term.from_ms:
            raise InvalidInput("A term ends after it begins.", code="empty_term")


def _describe(term: Term) -> dict[str, object]:
    return {
        "gpu_type": term.gpu_type,
        "region": term.region,
        "billing_class": term.billing_class,
        "price_micros_per_gpu_hour": term.price_micros_per_gpu_hour,
        "discount_ppm": term.discount_ppm,
        "from": format_instant(term.from_ms),
        "until": None if term.until_ms is None else format_instant(term.until_ms),
    }

"""Offers: every pool and class with its price, its room, and why a request would not fit it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.catalog.model import ANY_REGION, Catalog, GpuType, Price, PriceKey, PricePoint
from chalicelib.catalog.service import Capacity, CapacityReader
from chalicelib.core.capacity import BillingClass, WhyNot
from chalicelib.core.money import compute_charge_micros

Availability = Literal["NONE", "LOW", "MEDIUM", "HIGH"]
#: Free GPUs in a pool from which availability counts as MEDIUM and HIGH.
MEDIUM_GPUS = 4
HIGH_GPUS = 16
_RANKS: dict[Availability, int] = {"NONE": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3}

OfferSort = Literal["price", "-price", "availability", "carbon", "reliability"]


@dataclass(frozen=True, slots=True)
class AccountStanding:
    """What the caller may still take; ``None`` is what is not limited or not known."""

    available_gpus: int | None = None
    available_micros: int | None = None


#: Standing of an account. Implemented above, where quotas and wallets are.
StandingReader = Callable[[str], AccountStanding]
#: Grid intensity of a region in mg CO2e per kWh, ``None`` where it is not known. Implemented by carbon.
IntensityReader = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class OfferPorts:
    """``hold_seconds`` of the price are held at a start: what the balance must cover."""

    capacities: CapacityReader
    read_standing: StandingReader
    read_intensity: IntensityReader
    hold_seconds: int


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """Count and price cap say why an offer does not fit; everything else drops what does not match.

    What is not known matches no limit. Of several GPUs, all are on one host.
    """

    gpu_type: str | None = None
    region: str | None = None
    billing_class: BillingClass | None = None
    gpu_count: int = 1
    min_memory_mib: int | None = None
    max_price_micros_per_gpu_hour: int | None = None
    max_intensity_mg_per_kwh: int | None = None
    min_reliability_ppm: int | None = None
    sort: OfferSort = "price"


@dataclass(frozen=True, slots=True)
class Offer:
    """``next_price`` is announced; ``why_not`` is empty when the request would fit now."""

    price: Price
    gpu_type: GpuType
    capacity: Capacity
    availability: Availability
    intensity_mg_per_kwh: int | None
    next_price: PricePoint | None
    why_not: tuple[WhyNot, ...] = field(default=())


def list_offers(
    ports: OfferPorts, catalog: Catalog, query: OfferQuery, *, account_id: str | None, now_ms: int
) -> list[Offer]:
    """Return what is sold now, as ``query`` asks for it.

    One bounded capacity read per pool that matches, and one of the standing. ``account_id`` is ``None`` for a
    caller who does not rent. No offer is a reservation.
    """
    prices = [price for price in catalog.list_prices(now_ms) if _matches(catalog, price, query)]
    standing = ports.read_standing(account_id) if account_id and prices else AccountStanding()
    intensities = {region: ports.read_intensity(region) for region in {price.region for price in prices}}
    capacities: dict[tuple[str, str], Capacity] = {}
    offers = []
    for price in prices:
        intensity, pool = intensities[price.region], (price.gpu_type, price.region)
        if not _is_at_most(intensity, query.max_intensity_mg_per_kwh):
            continue
        if pool not in capacities:
            capacities[pool] = ports.capacities.read_capacity(*pool)
        capacity = capacities[pool]
        if not _is_at_least(capacity.reliability_ppm, query.min_reliability_ppm):
            continue
        offers.append(
            Offer(
                price=price,
                gpu_type=catalog.gpu_types[price.gpu_type],
                capacity=capacity,
                availability=rank_availability(capacity.free_gpus),
                intensity_mg_per_kwh=intensity,
                next_price=_find_announced(catalog, price, now_ms),
                why_not=explain(price, capacity, standing, query, ports.hold_seconds),
            )
        )
    return _sort(offers, query.sort)


def rank_availability(free_gpus: int) -> Availability:
    if free_gpus <= 0:
        return "NONE"
    if free_gpus < MEDIUM_GPUS:
        return "LOW"
    return "MEDIUM" if free_gpus < HIGH_GPUS else "HIGH"


def explain(
    price: Price, capacity: Capacity, standing: AccountStanding, query: OfferQuery, hold_seconds: int
) -> tuple[WhyNot, ...]:
    """Return why a rental of ``gpu_count`` GPUs on one host would not start now at this offer.

    ``maintenance`` and ``unhealthy`` come beside ``no_capacity`` when GPUs of the pool are closed for it.
    """
    reasons: list[WhyNot] = []
    if capacity.largest_block_gpus < query.gpu_count:
        reasons.append("no_capacity")
        if capacity.count_closed("maintenance"):
            reasons.append("maintenance")
        if capacity.count_closed("unhealthy"):
            reasons.append("unhealthy")
    if standing.available_gpus is not None and standing.available_gpus < query.gpu_count:
        reasons.append("quota")
    hold_micros = compute_charge_micros(
        price_micros_per_gpu_hour=price.price_micros_per_gpu_hour,
        gpu_count=query.gpu_count,
        seconds=hold_seconds,
    )
    if standing.available_micros is not None and standing.available_micros < hold_micros:
        reasons.append("balance")
    if not _is_at_most(price.price_micros_per_gpu_hour, query.max_price_micros_per_gpu_hour):
        reasons.append("price_cap")
    return tuple(reasons)


def _matches(catalog: Catalog, price: Price, query: OfferQuery) -> bool:
    return (
        query.gpu_type in {None, price.gpu_type}
        and query.region in {None, ANY_REGION, price.region}
        and query.billing_class in {None, price.billing_class}
        and _is_at_least(catalog.gpu_types[price.gpu_type].memory_mib, query.min_memory_mib)
    )


def _is_at_most(value: int | None, limit: int | None) -> bool:
    return limit is None or (value is not None and value <= limit)


def _is_at_least(value: int | None, limit: int | None) -> bool:
    return limit is None or (value is not None and value >= limit)


def _find_announced(catalog: Catalog, price: Price, now_ms: int) -> PricePoint | None:
    schedule = catalog.find_schedule(PriceKey(price.gpu_type, price.region, price.billing_class))
    announced = None if schedule is None else schedule.find_next(now_ms)
    if schedule is None or announced is None or catalog.agreement is None:
        return announced
    listed = schedule.price_at(announced.from_ms)
    assert listed is not None, "it begins then"
    agreed = catalog.agreement.apply(listed, announced.from_ms)
    return replace(announced, price_micros_per_gpu_hour=agreed.price_micros_per_gpu_hour)


def _sort(offers: list[Offer], sort: OfferSort) -> list[Offer]:
    """They come cheapest first, and stay so where they are equal; what is not known comes last."""

    def rank(offer: Offer) -> tuple[bool, int]:
        key: int | None
        if sort == "availability":
            key = -_RANKS[offer.availability]
        elif sort == "carbon":
            key = offer.intensity_mg_per_kwh
        elif sort == "reliability":
            known = offer.capacity.reliability_ppm
            key = None if known is None else -known
        else:
            micros = offer.price.price_micros_per_gpu_hour
            key = micros if sort == "price" else -micros
        return key is None, key or 0

    return sorted(offers, key=rank)

"""Carbon removals that an account buys for the residual emissions of its months. All pure.

A purchase is an intent first, then a charge, then an order of Stripe Climate. What was bought is told on its
own and never taken off emissions.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from chalicelib.core.clock import name_month
from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.payments.model import MICROS_PER_CENT, convert_to_cents

MG_PER_TON = 1_000_000_000
#: Orders are in hundredths of a metric ton, and of one at least.
#: Source: https://docs.stripe.com/climate/orders
UNITS_PER_TON = 100
UNIT_MG = MG_PER_TON // UNITS_PER_TON
#: What Stripe has not ended is looked at once a day, each in a slot of its own.
LOOK_SLOT_MS = 900_000
LOOK_SLOTS = 96

PurchaseState = Literal[
    "planned", "charged", "awaiting_funds", "open", "confirmed", "delivered", "canceled", "skipped"
]
#: Ranks only rise: an answer that is late takes nothing back.
RANKS: Mapping[PurchaseState, int] = {
    "planned": 0,
    "charged": 1,
    "awaiting_funds": 2,
    "open": 3,
    "confirmed": 4,
    "delivered": 5,
    "canceled": 5,
    "skipped": 5,
}
FINAL: frozenset[PurchaseState] = frozenset({"delivered", "canceled", "skipped"})
#: Stripe's states of an order, which are ours.
ORDERED: Mapping[str, PurchaseState] = {
    "awaiting_funds": "awaiting_funds",
    "open": "open",
    "confirmed": "confirmed",
    "delivered": "delivered",
    "canceled": "canceled",
}
_ORDER_PREFIX = "climorder_"


class NothingOffered(Conflict):
    """Stripe sells nothing now that would do; another time it may."""

    code = "no_removals_offered"


@dataclass(frozen=True, slots=True)
class RemovalSettings:
    """Whether an account buys, and for how much a month at most.

    ``next_month`` (``yyyy-mm``): the first that was not dealt with; those before it never are.
    ``beneficiary_name``: in whose name, in public; ``None``: in the platform's.
    """

    account_id: str
    enabled: bool = False
    max_micros_per_month: int = 0
    beneficiary_name: str | None = None
    next_month: str = ""
    version: int = 0


def change_settings(
    stored: RemovalSettings, wanted: RemovalSettings, currency: str, now_ms: int
) -> RemovalSettings:
    """Return ``stored`` with what is wanted of it. The month in which it is turned on is the first.

    Raises:
        InvalidInput: ``unsupported_currency``; ``invalid_amount``: parts of a cent, or less than one.
    """
    convert_to_cents(wanted.max_micros_per_month, currency)
    if wanted.enabled and wanted.max_micros_per_month < MICROS_PER_CENT:
        raise InvalidInput("Without a limit of a cent or more nothing is bought.", code="invalid_amount")
    begins = wanted.enabled and not stored.enabled
    return replace(
        stored,
        enabled=wanted.enabled,
        max_micros_per_month=wanted.max_micros_per_month,
        beneficiary_name=wanted.beneficiary_name,
        next_month=max(stored.next_month, name_month(now_ms)) if begins else stored.next_month,
    )


def name_next_month(month: str) -> str:
    year, number = int(month[:4]), int(month[5:])
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


@dataclass(frozen=True, slots=True)
class RemovalProduct:
    """What Stripe sells now. ``cents_per_ton``: in one currency, fees included."""

    product_id: str
    name: str
    available_mg: int
    cents_per_ton: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """Removed CO2 that a supplier has delivered. ``country``: ISO 3166-1 alpha-2."""

    delivered_at_ms: int
    mass_mg: int
    supplier: str
    country: str | None
    registry_url: str | None


@dataclass(frozen=True, slots=True)
class Purchase:
    """Of one account and month. ``residual_mg``: what was left of its emissions when it was planned.

    ``price_micros`` is what the account pays, whatever Stripe takes. ``limited``: the month's limit bought
    less than was wanted. ``reason``: why nothing was bought, or Stripe's for a cancellation.
    """

    account_id: str
    month: str
    currency: str
    residual_mg: int
    planned_at_ms: int
    state: PurchaseState = "planned"
    reason: str | None = None
    quantity_mg: int = 0
    price_micros: int = 0
    limited: bool = False
    product_id: str | None = None
    product_name: str | None = None
    beneficiary_name: str | None = None
    charged_at_ms: int = 0
    #: Numbers what was asked of Stripe: a new one only once the one before is known to be dead.
    attempt: int = 1
    order_id: str | None = None
    #: In which it is to be delivered.
    delivery_year: int | None = None
    certificate_url: str | None = None
    deliveries: tuple[Delivery, ...] = ()
    version: int = 0

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def source_id(self) -> str:
        """Of the journal that charges it: there is one for ever."""
        return f"{self.account_id}:{self.month}"

    @property
    def stripe_key(self) -> str:
        return f"removals:{self.account_id}:{self.month}:{self.attempt}"

    @property
    def returned_micros(self) -> int:
        return self.price_micros if self.state == "canceled" else 0


def compute_price_cents(cents_per_ton: int, quantity_mg: int) -> int:
    """Rounded up: a part of a cent cannot be paid."""
    return -(-cents_per_ton * (quantity_mg // UNIT_MG) // UNITS_PER_TON)


def compute_affordable_mg(cents_per_ton: int, max_micros: int) -> int:
    """Return the most whose price is no more than ``max_micros``."""
    return max_micros // MICROS_PER_CENT * UNITS_PER_TON // cents_per_ton * UNIT_MG


def round_up_mg(residual_mg: int) -> int:
    return -(-residual_mg // UNIT_MG) * UNIT_MG


def plan_purchase(
    settings: RemovalSettings,
    residual_mg: int,
    products: Sequence[RemovalProduct],
    currency: str,
    now_ms: int,
) -> Purchase:
    """Return what is bought for ``settings.next_month``: of the cheapest product that has enough of it.

    Raises:
        NothingOffered: none has.
    """
    purchase = Purchase(settings.account_id, settings.next_month, currency, residual_mg, now_ms)
    if residual_mg <= 0:
        return replace(purchase, state="skipped", reason="no_residual")
    wanted_mg, can_pay = round_up_mg(residual_mg), False
    for product in sorted(products, key=lambda each: (each.cents_per_ton, each.product_id)):
        affordable_mg = compute_affordable_mg(product.cents_per_ton, settings.max_micros_per_month)
        quantity_mg = min(wanted_mg, affordable_mg)
        can_pay = can_pay or quantity_mg > 0
        if 0 < quantity_mg <= product.available_mg:
            return replace(
                purchase,
                quantity_mg=quantity_mg,
                price_micros=compute_price_cents(product.cents_per_ton, quantity_mg) * MICROS_PER_CENT,
                limited=quantity_mg < wanted_mg,
                product_id=product.product_id,
                product_name=product.name,
                beneficiary_name=settings.beneficiary_name,
            )
    if products and not can_pay:
        return replace(purchase, state="skipped", reason="limit_too_low", limited=True)
    raise NothingOffered("Nothing that Stripe sells now would do.")


@dataclass(frozen=True, slots=True)
class RemovalOrder:
    """An order as Stripe has it now."""

    order_id: str
    status: str
    account_id: str | None
    month: str | None
    livemode: bool
    product_id: str
    reason: str | None = None
    delivery_year: int | None = None
    certificate_url: str | None = None
    deliveries: tuple[Delivery, ...] = ()


def is_order(subject_id: str) -> bool:
    return subject_id.startswith(_ORDER_PREFIX)


def format_tons(mass_mg: int) -> str:
    """Return whole hundredths of a metric ton as Stripe takes them: ``0.25``."""
    units = mass_mg // UNIT_MG
    return f"{units // UNITS_PER_TON}.{units % UNITS_PER_TON:02d}"


def parse_tons(text: object) -> int:
    """Return milligrams of a decimal number of metric tons; what is finer is cut."""
    return int(Decimal(str(text)) * MG_PER_TON)


def read_product(found: Mapping[str, Any], currency: str) -> RemovalProduct | None:
    """Return a product of Stripe; ``None``: it is not sold in this currency."""
    price = (found.get("current_prices_per_metric_ton") or {}).get(currency.lower()) or {}
    cents = price.get("amount_total") or 0
    if cents <= 0:
        return None
    return RemovalProduct(found["id"], found["name"], parse_tons(found["metric_tons_available"]), cents)


def read_order(found: Mapping[str, Any]) -> RemovalOrder:
    ours, product = found.get("metadata") or {}, found["product"]
    return RemovalOrder(
        found["id"],
        found["status"],
        ours.get("account_id"),
        ours.get("month"),
        found["livemode"],
        product if isinstance(product, str) else product["id"],
        found.get("cancellation_reason"),
        found.get("expected_delivery_year"),
        found.get("certificate"),
        tuple(_read_delivery(each) for each in found.get("delivery_details") or ()),
    )


def _read_delivery(found: Mapping[str, Any]) -> Delivery:
    return Delivery(
        found["delivered_at"] * 1000,
        parse_tons(found["metric_tons"]),
        found["supplier"]["name"],
        (found.get("location") or {}).get("country"),
        found.get("registry_url"),
    )


def follow(purchase: Purchase, order: RemovalOrder) -> Purchase:
    """Return the purchase as its order stands; its state never falls, and what is final stays."""
    # What Stripe may call an order later is at least an order.
    state = ORDERED.get(order.status, "open")
    if purchase.is_final or RANKS[state] < RANKS[purchase.state]:
        state = purchase.state
    return replace(
        purchase,
        state=state,
        reason=order.reason if state == "canceled" else purchase.reason,
        order_id=order.order_id,
        product_id=order.product_id,
        # Its name is known of the product that was planned only.
        product_name=purchase.product_name if order.product_id == purchase.product_id else None,
        delivery_year=order.delivery_year or purchase.delivery_year,
        certificate_url=order.certificate_url or purchase.certificate_url,
        deliveries=order.deliveries or purchase.deliveries,
    )


def is_look_due(account_id: str, month: str, now_ms: int) -> bool:
    slot = zlib.crc32(f"{account_id}:{month}".encode()) % LOOK_SLOTS
    return now_ms // LOOK_SLOT_MS % LOOK_SLOTS == slot


@dataclass(frozen=True, slots=True)
class PurchasedMass:
    """Milligrams of CO2 that were bought, by how far it is. Never to be taken off emissions.

    ``open_mg``: ordered, whether Stripe has been paid for it or not.
    """

    open_mg: int = 0
    confirmed_mg: int = 0
    delivered_mg: int = 0


def sum_purchased(purchase: Purchase) -> PurchasedMass:
    if purchase.state in ("awaiting_funds", "open"):
        return PurchasedMass(open_mg=purchase.quantity_mg)
    if purchase.state == "confirmed":
        return PurchasedMass(confirmed_mg=purchase.quantity_mg)
    return PurchasedMass(delivered_mg=purchase.quantity_mg if purchase.state == "delivered" else 0)

"""Bodies of the routes of removals that accounts buy."""

from typing import Annotated

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.payments.model import MAX_TOP_UP_MICROS
from chalicelib.payments.purchases import Delivery, Purchase, PurchaseState, RemovalSettings
from chalicelib.runtime.bodies import RequestBody, ResponseBody

#: Shown in public: one line that begins with a character one can see.
PublicName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x20][^\x00-\x1f]*$")]


class RemovalSettingsRequest(RequestBody):
    """``max_micros_per_month``: whole cents, what a month's removals cost at most."""

    enabled: bool
    max_micros_per_month: Annotated[int, Field(ge=0, le=MAX_TOP_UP_MICROS)]
    beneficiary_name: PublicName | None = None


class RemovalSettingsBody(ResponseBody):
    enabled: bool
    max_micros_per_month: int
    currency: str
    #: In whose name removals are bought, in public; none: in the platform's.
    beneficiary_name: str | None
    #: The first month (UTC) that is still to be bought for, once it is over.
    next_month: str | None


class DeliveryBody(ResponseBody):
    delivered_at: str
    mass_mg: int
    supplier: str
    country: str | None
    registry_url: str | None


class RemovalPurchaseBody(ResponseBody):
    """Bought removals are a line of their own: nothing here is taken off emissions."""

    month: str
    state: PurchaseState
    #: Why nothing was bought, or why the order was cancelled.
    reason: str | None
    #: What was left of the month's emissions when the purchase was planned.
    residual_mg: int
    quantity_mg: int
    #: The month's limit bought less than the residual.
    limited: bool
    price_micros: int
    returned_micros: int
    currency: str
    beneficiary_name: str | None
    product_id: str | None
    product_name: str | None
    #: Of Stripe Climate.
    order_id: str | None
    delivery_year: int | None
    certificate_url: str | None
    deliveries: list[DeliveryBody]
    planned_at: str
    charged_at: str | None


class RemovalPurchaseListBody(ResponseBody):
    items: list[RemovalPurchaseBody]
    next_cursor: str | None


def render_settings(settings: RemovalSettings, currency: str) -> RemovalSettingsBody:
    return RemovalSettingsBody(
        enabled=settings.enabled,
        max_micros_per_month=settings.max_micros_per_month,
        currency=currency,
        beneficiary_name=settings.beneficiary_name,
        next_month=settings.next_month if settings.enabled else None,
    )


def render_purchase(purchase: Purchase) -> RemovalPurchaseBody:
    return RemovalPurchaseBody(
        month=purchase.month,
        state=purchase.state,
        reason=purchase.reason,
        residual_mg=purchase.residual_mg,
        quantity_mg=purchase.quantity_mg,
        limited=purchase.limited,
        price_micros=purchase.price_micros,
        returned_micros=purchase.returned_micros,
        currency=purchase.currency,
        beneficiary_name=purchase.beneficiary_name,
        product_id=purchase.product_id,
        product_name=purchase.product_name,
        order_id=purchase.order_id,
        delivery_year=purchase.delivery_year,
        certificate_url=purchase.certificate_url,
        deliveries=[_render_delivery(each) for each in purchase.deliveries],
        planned_at=format_instant(purchase.planned_at_ms),
        charged_at=format_instant(purchase.charged_at_ms) if purchase.charged_at_ms else None,
    )


def _render_delivery(delivery: Delivery) -> DeliveryBody:
    return DeliveryBody(
        delivered_at=format_instant(delivery.delivered_at_ms),
        mass_mg=delivery.mass_mg,
        supplier=delivery.supplier,
        country=delivery.country,
        registry_url=delivery.registry_url,
    )

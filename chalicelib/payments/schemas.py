"""Bodies of the routes of payments."""

from typing import Annotated

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.payments.model import MAX_TOP_UP_MICROS, MIN_TOP_UP_MICROS, TopUp, TopUpKind, TopUpState
from chalicelib.payments.orders import AutoTopUp, OrderState, PauseReason, PaymentMethod
from chalicelib.runtime.bodies import RequestBody, ResponseBody

#: A host by name, and of the rest the characters of RFC 3986 without brackets: Stripe takes no others.
_RETURN_URL = (
    r"^https://[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]{1,5})?"
    r"([/?#][A-Za-z0-9._~!$&'()*+,;=:@%/?#-]*)?$"
)
ReturnUrl = Annotated[str, Field(max_length=2000, pattern=_RETURN_URL)]


class TopUpRequest(RequestBody):
    """Whole cents. ``return_url`` is where the browser goes after Stripe's page."""

    amount_micros: Annotated[int, Field(ge=MIN_TOP_UP_MICROS, le=MAX_TOP_UP_MICROS)]
    return_url: ReturnUrl


class PageRequest(RequestBody):
    """``return_url`` is where the browser goes after Stripe's page."""

    return_url: ReturnUrl


class AutoTopUpRequest(RequestBody):
    """``monthly_limit_micros``: what is paid in so in a calendar month (UTC), at most."""

    threshold_micros: Annotated[int, Field(ge=0, le=MAX_TOP_UP_MICROS)]
    amount_micros: Annotated[int, Field(ge=MIN_TOP_UP_MICROS, le=MAX_TOP_UP_MICROS)]
    monthly_limit_micros: Annotated[int, Field(ge=MIN_TOP_UP_MICROS, le=100 * MAX_TOP_UP_MICROS)]
    payment_method_id: Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9_]{3,100}$")]


class RefundRequest(RequestBody):
    amount_micros: Annotated[int, Field(ge=10_000, le=MAX_TOP_UP_MICROS)]


class TopUpBody(ResponseBody):
    top_up_id: str
    account_id: str
    kind: TopUpKind
    state: TopUpState
    #: What the wallet gets; tax came on top.
    amount_micros: int
    currency: str
    tax_micros: int
    refunded_micros: int
    disputed_micros: int
    #: Stripe's page, where it is paid.
    checkout_url: str | None
    #: Stripe's code of a decline.
    failure_code: str | None
    receipt_url: str | None
    created_at: str


class TopUpListBody(ResponseBody):
    items: list[TopUpBody]
    next_cursor: str | None


def render_top_up(top_up: TopUp) -> TopUpBody:
    return TopUpBody(
        top_up_id=top_up.top_up_id,
        account_id=top_up.account_id,
        kind=top_up.kind,
        state=top_up.state,
        amount_micros=top_up.amount_micros,
        currency=top_up.currency,
        tax_micros=top_up.tax_micros,
        refunded_micros=top_up.refunded_micros,
        disputed_micros=top_up.disputed_micros,
        checkout_url=top_up.checkout_url,
        failure_code=top_up.failure_code,
        receipt_url=top_up.receipt_url,
        created_at=format_instant(top_up.created_at_ms),
    )


class PageBody(ResponseBody):
    url: str


class PaymentMethodBody(ResponseBody):
    payment_method_id: str
    #: Stripe's name of it, such as ``card``.
    kind: str
    brand: str | None
    last4: str | None
    #: ``yyyy-mm``, of a card.
    expires: str | None


class PaymentMethodListBody(ResponseBody):
    items: list[PaymentMethodBody]


class AutoTopUpBody(ResponseBody):
    state: OrderState
    #: Why it is paused, until it is put again.
    paused_reason: PauseReason | None
    threshold_micros: int
    amount_micros: int
    monthly_limit_micros: int
    #: Of this calendar month (UTC): paid in, or being paid in.
    month_micros: int
    currency: str
    payment_method_id: str
    #: The attempt that is not over.
    top_up_id: str | None


def render_method(method: PaymentMethod) -> PaymentMethodBody:
    return PaymentMethodBody(
        payment_method_id=method.method_id,
        kind=method.kind,
        brand=method.brand,
        last4=method.last4,
        expires=method.expires,
    )


def render_order(order: AutoTopUp, now_ms: int) -> AutoTopUpBody:
    return AutoTopUpBody(
        state=order.find_state(now_ms),
        paused_reason=order.paused,
        threshold_micros=order.threshold_micros,
        amount_micros=order.amount_micros,
        monthly_limit_micros=order.monthly_limit_micros,
        month_micros=order.spent_micros(now_ms),
        currency=order.currency,
        payment_method_id=order.method_id,
        top_up_id=order.open_top_up_id,
    )

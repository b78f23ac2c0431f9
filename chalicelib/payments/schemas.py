"""Bodies of the routes of payments."""

from typing import Annotated

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.payments.model import MAX_TOP_UP_MICROS, MIN_TOP_UP_MICROS, TopUp, TopUpKind, TopUpState
from chalicelib.runtime.bodies import RequestBody, ResponseBody


class TopUpRequest(RequestBody):
    """Whole cents. ``return_url`` is where the browser goes after Stripe's page."""

    amount_micros: Annotated[int, Field(ge=MIN_TOP_UP_MICROS, le=MAX_TOP_UP_MICROS)]
    return_url: Annotated[str, Field(max_length=2000, pattern=r"^https://[^\s]+$")]


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

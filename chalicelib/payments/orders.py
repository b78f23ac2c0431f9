"""Auto top-up: a standing order to fill a wallet up from a saved payment method. All pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.clock import name_month
from chalicelib.core.errors import InvalidInput
from chalicelib.payments.model import MAX_TOP_UP_MICROS, MIN_TOP_UP_MICROS, TopUp, convert_to_cents

#: Attempts begin no closer together, whatever is spent: a threshold that is set too high costs one an hour.
MIN_INTERVAL_MS = 3_600_000

#: ``authentication_required``: the bank wants its customer before a page, which we cannot give it here.
#: ``address_required``: tax depends on where the payer is, and neither customer nor method says it.
PauseReason = Literal["declined", "authentication_required", "address_required", "method_removed"]
#: Of Stripe's codes of failure: what a person has to mend. Everything else is a decline.
PAUSE_REASONS: Mapping[str | None, PauseReason] = {
    "authentication_required": "authentication_required",
    "customer_tax_location_invalid": "address_required",
}
#: ``limit_reached``: the next one would go beyond the month's limit.
OrderState = Literal["active", "attempting", "limit_reached", "paused", "off"]


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """What a renter has saved at Stripe. ``expires``: ``yyyy-mm``, of a card."""

    method_id: str
    kind: str
    brand: str | None
    last4: str | None
    expires: str | None


@dataclass(frozen=True, slots=True)
class AutoTopUp:
    """Pay in ``amount_micros`` from a method whenever less than ``threshold_micros`` is available.

    ``open_top_up_id``: the attempt that is not over; there is never a second. ``month_micros`` counts what
    was tried in ``month`` (UTC) and has not failed.
    """

    account_id: str
    currency: str
    threshold_micros: int
    amount_micros: int
    monthly_limit_micros: int
    method_id: str
    enabled: bool = True
    paused: PauseReason | None = None
    open_top_up_id: str | None = None
    #: What the open attempt is paid from, also when the order has been changed since.
    open_method_id: str | None = None
    attempted_at_ms: int = 0
    month: str = ""
    month_micros: int = 0
    version: int = 0

    def spent_micros(self, now_ms: int) -> int:
        return self.month_micros if self.month == name_month(now_ms) else 0

    def find_state(self, now_ms: int) -> OrderState:
        if self.open_top_up_id is not None:
            return "attempting"
        if not self.enabled:
            return "off"
        if self.paused is not None:
            return "paused"
        over = self.spent_micros(now_ms) + self.amount_micros > self.monthly_limit_micros
        return "limit_reached" if over else "active"


def check_order(order: AutoTopUp) -> None:
    """Raises InvalidInput: ``invalid_amount``, ``unsupported_currency``."""
    convert_to_cents(order.amount_micros, order.currency)
    if not MIN_TOP_UP_MICROS <= order.amount_micros <= MAX_TOP_UP_MICROS:
        raise InvalidInput(
            f"A top-up is of {MIN_TOP_UP_MICROS} to {MAX_TOP_UP_MICROS} micros.", code="invalid_amount"
        )
    if order.monthly_limit_micros < order.amount_micros:
        raise InvalidInput(
            "The month's limit is less than one top-up: none would ever be made.", code="invalid_amount"
        )


def is_due(order: AutoTopUp, available_micros: int, now_ms: int) -> bool:
    return (
        order.find_state(now_ms) == "active"
        and available_micros < order.threshold_micros
        and now_ms - order.attempted_at_ms >= MIN_INTERVAL_MS
    )


def begin_attempt(order: AutoTopUp, top_up: TopUp) -> AutoTopUp:
    """Return the order with ``top_up`` as its open attempt, counted against the month in which it begins."""
    at_ms = top_up.created_at_ms
    return replace(
        order,
        open_top_up_id=top_up.top_up_id,
        open_method_id=order.method_id,
        attempted_at_ms=at_ms,
        month=name_month(at_ms),
        month_micros=order.spent_micros(at_ms) + top_up.amount_micros,
    )


def end_attempt(order: AutoTopUp, top_up: TopUp) -> AutoTopUp:
    """Return the order without its attempt; one that failed counts for nothing and pauses it."""
    after = replace(order, open_top_up_id=None, open_method_id=None)
    if top_up.state == "succeeded":
        return after
    reason = PAUSE_REASONS.get(top_up.failure_code, "declined")
    # A method that was put in the place of the one that failed deserves a try of its own.
    paused = reason if order.open_method_id == order.method_id else order.paused
    return replace(after, paused=paused, month_micros=order.month_micros - top_up.amount_micros)

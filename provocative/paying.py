"""The API's operations for saved payment methods and auto top-up."""

from typing import cast

from provocative import operations as op
from provocative.money_models import AutoTopUp, PaymentMethod, PaymentMethods, WebPage
from provocative.transport import Transport


class Paying:
    """What a wallet is filled up from. Cards are saved on Stripe's pages, and stay there."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def save_method(self, return_url: str, *, idempotency_key: str | None = None) -> WebPage:
        """Open a page on which a method is saved."""
        body = {"return_url": return_url}
        answer = self._transport.send(op.SAVE_PAYMENT_METHOD, body=body, idempotency_key=idempotency_key)
        return cast("WebPage", answer)

    def list_methods(self) -> list[PaymentMethod]:
        return cast("PaymentMethods", self._transport.send(op.LIST_PAYMENT_METHODS))["items"]

    def remove_method(self, payment_method_id: str) -> None:
        self._transport.send(op.REMOVE_PAYMENT_METHOD, {"payment_method_id": payment_method_id})

    def open_portal(self, return_url: str) -> WebPage:
        """Open Stripe's own page for methods and receipts."""
        return cast("WebPage", self._transport.send(op.OPEN_PORTAL, body={"return_url": return_url}))

    def read_auto_top_up(self) -> AutoTopUp:
        return cast("AutoTopUp", self._transport.send(op.READ_AUTO_TOP_UP))

    def put_auto_top_up(
        self,
        payment_method_id: str,
        *,
        threshold_micros: int,
        amount_micros: int,
        monthly_limit_micros: int,
    ) -> AutoTopUp:
        """Pay in an amount whenever less than the threshold is available."""
        body = {
            "payment_method_id": payment_method_id,
            "threshold_micros": threshold_micros,
            "amount_micros": amount_micros,
            "monthly_limit_micros": monthly_limit_micros,
        }
        return cast("AutoTopUp", self._transport.send(op.PUT_AUTO_TOP_UP, body=body))

    def remove_auto_top_up(self) -> None:
        self._transport.send(op.REMOVE_AUTO_TOP_UP)

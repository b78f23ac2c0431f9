"""The API's operations of removals that are bought for residual emissions."""

from typing import cast

from provocative import operations as op
from provocative.models import Page
from provocative.money_models import RemovalPurchase, RemovalSettings
from provocative.transport import Transport


class RemovalPurchases:
    """What an account buys of others, month by month; its own captured CO2 is `Removals`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def read_settings(self) -> RemovalSettings:
        return cast("RemovalSettings", self._transport.send(op.READ_REMOVAL_SETTINGS))

    def put_settings(
        self, *, enabled: bool, max_micros_per_month: int, beneficiary_name: str | None = None
    ) -> RemovalSettings:
        """Buy for each month that ends from now on, for so much at most, or no more."""
        body = {
            "enabled": enabled,
            "max_micros_per_month": max_micros_per_month,
            "beneficiary_name": beneficiary_name,
        }
        return cast("RemovalSettings", self._transport.send(op.PUT_REMOVAL_SETTINGS, body=body))

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Page[RemovalPurchase]:
        """Newest month first."""
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[RemovalPurchase]", self._transport.send(op.LIST_REMOVAL_PURCHASES, query=query))

    def read(self, month: str) -> RemovalPurchase:
        answer = self._transport.send(op.READ_REMOVAL_PURCHASE, {"month": month})
        return cast("RemovalPurchase", answer)

"""Bodies of the billing routes."""

from typing import Annotated

from pydantic import Field

from chalicelib.billing.model import Balance
from chalicelib.runtime.bodies import RequestBody, ResponseBody

#: 1,000,000 units of the currency in one credit.
MAX_CREDIT_MICROS = 10**12


class CreditRequest(RequestBody):
    amount_micros: Annotated[int, Field(ge=1, le=MAX_CREDIT_MICROS)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class WalletBody(ResponseBody):
    account_id: str
    currency: str
    posted_micros: int
    held_micros: int
    #: What a new start may hold: posted - held.
    available_micros: int


def render_wallet(balance: Balance) -> WalletBody:
    return WalletBody(
        account_id=balance.account_id,
        currency=balance.currency,
        posted_micros=balance.posted_micros,
        held_micros=balance.held_micros,
        available_micros=balance.available_micros,
    )

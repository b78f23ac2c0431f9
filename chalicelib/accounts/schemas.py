"""Bodies of the account routes."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.accounts.model import Account, ApiKey
from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import RequestBody, ResponseBody

Name = Annotated[str, Field(min_length=1, max_length=100)]


class AccountRequest(RequestBody):
    name: Name


class AccountBody(ResponseBody):
    account_id: str
    name: str
    currency: str
    created_at: str


class KeyRequest(RequestBody):
    label: Name
    role: Literal["renter"] = "renter"


class KeyBody(ResponseBody):
    key_id: str
    account_id: str
    role: str
    label: str
    created_at: str
    revoked_at: str | None


class IssuedKeyBody(KeyBody):
    #: Shown once.
    key: str


class KeyListBody(ResponseBody):
    items: list[KeyBody]
    next_cursor: str | None


def render_account(account: Account) -> AccountBody:
    return AccountBody(
        account_id=account.account_id,
        name=account.name,
        currency=account.currency,
        created_at=format_instant(account.created_at_ms),
    )


def render_key(key: ApiKey) -> KeyBody:
    return KeyBody(
        key_id=key.key_id,
        account_id=key.account_id,
        role=key.role,
        label=key.label,
        created_at=format_instant(key.created_at_ms),
        revoked_at=None if key.revoked_at_ms is None else format_instant(key.revoked_at_ms),
    )

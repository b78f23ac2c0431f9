"""Bodies of the account routes."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.accounts.limits import MAX_NETWORKS
from chalicelib.accounts.model import Account, ApiKey
from chalicelib.accounts.rotating import DEFAULT_OVERLAP_MS, MAX_OVERLAP_MS
from chalicelib.core.clock import format_instant
from chalicelib.core.principal import KeyLimits
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody

Name = Annotated[str, Field(min_length=1, max_length=100)]
Permissions = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=64)
]
Networks = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=MAX_NETWORKS)]


class AccountRequest(RequestBody):
    name: Name


class AccountActionRequest(RequestBody):
    action: Literal["suspend", "unsuspend"]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class AccountBody(ResponseBody):
    account_id: str
    name: str
    currency: str
    created_at: str
    #: While one of these is set, the account can read, pay and end what runs, and nothing else.
    suspended_at: str | None
    closed_at: str | None


class KeyRequest(RequestBody):
    label: Name
    role: Literal["renter"] = "renter"
    #: ``None``: all that the calling key has.
    permissions: Permissions | None = None
    #: Empty: from wherever the calling key may be used.
    allowed_networks: Networks = Field(default_factory=list)
    expires_at: Instant | None = None

    def read_limits(self) -> KeyLimits:
        permissions = None if self.permissions is None else frozenset(self.permissions)
        return KeyLimits(permissions, tuple(self.allowed_networks), self.expires_at)


class RotationRequest(RequestBody):
    #: For so long the key that is rotated stays valid.
    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_MS // 1000)] = DEFAULT_OVERLAP_MS // 1000


class KeyBody(ResponseBody):
    key_id: str
    account_id: str
    role: str
    label: str
    created_at: str
    revoked_at: str | None
    #: ``None``: all of the role, also what it is given later.
    permissions: list[str] | None
    #: Empty: from anywhere.
    allowed_networks: list[str]
    expires_at: str | None
    #: The first use of the last day (UTC) on which it was used.
    last_used_at: str | None
    predecessor_id: str | None
    successor_id: str | None
    #: The person or service account whose keys end with them; ``null``: issued by an operator.
    issued_by: str | None


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
        suspended_at=_render_instant(account.suspended_at_ms),
        closed_at=_render_instant(account.closed_at_ms),
    )


def render_key(key: ApiKey) -> KeyBody:
    permissions = key.limits.permissions
    return KeyBody(
        key_id=key.key_id,
        account_id=key.account_id,
        role=key.role,
        label=key.label,
        created_at=format_instant(key.created_at_ms),
        revoked_at=_render_instant(key.revoked_at_ms),
        permissions=None if permissions is None else sorted(permissions),
        allowed_networks=list(key.limits.networks),
        expires_at=_render_instant(key.limits.expires_at_ms),
        last_used_at=_render_instant(key.last_used_at_ms),
        predecessor_id=key.predecessor_id,
        successor_id=key.successor_id,
        issued_by=key.issued_by,
    )


def _render_instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)

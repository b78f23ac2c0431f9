"""Accounts, API keys and what each role may do.

Invariant: only a keyed digest of a key is ever stored, and a mistyped key is refused by its checksum
without a read.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from chalicelib.core.errors import Unauthenticated
from chalicelib.core.principal import NO_LIMITS, KeyLimits, Principal, Role

TokenKind = Literal["live", "enrol"]

#: What a tenant can see.
_TENANT_READS = frozenset(
    {
        "budgets:read",
        "keys:read",
        "me:read",
        "members:read",
        "oauth-clients:read",
        "offers:read",
        "organisation:read",
        "projects:read",
        "removals:read",
        "rentals:read",
        "reservations:read",
        "service-accounts:read",
        "templates:read",
        "top-ups:read",
        "wallet:read",
        "webhooks:read",
    }
)
_BUILDS = frozenset(
    {
        "keys:write",
        "oauth-clients:write",
        "rentals:write",
        "reservations:write",
        "templates:write",
        "webhooks:write",
    }
)
_PAYS = frozenset({"budgets:write", "top-ups:write", "wallet:write"})
_GOVERNS = frozenset(
    {"audit:read", "members:write", "organisation:write", "projects:write", "service-accounts:write"}
)
#: What is asked of data: of one's own, or of the account's by who may close it.
_PRIVACY = frozenset({"privacy:read", "privacy:write"})
_CONSENTS = frozenset({"consents:read", "consents:write"})
#: A signed-in person's own things; who is no person finds nothing there.
_SELF = frozenset({"me:read", "self:read", "self:write"}) | _PRIVACY
_TENANTS = frozenset({"members:read", "organisation:read", "projects:read", "service-accounts:read"})

#: Role x permission, the only table of its kind. A route names one permission; what is not listed is denied.
PERMISSIONS: Mapping[Role, frozenset[str]] = {
    "operator": _SELF
    | _TENANTS
    | {
        "accounts:write",
        # An account that an operator made has no owner until an operator invites one.
        "members:write",
        "audit:read",
        "keys:read",
        "keys:write",
        "credits:write",
        "catalog:write",
        "hosts:read",
        "hosts:write",
        "offers:read",
        "pools:read",
        "pools:write",
        "removals:write",
        "templates:read",
        "templates:write",
        "accounts:close",
    }
    | _CONSENTS,
    "fleet_operator": _SELF
    | {"hosts:read", "hosts:write", "offers:read", "pools:read", "pools:write", "templates:read"},
    "finance_operator": _SELF
    | {"catalog:write", "credits:write", "offers:read", "removals:write", "templates:read"},
    "support_operator": _SELF
    | _TENANTS
    | {"audit:read", "hosts:read", "keys:read", "offers:read", "pools:read", "templates:read"},
    "owner": _SELF
    | _TENANT_READS
    | _BUILDS
    | _PAYS
    | _GOVERNS
    | _CONSENTS
    | {"accounts:close", "organisation:close", "ownership:write"},
    "admin": _SELF | _TENANT_READS | _BUILDS | _PAYS | _GOVERNS | _CONSENTS,
    "billing": _SELF | _TENANT_READS | _PAYS,
    "developer": _SELF | _TENANT_READS | _BUILDS,
    "viewer": _SELF | _TENANT_READS,
    "auditor": _SELF | _TENANT_READS | {"audit:read"},
    # Keys never manage people.
    "renter": _TENANT_READS | _BUILDS | _PAYS | _PRIVACY | _CONSENTS | {"accounts:close"},
    "host": frozenset({"hosts:connect"}),
}
#: Whoever has one of these deals with the keys that they issued themselves, and with no others.
OWN_KEYS_ONLY: frozenset[Role] = frozenset({"developer"})
#: What is left to a suspended account: to read, to pay, to withdraw a consent, and to each person what is
#: their own. Beside it, routes that say so let it end what it pays for (`Operation.ends`).
WHILE_SUSPENDED = frozenset(
    {name for granted in PERMISSIONS.values() for name in granted if name.endswith(":read")}
    | {"consents:write", "privacy:write", "self:write", "top-ups:write"}
)

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"pc_(live|enrol)_([0-9a-hjkmnp-tv-z]{26})_([0-9A-Za-z]{32})([0-9A-Za-z]{6})")
SECRET_LENGTH, CHECKSUM_LENGTH = 32, 6
DAY_MS = 86_400_000
#: Keys that one person or program has issued and that work: beyond it they issue no more.
MAX_LIVE_KEYS = 50
#: As many with those that a rotation has replaced and that still work. Removing somebody ends all in one act.
MAX_LIVE_KEYS_IN_OVERLAP = 80
_PREFIXES: Mapping[TokenKind, str] = {"live": "key", "enrol": "enr"}


@dataclass(frozen=True, slots=True)
class Account:
    account_id: str
    name: str
    currency: str
    created_at_ms: int
    #: Set by an operator, with the reason, and taken back by one.
    suspended_at_ms: int | None = None
    suspended_reason: str | None = None
    #: Set by an owner; an operator takes it back.
    closed_at_ms: int | None = None

    @property
    def is_barred(self) -> bool:
        """Say whether nothing but reading and paying is left to it."""
        return self.suspended_at_ms is not None or self.closed_at_ms is not None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """``digest`` is HMAC-SHA256 (hex) of the whole key under the installation's pepper.

    ``last_used_at_ms`` is the first use of the last day (UTC) on which it was used. ``issued_by`` is the
    person (``usr_``) or service account (``sva_``) at the beginning of the chain; ``None``: an operator.
    """

    key_id: str
    account_id: str
    role: Role
    label: str
    digest: str
    created_at_ms: int
    host_id: str | None = None
    revoked_at_ms: int | None = None
    limits: KeyLimits = NO_LIMITS
    predecessor_id: str | None = None
    #: Set by its rotation, which may happen once.
    successor_id: str | None = None
    last_used_at_ms: int | None = None
    issued_by: str | None = None

    def is_expired(self, now_ms: int) -> bool:
        return self.limits.expires_at_ms is not None and now_ms >= self.limits.expires_at_ms

    def is_live(self, now_ms: int) -> bool:
        return self.revoked_at_ms is None and not self.is_expired(now_ms)

    def is_used_first_today(self, now_ms: int) -> bool:
        return self.last_used_at_ms is None or self.last_used_at_ms < start_day(now_ms)


@dataclass(frozen=True, slots=True)
class Installation:
    account_id: str
    operator_key_id: str


def build_token(kind: TokenKind, token_id: str, secret: str) -> str:
    """Return ``pc_<kind>_<id>_<secret><crc>``; ``token_id`` keeps its ``key_`` or ``enr_`` prefix outside."""
    body = f"pc_{kind}_{token_id.removeprefix(f'{_PREFIXES[kind]}_')}_{secret}"
    return body + _checksum(body)


def parse_token(token: str, kind: TokenKind) -> str:
    """Return the id named by a token whose form and checksum are right. No secret is checked here.

    Raises:
        Unauthenticated: the text is not a token of this kind, or it was mistyped.
    """
    match = _TOKEN.fullmatch(token)
    if match is None or match[1] != kind or _checksum(token[:-6]) != match[4]:
        raise Unauthenticated("The key is malformed or mistyped.")
    return f"{_PREFIXES[kind]}_{match[2]}"


def compute_digest(token: str, pepper: bytes) -> str:
    return hmac.new(pepper, token.encode(), hashlib.sha256).hexdigest()


def is_same_digest(left: str, right: str) -> bool:
    return hmac.compare_digest(left, right)


def build_principal(key: ApiKey) -> Principal:
    return Principal(
        account_id=key.account_id,
        role=key.role,
        actor_id=key.key_id,
        permissions=select_permissions(key.role, key.limits),
        host_id=key.host_id,
        limits=key.limits,
    )


def select_permissions(role: Role, limits: KeyLimits) -> frozenset[str]:
    """Return what a key may do: what it was issued with, as far as its role still has it."""
    granted = PERMISSIONS[role]
    return granted if limits.permissions is None else granted & limits.permissions


def start_day(now_ms: int) -> int:
    """Return the first instant of the UTC day."""
    return now_ms - now_ms % DAY_MS


def derive_secret(bearer: str, key_id: str, idempotency_key: str, pepper: bytes) -> str:
    """Return the secret of a key's successor, in base 62 (190 bits).

    A repeat of the rotation finds it again, so that it is stored nowhere. It takes both the pepper and the
    text of the key that asked, of which only the one is ours.
    """
    message = f"key-rotation:{key_id}:{idempotency_key}:{bearer}".encode()
    return _encode(int.from_bytes(hmac.new(pepper, message, hashlib.sha512).digest()), SECRET_LENGTH)


def _checksum(body: str) -> str:
    # CRC-32 finds every typing error in one burst of 32 bits; it guards against mistakes, not attackers.
    return _encode(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _encode(number: int, length: int) -> str:
    characters = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        characters = _BASE62[digit] + characters
    return characters

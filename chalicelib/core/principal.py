"""Who is asking, and what they may do."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["operator", "renter", "host"]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key is held to beyond its role.

    ``permissions`` ``None``: all of the role, also what it is given later. ``networks`` in CIDR form, sorted;
    empty: from anywhere. ``expires_at_ms`` ``None``: until it is revoked.
    """

    permissions: frozenset[str] | None = None
    networks: tuple[str, ...] = ()
    expires_at_ms: int | None = None


NO_LIMITS = KeyLimits()


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``host_id`` is set for hosts only; ``permissions`` decides every route.

    ``actor_id`` stands in the audit trail: a key (``key_``), a person (``usr_``) or a service account
    (``sva_``). ``permissions`` are the role's within ``limits``. ``user_id``, ``session_id`` and
    ``authenticated_at_ms`` are set for a person who signed in: when, last, with all that was asked of them.
    """

    account_id: str
    role: Role
    actor_id: str
    permissions: frozenset[str]
    host_id: str | None = None
    limits: KeyLimits = NO_LIMITS
    user_id: str | None = None
    session_id: str | None = None
    authenticated_at_ms: int | None = None

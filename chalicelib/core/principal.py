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

    ``permissions`` are the role's within the key's ``limits``.
    """

    account_id: str
    role: Role
    key_id: str
    permissions: frozenset[str]
    host_id: str | None = None
    limits: KeyLimits = NO_LIMITS

"""Who is asking, and what they may do."""

from dataclasses import dataclass
from typing import Literal

from chalicelib.core.errors import Forbidden

#: ``renter`` is the role of a tenant's API keys, ``host`` of a machine's. Of the rest, people and service
#: accounts have the tenant's, people alone the operators'.
Role = Literal[
    "operator",
    "fleet_operator",
    "finance_operator",
    "support_operator",
    "owner",
    "admin",
    "billing",
    "developer",
    "viewer",
    "auditor",
    "renter",
    "host",
]
OPERATOR_ROLES: frozenset[Role] = frozenset(
    {"operator", "fleet_operator", "finance_operator", "support_operator"}
)
#: What a member of an organisation may be.
MEMBER_ROLES: frozenset[Role] = frozenset({"owner", "admin", "billing", "developer", "viewer", "auditor"})
#: What is anybody's only with a second factor: who pays or appoints in an organisation, and all who run the
#: cloud. Holds for a browser's session and for a token alike.
STRICT_ROLES: frozenset[Role] = frozenset({*OPERATOR_ROLES, "owner", "admin", "billing"})


#: How long ago a person may have signed in, at most, for what cannot be taken back.
STEP_UP_MS = 5 * 60_000


def is_operator(role: Role) -> bool:
    """Say whether a role sees across accounts. What it may do there, its permissions say."""
    return role in OPERATOR_ROLES


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
    (``sva_``). ``permissions`` are the role's within ``limits``; ``withheld`` is what they would hold
    beside if the account were not suspended. ``user_id``, ``session_id`` and ``authenticated_at_ms`` are
    set for a person who signed in: when, last, with all that was asked of them.
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
    withheld: frozenset[str] = frozenset()

    @property
    def is_operator(self) -> bool:
        return is_operator(self.role)


def require_fresh(principal: Principal, now_ms: int) -> None:
    """Raises Forbidden (``step_up_needed``): a person is asking who did not sign in within `STEP_UP_MS`."""
    if principal.user_id is None:
        return
    since_ms = principal.authenticated_at_ms
    if since_ms is None or now_ms - since_ms > STEP_UP_MS:
        raise Forbidden("Sign in again to do this, and ask for another token.", code="step_up_needed")

"""What a key may be issued with. Invariant: nobody issues one that may do more than themselves.

An operator of all issues tenants' keys without being a tenant. More is: another permission, from
another network, or for longer.
"""

from chalicelib.accounts.model import DAY_MS, PERMISSIONS, ApiKey, select_permissions
from chalicelib.core.errors import Forbidden, InvalidInput
from chalicelib.core.networks import covers, read_networks
from chalicelib.core.principal import KeyLimits, Principal, Role

MAX_NETWORKS = 16
MAX_LIFETIME_MS = 365 * DAY_MS


def settle_limits(issuer: Principal, role: Role, asked: KeyLimits, now_ms: int) -> KeyLimits:
    """Return the limits of a new key: what is asked, and the issuer's own where nothing is.

    Whoever has less than the key's role has no key of all of the role either, nor of what it is given later.

    Raises:
        InvalidInput: ``permission_not_of_role``, ``invalid_expiry``, or as `read_networks`.
        Forbidden: ``key_exceeds_issuer``.
    """
    foreign = sorted((asked.permissions or frozenset()) - PERMISSIONS[role])
    if foreign:
        raise InvalidInput(f"The role {role} has no permission {foreign[0]}.", code="permission_not_of_role")
    if asked.expires_at_ms is not None and not now_ms < asked.expires_at_ms <= now_ms + MAX_LIFETIME_MS:
        raise InvalidInput("A key expires within 365 days from now.", code="invalid_expiry")
    own = issuer.limits
    limits = KeyLimits(
        _choose_permissions(issuer, role) if asked.permissions is None else asked.permissions,
        read_networks(asked.networks) or own.networks,
        own.expires_at_ms if asked.expires_at_ms is None else asked.expires_at_ms,
    )
    require_within(issuer, role, limits)
    return limits


def renew_limits(issuer: Principal, key: ApiKey, now_ms: int) -> KeyLimits:
    """Return the limits of a key's successor: its own, and as long a life again if the issuer lives so long.

    Raises:
        Forbidden: ``key_exceeds_issuer``.
    """
    expires_at_ms, own = key.limits.expires_at_ms, issuer.limits.expires_at_ms
    if expires_at_ms is not None:
        expires_at_ms += now_ms - key.created_at_ms
        expires_at_ms = expires_at_ms if own is None else min(expires_at_ms, own)
    limits = KeyLimits(key.limits.permissions, key.limits.networks, expires_at_ms)
    require_within(issuer, key.role, limits)
    return limits


def require_within(issuer: Principal, role: Role, limits: KeyLimits) -> None:
    """Raises Forbidden (``key_exceeds_issuer``): a key of these limits may do more than its issuer."""
    own = issuer.limits
    may_more = own.permissions is not None and (
        limits.permissions is None or not limits.permissions <= own.permissions
    )
    if not _issues_for_others(issuer):
        may_more = may_more or not select_permissions(role, limits) <= issuer.permissions
    from_elsewhere = bool(own.networks) and not (limits.networks and covers(own.networks, limits.networks))
    for_longer = own.expires_at_ms is not None and (
        limits.expires_at_ms is None or limits.expires_at_ms > own.expires_at_ms
    )
    # What may nothing is no key: to the store it would be one without limits.
    is_empty = limits.permissions is not None and not limits.permissions
    if may_more or from_elsewhere or for_longer or is_empty:
        raise Forbidden("Nobody issues a key that may do more than themselves.", code="key_exceeds_issuer")


def _choose_permissions(issuer: Principal, role: Role) -> frozenset[str] | None:
    granted, own = PERMISSIONS[role], issuer.limits.permissions
    if own is not None:
        return own & granted
    return (
        None if _issues_for_others(issuer) or granted <= issuer.permissions else granted & issuer.permissions
    )


def _issues_for_others(issuer: Principal) -> bool:
    return issuer.role == "operator"

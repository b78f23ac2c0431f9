"""Admission: from the text of an access token to who asks and what they may do now.

Invariant: nothing is read of anybody before the signature holds; whatever goes wrong refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chalicelib.core.errors import Unauthenticated
from chalicelib.core.ids import is_id
from chalicelib.core.principal import NO_LIMITS, STRICT_ROLES, KeyLimits, Principal, Role
from chalicelib.identity.model import SECOND_FACTORS
from chalicelib.oauth.keyring import LEEWAY_SECONDS
from chalicelib.oauth.model import (
    ACCESS_TOKEN_SECONDS,
    GRANT_PREFIX,
    SECOND_MS,
    AccessClaims,
    Consent,
    Grant,
    RevokedToken,
    select_permissions,
)

if TYPE_CHECKING:
    from chalicelib.oauth.ports import OAuthPorts

#: Before anything is decoded. Ours have about 900 characters.
MAX_TOKEN = 4096
_REFUSED = "The token is not valid."
_TEXTS = ("iss", "sub", "aud", "client_id", "scope", "org", "jti")
_PERSONAL = ("sid", "epoch", "auth_time", "amr")


def authenticate_token(ports: "OAuthPorts", token: str) -> Principal:
    """Return who holds an access token.

    A person's costs three reads (user, grant, membership), a service account's two (account, revocations).

    Raises:
        Unauthenticated: malformed, not ours, expired, ended, or its subject has no standing any more; the
            answer is the same for all but the expired.
    """
    claims = read_token(ports, token)
    role = find_role(ports, claims)
    if role is None:
        raise Unauthenticated(_REFUSED)
    granted = frozenset(ports.permissions.get(role, ()))
    permissions = select_permissions(granted, claims.scope)
    return Principal(
        account_id=claims.org,
        role=role,
        actor_id=claims.sub,
        permissions=permissions,
        # Whoever has a part of the role issues keys of that part alone.
        limits=NO_LIMITS if permissions == granted else KeyLimits(permissions),
        user_id=claims.sub if claims.sid is not None else None,
        session_id=claims.sid,
        authenticated_at_ms=None if claims.auth_time is None else claims.auth_time * SECOND_MS,
    )


def read_token(ports: "OAuthPorts", token: str) -> AccessClaims:
    """Return the claims of a token that we signed and that has not expired. No standing is read.

    Raises:
        Unauthenticated: it is none. ``token_expired``: it was until then.
    """
    if not 0 < len(token) <= MAX_TOKEN or not token.isascii() or token.count(".") != 2:  # noqa: PLR2004
        raise Unauthenticated(_REFUSED)
    key = ports.keys.find(ports.codec.read_kid(token))
    if key is None:
        raise Unauthenticated(_REFUSED)
    claims = parse_claims(ports.codec.decode(token, key))
    issuer = ports.issuer()
    if claims.iss != issuer or claims.aud != issuer:
        raise Unauthenticated(_REFUSED)
    check_times(claims, ports.clock.now_ms())
    return claims


def check_times(claims: AccessClaims, now_ms: int) -> None:
    """Raises Unauthenticated: not yet, no longer (``token_expired``), or for longer than we ever sign for."""
    leeway_ms = LEEWAY_SECONDS * SECOND_MS
    if claims.iat * SECOND_MS > now_ms + leeway_ms:
        raise Unauthenticated(_REFUSED)
    if not 0 < claims.exp - claims.iat <= ACCESS_TOKEN_SECONDS:
        raise Unauthenticated(_REFUSED)
    if claims.exp * SECOND_MS + leeway_ms <= now_ms:
        raise Unauthenticated("The token has expired.", code="token_expired")


def parse_claims(claims: Mapping[str, object]) -> AccessClaims:
    """Return claims of exactly our names and types. Raises Unauthenticated: they are others."""
    person = is_id(str(claims.get("sub")), "usr")
    names = {*_TEXTS, "iat", "exp", *(_PERSONAL if person else ())}
    if set(claims) - {"nbf"} != names or not (person or is_id(str(claims.get("sub")), "sva")):
        raise Unauthenticated(_REFUSED)
    numbers = [claims[name] for name in ("iat", "exp", *(("epoch", "auth_time") if person else ()))]
    texts = [claims[name] for name in (*_TEXTS, *(("sid",) if person else ()))]
    amr = claims.get("amr", [])
    fine = (
        all(type(each) is int and 0 <= each < 10**12 for each in numbers)
        and all(isinstance(each, str) and each for each in texts)
        and isinstance(amr, list)
        and all(isinstance(each, str) for each in amr)
        # We never write it; who does may not mean more by it than by iat.
        and claims.get("nbf", claims["iat"]) == claims["iat"]
    )
    if not fine or (person and not is_id(str(claims["sid"]), GRANT_PREFIX)):
        raise Unauthenticated(_REFUSED)
    values = {name: value for name, value in claims.items() if name not in {"nbf", "amr"}}
    return AccessClaims(**values, amr=tuple(amr))  # type: ignore[arg-type]  # checked above, name by name


def find_role(ports: "OAuthPorts", claims: AccessClaims) -> Role | None:
    """Return the role that the subject has in its organisation now; ``None``: it has no standing."""
    if claims.sid is None:
        return _find_service_role(ports, claims)
    grant = ports.store.get(Grant, claims.sid)
    if grant is None or not grant.is_live(ports.clock.now_ms()):
        return None
    consent = grant.consent
    if (consent.user_id, consent.account_id, grant.client_id) != (claims.sub, claims.org, claims.client_id):
        return None
    return find_granted_role(ports, consent, claims.epoch)


def find_granted_role(ports: "OAuthPorts", consent: Consent, epoch: int | None) -> Role | None:
    """Return the role now of who consented; ``None``: no standing, or one that asks for more than was proved.

    Who came to a strict role since has to sign in again with a second factor, as in a browser.
    """
    role = find_person_role(ports, consent.user_id, consent.account_id, epoch)
    short = role in STRICT_ROLES and SECOND_FACTORS.isdisjoint(consent.methods)
    return None if short else role


def find_person_role(ports: "OAuthPorts", user_id: str, account_id: str, epoch: int | None) -> Role | None:
    """Return a person's role now; ``None``: not active, of another epoch, or no longer a member."""
    user = ports.standing.get_user(user_id)
    if user is None or user.status != "active" or user.epoch != epoch:
        return None
    membership = ports.standing.get_membership(account_id, user_id)
    return None if membership is None else membership.role


def _find_service_role(ports: "OAuthPorts", claims: AccessClaims) -> Role | None:
    service = ports.standing.get_service_account(claims.sub)
    if service is None or service.disabled_at_ms is not None or service.account_id != claims.org:
        return None
    if claims.client_id != claims.sub or ports.store.get(RevokedToken, claims.jti) is not None:
        return None
    return service.role


@dataclass(frozen=True, slots=True)
class TokenState:
    """What introspection tells of an access token (RFC 7662, section 2.2)."""

    claims: AccessClaims
    role: Role


def inspect_token(ports: "OAuthPorts", token: str) -> TokenState | None:
    """Return what a token is worth now; ``None``: nothing."""
    try:
        claims = read_token(ports, token)
    except Unauthenticated:
        return None
    role = find_role(ports, claims)
    return None if role is None else TokenState(claims, role)

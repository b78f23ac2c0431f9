"""Codes, grants and their refresh tokens: what is given once, and what happens when it comes twice."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.oauth.admission import find_granted_role
from chalicelib.oauth.model import (
    ACCESS_TOKEN_SECONDS,
    CODE_MS,
    GRANT_PREFIX,
    REFRESH_ABSOLUTE_MS,
    REFRESH_RETRY_MS,
    SECOND_MS,
    AuthorizationCode,
    Client,
    Consent,
    Grant,
    RevokedToken,
    build_refresh_token,
    compute_digest,
    derive_refresh_secret,
    parse_refresh_token,
)
from chalicelib.oauth.ports import add_audit
from chalicelib.oauth.signing import get_signing_key

if TYPE_CHECKING:
    from chalicelib.oauth.ports import OAuthPorts

#: Written by whoever presents a token, not by a person.
SYSTEM_ACTOR = "oauth"
MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """An authorization request that a person agreed to. ``challenge``: S256, RFC 7636, section 4.2."""

    client_id: str
    redirect_uri: str
    challenge: str
    consent: Consent


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh token leads to. ``repeated``: its successor was given already, and is given again."""

    grant: Grant
    text: str
    successor: str
    repeated: bool


def give_code(ports: "OAuthPorts", code: str, request: CodeRequest) -> None:
    """Keep ``code``, a fresh secret text, for what was agreed to."""
    record = AuthorizationCode(
        digest=compute_digest(code, ports.read_pepper(), "code"),
        client_id=request.client_id,
        redirect_uri=request.redirect_uri,
        challenge=request.challenge,
        consent=request.consent,
        grant_id=ports.ids.new_id(GRANT_PREFIX),
        expires_at_ms=ports.clock.now_ms() + CODE_MS,
    )
    tx = ports.transactions()
    ports.store.add(tx, record)
    consent = request.consent
    add_audit(ports, tx, consent.account_id, consent.user_id, "oauth.consented", request.client_id)
    tx.commit()


def find_code(ports: "OAuthPorts", text: str, client_id: str) -> AuthorizationCode | None:
    """Return a code that may be redeemed by this client. One that was used ends what it gave."""
    digest = compute_digest(text, ports.read_pepper(), "code")
    code = ports.store.get(AuthorizationCode, digest)
    if code is None or code.client_id != client_id:
        return None
    if code.used_at_ms is not None:
        end_grant(ports, code.grant_id, SYSTEM_ACTOR, "code_reused")
        return None
    return code if ports.clock.now_ms() < code.expires_at_ms else None


def open_grant(ports: "OAuthPorts", grant_id: str, client_id: str, consent: Consent) -> tuple[Grant, str]:
    """Return a grant that is not stored yet, with its first refresh token."""
    now_ms, pepper = ports.clock.now_ms(), ports.read_pepper()
    text = build_refresh_token(grant_id, ports.ids.new_secret(), pepper)
    digest = compute_digest(text, pepper, "refresh")
    expires_at_ms = now_ms + REFRESH_ABSOLUTE_MS
    grant = Grant(grant_id, client_id, consent, now_ms, expires_at_ms, current=digest, rotated_at_ms=now_ms)
    return grant, text


def redeem_code(ports: "OAuthPorts", code: AuthorizationCode, grant: Grant) -> bool:
    """Use the code and store its grant, both or neither. ``False``: it was used meanwhile; all is ended."""
    tx = ports.transactions()
    ports.store.replace(tx, replace(code, used_at_ms=ports.clock.now_ms()))
    store_grant(ports, tx, grant)
    try:
        tx.commit()
    except Unavailable:
        # Two came at once; which of them was the thief is not known.
        find_code_again = ports.store.get(AuthorizationCode, code.digest)
        if find_code_again is None or find_code_again.used_at_ms is None:
            raise
        end_grant(ports, code.grant_id, SYSTEM_ACTOR, "code_reused")
        return False
    return True


def store_grant(ports: "OAuthPorts", tx: Transaction, grant: Grant) -> None:
    ports.store.add(tx, grant)
    consent = grant.consent
    add_audit(ports, tx, consent.account_id, consent.user_id, "oauth.granted", grant.grant_id)


def is_consent_good(ports: "OAuthPorts", consent: Consent) -> bool:
    """Say whether who agreed is still active, of the same epoch, and a member by what was proved then."""
    return find_granted_role(ports, consent, consent.epoch) is not None


def find_refresh(ports: "OAuthPorts", text: str, client_id: str) -> Refresh | None:
    """Return what a refresh token is good for now.

    One that has served ends its grant, unless its client lost the answer: within ``REFRESH_RETRY_MS``, while
    its successor was not used, the same successor is given again.
    """
    pepper, now_ms = ports.read_pepper(), ports.clock.now_ms()
    grant_id = parse_refresh_token(text, pepper)
    grant = None if grant_id is None else ports.store.get(Grant, grant_id)
    if grant is None or grant.client_id != client_id or not grant.is_refreshable(now_ms):
        return None
    digest = compute_digest(text, pepper, "refresh")
    # While ``previous`` is the one before ``current``, ``current`` was not used.
    retried = digest == grant.previous and now_ms <= grant.rotated_at_ms + REFRESH_RETRY_MS
    if digest != grant.current and not retried:
        end_grant(ports, grant.grant_id, SYSTEM_ACTOR, "refresh_token_reused")
        return None
    if not is_consent_good(ports, grant.consent):
        end_grant(ports, grant.grant_id, SYSTEM_ACTOR, "standing_lost")
        return None
    successor = build_refresh_token(grant.grant_id, derive_refresh_secret(text, pepper), pepper)
    return Refresh(grant, text, successor, repeated=retried)


def rotate_grant(ports: "OAuthPorts", refresh: Refresh) -> bool:
    """Put the successor in place of the token that was presented.

    ``False``: it may not be given, as the grant ended or moved on meanwhile. Who lost a race to a retry of
    its own finds the same successor in place, and gives it.
    """
    if refresh.repeated:
        return True
    pepper = ports.read_pepper()
    rotated = replace(
        refresh.grant,
        previous=compute_digest(refresh.text, pepper, "refresh"),
        current=compute_digest(refresh.successor, pepper, "refresh"),
        rotated_at_ms=ports.clock.now_ms(),
    )
    tx = ports.transactions()
    ports.store.replace(tx, rotated)
    try:
        tx.commit()
    except Unavailable:
        again = find_refresh(ports, refresh.text, refresh.grant.client_id)
        if again is not None and not again.repeated:
            raise
        return again is not None
    return True


def find_grant_of_refresh(ports: "OAuthPorts", text: str) -> Grant | None:
    """Return the grant of a refresh token that is current; nothing is ended."""
    pepper = ports.read_pepper()
    grant_id = parse_refresh_token(text, pepper)
    grant = None if grant_id is None else ports.store.get(Grant, grant_id)
    if grant is None or compute_digest(text, pepper, "refresh") not in {grant.current, grant.previous}:
        return None
    return grant


def end_grant(ports: "OAuthPorts", grant_id: str, actor: str, reason: str) -> None:
    """End a grant: every token of it is refused from the next request on. Twice changes nothing.

    Raises:
        Unavailable: too many changed it at the same time.
    """
    for attempt in range(MAX_ATTEMPTS):
        grant = ports.store.get(Grant, grant_id)
        if grant is None or grant.ended_at_ms is not None:
            return
        tx = ports.transactions()
        ports.store.replace(tx, replace(grant, ended_at_ms=ports.clock.now_ms(), end_reason=reason))
        add_audit(ports, tx, grant.consent.account_id, actor, f"oauth.ended.{reason}", grant_id)
        try:
            tx.commit()
        except Unavailable:
            if attempt + 1 == MAX_ATTEMPTS:
                raise
        else:
            return


def revoke_service_token(ports: "OAuthPorts", account_id: str, token_id: str, expires_at_ms: int) -> None:
    """Refuse one token of a service account from now on. Twice changes nothing."""
    if ports.store.get(RevokedToken, token_id) is not None:
        return
    tx = ports.transactions()
    ports.store.add(tx, RevokedToken(token_id, expires_at_ms))
    add_audit(ports, tx, account_id, SYSTEM_ACTOR, "oauth.token_revoked", token_id)
    tx.commit()


def sign_for_person(ports: "OAuthPorts", grant: Grant, scope: str) -> str:
    """Return an access token of a grant."""
    consent = grant.consent
    claims = _build_claims(ports, consent.user_id, grant.client_id, consent.account_id, scope)
    claims |= {
        "sid": grant.grant_id,
        "epoch": consent.epoch,
        "auth_time": consent.authenticated_at_ms // SECOND_MS,
        "amr": list(consent.methods),
    }
    return ports.codec.encode(claims, get_signing_key(ports), ports.signer)


def sign_for_service(ports: "OAuthPorts", client: Client, scope: str) -> str:
    """Return an access token of a service account."""
    assert client.account_id is not None
    claims = _build_claims(ports, client.client_id, client.client_id, client.account_id, scope)
    return ports.codec.encode(claims, get_signing_key(ports), ports.signer)


def _build_claims(
    ports: "OAuthPorts", subject: str, client_id: str, account_id: str, scope: str
) -> dict[str, object]:
    issuer, now_seconds = ports.issuer(), ports.clock.now_ms() // SECOND_MS
    return {
        "iss": issuer,
        "sub": subject,
        "aud": issuer,
        "client_id": client_id,
        "scope": scope,
        "org": account_id,
        "iat": now_seconds,
        "exp": now_seconds + ACCESS_TOKEN_SECONDS,
        "jti": ports.ids.new_id("jti"),
    }

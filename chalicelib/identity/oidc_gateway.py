"""OpenID Connect as a client: authlib makes the requests and checks the claims, joserfc the signature.

Source: OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3; discovery 1.0; RFC 7636; RFC 9700, section 2.1.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from chalicelib.core.errors import Unauthenticated, Unavailable
from chalicelib.core.ports import Clock
from chalicelib.identity.federating import Claims, Proofs, Provider

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 1 << 18
#: Metadata and keys are read again after this long, and keys at once when one is not known.
CACHE_MS = 3_600_000
#: Signatures alone: no MAC, whose key would be our own secret, and no ``none``.
ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"]
LEEWAY_SECONDS = 60

Send = Callable[[str, str, Mapping[str, str], bytes | None], bytes]


class JsonSender:
    """One request within 5 s altogether, following nothing, to https; to this machine also without."""

    def __init__(self, *, loopback: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._loopback, self._now = loopback, now

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Raises Unavailable: no answer, or one that is too large. Unauthenticated: it was refused."""
        deadline = self._now() + TIMEOUT_SECONDS
        try:
            return self._send(method, url, headers, body, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("The provider did not answer; try again.") from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> bytes:
        parts = urlsplit(url)
        host = parts.hostname or ""
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(
                host, parts.port, timeout=TIMEOUT_SECONDS, context=context
            )
        elif self._loopback and parts.scheme == "http" and host == "127.0.0.1":
            connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)
        else:
            raise Unavailable("The provider is not set up properly.")
        with closing(connection):
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request(method, target, body, headers={"Accept": "application/json", **headers})
            with closing(connection.getresponse()) as response:
                answer = self._read(response, deadline)
                if HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    raise _refuse()
                if response.status != HTTPStatus.OK:
                    raise Unavailable("The provider did not answer; try again.")
                return answer

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        answer = b""
        while chunk := response.read1(1 << 14):
            answer += chunk
            if len(answer) > MAX_BYTES or self._now() > deadline:
                raise Unavailable("The provider's answer was too large or too slow.")
        return answer


@dataclass(slots=True)
class OidcClient:
    """`chalicelib.identity.federating.ProviderClient`. ``loopback``: as of `JsonSender`."""

    send: Send
    clock: Clock
    loopback: bool = False
    _cache: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def build_url(self, provider: Provider, proofs: Proofs, redirect_uri: str, *, again: bool) -> str:
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        # By max_age the provider owes auth_time. Source: OpenID Connect Core 1.0, section 3.1.2.1.
        more = {"prompt": "login", "max_age": "0"} if again else {}
        return str(
            prepare_grant_uri(
                self._discover(provider)["authorization_endpoint"],
                provider.client_id,
                "code",
                redirect_uri=redirect_uri,
                scope=provider.scopes,
                state=proofs.state,
                nonce=proofs.nonce,
                code_challenge=create_s256_code_challenge(proofs.verifier),
                code_challenge_method="S256",
                **more,
            )
        )

    def redeem(self, provider: Provider, code: str, proofs: Proofs, redirect_uri: str) -> Claims:
        from authlib.oauth2.rfc6749.parameters import prepare_token_request

        metadata = self._discover(provider)
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=redirect_uri,
            code=code,
            code_verifier=proofs.verifier,
            client_id=provider.client_id,
            client_secret=provider.client_secret,
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        granted = _parse(self.send("POST", metadata["token_endpoint"], headers, body.encode()))
        id_token = granted.get("id_token")
        if not isinstance(id_token, str):
            raise _refuse()
        return self._verify(provider, metadata, id_token, proofs, granted.get("access_token"))

    def _verify(
        self,
        provider: Provider,
        metadata: Mapping[str, Any],
        id_token: str,
        proofs: Proofs,
        access_token: object,
    ) -> Claims:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError

        options = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": provider.client_id},
            "sub": {"essential": True},
        }
        params = {"nonce": proofs.nonce, "client_id": provider.client_id, "access_token": access_token}
        try:
            decoded = jwt.decode(id_token, self._find_keys(metadata, id_token), algorithms=ALGORITHMS)
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(now=self.clock.now_ms() // 1000, leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _refuse() from error
        subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
        verified = claims.get("email_verified")
        if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT:
            raise _refuse()
        return Claims(
            provider.issuer,
            subject,
            email if isinstance(email, str) else None,
            # Cognito says it as a text.
            verified is True or verified == "true",
            name if isinstance(name, str) else None,
            _read_instant_ms(claims.get("auth_time")),
        )

    def _find_keys(self, metadata: Mapping[str, Any], id_token: str) -> Any:
        from joserfc import jws
        from joserfc.jwk import KeySet

        kid = jws.extract_compact(id_token.encode()).headers().get("kid")
        document = self._fetch(metadata["jwks_uri"])
        if kid is not None and kid not in {each.get("kid") for each in document.get("keys", [])}:
            # The provider has turned its keys since.
            document = self._fetch(metadata["jwks_uri"], fresh=True)
        return KeySet.import_key_set(document)  # type: ignore[arg-type]  # checked by joserfc

    def _discover(self, provider: Provider) -> Mapping[str, Any]:
        from authlib.oidc.discovery import OpenIDProviderMetadata

        url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self._fetch(url)
        metadata = OpenIDProviderMetadata(found)
        try:
            if not self.loopback:
                # Refuses plain HTTP everywhere, as the providers on this machine speak it.
                metadata.validate_issuer()
                metadata.validate_authorization_endpoint()
                metadata.validate_token_endpoint()
                metadata.validate_jwks_uri()
        except ValueError as error:
            raise Unavailable("The provider is not set up properly.") from error
        wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        proper = found.get("issuer") == provider.issuer and all(
            isinstance(found.get(key), str) for key in wanted
        )
        if not proper:
            raise Unavailable("The provider is not set up properly.")
        return found

    def _fetch(self, url: str, *, fresh: bool = False) -> dict[str, Any]:
        now_ms, known = self.clock.now_ms(), self._cache.get(url)
        if known is not None and not fresh and now_ms - known[0] < CACHE_MS:
            found: dict[str, Any] = known[1]
            return found
        document = _parse(self.send("GET", url, {}, None))
        self._cache[url] = (now_ms, document)
        return document


MAX_SUBJECT = 255
#: Some 3,000 years of seconds: what is beyond is no instant.
MAX_SECONDS = 10**11


def _read_instant_ms(seconds: object) -> int | None:
    fine = type(seconds) in {int, float} and 0 < seconds < MAX_SECONDS  # type: ignore[operator]
    return int(seconds * 1000) if fine else None  # type: ignore[operator]


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refuse() from error
    if not isinstance(document, dict):
        raise _refuse()
    return document


def _refuse() -> Unauthenticated:
    return Unauthenticated("The provider's answer was not accepted.", code="provider_refused")

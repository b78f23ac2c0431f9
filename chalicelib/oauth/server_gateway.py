"""The protocol by Authlib: its server and grants over our records. What is decided there is not decided here.

Imported by the endpoints alone, at their first call: the library costs a cold start.
"""

import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from authlib.oauth2 import AuthorizationServer, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.errors import UnauthorizedClientError
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750.token import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceAuthorizationEndpoint
from authlib.oauth2.rfc9207 import IssuerParameter

from chalicelib.core.errors import Unauthenticated
from chalicelib.oauth import admission, devices, granting, service
from chalicelib.oauth.grant_gateway import (
    ALL_METHODS,
    SECRET_METHODS,
    CodeGrant,
    PollingGrant,
    RotatingRefreshGrant,
    ServedClient,
    ServiceGrant,
    StrictCodeChallenge,
    Subject,
)
from chalicelib.oauth.model import (
    ACCESS_TOKEN_SECONDS,
    DEVICE_INTERVAL_SECONDS,
    DEVICE_SECONDS,
    SECOND_MS,
    AccessClaims,
    Consent,
    Grant,
)
from chalicelib.oauth.ports import ConsentQuestion, EndpointCall, OAuthPorts, Reply

# Authlib logs the tokens that it issues when it is told to debug.
logging.getLogger("authlib").setLevel(logging.WARNING)

FOUND, SEE_OTHER = 302, 303
#: Where Authlib takes it into a message, whose characters RFC 6749, section 5.2, limits.
_QUOTED = ("response_type", "grant_type", "redirect_uri", "client_id", "scope", "token_type_hint")
_MAX_FIELD = 8192
#: TLS ends before us; Authlib looks whether a request came by it.
_BEHIND_TLS = "https://behind.gateway/"


class DeviceEndpoint(DeviceAuthorizationEndpoint):  # type: ignore[misc,unused-ignore]
    CLIENT_AUTH_METHODS = ALL_METHODS
    EXPIRES_IN = DEVICE_SECONDS
    INTERVAL = DEVICE_INTERVAL_SECONDS

    def create_endpoint_response(self, request: Any) -> tuple[int, Any, Any]:
        self.address = request.address
        status, body, headers = super().create_endpoint_response(request)
        # A link with the code in it is what a stranger would send (RFC 8628, section 5.4).
        return status, {k: v for k, v in body.items() if k != "verification_uri_complete"}, headers

    def authenticate_client(self, request: Any) -> Any:
        client = super().authenticate_client(request)
        if not request.client.check_grant_type(DEVICE_CODE_GRANT_TYPE):
            raise UnauthorizedClientError
        self.client = request.client
        return client

    def get_verification_uri(self) -> str:
        return f"{self.server.ports.issuer()}/device"

    def save_device_credential(self, client_id: str, scope: str | None, data: Mapping[str, Any]) -> None:
        allowed = self.client.get_allowed_scope(scope)
        if allowed is None:
            raise InvalidScopeError
        asked = devices.DeviceRequest(
            data["device_code"], data["user_code"], client_id, allowed, self.address
        )
        devices.start_device(self.server.ports, asked)


class HeldToken:
    """A token that somebody shows to the revocation or the introspection endpoint."""

    def __init__(self, client_id: str, account_id: str, told: dict[str, object]) -> None:
        self.client_id, self.account_id, self.told = client_id, account_id, told
        self.claims: AccessClaims | None = None
        self.grant_id: str | None = None

    def check_client(self, client: ServedClient) -> bool:
        return client.get_client_id() == self.client_id

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class Revocation(RevocationEndpoint):  # type: ignore[misc,unused-ignore]
    CLIENT_AUTH_METHODS = ALL_METHODS

    def query_token(self, token_string: str, _token_type_hint: str | None) -> HeldToken | None:
        ports: OAuthPorts = self.server.ports
        grant = granting.find_grant_of_refresh(ports, token_string)
        if grant is not None:
            return _hold_grant(grant)
        try:
            return _hold_claims(admission.read_token(ports, token_string))
        except Unauthenticated:
            return None

    def revoke_token(self, token: HeldToken, request: Any) -> None:
        ports: OAuthPorts = self.server.ports
        if token.grant_id is not None:
            granting.end_grant(ports, token.grant_id, request.client.get_client_id(), "revoked")
        elif token.claims is not None:
            ends_at_ms = (token.claims.exp + 60) * SECOND_MS
            granting.revoke_service_token(ports, token.account_id, token.claims.jti, ends_at_ms)


class Introspection(IntrospectionEndpoint):  # type: ignore[misc,unused-ignore]
    CLIENT_AUTH_METHODS = SECRET_METHODS

    def query_token(self, token_string: str, _token_type_hint: str | None) -> HeldToken | None:
        """Return a token that is good now; what is not is told of as inactive and nothing more."""
        ports: OAuthPorts = self.server.ports
        grant = granting.find_grant_of_refresh(ports, token_string)
        if grant is not None:
            now_ms = ports.clock.now_ms()
            good = grant.is_refreshable(now_ms) and granting.is_consent_good(ports, grant.consent)
            return _hold_grant(grant) if good else None
        state = admission.inspect_token(ports, token_string)
        return None if state is None else _hold_claims(state.claims)

    def check_permission(self, token: HeldToken, client: ServedClient, _request: Any) -> bool:
        return client.client.account_id == token.account_id

    def introspect_token(self, token: HeldToken) -> dict[str, object]:
        return {"active": True, **token.told}


class OurIssuer(IssuerParameter):  # type: ignore[misc,unused-ignore]
    def __init__(self, ports: OAuthPorts) -> None:
        self.ports = ports

    def get_issuer(self) -> str:
        return self.ports.issuer()


class ServedRequest(OAuth2Request):  # type: ignore[misc,unused-ignore]
    def __init__(self, call: EndpointCall) -> None:
        super().__init__(call.method, _BEHIND_TLS, headers={"Authorization": call.authorization})
        self.payload = BasicOAuth2Payload(dict(call.fields))
        self.fields, self.address = call.fields, call.address

    @property
    def args(self) -> Mapping[str, str]:
        return self.fields

    @property
    def form(self) -> Mapping[str, str]:
        return self.fields


class AuthlibServer(AuthorizationServer):  # type: ignore[misc,unused-ignore]
    """`chalicelib.oauth.ports.Protocol20`."""

    def __init__(self, ports: OAuthPorts) -> None:
        super().__init__(scopes_supported=list(service.list_scopes(ports)))
        self.ports = ports
        self.issuer_parameter = OurIssuer(ports)
        generator = BearerTokenGenerator(self._sign, self._give_refresh_token, ACCESS_TOKEN_SECONDS)
        self.register_token_generator("default", generator)
        self.register_grant(CodeGrant, [StrictCodeChallenge(required=True)])
        self.register_grant(RotatingRefreshGrant)
        self.register_grant(ServiceGrant)
        self.register_grant(PollingGrant)
        self.register_endpoint(Revocation)
        self.register_endpoint(Introspection)
        self.register_endpoint(DeviceEndpoint(self))
        self.register_extension(self.issuer_parameter)

    # What Authlib asks of a server.

    def query_client(self, client_id: str) -> ServedClient | None:
        client = service.find_client(self.ports, client_id)
        return None if client is None else ServedClient(self.ports, client)

    def save_token(self, token: Mapping[str, Any], request: Any) -> None:  # noqa: ARG002
        if request.refresh_token is not None:
            stored = granting.rotate_grant(self.ports, request.refresh_token.refresh)
        elif request.authorization_code is not None:
            code = request.authorization_code.code
            stored = granting.redeem_code(self.ports, code, request.user.grant)
        elif request.credential is not None:
            stored = devices.redeem_device(self.ports, request.credential.device, request.user.grant)
        else:
            return
        if not stored:
            raise InvalidGrantError

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: Any) -> ServedRequest:
        return request if isinstance(request, ServedRequest) else ServedRequest(request)

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Reply:
        named = dict(headers)
        location = named.pop("Location", "")
        # 303: never again what was posted (RFC 9700, section 4.12).
        told = SEE_OTHER if status == FOUND else status
        return Reply(told, body if isinstance(body, dict) else {}, named, location)

    # What the endpoints ask of us.

    def read_question(self, call: EndpointCall) -> ConsentQuestion | Reply:
        try:
            _check(call)
            grant = self.get_consent_grant(ServedRequest(call))
        except OAuth2Error as error:
            return self._refuse(call, error)
        request = grant.request
        return ConsentQuestion(request.client.client, request.scope, grant.redirect_uri)

    def answer_authorization(self, call: EndpointCall, consent: Consent | None) -> Reply:
        try:
            _check(call)
            grant = self.get_consent_grant(ServedRequest(call))
        except OAuth2Error as error:
            return self._refuse(call, error)
        reply: Reply = self.create_authorization_response(grant.request, grant_user=consent, grant=grant)
        return reply

    def answer_token(self, call: EndpointCall) -> Reply:
        return self._answer(call, self.create_token_response)

    def answer_device(self, call: EndpointCall) -> Reply:
        return self._answer(call, lambda asked: self.create_endpoint_response("device_authorization", asked))

    def answer_revocation(self, call: EndpointCall) -> Reply:
        return self._answer(call, lambda asked: self.create_endpoint_response("revocation", asked))

    def answer_introspection(self, call: EndpointCall) -> Reply:
        return self._answer(call, lambda asked: self.create_endpoint_response("introspection", asked))

    def build_metadata(self) -> Mapping[str, object]:
        """RFC 8414, section 2. Each value is exercised by a test."""
        issuer = self.ports.issuer()
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/oauth/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "introspection_endpoint": f"{issuer}/oauth/introspect",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "scopes_supported": list(self.scopes_supported),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [
                "authorization_code",
                "refresh_token",
                "client_credentials",
                DEVICE_CODE_GRANT_TYPE,
            ],
            "token_endpoint_auth_methods_supported": ALL_METHODS,
            "revocation_endpoint_auth_methods_supported": ALL_METHODS,
            "introspection_endpoint_auth_methods_supported": SECRET_METHODS,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _answer(self, call: EndpointCall, create: Any) -> Reply:
        try:
            _check(call)
        except OAuth2Error as error:
            return self._refuse(call, error)
        reply: Reply = create(ServedRequest(call))
        return reply

    def _refuse(self, call: EndpointCall, error: OAuth2Error) -> Reply:
        reply: Reply = self.handle_error_response(ServedRequest(call), error)
        self.issuer_parameter.add_issuer_parameter(self, reply)
        return reply

    def _sign(self, client: ServedClient, grant_type: str, user: Subject | None, scope: str) -> str:  # noqa: ARG002
        if user is None:
            return granting.sign_for_service(self.ports, client.client, scope)
        return granting.sign_for_person(self.ports, user.grant, scope)

    def _give_refresh_token(self, client: ServedClient, grant_type: str, user: Subject, scope: str) -> str:  # noqa: ARG002
        return user.refresh_token


def _hold_grant(grant: Grant) -> HeldToken:
    consent = grant.consent
    told: dict[str, object] = {
        "client_id": grant.client_id,
        "scope": consent.scope,
        "sub": consent.user_id,
        "exp": grant.expires_at_ms // SECOND_MS,
        "iat": grant.rotated_at_ms // SECOND_MS,
    }
    held = HeldToken(grant.client_id, consent.account_id, told)
    held.grant_id = grant.grant_id
    return held


def _hold_claims(claims: AccessClaims) -> HeldToken:
    names = ("client_id", "scope", "sub", "aud", "iss", "exp", "iat", "jti", "org")
    told: dict[str, object] = {"token_type": "Bearer", **{name: getattr(claims, name) for name in names}}
    held = HeldToken(claims.client_id, claims.org, told)
    held.claims, held.grant_id = claims, claims.sid
    return held


def _check(call: EndpointCall) -> None:
    """Refuse what Authlib would stumble over. Raises InvalidRequestError."""
    for name, value in call.fields.items():
        if len(value) > _MAX_FIELD or not value.isascii() or not (value.isprintable() or not value):
            raise InvalidRequestError("A parameter holds characters that none may hold, or is too long.")
        if name in _QUOTED and set(value) & {'"', "\\"}:
            raise InvalidRequestError("A parameter holds characters that it may not hold.")
    scheme, _, credentials = call.authorization.partition(" ")
    if scheme.lower() != "basic":
        return
    try:
        base64.b64decode(credentials, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise InvalidRequestError("The Authorization header is malformed.") from error
    if "client_secret" in call.fields:
        raise InvalidRequestError("The client authenticates in two ways at once.")

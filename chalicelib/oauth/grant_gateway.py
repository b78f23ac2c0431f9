"""Grants and clients as Authlib asks for them, over our records: part of `server_gateway`."""

from dataclasses import replace
from typing import Any

from authlib.oauth2.rfc6749 import ClientMixin, InvalidGrantError, InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DeviceCodeGrant

from chalicelib.oauth import devices, granting, service
from chalicelib.oauth.model import (
    ALL_SCOPE,
    AuthorizationCode,
    Client,
    Consent,
    DeviceAuthorization,
    Grant,
    is_redirect_allowed,
    join_scope,
    split_scope,
)
from chalicelib.oauth.ports import OAuthPorts

SECRET_METHODS = ["client_secret_basic", "client_secret_post"]
ALL_METHODS = [*SECRET_METHODS, "none"]


class Subject:
    """A person's grant, with the refresh token that goes with the next access token."""

    def __init__(self, grant: Grant, refresh_token: str) -> None:
        self.grant, self.refresh_token = grant, refresh_token


class ServedClient(ClientMixin):  # type: ignore[misc,unused-ignore]
    def __init__(self, ports: OAuthPorts, client: Client) -> None:
        self.ports, self.client = ports, client

    def get_client_id(self) -> str:
        return self.client.client_id

    def get_default_redirect_uri(self) -> None:
        # Never guessed: the address is always given (RFC 9700, section 4.1.3).
        return None

    def get_allowed_scope(self, scope: str | None) -> str | None:
        names = split_scope(scope or "")
        if not names:
            return ALL_SCOPE if self.client.is_first_party or self.client.kind == "service" else None
        return join_scope(names) if names <= set(service.list_scopes(self.ports)) else None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return is_redirect_allowed(self.client.redirect_uris, redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return service.is_secret(self.ports, self.client, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        return (method == "none") == (self.client.kind == "public")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.client.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.client.grant_types


class ServedCode:
    code_challenge_method = "S256"

    def __init__(self, code: AuthorizationCode) -> None:
        self.code, self.code_challenge = code, code.challenge

    def get_redirect_uri(self) -> str:
        return self.code.redirect_uri

    def get_scope(self) -> str:
        return self.code.consent.scope


class StrictCodeChallenge(CodeChallenge):  # type: ignore[misc,unused-ignore]
    """S256, always, of everybody: RFC 9700, section 2.1.1."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}  # noqa: RUF012

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        # A method that is not given would be "plain" (RFC 7636, section 4.3).
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("A code_challenge of the method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc,unused-ignore]
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS

    @staticmethod
    def validate_authorization_redirect_uri(request: Any, client: ServedClient) -> str:
        given: str | None = request.payload.redirect_uri
        if not given or not client.check_redirect_uri(given):
            raise InvalidRequestError("The redirect_uri is not one that the client registered.")
        return given

    def generate_authorization_code(self) -> str:
        return f"pcc_{self.server.ports.ids.new_secret()}"

    def save_authorization_code(self, code: str, request: Any) -> None:
        consent = replace(request.user, scope=request.scope)
        challenge = request.payload.data["code_challenge"]
        asked = granting.CodeRequest(
            request.client.get_client_id(), request.payload.redirect_uri, challenge, consent
        )
        granting.give_code(self.server.ports, code, asked)

    def query_authorization_code(self, code: str, client: ServedClient) -> ServedCode | None:
        found = granting.find_code(self.server.ports, code, client.get_client_id())
        return None if found is None else ServedCode(found)

    def authenticate_user(self, authorization_code: ServedCode) -> Subject | None:
        code = authorization_code.code
        return _open(self.server.ports, code.grant_id, code.client_id, code.consent)

    def delete_authorization_code(self, authorization_code: ServedCode) -> None:
        """It was used in the transaction that stored its grant."""


class RotatingRefreshGrant(RefreshTokenGrant):  # type: ignore[misc,unused-ignore]
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> "ServedRefresh | None":
        client_id = self.request.client.get_client_id()
        found = granting.find_refresh(self.server.ports, refresh_token, client_id)
        return None if found is None else ServedRefresh(found)

    def authenticate_user(self, refresh_token: "ServedRefresh") -> Subject:
        return Subject(refresh_token.refresh.grant, refresh_token.refresh.successor)

    def revoke_old_credential(self, refresh_token: "ServedRefresh") -> None:
        """Its successor was put in its place when the token was saved."""


class ServedRefresh:
    def __init__(self, refresh: granting.Refresh) -> None:
        self.refresh = refresh

    def check_client(self, client: ServedClient) -> bool:
        return client.get_client_id() == self.refresh.grant.client_id

    def get_scope(self) -> str:
        return self.refresh.grant.consent.scope


class ServiceGrant(ClientCredentialsGrant):  # type: ignore[misc,unused-ignore]
    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_METHODS


class ServedDevice:
    def __init__(self, ports: OAuthPorts, device: DeviceAuthorization) -> None:
        self.ports, self.device = ports, device

    def get_client_id(self) -> str:
        return self.device.client_id

    def get_scope(self) -> str:
        return self.device.scope

    def get_user_code(self) -> str:
        return self.device.digest

    def is_expired(self) -> bool:
        return self.ports.clock.now_ms() >= self.device.expires_at_ms


class PollingGrant(DeviceCodeGrant):  # type: ignore[misc,unused-ignore]
    TOKEN_ENDPOINT_AUTH_METHODS = ALL_METHODS

    def query_device_credential(self, device_code: str) -> ServedDevice:
        device = devices.find_device(self.server.ports, device_code)
        self.device = device
        if device is None:
            # Authlib would call it a malformed request.
            raise InvalidGrantError
        return ServedDevice(self.server.ports, device)

    def query_user_grant(self, _user_code: str) -> tuple[Subject | None, bool] | None:
        device = self.device
        if device is None or device.state == "pending":
            return None
        if device.state != "approved" or device.consent is None:
            return None, False
        subject = _open(self.server.ports, device.grant_id, device.client_id, device.consent)
        return subject, subject is not None

    def should_slow_down(self, credential: ServedDevice) -> bool:
        return devices.note_poll(self.server.ports, credential.device)


def _open(ports: OAuthPorts, grant_id: str, client_id: str, consent: Consent) -> Subject | None:
    session = ports.standing.get_session(consent.browser_session_id)
    if session is None or session.ended_at_ms is not None or not granting.is_consent_good(ports, consent):
        return None
    return Subject(*granting.open_grant(ports, grant_id, client_id, consent))

"""The API's operations for programs that act in an organisation's name, or in a person's."""

from typing import cast

from provocative import operations as op
from provocative.models import Page
from provocative.oauth_models import (
    IssuedOAuthClient,
    OAuthClient,
    OAuthClientRequest,
    OAuthGrant,
    OAuthSecret,
)
from provocative.transport import Transport


class OAuth:
    """Clients, secrets, and what the signed-in person granted."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register_client(self, request: OAuthClientRequest) -> IssuedOAuthClient:
        return cast("IssuedOAuthClient", self._transport.send(op.REGISTER_OAUTH_CLIENT, body=request))

    def list_clients(self, *, limit: int | None = None, cursor: str | None = None) -> Page[OAuthClient]:
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[OAuthClient]", self._transport.send(op.LIST_OAUTH_CLIENTS, query=query))

    def delete_client(self, client_id: str) -> None:
        self._transport.send(op.DELETE_OAUTH_CLIENT, {"client_id": client_id})

    def create_client_secret(self, client_id: str) -> OAuthSecret:
        return cast("OAuthSecret", self._transport.send(op.CREATE_CLIENT_SECRET, {"client_id": client_id}))

    def revoke_client_secret(self, client_id: str, secret_id: str) -> None:
        self._transport.send(op.REVOKE_CLIENT_SECRET, {"client_id": client_id, "secret_id": secret_id})

    def create_service_account_secret(self, service_account_id: str) -> OAuthSecret:
        path = {"service_account_id": service_account_id}
        return cast("OAuthSecret", self._transport.send(op.CREATE_SERVICE_ACCOUNT_SECRET, path))

    def revoke_service_account_secret(self, service_account_id: str, secret_id: str) -> None:
        path = {"service_account_id": service_account_id, "secret_id": secret_id}
        self._transport.send(op.REVOKE_SERVICE_ACCOUNT_SECRET, path)

    def list_grants(self, *, limit: int | None = None, cursor: str | None = None) -> Page[OAuthGrant]:
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[OAuthGrant]", self._transport.send(op.LIST_OAUTH_GRANTS, query=query))

    def end_grant(self, grant_id: str) -> None:
        self._transport.send(op.END_OAUTH_GRANT, {"grant_id": grant_id})

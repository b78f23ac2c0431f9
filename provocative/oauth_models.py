"""Bodies of programs that act in an organisation's name, as the API sends them. Instants are RFC 3339."""

from typing import Literal, TypedDict


class OAuthClientRequest(TypedDict):
    name: str
    kind: Literal["public", "confidential"]
    redirect_uris: list[str]


class OAuthClient(TypedDict):
    client_id: str
    name: str
    kind: str
    redirect_uris: list[str]
    created_at: str


class IssuedOAuthClient(OAuthClient):
    """``client_secret`` is shown once, and only a confidential client has one."""

    client_secret: str | None


class OAuthSecret(TypedDict):
    """``secret`` is shown once."""

    secret_id: str
    secret: str
    created_at: str


class OAuthGrant(TypedDict):
    grant_id: str
    client_id: str
    account_id: str
    scope: str
    created_at: str
    expires_at: str
    ended_at: str | None

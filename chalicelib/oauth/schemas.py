"""Bodies of the routes of clients and secrets."""

from typing import Annotated, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.core.paging import Page, encode_cursor
from chalicelib.oauth.model import MAX_REDIRECT_URI, MAX_REDIRECT_URIS, Client, Grant
from chalicelib.oauth.service import IssuedSecret, RegisterClient
from chalicelib.runtime.bodies import RequestBody, ResponseBody

RedirectUri = Annotated[str, Field(min_length=1, max_length=MAX_REDIRECT_URI)]


class OAuthClientRequest(RequestBody):
    #: People read it when they are asked.
    name: Annotated[str, Field(min_length=1, max_length=100)]
    #: ``public``: it runs where it can keep no secret, as a native app does.
    kind: Literal["public", "confidential"]
    redirect_uris: Annotated[list[RedirectUri], Field(min_length=1, max_length=MAX_REDIRECT_URIS)]

    def build_command(self) -> RegisterClient:
        return RegisterClient(self.name, self.kind, tuple(self.redirect_uris))


class OAuthClientBody(ResponseBody):
    client_id: str
    name: str
    kind: str
    redirect_uris: list[str]
    created_at: str


class OAuthSecretBody(ResponseBody):
    secret_id: str
    #: Shown once.
    secret: str
    created_at: str


class IssuedOAuthClientBody(OAuthClientBody):
    #: A confidential client's first; shown once.
    client_secret: str | None


class OAuthClientListBody(ResponseBody):
    items: list[OAuthClientBody]
    next_cursor: str | None


class OAuthGrantBody(ResponseBody):
    grant_id: str
    client_id: str
    account_id: str
    scope: str
    created_at: str
    expires_at: str
    ended_at: str | None


class OAuthGrantListBody(ResponseBody):
    items: list[OAuthGrantBody]
    next_cursor: str | None


def render_client(client: Client) -> OAuthClientBody:
    return OAuthClientBody(
        client_id=client.client_id,
        name=client.name,
        kind=client.kind,
        redirect_uris=list(client.redirect_uris),
        created_at=format_instant(client.created_at_ms),
    )


def render_issued_client(client: Client, issued: IssuedSecret | None) -> IssuedOAuthClientBody:
    secret = None if issued is None else issued.text
    return IssuedOAuthClientBody(**render_client(client).model_dump(), client_secret=secret)


def render_clients(page: Page[Client]) -> OAuthClientListBody:
    items = [render_client(each) for each in page.items if each.deleted_at_ms is None]
    return OAuthClientListBody(items=items, next_cursor=encode_cursor(page.next_key))


def render_secret(issued: IssuedSecret) -> OAuthSecretBody:
    secret = issued.secret
    return OAuthSecretBody(
        secret_id=secret.secret_id, secret=issued.text, created_at=format_instant(secret.created_at_ms)
    )


def render_grants(page: Page[Grant]) -> OAuthGrantListBody:
    items = [_render_grant(each) for each in page.items]
    return OAuthGrantListBody(items=items, next_cursor=encode_cursor(page.next_key))


def _render_grant(grant: Grant) -> OAuthGrantBody:
    ended = grant.ended_at_ms
    return OAuthGrantBody(
        grant_id=grant.grant_id,
        client_id=grant.client_id,
        account_id=grant.consent.account_id,
        scope=grant.consent.scope,
        created_at=format_instant(grant.created_at_ms),
        expires_at=format_instant(grant.expires_at_ms),
        ended_at=None if ended is None else format_instant(ended),
    )

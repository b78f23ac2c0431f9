"""Routes of clients, of secrets, and of what a person granted."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.paging import decode_cursor
from chalicelib.oauth import service
from chalicelib.oauth.schemas import (
    IssuedOAuthClientBody,
    OAuthClientListBody,
    OAuthClientRequest,
    OAuthGrantListBody,
    OAuthSecretBody,
    render_clients,
    render_grants,
    render_issued_client,
    render_secret,
)
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/oauth-clients", permission="oauth-clients:write", body=OAuthClientRequest, fresh=True)
def register_oauth_client(call: Call) -> Answer[IssuedOAuthClientBody]:
    """Register a program that people of the organisation let act in their name."""
    body: OAuthClientRequest = call.read_body(OAuthClientRequest)
    client, issued = service.register_client(wiring.oauth_ports(), call.principal, body.build_command())
    return Answer(render_issued_client(client, issued), HTTPStatus.CREATED)


@api.route("GET", "/v1/oauth-clients", permission="oauth-clients:read", query=PAGING)
def list_oauth_clients(call: Call) -> Answer[OAuthClientListBody]:
    """List the organisation's clients."""
    limit, start = read_limit(call.query), decode_cursor(call.query.get("cursor"))
    return Answer(render_clients(service.list_clients(wiring.oauth_ports(), call.principal, limit, start)))


@api.route("DELETE", "/v1/oauth-clients/{client_id}", permission="oauth-clients:write")
def delete_oauth_client(call: Call, client_id: str) -> Answer[None]:
    """End a client: nothing is given to it any more."""
    service.delete_client(wiring.oauth_ports(), call.principal, client_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/oauth-clients/{client_id}/secrets", permission="oauth-clients:write", fresh=True)
def create_oauth_client_secret(call: Call, client_id: str) -> Answer[OAuthSecretBody]:
    """Give a confidential client another secret; two work at most."""
    issued = service.create_secret(wiring.oauth_ports(), call.principal, client_id)
    return Answer(render_secret(issued), HTTPStatus.CREATED)


@api.route("DELETE", "/v1/oauth-clients/{client_id}/secrets/{secret_id}", permission="oauth-clients:write")
def revoke_oauth_client_secret(call: Call, client_id: str, secret_id: str) -> Answer[None]:
    """End one secret of a client at once."""
    service.revoke_secret(wiring.oauth_ports(), call.principal, client_id, secret_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route(
    "POST",
    "/v1/service-accounts/{service_account_id}/secrets",
    permission="service-accounts:write",
    fresh=True,
)
def create_service_account_secret(call: Call, service_account_id: str) -> Answer[OAuthSecretBody]:
    """Give a service account another secret; two work at most."""
    issued = service.create_secret(wiring.oauth_ports(), call.principal, service_account_id)
    return Answer(render_secret(issued), HTTPStatus.CREATED)


@api.route(
    "DELETE",
    "/v1/service-accounts/{service_account_id}/secrets/{secret_id}",
    permission="service-accounts:write",
)
def revoke_service_account_secret(call: Call, service_account_id: str, secret_id: str) -> Answer[None]:
    """End one secret of a service account at once."""
    service.revoke_secret(wiring.oauth_ports(), call.principal, service_account_id, secret_id)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("GET", "/v1/oauth-grants", permission="self:read", query=PAGING)
def list_oauth_grants(call: Call) -> Answer[OAuthGrantListBody]:
    """List what the calling person lets programs do, the newest first."""
    limit, start = read_limit(call.query), decode_cursor(call.query.get("cursor"))
    return Answer(render_grants(service.list_grants(wiring.oauth_ports(), call.principal, limit, start)))


@api.route("DELETE", "/v1/oauth-grants/{grant_id}", permission="self:write")
def end_oauth_grant(call: Call, grant_id: str) -> Answer[None]:
    """End what a program may do: all its tokens are refused at once."""
    service.end_own_grant(wiring.oauth_ports(), call.principal, grant_id)
    return Answer(status=HTTPStatus.NO_CONTENT)

"""Endpoints of OAuth 2.0 that programs call. Their errors have the shape of RFC 6749, section 5.2."""

import json
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.errors import DomainError, InvalidInput
from chalicelib.oauth import signing
from chalicelib.oauth.keyring import PUBLISHED_CACHE_SECONDS
from chalicelib.oauth.ports import EndpointCall, Reply
from chalicelib.runtime.http import Answer, Api, Call, Json
from chalicelib.runtime.pages import read_form
from chalicelib.runtime.problems import get_status
from chalicelib.runtime.security_log import Refusal

api = Api(__name__, refusals="oauth")

#: Refusals have the shape of RFC 6749, section 5.2, and are no problem documents.
_GIVEN = (HTTPStatus.OK,)
#: A client, or a secret text that it showed, was not good (RFC 6749, section 5.2).
_FAILURES = frozenset({"invalid_client", "invalid_grant"})
_PUBLISHED = {"Cache-Control": f"public, max-age={PUBLISHED_CACHE_SECONDS}"}


@api.route("GET", "/.well-known/oauth-authorization-server", public=True)
def read_oauth_metadata(_call: Call) -> Answer[Json]:
    """Say what the authorization server does, and where (RFC 8414)."""
    return Answer(json.dumps(dict(wiring.oauth_server().build_metadata())), headers=_PUBLISHED)


@api.route("GET", "/.well-known/jwks.json", public=True)
def read_token_keys(_call: Call) -> Answer[Json]:
    """Publish the keys that access tokens are signed with (RFC 7517)."""
    return Answer(json.dumps(dict(signing.build_key_set(wiring.oauth_ports()))), headers=_PUBLISHED)


@api.route("POST", "/oauth/token", public=True, statuses=_GIVEN)
def issue_oauth_token(call: Call) -> Answer[Json]:
    """Give tokens for a code, a device's code, a refresh token, or a service account's secret."""
    return _serve(call, wiring.oauth_server().answer_token)


@api.route("POST", "/oauth/device_authorization", public=True, statuses=_GIVEN)
def start_oauth_device(call: Call) -> Answer[Json]:
    """Begin the device flow (RFC 8628)."""
    return _serve(call, wiring.oauth_server().answer_device)


@api.route("POST", "/oauth/revoke", public=True, statuses=_GIVEN)
def revoke_oauth_token(call: Call) -> Answer[Json]:
    """End a token, and what was granted with it (RFC 7009)."""
    return _serve(call, wiring.oauth_server().answer_revocation)


@api.route("POST", "/oauth/introspect", public=True, statuses=_GIVEN)
def introspect_oauth_token(call: Call) -> Answer[Json]:
    """Say what a token of the client's own organisation is worth now (RFC 7662)."""
    return _serve(call, wiring.oauth_server().answer_introspection)


def _serve(call: Call, answer: Callable[[EndpointCall], Reply]) -> Answer[Json]:
    asked = EndpointCall("POST", {}, call.headers.get("authorization", ""), call.address)
    try:
        asked = replace(asked, fields=read_form(call))
        reply = answer(asked)
    except InvalidInput as error:
        reply = Reply(400, {"error": "invalid_request", "error_description": error.detail})
    except DomainError as error:
        reply = Reply(get_status(error).value, {"error": error.code, "error_description": error.detail})
    headers = {"Pragma": "no-cache", **reply.headers}
    return Answer(
        json.dumps(dict(reply.body)), HTTPStatus(reply.status), headers, _find_refusal(asked, reply)
    )


def _find_refusal(asked: EndpointCall, reply: Reply) -> Refusal | None:
    """Return what the security log is told of an answer; ``None``: nobody tried what is not theirs."""
    error = str(reply.body.get("error", ""))
    if error not in _FAILURES and reply.status != HTTPStatus.UNAUTHORIZED:
        return None
    return Refusal(error, {} if asked.client_id is None else {"attempted_client": asked.client_id})

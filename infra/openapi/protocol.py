"""Fields of the forms and of the query that OAuth defines: read by its library, so no view shows them."""

from collections.abc import Mapping
from typing import Any

FORM_TYPE = "application/x-www-form-urlencoded"
_CLIENT = ("client_id", "client_secret")
_QUESTION = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)
_TOKEN = ("token", "token_type_hint")
_GRANT = ("grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "device_code", "scope")
_DECISION = ("form_token", "decision", "organisation")
#: Source: RFC 6749, 7009, 7636, 7662, 8628; and our own pages.
FORMS: Mapping[str, tuple[str, ...]] = {
    "issue_oauth_token": (*_GRANT, *_CLIENT),
    "start_oauth_device": ("scope", *_CLIENT),
    "revoke_oauth_token": (*_TOKEN, *_CLIENT),
    "introspect_oauth_token": (*_TOKEN, *_CLIENT),
    "decide_oauth_consent": (*_QUESTION, *_DECISION),
    "decide_device": ("user_code", *_DECISION),
}
QUERIES: Mapping[str, tuple[str, ...]] = {"ask_oauth_consent": _QUESTION}
#: Source: RFC 6749, section 5.2.
OAUTH_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "A refusal of OAuth (RFC 6749, section 5.2).",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
    "additionalProperties": True,
}


def build_form(name: str) -> dict[str, Any]:
    """Return the body of an operation that takes a form. Raises KeyError: its fields are not listed."""
    fields = {field: {"type": "string"} for field in FORMS[name]}
    # Unknown fields are passed over (RFC 6749, section 3.2), each given once.
    schema = {"type": "object", "properties": fields, "additionalProperties": {"type": "string"}}
    return {"required": True, "content": {FORM_TYPE: {"schema": schema}}}


def list_parameters(name: str) -> list[dict[str, Any]]:
    """What is in the query of an operation that reads it as a whole."""
    return [{"name": each, "in": "query", "schema": {"type": "string"}} for each in QUERIES.get(name, ())]

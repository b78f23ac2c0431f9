"""Refusals: the problem document, and which codes stand behind each status, from the error classes."""

import ast
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from chalicelib.core import errors
from chalicelib.rentals.rules import ACTIONS, ALLOWED, explain_refusal
from chalicelib.runtime import http, problems
from infra.local.paths import ROOT
from infra.openapi.views import Reading, Undetermined

Schema = dict[str, Any]
#: What the gateway says before we are asked. Source: AWS, API Gateway response types.
_GATEWAY_CODES = {HTTPStatus.TOO_MANY_REQUESTS: ["gateway_THROTTLED"]}
_INTERNAL_CODE = "internal_error"
#: Whose code is the reason that a rule gives.
_REFUSING_MODULE = ROOT / "chalicelib" / "rentals" / "model.py"
#: Component of each status, and what it means.
NAMES: Mapping[int, tuple[str, str]] = {
    400: ("BadRequest", "The request is wrong, and will be wrong again; `errors` says where."),
    401: ("Unauthorized", "Nobody known is asking."),
    402: ("PaymentRequired", "The wallet, a budget or the spend limit does not cover it."),
    403: ("Forbidden", "The key may not do this."),
    404: ("NotFound", "There is no such thing, or it is another account's: the same answer."),
    409: ("Conflict", "The request is right, but the state does not allow it."),
    412: ("PreconditionFailed", "It has changed since it was read: `If-Match` names what it was."),
    413: ("TooLarge", "The body has more bytes than are taken."),
    415: ("UnsupportedMediaType", "The body is not sent as application/json."),
    422: ("KeyReused", "The Idempotency-Key was used with another body."),
    429: (
        "TooManyRequests",
        "The key, its account or its address asks too often, or all do: try again after `Retry-After`.",
    ),
    500: ("InternalError", "A fault of ours; the request id finds it."),
    503: ("Unavailable", "Contention, or a dependency that did not answer: try again after `Retry-After`."),
}
_FAULT = HTTPStatus.INTERNAL_SERVER_ERROR
_PREFIXES: Mapping[http.Refusals, str] = {"problem": "", "oauth": "OAuth", "page": "Page"}
_BESIDE: Mapping[http.Refusals, Schema] = {
    "problem": {},
    "oauth": {"application/json": {"schema": {"$ref": "#/components/schemas/OAuthError"}}},
    "page": {"text/html": {"schema": {"type": "string"}}},
}
_REQUEST_ID: Schema = {
    "description": "What support and logs know this call by.",
    "schema": {"type": "string"},
}
REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
#: Source: draft-ietf-httpapi-ratelimit-headers-10.
_RATE_LIMIT_POLICY: Schema = {
    "description": "The limit that is nearest: `q` requests in `w` seconds. Stripe's route has none.",
    "schema": {"type": "string", "examples": ['"default";q=600;w=60']},
}
_RATE_LIMIT: Schema = {
    "description": "What is left of it (`r`), and after how many seconds it is whole again (`t`).",
    "schema": {"type": "string", "examples": ['"default";r=599;t=1']},
}
RATE_LIMITS: Mapping[str, Schema] = {
    name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit-Policy", "RateLimit")
}
HEADERS: Mapping[str, Schema] = {
    "X-Request-Id": _REQUEST_ID,
    "RateLimit-Policy": _RATE_LIMIT_POLICY,
    "RateLimit": _RATE_LIMIT,
}
PROBLEM: Schema = {
    "type": "object",
    "description": "A problem document (RFC 9457). Some codes add members of their own.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "`urn:provocative:problem:` and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable; programs go by it. More may come."},
        "detail": {"type": "string", "description": "For people, and not stable."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Of `invalid_request`: what is wrong where.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}


def list_statuses(operation: http.Operation, reading: Reading, *, templated: bool) -> list[int]:
    """The refusals that an operation may give, as far as its declaration bounds them."""
    changes = operation.method != "GET"
    special = operation.refusals != "problem" and bool(reading.form or operation.statuses)
    keyed = operation.permission is not None or reading.bearer
    known = [
        (400, True),
        (401, keyed or (special and operation.refusals == "oauth")),
        (402, changes and operation.permission is not None),
        (403, keyed or special),
        (404, templated or keyed or special),
        (409, changes or operation.permission is not None),
        (412, operation.conditional),
        (413, operation.body is not None or reading.raw_body or reading.form),
        (415, operation.body is not None or reading.form),
        (422, reading.keyed),
        (429, True),
        (500, True),
        (503, True),
    ]
    return [status for status, given in known if given]


def name_response(status: int, refusals: http.Refusals) -> str:
    """The component of a refusal. A fault of ours is a problem document everywhere."""
    return ("" if status == _FAULT else _PREFIXES[refusals]) + NAMES[status][0]


def build_responses() -> dict[str, Schema]:
    codes = list_codes()
    responses = {}
    for status, (_, text) in NAMES.items():
        headers: Schema = dict(REQUEST_ID)
        headers |= RATE_LIMITS
        if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            headers["Retry-After"] = {"schema": {"type": "integer"}}
        if status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
        for refusals, other in _BESIDE.items():
            responses[name_response(status, refusals)] = {
                "description": text,
                "headers": headers,
                "content": {
                    problems.CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}},
                    **({} if status == _FAULT else other),
                },
                "x-codes": codes[status],
            }
    return responses


def list_codes() -> dict[int, list[str]]:
    """Every code by its status: of the classes, and of the places in the code that give one of their own.

    Raises:
        Undetermined: a place gives one that is no constant.
    """
    found: dict[int, set[str]] = {status: set() for status in NAMES}
    classes = {each.__name__: each for each in _list_errors(errors.DomainError)}
    for error in classes.values():
        # What has no status is a sign between a service and its store, and never leaves them.
        if (status := _find_status(error, error.code)) != HTTPStatus.INTERNAL_SERVER_ERROR:
            found[status].add(error.code)
    for path in sorted((ROOT / "chalicelib").rglob("*.py")):
        source = path.read_text()
        for name, value in _list_raised(ast.parse(source)) if "code=" in source else ():
            if name in classes:
                for code in _read_codes(value, path):
                    found[_find_status(classes[name], code)].add(code)
    found[HTTPStatus.INTERNAL_SERVER_ERROR].add(_INTERNAL_CODE)
    for status, codes in _GATEWAY_CODES.items():
        found[status].update(codes)
    return {status: sorted(codes) for status, codes in found.items()}


def _list_errors(error: type[errors.DomainError]) -> Iterator[type[errors.DomainError]]:
    for each in error.__subclasses__():
        if each.__module__.startswith("chalicelib."):
            yield each
        yield from _list_errors(each)


def _find_status(error: type[errors.DomainError], code: str) -> int:
    # Some take more than a message; a status goes by class and code alone.
    made = error.__new__(error)
    errors.DomainError.__init__(made, "", code=code)
    return problems.get_status(made).value


def _read_codes(value: ast.expr, path: Path) -> set[str]:
    if isinstance(value, ast.Constant):
        return {str(value.value)}
    if path == _REFUSING_MODULE:
        return {
            code
            for state in ALLOWED
            for action in ACTIONS
            for locked in (False, True)
            if (code := explain_refusal(state, action, locked=locked)) is not None
        }
    raise Undetermined(f"{path.relative_to(ROOT)} raises {ast.unparse(value)}, which is not to be seen")


def _list_raised(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield class and code of each error that is made with a code of its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for each in node.keywords:
                if each.arg == "code":
                    yield ast.unparse(node.func).rpartition(".")[2], each.value

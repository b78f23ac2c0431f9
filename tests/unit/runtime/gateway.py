"""A Chalice application of a few routes, called with API Gateway events (payload version 1)."""

import base64
import json
from collections.abc import Callable
from typing import Any

from chalicelib.core.errors import Unauthenticated
from chalicelib.core.principal import Principal
from chalicelib.runtime.application import Application
from chalicelib.runtime.http import Api
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
from tests.unit.runtime.contract import hold_to_document

RENTER = Principal("acc_1", "renter", "key_1", frozenset({"things:read"}))


class Context:
    function_name = "test"
    memory_limit_in_mb = 128
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:test"
    aws_request_id = "test"


def authenticate(token: str) -> Principal:
    if token != "good":
        raise Unauthenticated("The key is not valid.")
    return RENTER


def refuse_limits() -> Limiter:
    raise AssertionError("no route asks for them here")


def build_api(declare: Callable[[Api], None]) -> Application:
    api = Api("tests.unit.runtime.gateway", authenticate)
    declare(api)
    # Not mounted: what it declares has the limits and the clock that it was given.
    app = Application(refuse_limits, SystemClock)
    app.register_blueprint(api.blueprint)
    return app


def build_event(
    method: str,
    resource: str,
    *,
    body: Any = None,
    raw: str | bytes | None = None,
    headers: dict[str, str] | None = None,
    query: dict[str, list[str]] | None = None,
    parameters: dict[str, str] | None = None,
) -> dict[str, Any]:
    sent = {"Authorization": "Bearer good", "Content-Type": "application/json"} | (headers or {})
    text = json.dumps(body) if raw is None and body is not None else raw
    encoded = isinstance(text, bytes)
    return {
        "resource": resource,
        "path": resource,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "multiValueQueryStringParameters": query,
        "queryStringParameters": query and {name: values[-1] for name, values in query.items()},
        "pathParameters": parameters or {},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": resource,
            "requestId": "request-1",
            "identity": {"sourceIp": "127.0.0.1"},
            "path": resource,
        },
        "body": base64.b64encode(text).decode() if isinstance(text, bytes) else text,
        "isBase64Encoded": encoded,
    }


def call(app: Application, event: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, str]]:
    answer = app(event, Context())
    hold_to_document(event, answer)
    body = answer["body"]
    headers = {name: values[-1] for name, values in answer.get("multiValueHeaders", {}).items()}
    return answer["statusCode"], json.loads(body) if body else {}, headers | answer.get("headers", {})

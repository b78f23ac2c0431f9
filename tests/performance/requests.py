"""The deployed handler called in this process with API Gateway events (payload version 1)."""

import json
from typing import Any

import app


class Context:
    """What a handler sees of Lambda."""

    function_name = "bench"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "bench"


def build_event(
    method: str, path: str, resource: str, key: str, body: object = None, **headers: str
) -> dict[str, Any]:
    """Return the event of one request; ``resource`` is its route, as ``/v1/rentals/{rental_id}``."""
    parts = zip(resource.split("/"), path.split("/"), strict=True)
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {pattern[1:-1]: value for pattern, value in parts if pattern.startswith("{")},
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": resource,
            "requestId": "bench",
            "identity": {"sourceIp": "127.0.0.1"},
            "path": path,
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def call(event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return status and body."""
    answer = app.app(event, Context())
    return int(answer["statusCode"]), json.loads(answer["body"])

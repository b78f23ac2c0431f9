"""The API in this process behind a door on loopback: a request becomes an event, as in API Gateway."""

import base64
import contextlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import app
from tests.unit.runtime.gateway import Context

_HOST = "127.0.0.1"
#: What the gateway takes. Source: AWS, API Gateway quotas.
_MAX_BYTES = 10 * 1024 * 1024


class _Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(min(length, _MAX_BYTES))
        path, _, query = self.path.partition("?")
        found = find_resource(path)
        status, headers, body = refuse() if found is None else invoke(self, path, query, sent, *found)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """The API has a log of its own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


@contextlib.contextmanager
def run_gateway() -> Iterator[str]:
    """Yield the address of the API."""
    server = ThreadingHTTPServer((_HOST, 0), _Door)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def find_resource(path: str) -> tuple[str, dict[str, str]] | None:
    segments = [each for each in path.split("/") if each]
    for resource, parts in _RESOURCES:
        if len(parts) == len(segments):
            pairs = list(zip(parts, segments, strict=True))
            if all(part.startswith("{") or part == segment for part, segment in pairs):
                return resource, {part[1:-1]: given for part, given in pairs if part.startswith("{")}
    return None


def refuse() -> tuple[int, list[tuple[str, str]], bytes]:
    code = "MISSING_AUTHENTICATION_TOKEN"
    problem = {
        "type": "urn:provocative:problem:gateway",
        "title": code,
        "code": f"gateway_{code}",
        "detail": "Missing Authentication Token",
        "request_id": "request-0",
    }
    return HTTPStatus.FORBIDDEN, [("Content-Type", "application/problem+json")], json.dumps(problem).encode()


def invoke(
    door: BaseHTTPRequestHandler,
    path: str,
    query: str,
    sent: bytes,
    resource: str,
    parameters: dict[str, str],
) -> tuple[int, list[tuple[str, str]], bytes]:
    many: dict[str, list[str]] = {}
    for name, value in door.headers.items():
        many.setdefault(name, []).append(value)
    queries = urllib.parse.parse_qs(query, keep_blank_values=True) or None
    event = {
        "resource": resource,
        "path": path,
        "httpMethod": door.command,
        "headers": {name: values[-1] for name, values in many.items()},
        "multiValueHeaders": many,
        "multiValueQueryStringParameters": queries,
        "queryStringParameters": queries and {name: values[-1] for name, values in queries.items()},
        # As they were sent: the function gets them percent-encoded.
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": door.command,
            "resourcePath": resource,
            "requestId": "request-1",
            "identity": {"sourceIp": _HOST},
            "path": path,
        },
        "body": sent.decode(errors="replace") or None,
        "isBase64Encoded": False,
    }
    answer = app.app(event, Context())
    text = answer["body"] or ""
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    headers = [(name, str(value)) for name, value in answer["headers"].items()]
    for name, values in answer.get("multiValueHeaders", {}).items():
        headers += [(name, str(value)) for value in values]
    return answer["statusCode"], headers, body


_RESOURCES = sorted(
    ((resource, resource.strip("/").split("/")) for resource in app.app.routes),
    # A name that is written wins over a parameter.
    key=lambda each: [part.startswith("{") for part in each[1]],
)

"""The pages over HTTP on this machine, with what a person would have in memory: for a browser to look at.

``python -m tests.unit.identity.server PORT`` serves until it is killed.
"""

import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

import app
from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.throttling import Limiter
from tests.factories import seed_cloud
from tests.fakes.limits import MemoryBuckets
from tests.fakes.wiring import rewire
from tests.unit.identity.people import People
from tests.unit.identity.visitor import FakeProviders
from tests.unit.runtime.gateway import Context


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments):
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def find_route(method, path):
    """Return (resource, parameters) of the page that a path leads to; literal parts come first."""
    parts = path.strip("/").split("/")
    for resource in sorted(app.app.routes, key=lambda each: each.count("{")):
        wanted = resource.strip("/").split("/")
        if len(wanted) != len(parts) or method not in app.app.routes[resource]:
            continue
        pairs = list(zip(wanted, parts, strict=True))
        if all(want == have or want.startswith("{") for want, have in pairs):
            return resource, {want.strip("{}"): have for want, have in pairs if want.startswith("{")}
    return None


def serve(environ, start_response):
    from urllib.parse import parse_qs

    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    found = find_route(method, path)
    if found is None:
        start_response("404 Not Found", [])
        return [b""]
    headers = {
        name[5:].replace("_", "-").title(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
    event = {
        "resource": found[0],
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "multiValueQueryStringParameters": query or None,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "pathParameters": found[1],
        "stageVariables": None,
        "requestContext": {
            "httpMethod": method,
            "resourcePath": found[0],
            "requestId": "local",
            "identity": {"sourceIp": environ["REMOTE_ADDR"]},
            "path": path,
        },
        "body": raw,
        "isBase64Encoded": False,
    }
    answer = app.app(event, Context())
    sent = [(name, str(value)) for name, value in answer["headers"].items()]
    sent += [
        (name, value) for name, values in answer.get("multiValueHeaders", {}).items() for value in values
    ]
    start_response(f"{answer['statusCode']} x", sent)
    return [answer["body"].encode()]


def start_server(people, port=0):
    """Serve the pages of ``people``; return the server, which the caller runs and shuts down."""
    server = make_server("127.0.0.1", port, serve, server_class=_Server, handler_class=_Quiet)
    # WebAuthn knows no addresses as hosts of passkeys, only names.
    people.public_url = f"http://localhost:{server.server_port}"
    return server


def rewire_pages(monkeypatch, people, providers=None):
    providers = providers or FakeProviders(people)
    rewire(
        monkeypatch,
        identity_ports=people.ports,
        provider_ports=providers.ports,
        clock=people.clock,
        organisation_ports=seed_cloud().cloud.organisations,
        rate_limiter=Limiter(MemoryBuckets(), people.clock, scale_policies(POLICIES, 1_000)),
    )
    from chalicelib import wiring
    from chalicelib.runtime import cross_origin

    # A browser names its origin, and no other is let in.
    monkeypatch.setattr(cross_origin, "read_origins", frozenset)
    monkeypatch.setattr(wiring, "public_url", lambda: people.public_url)


if __name__ == "__main__":
    import time

    shown = People()
    shown.clock.now_ms = lambda: int(time.time() * 1000)
    rewire_pages(pytest.MonkeyPatch(), shown)
    running = start_server(shown, int(sys.argv[1]))
    print(shown.public_url, flush=True)
    shown.mailer.send = lambda mail: print(mail.text, flush=True)
    running.serve_forever()

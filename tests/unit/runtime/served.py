"""The application behind a plain HTTP server on loopback, for tests with a browser.

It does what API Gateway does: an event of payload version 1 in, the answer out.
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import app
from tests.unit.runtime.gateway import Context, build_event

#: The API has a path of its own before its routes, as on a stage.
STAGE = "/api"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = urlsplit(self.path).path.removeprefix(STAGE)
        resource, parameters = path, {}
        if path.startswith("/assets/"):
            resource, parameters = "/assets/{name}", {"name": path.removeprefix("/assets/")}
        event = build_event("GET", resource, headers=dict(self.headers), parameters=parameters)
        answer = app.app(event, Context())
        body = answer["body"].encode()
        self.send_response(answer["statusCode"])
        for name, value in answer["headers"].items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Yield the address of the API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{STAGE}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""EC2's instance metadata service, version 2, on loopback: nothing is open without a token."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN_PATH = "/latest/api/token"
IDENTITY_PATH = "/latest/dynamic/instance-identity/document"
SPOT_PATH = "/latest/meta-data/spot/instance-action"
REBALANCE_PATH = "/latest/meta-data/events/recommendations/rebalance"
SCHEDULED_PATH = "/latest/meta-data/events/maintenance/scheduled"
ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
ROLE = "gpu-host"


class FakeMetadata:
    """``pages`` is what stands where; tests change it while the server runs."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        #: (method, path) of every request, in order.
        self.requests: list[tuple[str, str]] = []
        self.status: int | None = None
        #: While it is cleared, requests are taken and not answered.
        self.answering = threading.Event()
        self.answering.set()
        self.url = ""
        self.write(
            IDENTITY_PATH,
            {
                "instanceId": "i-0123456789abcdef0",
                "instanceType": "p5.48xlarge",
                "availabilityZone": "eu-north-1a",
                "accountId": "123456789012",
            },
        )
        self.write(SCHEDULED_PATH, [])

    def write(self, path: str, content: Any) -> None:
        self.pages[path] = content if isinstance(content, bytes) else json.dumps(content).encode()

    def announce_spot(self, time: str = "2027-01-15T08:22:00Z", action: str = "terminate") -> None:
        self.write(SPOT_PATH, {"action": action, "time": time})

    def grant_role(self, key: str, expiration: str, **changes: str) -> None:
        self.pages[ROLES_PATH] = ROLE.encode()
        given = {
            "Code": "Success",
            "LastUpdated": "2027-01-15T07:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": key,
            "SecretAccessKey": f"hidden-{key}",
            "Token": "session",
            "Expiration": expiration,
        }
        self.write(f"{ROLES_PATH}{ROLE}", {**given, **changes})


@contextmanager
def run_metadata() -> Iterator[FakeMetadata]:
    fake = FakeMetadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            fake.requests.append(("PUT", self.path))
            fake.answering.wait()
            seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
            # A request that came through a proxy gets no token.
            if self.path != TOKEN_PATH or not seconds.isdigit() or "X-Forwarded-For" in self.headers:
                self._answer(400, b"")
                return
            token = f"token-{len(fake.requests)}"
            fake.tokens.add(token)
            self._answer(fake.status or 200, token.encode())

        def do_GET(self) -> None:
            fake.requests.append(("GET", self.path))
            fake.answering.wait()
            if self.headers.get("X-aws-ec2-metadata-token") not in fake.tokens:
                self._answer(401, b"")
                return
            page = fake.pages.get(self.path)
            self._answer(fake.status or (404 if page is None else 200), page or b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            # A client that gave up waiting has closed its end.
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()

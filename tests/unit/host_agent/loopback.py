"""The platform as a host sees it, on loopback: enrolment, credentials, and a queue that remembers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = bytes(range(32))
#: Far in the future: this machine's clock decides when credentials end.
EXPIRES_AT = "2100-01-01T00:00:00Z"


class Platform:
    """``refusals`` are statuses that the next calls get; ``failing`` makes the queue fail for good."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[str] = []
        self.enrolments: list[dict] = []
        self.refusals: list[int] = []
        self.failing = False
        self.accept_all = True

    def answer(self, path: str, target: str | None, body: dict) -> tuple[int, dict]:
        if self.refusals:
            return self.refusals.pop(0), {"code": "no", "detail": "not today"}
        if path == "/v1/hosts":
            self.enrolments.append(body)
            return 201, self._describe_host()
        if path.endswith("/credentials"):
            secrets = {"access_key_id": "a", "secret_access_key": "s", "session_token": "t"}
            return 200, {**secrets, "expires_at": EXPIRES_AT}
        if self.failing:
            return 503, {"__type": "ServiceUnavailable"}
        assert target == "AmazonSQS.SendMessageBatch"
        # Every third entry is not taken at first, as SQS may do.
        taken = [each for number, each in enumerate(body["Entries"]) if self.accept_all or number % 3 == 0]
        self.accept_all = not self.accept_all
        self.bodies += [each["MessageBody"] for each in taken]
        return 200, {"Successful": [{"Id": each["Id"]} for each in taken], "Failed": []}

    def _describe_host(self) -> dict:
        queues = {
            f"{name}_queue_url": f"{self.url}/q/{name}" for name in ("heartbeats", "telemetry", "commands")
        }
        intervals = {"heartbeat_interval_seconds": 10, "telemetry_interval_seconds": 60}
        who = {"host_id": "hst_1", "api_key": "pc_host_secret", "signing_key": KEY.hex()}
        where = {"region": "eu-north-1", "gpu_type": "H100", "aws_region": "eu-north-1"}
        return {**who, **where, **queues, **intervals}


@contextmanager
def serve_platform() -> Iterator[Platform]:
    platform = Platform()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = platform.answer(self.path, self.headers.get("X-Amz-Target"), body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    platform.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield platform
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

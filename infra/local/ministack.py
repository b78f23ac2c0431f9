"""Starts MiniStack on loopback and ends it, and everything it started, with the process that asked for it."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.environments import ensure_environment
from infra.local.paths import GUARD, LOGS
from infra.local.progress import Progress, StepFailed

HOST = "127.0.0.1"
DEFAULT_PORT = 4566
REGION = "us-east-1"
ACCOUNT_ID = "000000000000"
START_SECONDS = 60
STOP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Server:
    """A running MiniStack."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def run_ministack(state_dir: Path, progress: Progress) -> Iterator[Server]:
    """Run a fresh MiniStack whose files live in ``state_dir``.

    Raises:
        StepFailed: it could not be installed or did not start.
    """
    python = ensure_environment("ministack", "the embedded cloud", progress)
    shutil.rmtree(state_dir, ignore_errors=True)
    (state_dir / "tmp").mkdir(parents=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"ministack-{state_dir.name}.log"
    with progress.step("starting the embedded cloud"):
        server = _start(python, state_dir, log)
    try:
        yield server
    finally:
        stop_group(server.process)


def find_free_port(preferred: int) -> int:
    """Return ``preferred`` when nobody listens on it, else a port that the system picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StepFailed("no free port on loopback", "close some programs and try again")


def _start(python: Path, state_dir: Path, log: Path) -> Server:
    port = find_free_port(DEFAULT_PORT)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(GUARD), str(python), "-m", "ministack"],
            env=build_environment(state_dir, port),
            cwd=state_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, port, log)
    deadline = time.monotonic() + START_SECONDS
    while not _is_healthy(server):
        if process.poll() is not None or time.monotonic() > deadline:
            stop_group(process)
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise StepFailed(f"the embedded cloud did not start: {last[0]}", f"see {log}")
        time.sleep(0.1)
    return server


def build_environment(state_dir: Path, port: int) -> dict[str, str]:
    """Nothing of the caller's environment but the path: no credentials, no proxies, no home."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": str(state_dir),
        "TMPDIR": str(state_dir / "tmp"),
        "STATE_DIR": str(state_dir / "state"),
        "S3_DATA_DIR": str(state_dir / "s3"),
        "BIND_HOST": HOST,
        "MINISTACK_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT_ID,
        "MINISTACK_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        # Its other listeners, on all interfaces by default.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
        "LAMBDA_EXECUTOR": "local",
        "AUTH": "true",
    }


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started: politely, then not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            if number == signal.SIGKILL:
                return


def _is_healthy(server: Server) -> bool:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=2)
    try:
        connection.request("GET", "/_ministack/health")
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and "services" in json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()

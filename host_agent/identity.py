"""Who this host is: enrolment, and the short-lived credentials for its queues.

The install id is durable before the first call, so an enrolment whose answer was lost is asked for again
and gives the same host.
"""

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from host_agent import logs
from host_agent.clock import Clock
from host_agent.durable import read_if_there, write_atomic
from host_agent.gpu import GpuInfo
from host_agent.origin import HttpFailure, Origin, Response
from host_agent.signing import AwsCredentials

T = TypeVar("T")

AGENT_VERSION = "0.1.0"
_API_TIMEOUT_SECONDS = 30.0
_SUCCESS = range(200, 300)
_CLIENT_ERRORS = range(400, 500)
#: Client errors that time mends.
_TRANSIENT = {408, 425, 429}


class ApiUnavailable(Exception):
    """No usable answer now; asking again later may work."""


class ApiRefused(Exception):
    """The API said no and will say so again. The message is one line for people."""


class Identity(msgspec.Struct, frozen=True):
    """What enrolment gave; kept in ``identity.json``, readable by the agent's user only."""

    host_id: str
    api_key: str
    signing_key: str
    region: str
    gpu_type: str
    aws_region: str
    heartbeats_queue_url: str
    telemetry_queue_url: str
    commands_queue_url: str
    heartbeat_interval_seconds: float
    telemetry_interval_seconds: float
    #: As enrolled; a host whose driver is down still knows which GPUs it has.
    gpus: list[GpuInfo] = []

    def read_signing_key(self) -> bytes:
        return bytes.fromhex(self.signing_key)


class _Credentials(msgspec.Struct, frozen=True):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime


class _EnrolGpu(msgspec.Struct, frozen=True, omit_defaults=True):
    gpu_uuid: str
    pci_bus_id: str
    model: str
    memory_mib: int
    parent_uuid: str | None = None
    slices: int | None = None
    link_group: str | None = None


class _EnrolRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    install_id: str
    agent_version: str
    gpus: list[_EnrolGpu]
    fabric_id: str | None = None


class HostApi:
    """The two routes of the platform's API that a host needs."""

    def __init__(self, api_url: str, clock: Clock) -> None:
        self._origin = Origin(api_url, _API_TIMEOUT_SECONDS)
        self._prefix = urlsplit(api_url).path.rstrip("/")
        self._clock = clock

    def enrol(
        self, token: str, install_id: str, gpus: list[GpuInfo], fabric_id: str | None = None
    ) -> Identity:
        """Raises ApiUnavailable or ApiRefused (token used by another machine, expired, ...)."""
        listed = [
            _EnrolGpu(g.gpu_uuid, g.pci_bus_id, g.model, g.memory_mib, g.parent_uuid, g.slices, g.link_group)
            for g in gpus
        ]
        body = msgspec.json.encode(_EnrolRequest(install_id, AGENT_VERSION, listed, fabric_id))
        response = self._post("/v1/hosts", token, body)
        return msgspec.structs.replace(_decode(response, Identity), gpus=gpus)

    def issue_credentials(self, identity: Identity) -> AwsCredentials:
        """Raises ApiUnavailable or ApiRefused (key revoked)."""
        asked_at_ms = self._clock.now_ms()
        response = self._post(f"/v1/hosts/{identity.host_id}/credentials", identity.api_key, b"{}")
        given = _decode(response, _Credentials)
        return AwsCredentials(
            given.access_key_id,
            given.secret_access_key,
            given.session_token,
            int(given.expires_at.timestamp() * 1000),
            asked_at_ms,
        )

    def _post(self, path: str, bearer: str, body: bytes) -> Response:
        headers = {
            "Authorization": f"Bearer {bearer}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        try:
            response = self._origin.post(f"{self._prefix}{path}", headers, body)
        except HttpFailure as error:
            raise ApiUnavailable(str(error)) from error
        if response.status in _SUCCESS:
            return response
        problem = f"{path} answered {response.status} {_read_problem(response.body)}".rstrip()
        if response.status in _CLIENT_ERRORS and response.status not in _TRANSIENT:
            raise ApiRefused(problem)
        raise ApiUnavailable(problem)


def load_identity(state_dir: Path) -> Identity | None:
    """Return the stored identity, or ``None`` on a machine that was never enrolled."""
    data = read_if_there(state_dir / "identity.json")
    return None if data is None else msgspec.json.decode(data, type=Identity)


def enrol(
    state_dir: Path,
    api: HostApi,
    token: str,
    gpus: list[GpuInfo],
    new_id: Callable[[], str],
    fabric_id: str | None = None,
) -> Identity:
    """Enrol once and store the identity. Safe to repeat after any crash.

    Raises:
        ApiUnavailable, ApiRefused: nothing is stored but the install id.
    """
    install_path = state_dir / "install_id"
    stored = read_if_there(install_path)
    if stored is None:
        stored = new_id().encode()
        write_atomic(install_path, stored)
    identity = api.enrol(token, stored.decode(), gpus, fabric_id)
    write_atomic(state_dir / "identity.json", msgspec.json.encode(identity))
    logs.info("enrolled", host_id=identity.host_id, gpus=len(gpus))
    return identity


class CredentialCache:
    """Hands out valid credentials; renews them at two thirds of their life or when told they are bad."""

    def __init__(self, api: HostApi, identity: Identity, clock: Clock) -> None:
        self._api = api
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._current: AwsCredentials | None = None

    def get(self) -> AwsCredentials:
        """Raises ApiUnavailable or ApiRefused when there are none that still work."""
        with self._lock:
            now_ms = self._clock.now_ms()
            current = self._current
            if current is not None and now_ms < _renewal_ms(current):
                return current
            try:
                self._current = self._api.issue_credentials(self._identity)
            except (ApiUnavailable, ApiRefused) as error:
                if current is None or now_ms >= current.expires_at_ms:
                    raise
                logs.warn("credentials_not_renewed", reason=str(error))
                return current
            return self._current

    def reject(self, bad: AwsCredentials) -> None:
        """Forget ``bad``; newer ones, which another thread may have fetched meanwhile, stay."""
        with self._lock:
            if self._current == bad:
                self._current = None


def _renewal_ms(credentials: AwsCredentials) -> int:
    life = credentials.expires_at_ms - credentials.obtained_at_ms
    return credentials.obtained_at_ms + life * 2 // 3


def _decode(response: Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.body, type=kind)
    except msgspec.DecodeError as error:
        raise ApiUnavailable(f"answer not understood: {error}") from error


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


def _read_problem(body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        return ""
    return f"{problem.code} {problem.detail}"[:300].replace("\n", " ")

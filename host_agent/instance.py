"""The EC2 instance metadata service, version 2: what this machine is, what EC2 announces for it, its role.

It is link-local, so no proxy is asked and no redirect followed; every call is bounded in time and size. The
answer to the token's request travels as many hops as the instance's hop limit allows: in a container it may
never come, which reads as a machine that is not on EC2.
Sources: EC2 User Guide, "Use the Instance Metadata Service to access instance metadata", "Spot Instance
interruption notices", "EC2 instance rebalance recommendations", "Scheduled events for your instances".
"""

import http.client
import threading
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from chalicelib.wire.v1 import MAX_NOTICES, HostNotice
from host_agent import logs
from host_agent.clock import Clock
from host_agent.config import Config
from host_agent.identity import ApiRefused, ApiUnavailable, CredentialCache, HostApi, Identity
from host_agent.signing import AwsCredentials
from host_agent.transport import CredentialSource

T = TypeVar("T")

TIMEOUT_SECONDS = 1.0
#: New credentials are there five minutes before the old ones end; asked for in good time before.
RENEWAL_MS = 15 * 60_000
#: Until EC2 has new ones it gives the same again.
RENEWAL_PAUSE_MS = 60_000
_TOKEN_SECONDS = 21_600
_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path, not a secret
_IDENTITY_PATH = "/latest/dynamic/instance-identity/document"
_SPOT_PATH = "/latest/meta-data/spot/instance-action"
_REBALANCE_PATH = "/latest/meta-data/events/recommendations/rebalance"
_SCHEDULED_PATH = "/latest/meta-data/events/maintenance/scheduled"
_ROLES_PATH = "/latest/meta-data/iam/security-credentials/"
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_ACTION_CHARS = 64
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404


class MetadataUnavailable(Exception):
    """No usable answer: the service is not there, does not answer in time, or is not EC2's."""


class Instance(msgspec.Struct, frozen=True):
    instance_id: str
    instance_type: str
    zone: str


class _Identity(msgspec.Struct, rename="camel"):
    instance_id: str
    instance_type: str
    availability_zone: str


class _SpotAction(msgspec.Struct):
    action: str
    time: datetime


class _ScheduledEvent(msgspec.Struct, rename="pascal"):
    code: str
    not_before: str = ""
    state: str = "active"


class _RoleCredentials(msgspec.Struct, rename="pascal"):
    code: str = ""
    message: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""
    token: str = ""
    expiration: datetime | None = None


class InstanceMetadata:
    """One thread uses one; ``url`` is the service's address."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._timeout = timeout_seconds
        self._token: str | None = None

    def get(self, path: str) -> bytes | None:
        """Return what stands there, or ``None`` when nothing does. Raises MetadataUnavailable."""
        status, body = self._get(path)
        if status == _UNAUTHORIZED:
            # The token has expired, or the instance was hibernated since.
            self._token = None
            status, body = self._get(path)
        if status == _NOT_FOUND:
            return None
        if status != _OK:
            raise MetadataUnavailable(f"{path} answered {status}")
        return body

    def _get(self, path: str) -> tuple[int, bytes]:
        if self._token is None:
            header = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            status, body = self._ask("PUT", _TOKEN_PATH, header)
            if status != _OK:
                raise MetadataUnavailable(f"no token: {status}")
            self._token = body.decode("latin-1")
        return self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER_BYTES)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise MetadataUnavailable(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()


def read_instance(metadata: InstanceMetadata) -> Instance:
    """Raises MetadataUnavailable: this machine is not an EC2 instance, or cannot know it."""
    body = metadata.get(_IDENTITY_PATH)
    identity = None if body is None else _decode(body, _Identity)
    if identity is None:
        raise MetadataUnavailable("there is no instance identity")
    return Instance(identity.instance_id, identity.instance_type, identity.availability_zone)


def read_notices(metadata: InstanceMetadata) -> tuple[HostNotice, ...]:
    """Return what EC2 announces for this machine now, what ends first at the front.

    A notice that cannot be read is a notice all the same, of which neither action nor time is known.

    Raises:
        MetadataUnavailable: not known.
    """
    notices: list[HostNotice] = []
    body = metadata.get(_SPOT_PATH)
    if body is not None:
        spot = _decode(body, _SpotAction)
        notices.append(
            HostNotice("spot_interruption", "unknown")
            if spot is None
            else HostNotice("spot_interruption", spot.action[:_MAX_ACTION_CHARS], _to_ms(spot.time))
        )
    body = metadata.get(_SCHEDULED_PATH)
    if body is not None:
        events = _decode(body, list[_ScheduledEvent])
        notices += [HostNotice("scheduled_event", "unknown")] if events is None else _read_events(events)
    if metadata.get(_REBALANCE_PATH) is not None:
        notices.append(HostNotice("rebalance_recommendation", "rebalance"))
    return tuple(sorted(notices, key=_rank)[:MAX_NOTICES])


def _rank(notice: HostNotice) -> tuple[bool, float]:
    ends_at_ms = float("inf") if notice.ends_at_ms is None else notice.ends_at_ms
    return notice.kind == "rebalance_recommendation", ends_at_ms


def _read_events(events: list[_ScheduledEvent]) -> list[HostNotice]:
    return [
        HostNotice("scheduled_event", event.code[:_MAX_ACTION_CHARS], _parse_date(event.not_before))
        for event in events
        if event.state == "active"
    ]


def _parse_date(text: str) -> int | None:
    """Return epoch milliseconds of ``21 Jan 2019 09:00:43 GMT``; ``None`` when it is something else."""
    try:
        return _to_ms(parsedate_to_datetime(text))
    except ValueError:
        return None


def _to_ms(moment: datetime) -> int:
    return max(0, int(moment.timestamp() * 1000))


class InstanceProfile:
    """Credentials of the instance's role: a `CredentialSource` that needs no API of ours."""

    def __init__(self, metadata: InstanceMetadata, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._lock = threading.Lock()
        self._current: AwsCredentials | None = None
        self._renewal_ms = 0

    def get(self) -> AwsCredentials:
        """Raises ApiUnavailable, or ApiRefused when the instance has no role that EC2 can give."""
        with self._lock:
            now_ms = self._clock.now_ms()
            current = self._current
            if current is not None and now_ms < self._renewal_ms:
                return current
            try:
                fresh = self._fetch(now_ms)
            except (ApiUnavailable, ApiRefused) as error:
                if current is None or now_ms >= current.expires_at_ms:
                    raise
                logs.warn("credentials_not_renewed", reason=str(error))
                fresh = current
            self._current = fresh
            self._renewal_ms = max(fresh.expires_at_ms - RENEWAL_MS, now_ms + RENEWAL_PAUSE_MS)
            return fresh

    def reject(self, bad: AwsCredentials) -> None:
        """Forget ``bad``; newer ones, which another thread may have fetched meanwhile, stay."""
        with self._lock:
            if self._current == bad:
                self._current = None

    def _fetch(self, now_ms: int) -> AwsCredentials:
        try:
            roles = self._metadata.get(_ROLES_PATH)
            role = "" if roles is None else roles.decode("utf-8", "replace").strip().partition("\n")[0]
            body = self._metadata.get(f"{_ROLES_PATH}{role}") if role else None
        except MetadataUnavailable as error:
            raise ApiUnavailable(f"the instance metadata service does not answer: {error}") from error
        if body is None:
            raise ApiRefused(
                "this instance has no role: attach an instance profile that may use the host's queues, "
                'or set credentials = "platform"'
            )
        given = _decode(body, _RoleCredentials)
        if given is None or given.code != "Success" or given.expiration is None:
            told = "an answer that cannot be read" if given is None else f"{given.code} {given.message}"
            raise ApiRefused(f"EC2 gives no credentials of the role {role}: {told}"[:300])
        return AwsCredentials(
            given.access_key_id, given.secret_access_key, given.token, _to_ms(given.expiration), now_ms
        )


def open_credentials(config: Config, identity: Identity, clock: Clock) -> CredentialSource:
    """Return where the credentials of the host's queues come from."""
    if config.credentials == "instance_profile":
        return InstanceProfile(InstanceMetadata(config.metadata_url), clock)
    return CredentialCache(HostApi(config.api_url, clock), identity, clock)


def _decode(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        return None

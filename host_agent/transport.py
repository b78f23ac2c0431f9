"""SQS over its JSON protocol, signed by ourselves.

Source: AWS, "Amazon SQS actions using AWS JSON protocol" (``application/x-amz-json-1.0``, target
``AmazonSQS.<Action>``, posted to the origin of the queue URL).
"""

import threading
from collections.abc import Sequence
from typing import Protocol, TypeVar

import msgspec

from host_agent import logs
from host_agent.clock import Clock
from host_agent.identity import ApiRefused, ApiUnavailable
from host_agent.origin import HttpFailure, Origin
from host_agent.signing import AwsCredentials, sign_request

T = TypeVar("T")

MAX_BATCH_MESSAGES = 10
#: SQS: the sum of a batch's bodies; kept below the older limit of 256 KiB.
MAX_BATCH_BYTES = 250_000
_SEND_TIMEOUT_SECONDS = 10.0
_OK = 200
_CREDENTIAL_ERRORS = (
    "ExpiredToken",
    "InvalidClientTokenId",
    "UnrecognizedClient",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "InvalidSecurity",
    "RequestExpired",
    "InvalidAccessKeyId",
)
#: Date has whole seconds and a request takes time: below this a difference is no skew.
_SKEW_FLOOR_MS = 2_000


class TransportError(Exception):
    """The queue did not confirm; try again later. ``reason`` is a stable code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Message(msgspec.Struct, frozen=True):
    body: str
    receipt_handle: str


class BatchOutcome(msgspec.Struct, frozen=True):
    """Indexes into the batch. One in neither set was not mentioned by SQS: it counts as not sent."""

    sent: frozenset[int]
    #: Refused for good (the content is invalid).
    refused: frozenset[int]


class CredentialSource(Protocol):
    def get(self) -> AwsCredentials: ...
    def reject(self, bad: AwsCredentials) -> None: ...


class Queue(Protocol):
    def send(self, body: bytes) -> None: ...
    def send_batch(self, bodies: Sequence[bytes]) -> BatchOutcome: ...
    def receive(self, wait_seconds: int) -> list[Message]: ...
    def delete(self, receipt_handle: str) -> None: ...


class _SendMessage(msgspec.Struct, rename="pascal"):
    queue_url: str
    message_body: str


class _Entry(msgspec.Struct, rename="pascal"):
    id: str
    message_body: str


class _SendMessageBatch(msgspec.Struct, rename="pascal"):
    queue_url: str
    entries: list[_Entry]


class _ReceiveMessage(msgspec.Struct, rename="pascal"):
    queue_url: str
    wait_time_seconds: int
    max_number_of_messages: int = MAX_BATCH_MESSAGES


class _DeleteMessage(msgspec.Struct, rename="pascal"):
    queue_url: str
    receipt_handle: str


class _Sent(msgspec.Struct, rename="pascal"):
    id: str


class _Failed(msgspec.Struct, rename="pascal"):
    id: str
    code: str = ""
    sender_fault: bool = False


class _BatchAnswer(msgspec.Struct, rename="pascal"):
    successful: list[_Sent] = []
    failed: list[_Failed] = []


class _Received(msgspec.Struct, rename="pascal"):
    body: str
    receipt_handle: str


class _ReceiveAnswer(msgspec.Struct, rename="pascal"):
    messages: list[_Received] | None = None


class _Fault(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="")
    message: str = ""


class ClockSkew:
    """Difference between AWS's clock and ours in milliseconds, shared by the host's connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._skew_ms = 0

    def get(self) -> int:
        return self._skew_ms

    def observe(self, ours_ms: int, theirs_ms: int | None) -> None:
        if theirs_ms is None:
            return
        difference = theirs_ms - ours_ms
        with self._lock:
            self._skew_ms = difference if abs(difference) > _SKEW_FLOOR_MS else 0


class SqsQueue:
    """One queue over one connection. Every method raises TransportError unless SQS confirmed."""

    def __init__(
        self,
        queue_url: str,
        region: str,
        credentials: CredentialSource,
        clock: Clock,
        skew: ClockSkew,
        timeout_seconds: float = _SEND_TIMEOUT_SECONDS,
    ) -> None:
        self._url = queue_url
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._skew = skew
        self._origin = Origin(queue_url, timeout_seconds)

    def send(self, body: bytes) -> None:
        self._call("SendMessage", _SendMessage(self._url, body.decode()))

    def send_batch(self, bodies: Sequence[bytes]) -> BatchOutcome:
        """Send at most ``MAX_BATCH_MESSAGES``, whose sizes sum to at most ``MAX_BATCH_BYTES``."""
        entries = [_Entry(str(index), body.decode()) for index, body in enumerate(bodies)]
        data = self._call("SendMessageBatch", _SendMessageBatch(self._url, entries))
        answer = _decode(data, _BatchAnswer)
        for failed in answer.failed:
            logs.warn("message_not_accepted", code=failed.code, sender_fault=failed.sender_fault)
        known = {entry.id: index for index, entry in enumerate(entries)}
        return BatchOutcome(
            frozenset(known[each.id] for each in answer.successful if each.id in known),
            frozenset(
                known[each.id]
                for each in answer.failed
                if each.id in known and each.sender_fault and "InvalidMessageContents" in each.code
            ),
        )

    def receive(self, wait_seconds: int) -> list[Message]:
        data = self._call("ReceiveMessage", _ReceiveMessage(self._url, wait_seconds))
        received = _decode(data, _ReceiveAnswer).messages or []
        return [Message(each.body, each.receipt_handle) for each in received]

    def delete(self, receipt_handle: str) -> None:
        self._call("DeleteMessage", _DeleteMessage(self._url, receipt_handle))

    def _call(self, action: str, request: msgspec.Struct) -> bytes:
        try:
            credentials = self._credentials.get()
        except (ApiUnavailable, ApiRefused) as error:
            raise TransportError("no_credentials", str(error)) from error
        body = msgspec.json.encode(request)
        now_ms = self._clock.now_ms()
        headers = sign_request(
            credentials,
            region=self._region,
            service="sqs",
            method="POST",
            host=self._origin.host_header,
            path="/",
            headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"},
            body=body,
            at_ms=now_ms + self._skew.get(),
        )
        try:
            response = self._origin.post("/", headers, body)
        except HttpFailure as error:
            raise TransportError("no_answer", str(error)) from error
        self._skew.observe(self._clock.now_ms(), response.date_ms)
        if response.status == _OK:
            return response.body
        fault = _read_fault(response.body)
        if response.status == 403 or any(code in fault.type for code in _CREDENTIAL_ERRORS):  # noqa: PLR2004
            self._credentials.reject(credentials)
        raise TransportError("refused", f"{action} {response.status} {fault.type} {fault.message}"[:300])


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise TransportError("bad_answer", str(error)) from error


def _read_fault(data: bytes) -> _Fault:
    try:
        return msgspec.json.decode(data, type=_Fault)
    except msgspec.DecodeError:
        return _Fault()

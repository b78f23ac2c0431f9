"""Posts to renters' endpoints over HTTP: to the address that was checked, within 5 s, following nothing.

The name is resolved once and we connect to what came of it, so no second answer of a name server counts
(DNS rebinding); the certificate is checked against the name. http.client has all that is needed; a library
that pools, retries and redirects would have to be kept from it.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import SplitResult, urlsplit

from chalicelib.webhooks.addresses import Reach, choose_port
from chalicelib.webhooks.model import Outcome

#: For everything: resolving, connecting, handshake, sending, and what comes back.
LIMIT_SECONDS = 5.0
#: Of what comes back, headers and body; the rest is not read.
MAX_ANSWER_BYTES = 64 * 1024
USER_AGENT = "Provocative-Webhooks/1"

#: (host, port) -> addresses, the first the best.
Resolve = Callable[[str, int], Sequence[str]]
#: (address, port, seconds) -> a connected socket.
Connect = Callable[[str, int, float], Any]
#: Seconds that only rise.
Now = Callable[[], float]


class _Refused(Exception):
    """Nothing is sent; the argument is the code."""


#: The most specific class comes first.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (ssl.SSLCertVerificationError, "certificate_refused"),
    (ssl.SSLError, "tls_failed"),
    (ConnectionRefusedError, "connection_refused"),
    (OSError, "connection_failed"),
    (http.client.HTTPException, "answer_malformed"),
)


def _name(failure: Exception) -> str:
    """Return the stable code that an attempt shows."""
    if isinstance(failure, _Refused):
        return str(failure)
    return next((code for kind, code in _CODES if isinstance(failure, kind)), "not_possible")


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, those of IPv4 first: functions have no other way out."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return sorted(addresses, key=lambda address: ":" in address)


def connect(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), seconds)


@dataclass(slots=True)
class HttpSender:
    """`dispatch.Sender`. One request a call, on a connection of its own; may be used by several threads."""

    reach: Reach
    resolve: Resolve = resolve
    connect: Connect = connect
    now: Now = time.monotonic
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """POST once. Whatever goes wrong outside is an outcome, never an exception."""
        started, status, error = self.now(), None, None
        try:
            status = self._post(url, body, headers, started + LIMIT_SECONDS)
        except (_Refused, OSError, http.client.HTTPException, ValueError) as failure:
            error = _name(failure)
        if status is not None and status // 100 == 3:  # noqa: PLR2004
            # Where it would send us, nobody has checked.
            error = "redirect_refused"
        return Outcome(int((self.now() - started) * 1000), status, error)

    def _post(self, url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> int:
        """Return the status. Raises what `_name` knows."""
        parts = urlsplit(url)
        if parts.scheme != "https" and not self.reach.loopback:
            raise _Refused("not_https")
        host, port = parts.hostname or "", choose_port(parts)
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise _Refused("not_resolved") from error
        # One that is not public among several is an attack or a mistake, and either is refused.
        if not addresses or not all(self.reach.allows(each) for each in addresses):
            raise _Refused("address_refused" if addresses else "not_resolved")
        with self._open(parts, addresses[0], port, deadline) as opened:
            return _exchange(opened, parts, body, headers)

    def _open(self, parts: SplitResult, address: str, port: int, deadline: float) -> "_LimitedSocket":
        opened = self.connect(address, port, _left(deadline, self.now))
        try:
            if parts.scheme == "https":
                opened.settimeout(_left(deadline, self.now))
                opened = self.context.wrap_socket(opened, server_hostname=parts.hostname)
        except BaseException:
            opened.close()
            raise
        return _LimitedSocket(opened, deadline, self.now)


def _exchange(opened: "_LimitedSocket", parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
    """Send the request and return the status, once the answer has been read or has been enough."""
    connection = http.client.HTTPConnection(parts.hostname or "")
    connection.sock = cast("socket.socket", opened)
    target = parts.path or "/"
    own = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Connection": "close"}
    connection.request("POST", f"{target}?{parts.query}" if parts.query else target, body, {**own, **headers})
    response = connection.getresponse()
    status = response.status
    try:
        # What is said there is nothing to us; reading it lets the receiver end in its own way.
        response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException):
        # The status has come, and it counts.
        pass
    finally:
        response.close()
    return status


def _left(deadline: float, now: Now) -> float:
    """Return the seconds left. Raises TimeoutError: none are."""
    seconds = deadline - now()
    if seconds <= 0:
        raise TimeoutError
    return seconds


@dataclass(slots=True)
class _LimitedSocket:
    """What `http.client` needs of a socket. A timeout of a socket is one for each call: a receiver that says
    a byte a second would keep us for hours. Here each call has what is left of the whole.
    """

    opened: Any
    deadline: float
    now: Now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.opened.close()

    def sendall(self, data: bytes) -> None:
        self.opened.settimeout(_left(self.deadline, self.now))
        self.opened.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_LimitedReader(self))

    def close(self) -> None:
        """`http.client` closes when it likes; the socket is ours."""


class _LimitedReader(io.RawIOBase):
    """Reads until the deadline or the limit of bytes: after that, as if the receiver had closed."""

    def __init__(self, limited: _LimitedSocket) -> None:
        super().__init__()
        self._limited = limited
        self._left_bytes = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left_bytes]
        if not view:
            return 0
        self._limited.opened.settimeout(_left(self._limited.deadline, self._limited.now))
        count = int(self._limited.opened.recv_into(view))
        self._left_bytes -= count
        return count

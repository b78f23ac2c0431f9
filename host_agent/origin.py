"""A keep-alive HTTP connection to one origin. One thread uses one at a time; a lock makes sure of it."""

import http.client
import ssl
import threading
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import msgspec


class HttpFailure(Exception):
    """No answer came: whether the request took effect is not known."""


class Response(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    #: The server's clock, when it told; whole seconds.
    date_ms: int | None = None


class Origin:
    """``url`` gives scheme, host and port; its path is ignored.

    A request that finds the kept connection closed is sent once more on a new one. Callers must stand a
    request that takes effect twice.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {url!r}")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._timeout = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = name if parts.port is None else f"{name}:{parts.port}"

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Raises HttpFailure when no complete answer came in time."""
        return self._request("POST", path, headers, body, None)

    def get(self, path: str, headers: Mapping[str, str], max_bytes: int) -> Response:
        """Raises HttpFailure when no complete answer of at most ``max_bytes`` came in time."""
        return self._request("GET", path, headers, None, max_bytes)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int | None
    ) -> Response:
        with self._lock:
            reused = self._connection is not None
            try:
                return self._exchange(method, path, headers, body, max_bytes)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                self._drop()
                if not reused:
                    raise HttpFailure(_describe(error)) from error
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                raise HttpFailure(_describe(error)) from error
            try:
                return self._exchange(method, path, headers, body, max_bytes)
            except (http.client.HTTPException, OSError) as error:
                self._drop()
                raise HttpFailure(_describe(error)) from error

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int | None
    ) -> Response:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        data = answer.read() if max_bytes is None else answer.read(max_bytes + 1)
        if max_bytes is not None and len(data) > max_bytes:
            raise http.client.HTTPException(f"the answer has more than {max_bytes} bytes")
        response = Response(answer.status, data, _read_date(answer.getheader("Date")))
        if answer.will_close:
            self._drop()
        return response

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read_date(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp() * 1000)
    except ValueError:
        return None


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

"""Asks a provider over HTTP: one GET, within 8 s altogether, following nothing, JSON of a bounded size."""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from chalicelib.carbon.intensity import AnswerRefused, ProviderDenied, ProviderUnreachable

TIMEOUT_SECONDS = 8.0
#: Three days in steps of five minutes are 60 kB.
MAX_BYTES = 1 << 20
_CHUNK = 1 << 16
USER_AGENT = "Provocative-Grid/1"
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class JsonFetcher:
    """`ports.FetchJson`. ``loopback``: plain HTTP too, where the providers are simulated."""

    def __init__(self, *, loopback: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._loopback, self._now = loopback, now

    def __call__(self, url: str, headers: Mapping[str, str]) -> Any:
        """Raises ProviderFailed: there is no reply, or it is no JSON."""
        deadline = self._now() + TIMEOUT_SECONDS
        try:
            body = self._get(url, headers, deadline)
        except TimeoutError as error:
            raise ProviderUnreachable("timeout", urlsplit(url).netloc) from error
        except (OSError, http.client.HTTPException) as error:
            raise ProviderUnreachable("connection_failed", type(error).__name__) from error
        try:
            return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError, ArithmeticError) as error:
            raise AnswerRefused("not_json", f"{len(body)} bytes") from error

    def _get(self, url: str, headers: Mapping[str, str], deadline: float) -> bytes:
        parts = urlsplit(url)
        host, seconds = parts.hostname or "", TIMEOUT_SECONDS
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, parts.port, timeout=seconds, context=ssl.create_default_context()
            )
        elif self._loopback:
            connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        else:
            raise ProviderUnreachable("not_https", host)
        with closing(connection):
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request("GET", target, headers={"User-Agent": USER_AGENT, **headers})
            with closing(connection.getresponse()) as response:
                if response.status in _DENIED:
                    raise ProviderDenied("denied", f"status {response.status}")
                if response.status != HTTPStatus.OK:
                    raise ProviderUnreachable(f"http_{response.status}", host)
                return self._read(response, deadline)

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        body = b""
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > MAX_BYTES:
                raise AnswerRefused("too_large", f"more than {MAX_BYTES} bytes")
            # A timeout of a socket is one for each read: who says a byte a second would keep us for hours.
            if self._now() > deadline:
                raise TimeoutError
        return body


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")

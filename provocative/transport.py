"""HTTPS to the API: the key, timeouts, retries, problems into errors.

Invariant: nothing is sent twice that might be done twice. What never reached the API, or was refused for
its rate, is always tried again; what may have been done is tried again only where the API answers a
repetition the same (`Operation.repeatable`, or an Idempotency-Key that all attempts share).
"""

import platform
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import httpx

from provocative.errors import ApiError, NotFound, Unavailable, get_error_type
from provocative.operations import Operation
from provocative.version import VERSION

USER_AGENT = f"provocative/{VERSION} python/{platform.python_version()}"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MAY_WORK_LATER = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``attempts`` counts the first one. Waits double from ``base_seconds`` and are jittered in full."""

    attempts: int = 5
    base_seconds: float = 0.25
    max_wait_seconds: float = 8.0
    #: A server that asks for more patience than this is told of instead.
    max_retry_after_seconds: float = 30.0


class Transport:
    """One connection pool with one key, or with what returns an access token that is good now.

    Not shown by ``repr``, and in no error: the key.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str | Callable[[], str],
        *,
        timeout_seconds: float = 30.0,
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """``sleep`` and ``draw`` (uniform in [0, 1)) are given by tests.

        Raises:
            ValueError: the URL is not HTTPS (or loopback), or the key cannot be one.
        """
        self.api_url = check_url(api_url)
        self._read_key = _hold(api_key) if isinstance(api_key, str) else api_key
        self._retries = retries or RetryPolicy()
        self._sleep = sleep
        self._draw = draw
        self._http = httpx.Client(
            headers={
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
            },
            timeout=timeout_seconds,
            transport=transport,
        )
        # For links, which carry their own right: our key is not for whom they lead to.
        self._links = httpx.Client(
            headers={"User-Agent": USER_AGENT}, timeout=timeout_seconds, transport=transport
        )

    def __repr__(self) -> str:
        return f"Transport({self.api_url!r})"

    def close(self) -> None:
        self._http.close()
        self._links.close()

    def send(
        self,
        operation: Operation,
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Return the answer's JSON, ``None`` for none. Query parameters that are ``None`` are left out.

        Raises:
            ApiError: one of its kinds.
        """
        key = (idempotency_key or str(uuid.uuid4())) if operation.keyed else None
        request = self._build(operation, path or {}, query or {}, body, key)
        unsure = False
        for attempt in range(self._retries.attempts):
            last = attempt + 1 == self._retries.attempts
            try:
                answer = self._http.send(request)
            except httpx.TransportError as error:
                sent = not isinstance(error, _NEVER_SENT)
                unsure = unsure or sent
                if last or (sent and not operation.repeatable):
                    self._give_up(error, operation, key, unsure=unsure)
                self._wait(attempt, None)
                continue
            failure = None if answer.is_success else _read_problem(answer)
            if failure is None:
                return _read_body(answer)
            if unsure and operation.method == "DELETE" and isinstance(failure, NotFound):
                # An attempt whose answer was lost did it.
                return None
            if last or not self._may_repeat(operation, failure):
                if failure.status in _MAY_WORK_LATER or unsure:
                    failure.idempotency_key = key
                raise failure
            unsure = unsure or failure.status != HTTPStatus.TOO_MANY_REQUESTS
            self._wait(attempt, failure.retry_after_seconds)
        raise AssertionError("the last attempt returns or raises")

    def download(self, url: str) -> Iterator[bytes]:
        """Yield what a link of the API leads to; the key is not sent.

        Raises:
            ApiError: one of its kinds.
        """
        host = httpx.URL(url).host
        try:
            with self._links.stream("GET", check_scheme(url)) as answer:
                if not answer.is_success:
                    raise get_error_type(answer.status_code)(
                        status=answer.status_code,
                        code="link_refused",
                        detail=f"{host} answered {answer.status_code}; links last five minutes, ask again.",
                    )
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            detail = f"{host} did not send all: {_describe(error)}."
            raise Unavailable(status=None, code="no_answer", detail=detail) from error

    def _build(
        self,
        operation: Operation,
        path: Mapping[str, str],
        query: Mapping[str, object],
        body: object,
        key: str | None,
    ) -> httpx.Request:
        filled = operation.path.format(**{name: quote(value, safe="") for name, value in path.items()})
        parameters = {name: str(value) for name, value in query.items() if value is not None}
        return self._http.build_request(
            operation.method,
            self.api_url + filled,
            params=parameters or None,
            json=body,
            headers={
                "Authorization": f"Bearer {self._read_key()}",
                **({} if key is None else {"Idempotency-Key": key}),
            },
        )

    def _may_repeat(self, operation: Operation, failure: ApiError) -> bool:
        asked = failure.retry_after_seconds
        if asked is not None and asked > self._retries.max_retry_after_seconds:
            return False
        if failure.status == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        return failure.status in _MAY_WORK_LATER and operation.repeatable

    def _wait(self, attempt: int, retry_after_seconds: float | None) -> None:
        policy = self._retries
        bound = min(policy.max_wait_seconds, policy.base_seconds * 2**attempt)
        self._sleep((retry_after_seconds or 0.0) + self._draw() * bound)

    def _give_up(
        self, error: httpx.TransportError, operation: Operation, key: str | None, *, unsure: bool
    ) -> NoReturn:
        host = urlsplit(self.api_url).netloc
        if not unsure:
            raise Unavailable(
                status=None, code="unreachable", detail=f"{host} could not be reached: {_describe(error)}."
            ) from error
        outcome = "" if operation.method == "GET" else " It is not known whether it was done."
        raise Unavailable(
            status=None,
            code="no_answer",
            detail=f"{host} did not answer: {_describe(error)}.{outcome}",
            idempotency_key=key,
        ) from error


def check_scheme(url: str) -> str:
    """Return the URL. Raises ValueError: it is not HTTPS, and not this machine either."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ValueError("The link must begin with https://; others could read it on its way.")
    return url


def check_url(api_url: str) -> str:
    """Return the URL without a slash at its end.

    Raises:
        ValueError: it is not HTTPS, and not this machine either: the key would be readable on its way.
    """
    parts = urlsplit(api_url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("The API's URL is written as https://HOST[/PATH].")
    if parts.username or parts.password:
        raise ValueError("The API's URL holds no user and no password; the key goes into its own place.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError("The API's URL must begin with https://; the key would be readable on its way.")
    return api_url.rstrip("/")


def _hold(api_key: str) -> Callable[[], str]:
    check_key(api_key)
    return lambda: api_key


def check_key(api_key: str) -> None:
    """Raises ValueError, which does not quote it: the text cannot be a key."""
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ValueError("A key is one word of letters, digits and underscores, such as pc_live_….")


def _describe(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "the time ran out"
    return str(error).rstrip(".") or type(error).__name__


def _read_body(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise ApiError(
            status=answer.status_code,
            code="unexpected_answer",
            detail="The answer is not JSON; is this the API's URL?",
            request_id=answer.headers.get("x-request-id"),
        ) from error


def _read_problem(answer: httpx.Response) -> ApiError:
    """Return the error that an answer tells of; also for answers that are not the API's own."""
    status, request_id = answer.status_code, answer.headers.get("x-request-id")
    retry_after = _read_retry_after(answer)
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("code"), str):
        return get_error_type(status)(
            status=status,
            code=problem["code"],
            detail=str(problem.get("detail") or problem.get("title") or "The API refused."),
            request_id=problem.get("request_id") or request_id,
            problem=problem,
            retry_after_seconds=retry_after,
        )
    if "MissingAuthenticationToken" in answer.headers.get("x-amzn-errortype", ""):
        # What API Gateway answers for a path that it does not know.
        return NotFound(
            status=HTTPStatus.NOT_FOUND,
            code="unknown_operation",
            detail="This API has no such operation: its URL is wrong, or it is older than this client.",
            request_id=request_id,
        )
    return get_error_type(status)(
        status=status,
        code="unexpected_answer",
        detail=f"{answer.url.host} answered {status} without saying why; is this the API's URL?",
        request_id=request_id,
        retry_after_seconds=retry_after,
    )


def _read_retry_after(answer: httpx.Response) -> float | None:
    """Return seconds. Both forms of RFC 9110, section 10.2.3; a date counts from the answer's own."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(answer.headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None

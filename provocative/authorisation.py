"""Signing in without a key: the device flow (RFC 8628), refreshed tokens, and their end.

What the API answers here has the shape of RFC 6749, so that this does not go through `provocative.transport`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from provocative.errors import ApiError, NotAuthenticated, Unavailable
from provocative.transport import USER_AGENT, check_url

CLIENT_ID = "cli"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: RFC 8628, section 3.5.
SLOW_DOWN_SECONDS = 5
#: A lost answer is asked for again so often, at once: the API gives the same tokens for ten seconds.
ATTEMPTS = 3
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """``expires_at``: seconds since the epoch, by this machine's clock."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """``user_code`` is typed by the person on the page ``verification_uri``."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    expires_in: float
    interval: float


class Authorisation:
    """The endpoints of one API. ``read_now``: seconds since the epoch."""

    def __init__(
        self,
        api_url: str,
        *,
        read_now: Callable[[], float],
        sleep: Callable[[float], None],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Raises ValueError: the URL is not HTTPS, or loopback."""
        self._url = check_url(api_url)
        self._read_now, self._sleep = read_now, sleep
        self._http = httpx.Client(
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def begin(self) -> DeviceCode:
        """Raises ApiError: one of its kinds."""
        status, body = self._post("/oauth/device_authorization", {"client_id": CLIENT_ID})
        if status != HTTPStatus.OK:
            raise _read_refusal(status, body)
        return DeviceCode(
            str(body["device_code"]),
            str(body["user_code"]),
            str(body["verification_uri"]),
            float(body["expires_in"]),
            float(body.get("interval", SLOW_DOWN_SECONDS)),
        )

    def wait(self, device: DeviceCode) -> Tokens:
        """Ask until the person has decided.

        Raises:
            NotAuthenticated: they refused (``access_denied``), or the code expired (``expired_token``).
            ApiError: one of its other kinds.
        """
        interval, until = device.interval, self._read_now() + device.expires_in
        asked = {"grant_type": DEVICE_GRANT, "device_code": device.device_code, "client_id": CLIENT_ID}
        while self._read_now() < until:
            self._sleep(interval)
            status, body = self._post("/oauth/token", asked)
            if status == HTTPStatus.OK:
                return self._read_tokens(body)
            if body.get("error") == "slow_down":
                interval += SLOW_DOWN_SECONDS
            elif body.get("error") != "authorization_pending":
                raise _read_refusal(status, body)
        raise NotAuthenticated(status=None, code="expired_token", detail="Nobody typed the code in time.")

    def refresh(self, refresh_token: str) -> Tokens:
        """Raises NotAuthenticated: it is over; sign in again. Raises ApiError: one of its other kinds."""
        asked = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": CLIENT_ID}
        status, body = self._post("/oauth/token", asked)
        if status != HTTPStatus.OK:
            raise _read_refusal(status, body)
        return self._read_tokens(body)

    def revoke(self, refresh_token: str) -> None:
        """Raises ApiError: one of its kinds; the tokens may still be good."""
        status, body = self._post("/oauth/revoke", {"token": refresh_token, "client_id": CLIENT_ID})
        if status != HTTPStatus.OK:
            raise _read_refusal(status, body)

    def _read_tokens(self, body: Mapping[str, Any]) -> Tokens:
        expires_at = self._read_now() + float(body["expires_in"])
        return Tokens(str(body["access_token"]), str(body["refresh_token"]), expires_at)

    def _post(self, path: str, fields: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        for attempt in range(ATTEMPTS):
            try:
                answer = self._http.post(self._url + path, data=dict(fields))
            except httpx.TransportError as error:
                if attempt + 1 == ATTEMPTS:
                    raise Unavailable(
                        status=None, code="no_answer", detail="The API did not answer; try again."
                    ) from error
                continue
            try:
                body = answer.json()
            except ValueError:
                body = None
            if not isinstance(body, dict):
                raise ApiError(
                    status=answer.status_code,
                    code="unexpected_answer",
                    detail="The answer is not JSON; is this the API's URL?",
                )
            return answer.status_code, body
        raise AssertionError("the last attempt returns or raises")


def _read_refusal(status: int, body: Mapping[str, Any]) -> ApiError:
    code = str(body.get("error") or body.get("code") or "unexpected_answer")
    detail = str(body.get("error_description") or body.get("detail") or "The API refused.")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(status=status, code=code, detail=detail)
    return NotAuthenticated(status=status, code=code, detail=detail)

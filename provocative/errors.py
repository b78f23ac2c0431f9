"""What may go wrong between a caller and the API, one tree:

    ApiError
    ├── Invalid             the request is wrong and will be wrong again (400, 413, 415, 422)
    ├── NotAuthenticated    no key, or one that is not known (401)
    ├── InsufficientFunds   the wallet cannot cover the hold (402)
    ├── Forbidden           the key may not do this (403)
    ├── NotFound            there is no such thing, or it is another account's (404)
    ├── Conflict            the state does not allow it (409)
    ├── RateLimited         too many requests (429)
    └── Unavailable         no answer, or the platform could not serve it now (5xx)

``code`` is stable; ``detail`` is a sentence for people. A key is never part of an error.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """The API refused, or did not answer (``status`` is ``None``).

    ``problem`` is the whole problem document (RFC 9457) with members such as ``errors`` or ``why``.
    ``idempotency_key``: of a create whose outcome is not known; the same call with it is safe.
    """

    def __init__(
        self,
        *,
        status: int | None,
        code: str,
        detail: str,
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.idempotency_key = idempotency_key
        self._problem = dict(problem or {})

    @property
    def problem(self) -> dict[str, Any]:
        """The document as the API sent it, or one of the same form for what happened on the way."""
        own: dict[str, Any] = {
            "type": f"urn:provocative:problem:{self.code}",
            "title": "No answer" if self.status is None else _name_status(self.status),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": self.request_id,
        }
        if self.idempotency_key is not None:
            own["idempotency_key"] = self.idempotency_key
        return {**own, **self._problem}


class Invalid(ApiError):
    pass


class NotAuthenticated(ApiError):
    pass


class InsufficientFunds(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class RateLimited(ApiError):
    pass


class Unavailable(ApiError):
    pass


_BY_STATUS: Mapping[int, type[ApiError]] = {
    HTTPStatus.BAD_REQUEST: Invalid,
    HTTPStatus.UNAUTHORIZED: NotAuthenticated,
    HTTPStatus.PAYMENT_REQUIRED: InsufficientFunds,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Invalid,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Invalid,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
}


def get_error_type(status: int) -> type[ApiError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable
    return _BY_STATUS.get(status, ApiError)


def _name_status(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"

"""Errors as ``application/problem+json`` (RFC 9457): the one table from domain errors to statuses."""

import json
from collections.abc import Collection, Mapping
from http import HTTPStatus

from chalice.app import Response

from chalicelib.core import errors

CONTENT_TYPE = "application/problem+json"

#: The most specific class comes first.
_STATUSES: tuple[tuple[type[errors.DomainError], HTTPStatus], ...] = (
    (errors.IdempotencyMismatch, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.InvalidInput, HTTPStatus.BAD_REQUEST),
    (errors.Unauthenticated, HTTPStatus.UNAUTHORIZED),
    (errors.InsufficientFunds, HTTPStatus.PAYMENT_REQUIRED),
    (errors.Forbidden, HTTPStatus.FORBIDDEN),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.PreconditionFailed, HTTPStatus.PRECONDITION_FAILED),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_CODE_STATUSES = {
    "payload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
RETRY_AFTER_SECONDS = 1

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


def get_status(error: errors.DomainError) -> HTTPStatus:
    if error.code in _CODE_STATUSES:
        return _CODE_STATUSES[error.code]
    for error_type, status in _STATUSES:
        if isinstance(error, error_type):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def build_problem(error: errors.DomainError, request_id: str) -> Response:
    """Return the problem document of a domain error."""
    status = get_status(error)
    headers = {}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = str(error.extra.get("retry_after_seconds", RETRY_AFTER_SECONDS))
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="provocative"'
    return _build(status, error.code, error.detail, request_id, headers, error.extra)


def build_internal_error(request_id: str) -> Response:
    """Return the problem document of a bug: nothing of the exception is told, the request id finds it."""
    detail = "Something went wrong on our side. Nothing is known to have changed; quote the request id."
    return _build(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail, request_id, {}, {})


def build_method_refusal(allowed: Collection[str], request_id: str) -> Response:
    """Return the problem document of a method that the path does not have. Source: RFC 9110, 15.5.6."""
    text = ", ".join(sorted(allowed))
    return _build(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        f"This path takes {text}.",
        request_id,
        {"Allow": text},
        {},
    )


def _build(
    status: HTTPStatus,
    code: str,
    detail: str,
    request_id: str,
    headers: Mapping[str, str],
    extra: Mapping[str, object],
) -> Response:
    body = {
        **extra,
        "type": f"urn:provocative:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "request_id": request_id,
    }
    return Response(
        body=json.dumps(body),
        status_code=status.value,
        headers={**SECURITY_HEADERS, **headers, "Content-Type": CONTENT_TYPE, "X-Request-Id": request_id},
    )

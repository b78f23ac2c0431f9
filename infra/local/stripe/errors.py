"""Errors in Stripe's shape: https://docs.stripe.com/api/errors."""

from http import HTTPStatus
from typing import Any

Object = dict[str, Any]
"""One object as Stripe's JSON has it; money is in integer minor units, instants are in Unix seconds."""


class Refused(Exception):
    """An answer that is an error. ``started`` is False when no idempotent result may be kept of it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = "invalid_request_error",
        started: bool = True,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.started = started
        self.body: Object = {"error": {"type": kind, "message": message, **details}}


def refuse_state(message: str, code: str, **details: Any) -> Refused:
    return Refused(message, code=code, **details)


def refuse_parameter(message: str, code: str, param: str) -> Refused:
    return Refused(message, started=False, code=code, param=param)


def refuse_missing(kind: str, object_id: str) -> Refused:
    message = f"No such {kind}: '{object_id}'"
    return Refused(message, status=HTTPStatus.NOT_FOUND, code="resource_missing", param="id")

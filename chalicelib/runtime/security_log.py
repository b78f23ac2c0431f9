"""Who was refused what, when, from where: one line a refusal, with a reason code and no secret.

What a caller sends is in no field but these: the address that API Gateway saw, and the id of a key or of a
client, which is public. JSON keeps what is in them on its line. Instants are UTC.
"""

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.errors import DomainError, Forbidden, Unauthenticated
from chalicelib.core.principal import Principal
from chalicelib.runtime.observability import get_logger

#: The id in a key, whatever its secret is.
_KEY_ID = re.compile(r"bearer\s+pc_[a-z]{1,8}_([0-9a-hjkmnp-tv-z]{26})_", re.IGNORECASE)
_caller: ContextVar[Principal | None] = ContextVar("caller", default=None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused in another shape than a problem's. ``known``: ``actor``, or whom it was tried as."""

    reason: str
    known: Mapping[str, str] = field(default_factory=dict)


def note_caller(principal: Principal | None) -> None:
    """Remember who the request turned out to be of; ``None`` before that is known."""
    _caller.set(principal)


def describe_caller() -> dict[str, str]:
    """Return who is asking, for a line of the log; nothing where nobody is known."""
    caller = _caller.get()
    if caller is None:
        return {}
    return {"actor": caller.actor_id, "account_id": caller.account_id, "role": caller.role}


def log_refusal(event: Mapping[str, Any], request_id: str, error: DomainError) -> None:
    """Write down an authentication that failed, or an act that was denied; nothing for other errors."""
    if not isinstance(error, Unauthenticated | Forbidden):
        return
    known = describe_caller()
    log_told_refusal(event, request_id, Refusal(error.code, known or _describe_attempt(event)))


def log_told_refusal(event: Mapping[str, Any], request_id: str, refusal: Refusal) -> None:
    """As `log_refusal`, of what a view answered itself."""
    context = event.get("requestContext") or {}
    get_logger().warning(
        "security",
        extra={
            "security_event": "access_denied" if "actor" in refusal.known else "authentication_failed",
            "reason": refusal.reason,
            "request_id": request_id,
            "method": event.get("httpMethod"),
            "resource": event.get("resource"),
            "source_ip": (context.get("identity") or {}).get("sourceIp"),
            **refusal.known,
        },
    )


def _describe_attempt(event: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()}
    match = _KEY_ID.match(headers.get("authorization", ""))
    return {} if match is None else {"attempted_key": f"key_{match[1].lower()}"}

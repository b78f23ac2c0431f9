"""Bodies of the webhook routes."""

from typing import Annotated, Any

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.runtime.bodies import RequestBody, ResponseBody
from chalicelib.webhooks.addresses import MAX_URL
from chalicelib.webhooks.model import (
    EVENT_TYPES,
    MAX_KEPT_ATTEMPTS,
    Attempt,
    Delivery,
    Endpoint,
    Event,
    EventType,
)
from chalicelib.webhooks.service import EndpointChange

#: What else an address must be, `webhooks.addresses` says with a code of its own.
Url = Annotated[str, Field(min_length=1, max_length=MAX_URL, json_schema_extra={"pattern": "^https://"})]
EventTypes = Annotated[list[EventType], Field(max_length=len(EVENT_TYPES))]
Description = Annotated[str, Field(max_length=200)]


class LeakedKeyRequest(RequestBody):
    """``url``: where it was found."""

    token: Annotated[str, Field(min_length=1, max_length=256)]
    url: Annotated[str, Field(max_length=MAX_URL, pattern=r"^https?://[!-~]+$")] | None = None


class LeakedKeyBody(ResponseBody):
    """The same whatever was reported."""

    received: bool = True


class EndpointBodyRequest(RequestBody):
    url: Url
    #: Empty: all.
    event_types: EventTypes = Field(default_factory=list)
    description: Description = ""


class ChangeEndpointRequest(RequestBody):
    """What is left out, or ``null``, stays."""

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    enabled: bool | None = None

    def read_change(self) -> EndpointChange:
        types = None if self.event_types is None else frozenset(self.event_types)
        return EndpointChange(self.url, types, self.description, self.enabled)


class EndpointBody(ResponseBody):
    endpoint_id: str
    url: str
    event_types: list[str]
    description: str
    enabled: bool
    created_at: str
    secret_rotated_at: str | None
    #: Since when no attempt has succeeded; such an endpoint is tried less and less often.
    failing_since: str | None
    #: When it was switched off because nothing had succeeded for 72 h.
    disabled_at: str | None


class SecretEndpointBody(EndpointBody):
    """Only when the secret is new: it is not shown again."""

    secret: str


class EndpointListBody(ResponseBody):
    items: list[EndpointBody]


class AttemptBody(ResponseBody):
    """``duration_ms`` null: how it ended is not known."""

    number: int
    started_at: str
    duration_ms: int | None
    status: int | None
    error: str | None


class DeliveryBody(ResponseBody):
    endpoint_id: str
    state: str
    reason: str | None
    next_attempt_at: str | None
    attempts: list[AttemptBody]


class EventBody(ResponseBody):
    event_id: str
    type: str
    created_at: str
    data: dict[str, Any]
    #: Null: not dispatched yet.
    deliveries: list[DeliveryBody] | None


class EventListBody(ResponseBody):
    items: list[EventBody]
    next_cursor: str | None


def render_endpoint(endpoint: Endpoint) -> EndpointBody:
    return EndpointBody(
        endpoint_id=endpoint.endpoint_id,
        url=endpoint.url,
        event_types=sorted(endpoint.event_types),
        description=endpoint.description,
        enabled=endpoint.enabled,
        created_at=format_instant(endpoint.created_at_ms),
        secret_rotated_at=_format(endpoint.rotated_at_ms),
        failing_since=_format(endpoint.failing_since_ms),
        disabled_at=_format(endpoint.disabled_at_ms),
    )


def render_event(event: Event, *, attempts: int = MAX_KEPT_ATTEMPTS) -> EventBody:
    """``attempts``: so many of each delivery, the last ones."""
    deliveries = event.deliveries
    return EventBody(
        event_id=event.event_id,
        type=event.type,
        created_at=format_instant(event.created_at_ms),
        data=event.data,
        deliveries=None if deliveries is None else [_render_delivery(each, attempts) for each in deliveries],
    )


def _render_delivery(delivery: Delivery, attempts: int) -> DeliveryBody:
    return DeliveryBody(
        endpoint_id=delivery.endpoint_id,
        state=delivery.state,
        reason=delivery.reason,
        next_attempt_at=_format(delivery.next_attempt_at_ms),
        attempts=[_render_attempt(each) for each in delivery.attempts[-attempts:]],
    )


def _render_attempt(attempt: Attempt) -> AttemptBody:
    return AttemptBody(
        number=attempt.number,
        started_at=format_instant(attempt.started_at_ms),
        duration_ms=attempt.duration_ms,
        status=attempt.status,
        error=attempt.error,
    )


def _format(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)

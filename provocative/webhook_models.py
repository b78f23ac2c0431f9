"""Bodies of webhooks, as the API sends them. Instants are RFC 3339."""

from typing import Any, Literal, TypedDict

EventType = Literal[
    "rental.running",
    "rental.stopped",
    "rental.data_hold_ending",
    "rental.start_moved",
    "rental.terminated",
    "rental.failed",
    "rental.interruption_announced",
    "wallet.low",
    "wallet.recovered",
    "wallet.exhausted",
    "budget.threshold_reached",
    "budget.exhausted",
    "top_up.succeeded",
    "top_up.failed",
    "auto_top_up.paused",
    "credit.posted",
    "statement.issued",
    "key.leaked",
    "test",
]


class WebhookEndpointRequest(TypedDict, total=False):
    """``event_types`` empty: all."""

    url: str
    event_types: list[EventType]
    description: str


class WebhookEndpointChange(WebhookEndpointRequest, total=False):
    """What is left out stays."""

    enabled: bool


class WebhookEndpoint(TypedDict):
    endpoint_id: str
    url: str
    event_types: list[EventType]
    description: str
    enabled: bool
    created_at: str
    secret_rotated_at: str | None
    failing_since: str | None
    disabled_at: str | None


class NewWebhookEndpoint(WebhookEndpoint):
    """``secret`` is shown this once."""

    secret: str


class WebhookAttempt(TypedDict):
    number: int
    started_at: str
    duration_ms: int | None
    status: int | None
    error: str | None


class WebhookDelivery(TypedDict):
    endpoint_id: str
    state: Literal["pending", "delivered", "failed"]
    reason: str | None
    next_attempt_at: str | None
    attempts: list[WebhookAttempt]


class WebhookEvent(TypedDict):
    event_id: str
    type: EventType
    created_at: str
    data: dict[str, Any]
    deliveries: list[WebhookDelivery] | None

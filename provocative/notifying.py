"""The API's operations for webhooks."""

from typing import cast

from provocative import operations as op
from provocative.models import Listing, Page
from provocative.transport import Transport
from provocative.webhook_models import (
    NewWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointChange,
    WebhookEndpointRequest,
    WebhookEvent,
)


class Webhooks:
    """Where events go, and what became of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create_endpoint(
        self, request: WebhookEndpointRequest, *, idempotency_key: str | None = None
    ) -> NewWebhookEndpoint:
        answer = self._transport.send(
            op.CREATE_WEBHOOK_ENDPOINT, body=request, idempotency_key=idempotency_key
        )
        return cast("NewWebhookEndpoint", answer)

    def list_endpoints(self) -> Listing[WebhookEndpoint]:
        return cast("Listing[WebhookEndpoint]", self._transport.send(op.LIST_WEBHOOK_ENDPOINTS))

    def read_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        path = {"endpoint_id": endpoint_id}
        return cast("WebhookEndpoint", self._transport.send(op.READ_WEBHOOK_ENDPOINT, path))

    def change_endpoint(self, endpoint_id: str, change: WebhookEndpointChange) -> WebhookEndpoint:
        path = {"endpoint_id": endpoint_id}
        return cast("WebhookEndpoint", self._transport.send(op.CHANGE_WEBHOOK_ENDPOINT, path, body=change))

    def remove_endpoint(self, endpoint_id: str) -> None:
        self._transport.send(op.REMOVE_WEBHOOK_ENDPOINT, {"endpoint_id": endpoint_id})

    def rotate_secret(self, endpoint_id: str) -> NewWebhookEndpoint:
        """The secret before it signs too for another 24 h."""
        path = {"endpoint_id": endpoint_id}
        return cast("NewWebhookEndpoint", self._transport.send(op.ROTATE_WEBHOOK_SECRET, path))

    def send_test(self, endpoint_id: str) -> WebhookEvent:
        path = {"endpoint_id": endpoint_id}
        return cast("WebhookEvent", self._transport.send(op.TEST_WEBHOOK_ENDPOINT, path))

    def list_events(self, *, limit: int | None = None, cursor: str | None = None) -> Page[WebhookEvent]:
        query = {"limit": limit, "cursor": cursor}
        return cast("Page[WebhookEvent]", self._transport.send(op.LIST_WEBHOOK_EVENTS, query=query))

    def read_event(self, event_id: str) -> WebhookEvent:
        return cast("WebhookEvent", self._transport.send(op.READ_WEBHOOK_EVENT, {"event_id": event_id}))

    def replay_event(self, event_id: str) -> WebhookEvent:
        return cast("WebhookEvent", self._transport.send(op.REPLAY_WEBHOOK_EVENT, {"event_id": event_id}))

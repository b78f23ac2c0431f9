"""Routes of webhooks: a renter's endpoints and what was sent to them."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit
from chalicelib.webhooks import leaks, service
from chalicelib.webhooks.schemas import (
    ChangeEndpointRequest,
    EndpointBody,
    EndpointBodyRequest,
    EndpointListBody,
    EventBody,
    EventListBody,
    LeakedKeyBody,
    LeakedKeyRequest,
    SecretEndpointBody,
    render_endpoint,
    render_event,
)

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/webhook-endpoints", permission="webhooks:write", body=EndpointBodyRequest)
def create_webhook_endpoint(call: Call) -> Answer[SecretEndpointBody]:
    """Add an endpoint; its secret is shown once."""
    body: EndpointBodyRequest = call.read_body(EndpointBodyRequest)
    request = service.EndpointRequest(
        url=body.url,
        event_types=frozenset(body.event_types),
        description=body.description,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint("POST /v1/webhook-endpoints", call.raw_body),
        render=lambda endpoint: render_endpoint(endpoint).model_dump_json(),
        read_id=lambda text: EndpointBody.model_validate_json(text).endpoint_id,
    )
    created = service.create_endpoint(wiring.webhook_ports(), call.principal, request)
    rendered = EndpointBody.model_validate_json(created.body).model_dump()
    return Answer(
        SecretEndpointBody(**rendered, secret=created.secret),
        HTTPStatus.CREATED,
        tell_replayed(created),
    )


@api.route("GET", "/v1/webhook-endpoints", permission="webhooks:read")
def list_webhook_endpoints(call: Call) -> Answer[EndpointListBody]:
    """List the account's endpoints: ten at most."""
    endpoints = wiring.webhook_ports().store.get_endpoints(call.principal.account_id)
    return Answer(EndpointListBody(items=[render_endpoint(each) for each in endpoints.items]))


@api.route("GET", "/v1/webhook-endpoints/{endpoint_id}", permission="webhooks:read", tagged=True)
def get_webhook_endpoint(call: Call, endpoint_id: str) -> Answer[EndpointBody]:
    """Show an endpoint."""
    found = service.get_endpoint(wiring.webhook_ports(), call.principal, endpoint_id)
    return Answer(render_endpoint(found))


@api.route(
    "PATCH",
    "/v1/webhook-endpoints/{endpoint_id}",
    permission="webhooks:write",
    body=ChangeEndpointRequest,
    conditional=True,
)
def change_webhook_endpoint(call: Call, endpoint_id: str) -> Answer[EndpointBody]:
    """Change an endpoint, or switch it on or off."""
    body: ChangeEndpointRequest = call.read_body(ChangeEndpointRequest)
    change, check = body.read_change(), call.match(render_endpoint)
    changed = service.change_endpoint(wiring.webhook_ports(), call.principal, endpoint_id, change, check)
    return Answer(render_endpoint(changed))


@api.route("DELETE", "/v1/webhook-endpoints/{endpoint_id}", permission="webhooks:write", conditional=True)
def remove_webhook_endpoint(call: Call, endpoint_id: str) -> Answer[None]:
    """Remove an endpoint; what waits for it is not sent."""
    check = call.match(render_endpoint)
    service.remove_endpoint(wiring.webhook_ports(), call.principal, endpoint_id, check)
    return Answer(status=HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/webhook-endpoints/{endpoint_id}/rotate-secret", permission="webhooks:write")
def rotate_webhook_secret(call: Call, endpoint_id: str) -> Answer[SecretEndpointBody]:
    """Give an endpoint a new secret, shown once; the old one signs too for another 24 h."""
    rotated = service.rotate_secret(wiring.webhook_ports(), call.principal, endpoint_id)
    rendered = render_endpoint(rotated.endpoint).model_dump()
    return Answer(SecretEndpointBody(**rendered, secret=rotated.secret))


@api.route("POST", "/v1/webhook-endpoints/{endpoint_id}/test", permission="webhooks:write")
def test_webhook_endpoint(call: Call, endpoint_id: str) -> Answer[EventBody]:
    """Send an event of type ``test`` to one endpoint."""
    event = service.send_test(wiring.webhook_ports(), call.principal, endpoint_id)
    return Answer(render_event(event), HTTPStatus.ACCEPTED)


@api.route("GET", "/v1/webhook-events", permission="webhooks:read", query=PAGING)
def list_webhook_events(call: Call) -> Answer[EventListBody]:
    """List the account's events of the last 30 days, newest first, each delivery with its last attempt."""
    page = wiring.webhook_ports().store.list_events(
        call.principal.account_id, read_limit(call.query), decode_cursor(call.query.get("cursor"))
    )
    # All of them could be more than a function may answer.
    items = [render_event(event, attempts=1) for event in page.items]
    return Answer(EventListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/webhook-events/{event_id}", permission="webhooks:read")
def get_webhook_event(call: Call, event_id: str) -> Answer[EventBody]:
    """Show an event and every attempt to deliver it."""
    return Answer(render_event(service.get_event(wiring.webhook_ports(), call.principal, event_id)))


@api.route("POST", "/v1/webhook-events/{event_id}/replay", permission="webhooks:write")
def replay_webhook_event(call: Call, event_id: str) -> Answer[EventBody]:
    """Deliver an event again, under its own id."""
    event = service.replay_event(wiring.webhook_ports(), call.principal, event_id)
    return Answer(render_event(event), HTTPStatus.ACCEPTED)


@api.route("POST", "/v1/leaked-keys", public=True, body=LeakedKeyRequest)
def report_leaked_key(call: Call) -> Answer[LeakedKeyBody]:
    """Report a key that others can read; it is revoked at once. The answer says nothing of it."""
    body: LeakedKeyRequest = call.read_body(LeakedKeyRequest)
    leaks.report_leak(wiring.leak_ports(), body.token, body.url)
    return Answer(LeakedKeyBody(), HTTPStatus.ACCEPTED)

"""Routes of the fleet's health: incidents and announced maintenance."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.fleet import maintenance
from chalicelib.fleet.health_schemas import (
    IncidentListBody,
    WindowActionRequest,
    WindowBody,
    WindowListBody,
    WindowRequest,
    read_window,
    render_incident,
    render_window,
)
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)

_BY_HOST = PAGING | {"host_id"}


@api.route("GET", "/v1/incidents", permission="hosts:read", query=_BY_HOST)
def list_incidents(call: Call) -> Answer[IncidentListBody]:
    """List incidents of the fleet, or of one host, newest first."""
    page = wiring.watch_ports().incidents.list_incidents(
        call.query.get("host_id") or None,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
        wiring.clock().now_ms(),
    )
    items = [render_incident(incident) for incident in page.items]
    return Answer(IncidentListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("POST", "/v1/maintenance-windows", permission="hosts:write", body=WindowRequest)
def plan_window(call: Call) -> Answer[WindowBody]:
    """Announce maintenance of a host, once per Idempotency-Key; its renters are told."""
    fingerprint = compute_fingerprint("POST /v1/maintenance-windows", call.raw_body)
    command = read_window(call.read_body(WindowRequest), call.idempotency_key, fingerprint)
    planned = maintenance.plan_window(wiring.maintenance_ports(), call.principal, command)
    return Answer(planned.body, HTTPStatus(planned.status), tell_replayed(planned))


@api.route("GET", "/v1/maintenance-windows", permission="hosts:read", query=_BY_HOST)
def list_windows(call: Call) -> Answer[WindowListBody]:
    """List windows that are to come or under way, the next step first; or all of one host, newest first."""
    store, limit = wiring.maintenance_ports().store, read_limit(call.query)
    start, host_id = decode_cursor(call.query.get("cursor")), call.query.get("host_id")
    if not host_id:
        page = store.list_open_windows(limit, start)
    else:
        page = store.list_host_windows(host_id, limit, start)
    items = [render_window(window) for window in page.items]
    return Answer(WindowListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/maintenance-windows/{window_id}", permission="hosts:read")
def get_window(_call: Call, window_id: str) -> Answer[WindowBody]:
    """Show one maintenance window."""
    return Answer(render_window(maintenance.get_window(wiring.maintenance_ports(), window_id)))


@api.route(
    "POST",
    "/v1/maintenance-windows/{window_id}/actions",
    permission="hosts:write",
    body=WindowActionRequest,
)
def act_on_window(call: Call, window_id: str) -> Answer[WindowBody]:
    """Cancel a window: the host opens again, its renters are told."""
    call.read_body(WindowActionRequest)
    window = maintenance.cancel_window(wiring.maintenance_ports(), call.principal, window_id)
    return Answer(render_window(window))

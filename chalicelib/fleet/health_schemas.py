"""Bodies of incidents and maintenance windows."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chalicelib.core.clock import format_instant
from chalicelib.fleet.incident import Incident
from chalicelib.fleet.maintenance import PlanWindow
from chalicelib.fleet.windows import DEFAULT_LEAD_MS, MaintenanceCategory, MaintenanceWindow
from chalicelib.runtime.bodies import Instant, RequestBody, ResponseBody

_MAX_LEAD_SECONDS = 30 * 86_400


class IncidentBody(ResponseBody):
    incident_id: str
    kind: str
    region: str
    at: str
    #: Absent for what befalls a region.
    host_id: str | None
    details: dict[str, Any]


class IncidentListBody(ResponseBody):
    items: list[IncidentBody]
    next_cursor: str | None


class WindowRequest(RequestBody):
    host_id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9_]+$")]
    category: MaintenanceCategory
    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00-\x1f]*$")]
    starts_at: Instant
    ends_at: Instant
    #: So long before its start the host gets nothing new.
    lead_seconds: Annotated[int, Field(ge=0, le=_MAX_LEAD_SECONDS)] = DEFAULT_LEAD_MS // 1000


class WindowActionRequest(RequestBody):
    action: Literal["cancel"]


class WindowBody(ResponseBody):
    window_id: str
    host_id: str
    category: str
    reason: str
    starts_at: str
    ends_at: str
    #: From here on the host gets nothing new.
    closes_at: str
    created_at: str
    state: str


class WindowListBody(ResponseBody):
    items: list[WindowBody]
    next_cursor: str | None


def read_window(body: WindowRequest, idempotency_key: str, fingerprint: str) -> PlanWindow:
    return PlanWindow(
        host_id=body.host_id,
        category=body.category,
        reason=body.reason,
        starts_at_ms=body.starts_at,
        ends_at_ms=body.ends_at,
        lead_ms=body.lead_seconds * 1000,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        render=lambda window: render_window(window).model_dump_json(),
    )


def render_incident(incident: Incident) -> IncidentBody:
    return IncidentBody(
        incident_id=incident.incident_id,
        kind=incident.kind,
        region=incident.region,
        at=format_instant(incident.at_ms),
        host_id=incident.host_id,
        details=dict(incident.details),
    )


def render_window(window: MaintenanceWindow) -> WindowBody:
    return WindowBody(
        window_id=window.window_id,
        host_id=window.host_id,
        category=window.category,
        reason=window.reason,
        starts_at=format_instant(window.starts_at_ms),
        ends_at=format_instant(window.ends_at_ms),
        closes_at=format_instant(window.closes_at_ms),
        created_at=format_instant(window.created_at_ms),
        state=window.state,
    )

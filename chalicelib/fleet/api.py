"""Routes of the fleet: operators enrol and look, hosts connect."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.paging import MAX_LIMIT
from chalicelib.fleet import operations, service
from chalicelib.fleet.model import derive_signing_key
from chalicelib.fleet.schemas import (
    CredentialsBody,
    EnrolledHostBody,
    EnrolmentBody,
    EnrolmentRequest,
    HostActionRequest,
    HostBody,
    HostListBody,
    HostRequest,
    read_gpus,
    render_credentials,
    render_enrolled,
    render_enrolment,
    render_host,
)
from chalicelib.runtime.http import Answer, Api, Call

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/enrolments", permission="hosts:write", body=EnrolmentRequest)
def create_enrolment(call: Call) -> Answer[EnrolmentBody]:
    """Create a one-time token with which a machine becomes a host."""
    body: EnrolmentRequest = call.read_body(EnrolmentRequest)
    catalog = wiring.cached_catalog().get(fresh=True)
    enrolment, token = service.create_enrolment(
        wiring.fleet_ports(), call.principal, catalog, gpu_type=body.gpu_type, region=body.region
    )
    return Answer(render_enrolment(enrolment, token), HTTPStatus.CREATED)


@api.route("POST", "/v1/hosts", public=True, body=HostRequest)
def enrol_host(call: Call) -> Answer[EnrolledHostBody]:
    """Become a host, with an enrolment token as the bearer."""
    body: HostRequest = call.read_body(HostRequest)
    ports = wiring.fleet_ports()
    enrolled = service.enrol_host(
        ports,
        call.bearer,
        install_id=body.install_id,
        agent_version=body.agent_version,
        gpus=read_gpus(body),
        fabric_id=body.fabric_id,
    )
    signing_key = derive_signing_key(enrolled.host.host_id, ports.accounts.read_pepper())
    status = HTTPStatus.CREATED if enrolled.created else HTTPStatus.OK
    return Answer(render_enrolled(enrolled, signing_key, wiring.settings()), status)


@api.route("POST", "/v1/hosts/{host_id}/credentials", permission="hosts:connect")
def issue_credentials(call: Call, host_id: str) -> Answer[CredentialsBody]:
    """Give a host an hour's credentials for its queues."""
    credentials = service.issue_credentials(wiring.fleet_ports(), call.principal, host_id)
    return Answer(render_credentials(credentials))


@api.route("GET", "/v1/hosts", permission="hosts:read")
def list_hosts(_call: Call) -> Answer[HostListBody]:
    """List the hosts of every pool."""
    page = service.list_hosts(wiring.fleet_ports(), wiring.cached_catalog().get(fresh=True))
    now_ms = wiring.clock().now_ms()
    return Answer(HostListBody(items=[render_host(*each, now_ms=now_ms) for each in page.items]))


@api.route("GET", "/v1/hosts/{host_id}", permission="hosts:read")
def read_host(_call: Call, host_id: str) -> Answer[HostBody]:
    """Show one host with its GPUs, leases and health."""
    return Answer(_show_host(host_id))


@api.route("POST", "/v1/hosts/{host_id}/actions", permission="hosts:write", body=HostActionRequest)
def act_on_host(call: Call, host_id: str) -> Answer[HostBody]:
    """Cordon, uncordon or retire a host, free a GPU that is stuck, or clear the faults of what was mended."""
    body: HostActionRequest = call.read_body(HostActionRequest)
    ports, reason = wiring.operation_ports(), body.reason or ""
    if body.action == "cordon":
        operations.cordon_host(ports, call.principal, host_id, reason)
    elif body.action == "uncordon":
        operations.uncordon_host(ports, call.principal, host_id)
    elif body.action == "retire":
        operations.retire_host(ports, call.principal, host_id, reason)
    elif body.action == "force_release":
        stuck, give_up = body.gpu_uuids or [], wiring.give_up_wipes
        operations.force_release(ports, call.principal, host_id, stuck, reason, give_up)
    elif body.action in {"make_reservable", "make_shared"}:
        wiring.keep_for_reservations(call.principal, host_id, reservable=body.action == "make_reservable")
    else:
        service.clear_host_faults(ports.fleet, call.principal, host_id)
    return Answer(_show_host(host_id))


def _show_host(host_id: str) -> HostBody:
    now_ms = wiring.clock().now_ms()
    host, liveness, gpus = service.read_host(wiring.fleet_ports(), host_id)
    incidents = wiring.watch_ports().incidents.list_incidents(host_id, MAX_LIMIT, None, now_ms)
    return render_host(host, liveness, gpus, now_ms=now_ms, incident_count=len(incidents.items))

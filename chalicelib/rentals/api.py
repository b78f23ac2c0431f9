"""Routes of rentals."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.errors import NotFound
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.rentals import life, ports, service
from chalicelib.rentals.allowances import read_quota
from chalicelib.rentals.model import Rental
from chalicelib.rentals.rendering import (
    change,
    read_request,
    render_created,
    render_log,
    render_quota,
    render_rental,
)
from chalicelib.rentals.rules import ENDINGS
from chalicelib.rentals.schemas import (
    ActionRequest,
    ChangeRentalRequest,
    ClusterBody,
    CreateRentalRequest,
    LogBody,
    QuotaBody,
    QuotaRequest,
    RentalBody,
    RentalForm,
    RentalListBody,
)
from chalicelib.runtime.bodies import read_object, validate
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import SORTED_PAGING, read_limit, read_sort
from chalicelib.runtime.request_parts import require_standing

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/rentals", permission="rentals:write", body=RentalForm)
def create_rental(call: Call) -> Answer[RentalBody | ClusterBody]:
    """Rent whole GPUs of one host, or of several, and start a workload on them."""
    body = _complete(call)
    created = service.create_rental(
        wiring.rental_ports(),
        call.principal,
        service.CreateRental(
            request=read_request(body),
            idempotency_key=call.idempotency_key,
            fingerprint=compute_fingerprint("POST /v1/rentals", call.raw_body),
            render=render_created,
        ),
    )
    return Answer(created.body, HTTPStatus(created.status), tell_replayed(created))


def _complete(call: Call) -> CreateRentalRequest:
    """Return the request with what its template says in place of what it leaves out."""
    form: RentalForm = call.read_body(RentalForm)
    given = read_object(call.raw_body)
    if form.template_id is None:
        return validate(given, CreateRentalRequest)
    whole = service.complete_request(wiring.template_ports(), call.principal, form.template_id, given)
    return validate(whole, CreateRentalRequest)


@api.route("GET", "/v1/rentals", permission="rentals:read", query=SORTED_PAGING)
def list_rentals(call: Call) -> Answer[RentalListBody]:
    """List the account's rentals, newest first unless ``sort`` says otherwise."""
    page = wiring.rental_ports().store.list_rentals(
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
        oldest_first=read_sort(call.query),
    )
    items = [render_rental(rental) for rental in page.items]
    return Answer(RentalListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/rentals/{rental_id}", permission="rentals:read", tagged=True)
def get_rental(call: Call, rental_id: str) -> Answer[RentalBody]:
    """Show one rental, and where it stands in line if it waits."""
    rental_ports = wiring.rental_ports()
    rental = ports.get_rental(rental_ports, call.principal, rental_id)
    return Answer(_render(rental_ports, rental))


@api.route(
    "PATCH", "/v1/rentals/{rental_id}", permission="rentals:write", body=ChangeRentalRequest, conditional=True
)
def change_rental(call: Call, rental_id: str) -> Answer[RentalBody]:
    """Change label, lock and policies."""
    body: ChangeRentalRequest = call.read_body(ChangeRentalRequest)
    rental_ports = wiring.rental_ports()
    rental = service.change_rental(
        rental_ports,
        call.principal,
        rental_id,
        lambda rental: change(rental, body),
        "rental.changed",
        call.match(lambda rental: _render(rental_ports, rental)),
    )
    return Answer(_render(rental_ports, rental))


@api.route(
    "POST", "/v1/rentals/{rental_id}/actions", permission="rentals:write", body=ActionRequest, ends=True
)
def act_on_rental(call: Call, rental_id: str) -> Answer[RentalBody]:
    """Terminate, stop, resume or restart a rental; `actions` of the rental says what may be done now.

    A suspended account may terminate and stop what it pays for.
    """
    body: ActionRequest = call.read_body(ActionRequest)
    rental_ports, principal = wiring.rental_ports(), call.principal
    if body.action not in ENDINGS:
        require_standing(principal, "rentals:write")
    if body.action == "resume":
        rental = life.resume_rental(rental_ports, principal, rental_id, wait=body.wait)
    else:
        take = {
            "terminate": life.terminate_rental,
            "stop": life.stop_rental,
            "restart": life.restart_rental,
        }[body.action]
        rental = take(rental_ports, principal, rental_id)
    return Answer(render_rental(rental))


@api.route("GET", "/v1/quotas", permission="rentals:read", tagged=True)
def get_quota(call: Call) -> Answer[QuotaBody]:
    """Show how many GPUs the account may have at once, and has."""
    return Answer(render_quota(*read_quota(wiring.rental_ports(), call.principal.account_id)))


@api.route(
    "PUT",
    "/v1/accounts/{account_id}/quotas",
    permission="accounts:write",
    body=QuotaRequest,
    conditional=True,
)
def put_quota(call: Call, account_id: str) -> Answer[QuotaBody]:
    """Set an account's quota."""
    body: QuotaRequest = call.read_body(QuotaRequest)
    if not wiring.account_exists(account_id):
        raise NotFound("There is no such account.")
    check = call.match(render_quota)
    quota = service.set_quota(wiring.rental_ports(), call.principal, account_id, body.max_gpus, check)
    return Answer(render_quota(quota))


@api.route("POST", "/v1/rentals/{rental_id}/logs", permission="rentals:write")
def request_log(call: Call, rental_id: str) -> Answer[RentalBody]:
    """Fetch the end of the workload's log from its host; GET shows it when it has come."""
    rental = service.request_log(wiring.rental_ports(), call.principal, rental_id)
    return Answer(render_rental(rental), HTTPStatus.ACCEPTED, {"Retry-After": "5"})


@api.route("GET", "/v1/rentals/{rental_id}/logs", permission="rentals:read")
def read_log(call: Call, rental_id: str) -> Answer[LogBody]:
    """Show the end of the workload's log as it was last fetched."""
    return Answer(render_log(service.read_log(wiring.rental_ports(), call.principal, rental_id)))


def _render(rental_ports: ports.RentalPorts, rental: Rental) -> RentalBody:
    return render_rental(rental, service.locate_in_line(rental_ports, rental))

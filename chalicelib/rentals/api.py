"""Routes of rentals."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.rentals import service
from chalicelib.rentals.schemas import (
    ActionRequest,
    CreateRentalRequest,
    RentalListBody,
    read_request,
    render_log,
    render_rental,
)
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/rentals", permission="rentals:write", body=CreateRentalRequest)
def create_rental(call: Call) -> Answer:
    """Rent whole GPUs on one host and start a workload on them."""
    body: CreateRentalRequest = call.read_body(CreateRentalRequest)
    created = service.create_rental(
        wiring.rental_ports(),
        call.principal,
        service.CreateRental(
            request=read_request(body),
            idempotency_key=call.idempotency_key,
            fingerprint=compute_fingerprint("POST /v1/rentals", call.raw_body),
            render=lambda rental: render_rental(rental).model_dump_json(),
        ),
    )
    headers = {"Idempotency-Replayed": "true"} if created.replayed else {}
    return Answer(created.body, HTTPStatus(created.status), headers)


@api.route("GET", "/v1/rentals", permission="rentals:read", query=PAGING)
def list_rentals(call: Call) -> Answer:
    """List the account's rentals, newest first."""
    page = wiring.rental_ports().store.list_rentals(
        call.principal.account_id, read_limit(call.query), decode_cursor(call.query.get("cursor"))
    )
    items = [render_rental(rental) for rental in page.items]
    return Answer(RentalListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/rentals/{rental_id}", permission="rentals:read")
def get_rental(call: Call, rental_id: str) -> Answer:
    """Show one rental."""
    return Answer(render_rental(service.get_rental(wiring.rental_ports(), call.principal, rental_id)))


@api.route("POST", "/v1/rentals/{rental_id}/actions", permission="rentals:write", body=ActionRequest)
def act_on_rental(call: Call, rental_id: str) -> Answer:
    """Terminate a rental: the workload is stopped, the GPUs wiped, billing ends now."""
    call.read_body(ActionRequest)
    rental = service.terminate_rental(wiring.rental_ports(), call.principal, rental_id)
    return Answer(render_rental(rental))


@api.route("POST", "/v1/rentals/{rental_id}/logs", permission="rentals:write")
def request_log(call: Call, rental_id: str) -> Answer:
    """Fetch the end of the workload's log from its host; GET shows it when it has come."""
    rental = service.request_log(wiring.rental_ports(), call.principal, rental_id)
    return Answer(render_rental(rental), HTTPStatus.ACCEPTED, {"Retry-After": "5"})


@api.route("GET", "/v1/rentals/{rental_id}/logs", permission="rentals:read")
def read_log(call: Call, rental_id: str) -> Answer:
    """Show the end of the workload's log as it was last fetched."""
    return Answer(render_log(service.read_log(wiring.rental_ports(), call.principal, rental_id)))

"""Routes of reservations."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.errors import NotFound
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.reservations import ports, service
from chalicelib.reservations.schemas import (
    MAX_GPUS_PER_HOST,
    AvailabilityBody,
    CreateReservationRequest,
    ReservationActionRequest,
    ReservationBody,
    ReservationListBody,
    ReservedQuotaBody,
    ReservedQuotaRequest,
    read_request,
    render_availability,
    render_quota,
    render_reservation,
)
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import (
    SORTED_PAGING,
    read_instant,
    read_integer,
    read_limit,
    read_sort,
    require,
)

api = Api(__name__, wiring.authenticate)

_PREVIEW = frozenset({"gpu_type", "region", "from", "to", "gpu_count"})


@api.route("POST", "/v1/reservations", permission="reservations:write", body=CreateReservationRequest)
def create_reservation(call: Call) -> Answer[ReservationBody]:
    """Book GPUs on one host, or several whole hosts, from one quarter of an hour to another."""
    body: CreateReservationRequest = call.read_body(CreateReservationRequest)
    now_ms = wiring.clock().now_ms()
    created = service.create_reservation(
        wiring.reservation_ports(),
        call.principal,
        service.CreateReservation(
            request=read_request(body),
            idempotency_key=call.idempotency_key,
            fingerprint=compute_fingerprint("POST /v1/reservations", call.raw_body),
            render=lambda reservation: render_reservation(reservation, now_ms).model_dump_json(),
        ),
    )
    return Answer(created.body, HTTPStatus(created.status), tell_replayed(created))


@api.route("GET", "/v1/reservations", permission="reservations:read", query=SORTED_PAGING)
def list_reservations(call: Call) -> Answer[ReservationListBody]:
    """List the account's reservations, newest first."""
    page = wiring.reservation_ports().store.list_reservations(
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
        oldest_first=read_sort(call.query),
    )
    now_ms = wiring.clock().now_ms()
    items = [render_reservation(reservation, now_ms) for reservation in page.items]
    return Answer(ReservationListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/reservations/availability", permission="reservations:read", query=_PREVIEW)
def preview_availability(call: Call) -> Answer[AvailabilityBody]:
    """Show hour by hour what one host could promise."""
    require(call.query, "gpu_type", "region", "from", "to")
    preview = service.preview(
        wiring.reservation_ports(),
        call.principal.account_id,
        gpu_type=call.query["gpu_type"],
        region=call.query["region"],
        from_ms=read_instant(call.query, "from") or 0,
        to_ms=read_instant(call.query, "to") or 0,
        gpu_count=read_integer(call.query, "gpu_count", minimum=1, maximum=MAX_GPUS_PER_HOST) or 1,
    )
    return Answer(render_availability(preview, wiring.settings().currency))


@api.route("GET", "/v1/reservations/quota", permission="reservations:read", tagged=True)
def get_reservation_quota(call: Call) -> Answer[ReservedQuotaBody]:
    """Show how many GPUs the account may have in reservations that are not over, and has."""
    return Answer(render_quota(wiring.reservation_ports().store.get_quota(call.principal.account_id)))


@api.route(
    "PUT",
    "/v1/accounts/{account_id}/reservation-quota",
    permission="accounts:write",
    body=ReservedQuotaRequest,
    conditional=True,
)
def put_reservation_quota(call: Call, account_id: str) -> Answer[ReservedQuotaBody]:
    """Set how many GPUs an account may have in reservations that are not over."""
    body: ReservedQuotaRequest = call.read_body(ReservedQuotaRequest)
    if not wiring.account_exists(account_id):
        raise NotFound("There is no such account.")
    check = call.match(render_quota)
    quota = service.set_quota(wiring.reservation_ports(), call.principal, account_id, body.max_gpus, check)
    return Answer(render_quota(quota))


@api.route("GET", "/v1/reservations/{reservation_id}", permission="reservations:read")
def get_reservation(call: Call, reservation_id: str) -> Answer[ReservationBody]:
    """Show one reservation, and which of its GPUs are in use."""
    reservation = ports.get_reservation(wiring.reservation_ports(), call.principal, reservation_id)
    return Answer(render_reservation(reservation, wiring.clock().now_ms()))


@api.route(
    "POST",
    "/v1/reservations/{reservation_id}/actions",
    permission="reservations:write",
    body=ReservationActionRequest,
)
def act_on_reservation(call: Call, reservation_id: str) -> Answer[ReservationBody]:
    """Cancel a reservation; what the early-cancel rule keeps is in the answer."""
    call.read_body(ReservationActionRequest)
    reservation = service.cancel_reservation(wiring.reservation_ports(), call.principal, reservation_id)
    return Answer(render_reservation(reservation, wiring.clock().now_ms()))

"""Routes of payments, and Stripe's own."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.payments import service
from chalicelib.payments.schemas import RefundRequest, TopUpListBody, TopUpRequest, render_top_up
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/top-ups", permission="top-ups:write", body=TopUpRequest)
def create_top_up(call: Call) -> Answer:
    """Open a page of Stripe on which an amount is paid, once per Idempotency-Key."""
    body: TopUpRequest = call.read_body(TopUpRequest)
    command = service.CreateTopUp(
        amount_micros=body.amount_micros,
        return_url=body.return_url,
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint("POST /v1/top-ups", call.raw_body),
    )
    top_up = service.create_top_up(wiring.payment_ports(), call.principal, command)
    return Answer(render_top_up(top_up), HTTPStatus.CREATED)


@api.route("GET", "/v1/top-ups", permission="top-ups:read", query=PAGING)
def list_top_ups(call: Call) -> Answer:
    """List the account's top-ups, newest first."""
    page = service.list_top_ups(
        wiring.payment_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    items = [render_top_up(each) for each in page.items]
    return Answer(TopUpListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/top-ups/{top_up_id}", permission="top-ups:read")
def get_top_up(call: Call, top_up_id: str) -> Answer:
    """Show one top-up: whether it was paid, refunded, disputed."""
    return Answer(render_top_up(service.get_top_up(wiring.payment_ports(), call.principal, top_up_id)))


@api.route("POST", "/v1/top-ups/{top_up_id}/refunds", permission="credits:write", body=RefundRequest)
def refund_top_up(call: Call, top_up_id: str) -> Answer:
    """Give money back the way it came, once per Idempotency-Key."""
    body: RefundRequest = call.read_body(RefundRequest)
    top_up = service.refund_top_up(
        wiring.payment_ports(), call.principal, top_up_id, body.amount_micros, call.idempotency_key
    )
    return Answer(render_top_up(top_up))


@api.route("POST", "/v1/stripe/events", public=True)
def receive_stripe_event(call: Call) -> Answer:
    """Take in a webhook of Stripe; its signature is what lets it in."""
    signature = call.headers.get("stripe-signature", "")
    service.receive_event(wiring.payment_ports(), call.raw_body, signature)
    return Answer(None, HTTPStatus.NO_CONTENT)

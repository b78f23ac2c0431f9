"""Routes of payments, and Stripe's own."""

from functools import partial
from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.payments import methods, refilling, service
from chalicelib.payments.schemas import (
    AutoTopUpBody,
    AutoTopUpRequest,
    PageBody,
    PageRequest,
    PaymentMethodListBody,
    RefundRequest,
    TopUpBody,
    TopUpListBody,
    TopUpRequest,
    render_method,
    render_order,
    render_top_up,
)
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import SORTED_PAGING, read_limit, read_sort

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/top-ups", permission="top-ups:write", body=TopUpRequest)
def create_top_up(call: Call) -> Answer[TopUpBody]:
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


@api.route("GET", "/v1/top-ups", permission="top-ups:read", query=SORTED_PAGING)
def list_top_ups(call: Call) -> Answer[TopUpListBody]:
    """List the account's top-ups, newest first."""
    page = service.list_top_ups(
        wiring.payment_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
        oldest_first=read_sort(call.query),
    )
    items = [render_top_up(each) for each in page.items]
    return Answer(TopUpListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/top-ups/{top_up_id}", permission="top-ups:read")
def get_top_up(call: Call, top_up_id: str) -> Answer[TopUpBody]:
    """Show one top-up: whether it was paid, refunded, disputed."""
    return Answer(render_top_up(service.get_top_up(wiring.payment_ports(), call.principal, top_up_id)))


@api.route("POST", "/v1/top-ups/{top_up_id}/refunds", permission="credits:write", body=RefundRequest)
def refund_top_up(call: Call, top_up_id: str) -> Answer[TopUpBody]:
    """Give money back the way it came, once per Idempotency-Key."""
    body: RefundRequest = call.read_body(RefundRequest)
    top_up = service.refund_top_up(
        wiring.payment_ports(), call.principal, top_up_id, body.amount_micros, call.idempotency_key
    )
    return Answer(render_top_up(top_up))


@api.route("POST", "/v1/payment-methods", permission="top-ups:write", body=PageRequest)
def save_payment_method(call: Call) -> Answer[PageBody]:
    """Open a page of Stripe on which a payment method is saved, once per Idempotency-Key."""
    body: PageRequest = call.read_body(PageRequest)
    url = methods.open_method_page(
        wiring.payment_ports(), call.principal, body.return_url, call.idempotency_key
    )
    return Answer(PageBody(url=url), HTTPStatus.CREATED)


@api.route("GET", "/v1/payment-methods", permission="top-ups:read")
def list_payment_methods(call: Call) -> Answer[PaymentMethodListBody]:
    """List the saved payment methods, as Stripe has them now."""
    found = methods.list_methods(wiring.payment_ports(), call.principal.account_id)
    return Answer(PaymentMethodListBody(items=[render_method(each) for each in found]))


@api.route("DELETE", "/v1/payment-methods/{payment_method_id}", permission="top-ups:write")
def remove_payment_method(call: Call, payment_method_id: str) -> Answer[None]:
    """Forget a saved payment method; an auto top-up that is paid from it pauses."""
    refilling.remove_method(wiring.payment_ports(), call.principal, payment_method_id)
    return Answer(None, HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/billing-portal", permission="top-ups:write", body=PageRequest)
def open_billing_portal(call: Call) -> Answer[PageBody]:
    """Open Stripe's own page for the account's payment methods and receipts."""
    body: PageRequest = call.read_body(PageRequest)
    return Answer(PageBody(url=methods.open_portal(wiring.payment_ports(), call.principal, body.return_url)))


@api.route("GET", "/v1/auto-top-up", permission="top-ups:read", tagged=True)
def get_auto_top_up(call: Call) -> Answer[AutoTopUpBody]:
    """Show the account's auto top-up, and whether it is at work."""
    order = refilling.get_order(wiring.payment_ports(), call.principal.account_id)
    return Answer(render_order(order, wiring.clock().now_ms()))


@api.route("PUT", "/v1/auto-top-up", permission="top-ups:write", body=AutoTopUpRequest, conditional=True)
def put_auto_top_up(call: Call) -> Answer[AutoTopUpBody]:
    """Fill the wallet up from a saved method whenever less than the threshold is available."""
    body: AutoTopUpRequest = call.read_body(AutoTopUpRequest)
    command = refilling.PutAutoTopUp(
        body.threshold_micros, body.amount_micros, body.monthly_limit_micros, body.payment_method_id
    )
    now_ms = wiring.clock().now_ms()
    check = call.match(partial(render_order, now_ms=now_ms))
    order = refilling.put_order(wiring.payment_ports(), call.principal, command, check)
    return Answer(render_order(order, now_ms))


@api.route("DELETE", "/v1/auto-top-up", permission="top-ups:write", conditional=True)
def remove_auto_top_up(call: Call) -> Answer[None]:
    """Switch the account's auto top-up off; a payment that has begun comes to its end."""
    now_ms = wiring.clock().now_ms()
    check = call.match(partial(render_order, now_ms=now_ms))
    refilling.remove_order(wiring.payment_ports(), call.principal, check)
    return Answer(None, HTTPStatus.NO_CONTENT)


@api.route("POST", "/v1/stripe/events", public=True, cost="exempt")
def receive_stripe_event(call: Call) -> Answer[None]:
    """Take in a webhook of Stripe; its signature is what lets it in."""
    signature = call.headers.get("stripe-signature", "")
    service.receive_event(wiring.payment_ports(), call.raw_body, signature)
    return Answer(None, HTTPStatus.NO_CONTENT)

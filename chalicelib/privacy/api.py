"""Routes of privacy: what is asked of one's data, and what one agrees to."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.privacy import service
from chalicelib.privacy.schemas import (
    ConsentBody,
    ConsentRequest,
    ConsentsBody,
    PrivacyRequestBody,
    PrivacyRequestRequest,
    PrivacyRequestsBody,
    render_consent,
    render_consents,
    render_request,
)
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("POST", "/v1/privacy/requests", permission="privacy:write", body=PrivacyRequestRequest)
def create_privacy_request(call: Call) -> Answer[PrivacyRequestBody]:
    """Ask for an export of all that is kept, or for its erasure; done within 30 days, by itself."""
    body: PrivacyRequestRequest = call.read_body(PrivacyRequestRequest)
    command = service.MakeRequest(
        kind=body.kind,
        of_account=body.subject == "account",
        idempotency_key=call.idempotency_key,
        fingerprint=compute_fingerprint("POST /v1/privacy/requests", call.raw_body),
        render=lambda request: render_request(request).model_dump_json(),
    )
    made = service.make_request(wiring.privacy_ports(), call.principal, command)
    return Answer(made.body, HTTPStatus(made.status), tell_replayed(made))


@api.route("GET", "/v1/privacy/requests", permission="privacy:read", query=PAGING)
def list_privacy_requests(call: Call) -> Answer[PrivacyRequestsBody]:
    """List what was asked for, newest first."""
    page = service.list_requests(
        wiring.privacy_ports(),
        call.principal,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    items = [render_request(each) for each in page.items]
    return Answer(PrivacyRequestsBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route("GET", "/v1/privacy/requests/{request_id}", permission="privacy:read")
def get_privacy_request(call: Call, request_id: str) -> Answer[PrivacyRequestBody]:
    """Show one request: why it waits, or where its export can be fetched within a day."""
    ports = wiring.privacy_ports()
    request = service.find_request(ports, call.principal, request_id)
    return Answer(render_request(request, service.link_export(ports, request)))


@api.route("GET", "/v1/privacy/consents", permission="consents:read")
def list_consents(call: Call) -> Answer[ConsentsBody]:
    """List what was agreed to and what was refused, with all that was decided before."""
    consents = wiring.privacy_ports().consents
    return Answer(render_consents(consents.list_consents(call.principal.account_id)))


@api.route("PUT", "/v1/privacy/consents", permission="consents:write", body=ConsentRequest)
def put_consent(call: Call) -> Answer[ConsentBody]:
    """Agree to a purpose, or withdraw; ``data_sale`` not given: do not sell or share."""
    body: ConsentRequest = call.read_body(ConsentRequest)
    consent = service.put_consent(
        wiring.privacy_ports(), call.principal, body.purpose, given=body.given, version=body.version
    )
    return Answer(render_consent(consent))

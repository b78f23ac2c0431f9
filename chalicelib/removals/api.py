"""Routes of removals, and of how all is counted. Whoever has a serial may see what stands behind it."""

from http import HTTPStatus

from chalicelib import wiring
from chalicelib.core.errors import InvalidInput
from chalicelib.core.idempotency import compute_fingerprint
from chalicelib.core.paging import decode_cursor
from chalicelib.removals import certificate_page, methodology, methodology_page, pages, retiring, service
from chalicelib.removals.methodology_schemas import MethodologyBody, render_methodology
from chalicelib.removals.model import Window
from chalicelib.removals.schemas import (
    BatchBody,
    CertificateActionRequest,
    CertificateBody,
    CertificateListBody,
    DrawRequest,
    ProofBody,
    RemovalActionRequest,
    RemovalBody,
    RemovalListBody,
    SaleRequest,
    ShareListBody,
    render_batch,
    render_certificate,
    render_proof,
    render_removal,
    render_removals,
    render_shares,
)
from chalicelib.runtime.conventions import tell_replayed
from chalicelib.runtime.http import Answer, Api, Call, Html
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("PUT", "/v1/removals/{host_id}/{unit_id}/{day}", permission="removals:write", body=DrawRequest)
def draw_removal(call: Call, host_id: str, unit_id: str, day: str) -> Answer[RemovalBody]:
    """Draw a unit's day from its records as they are now."""
    body: DrawRequest = call.read_body(DrawRequest)
    command = service.DrawStatement(
        Window(host_id, unit_id, day),
        body.read_additions(),
        body.rated_mg_per_cycle,
        body.heat_pump_cop_milli,
    )
    return Answer(render_removal(service.draw_statement(wiring.removal_ports(), call.principal, command)))


@api.route("GET", "/v1/removals/{host_id}/{unit_id}/{day}", permission="removals:write")
def read_removal(_call: Call, host_id: str, unit_id: str, day: str) -> Answer[RemovalBody]:
    """Show the latest revision of a unit's day."""
    found = service.read_statement(wiring.removal_ports(), Window(host_id, unit_id, day))
    return Answer(render_removal(found))


@api.route("GET", "/v1/removals/{host_id}/{unit_id}", permission="removals:write", query=PAGING)
def list_removals(call: Call, host_id: str, unit_id: str) -> Answer[RemovalListBody]:
    """List every revision of every day of a unit, newest first."""
    page = service.list_statements(
        wiring.removal_ports(),
        host_id,
        unit_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    return Answer(render_removals(page))


@api.route(
    "POST",
    "/v1/removals/{host_id}/{unit_id}/{day}/actions",
    permission="removals:write",
    body=RemovalActionRequest,
)
def act_on_removal(call: Call, host_id: str, unit_id: str, day: str) -> Answer[RemovalBody]:
    """Submit a revision, verify or fail it with evidence, or issue credits for it."""
    body: RemovalActionRequest = call.read_body(RemovalActionRequest)
    ports, window, who = wiring.removal_ports(), Window(host_id, unit_id, day), call.principal
    if body.action == "submit":
        return Answer(render_removal(service.submit_statement(ports, who, window, body.revision)))
    if body.action == "issue":
        retiring.issue_credits(ports, who, window, body.revision, body.buffer_ppm)
        return Answer(render_removal(service.read_statement(ports, window, body.revision)))
    if body.evidence is None:
        raise InvalidInput("A decision needs its evidence.")
    decide = service.verify_statement if body.action == "verify" else service.fail_statement
    return Answer(render_removal(decide(ports, who, window, body.revision, body.evidence)))


@api.route("GET", "/v1/removal-shares", permission="removals:read", query=PAGING)
def list_removal_shares(call: Call) -> Answer[ShareListBody]:
    """List what of captured CO2 is the account's, newest day first."""
    page = service.list_shares(
        wiring.removal_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    return Answer(render_shares(page))


@api.route("POST", "/v1/credit-batches/{serial}/sales", permission="removals:write", body=SaleRequest)
def sell_credits(call: Call, serial: str) -> Answer[CertificateBody]:
    """Cut a certificate for a buyer, once per Idempotency-Key."""
    body: SaleRequest = call.read_body(SaleRequest)
    command = retiring.SellCredits(
        serial,
        body.buyer,
        body.mass_mg,
        call.idempotency_key,
        compute_fingerprint(f"POST /v1/credit-batches/{serial}/sales", call.raw_body),
        lambda certificate: render_certificate(certificate).model_dump_json(),
    )
    sold = retiring.sell_credits(wiring.removal_ports(), call.principal, command)
    return Answer(sold.body, HTTPStatus(sold.status), tell_replayed(sold))


@api.route("POST", "/v1/credit-batches/{serial}/allocation", permission="removals:write")
def allocate_credits(call: Call, serial: str) -> Answer[BatchBody]:
    """Share out what is left of a batch among those whose GPUs gave the heat."""
    return Answer(render_batch(retiring.allocate_credits(wiring.removal_ports(), call.principal, serial)))


@api.route(
    "POST", "/v1/certificates/{serial}/actions", permission="removals:write", body=CertificateActionRequest
)
def act_on_certificate(call: Call, serial: str) -> Answer[CertificateListBody]:
    """Split a certificate in two, or retire it for a beneficiary. Answers what became of it."""
    body: CertificateActionRequest = call.read_body(CertificateActionRequest)
    ports = wiring.removal_ports()
    if body.action == "split":
        if body.mass_mg is None:
            raise InvalidInput("mass_mg is needed: of the first part.")
        parts = retiring.split_certificate(ports, call.principal, serial, body.mass_mg)
    else:
        if body.beneficiary is None:
            raise InvalidInput("beneficiary is needed.")
        parts = (retiring.retire_certificate(ports, call.principal, serial, body.beneficiary),)
    return Answer(CertificateListBody(items=[render_certificate(each) for each in parts]))


@api.route("GET", "/v1/certificates/{serial}", public=True)
def verify_certificate(_call: Call, serial: str) -> Answer[ProofBody]:
    """Show what stands behind a certificate or a batch, and check its register."""
    return Answer(render_proof(retiring.prove(wiring.removal_ports(), serial)))


@api.route("GET", "/v1/certificates/{serial}/page", public=True)
def show_certificate(_call: Call, serial: str) -> Answer[Html]:
    """Show the same to people."""
    proof = retiring.prove(wiring.removal_ports(), serial)
    return Answer(certificate_page.render_page(proof), headers=pages.HEADERS)


@api.route("GET", "/v1/carbon/methodology", public=True)
def read_methodology(_call: Call) -> Answer[MethodologyBody]:
    """Show every formula, constant and source by which energy, emissions and removals are counted."""
    return Answer(render_methodology(methodology.build_methodology()))


@api.route("GET", "/v1/carbon/methodology/page", public=True)
def show_methodology(_call: Call) -> Answer[Html]:
    """Show the same to people."""
    page = methodology_page.render_page(methodology.build_methodology())
    return Answer(page, headers=pages.HEADERS)

"""Routes of statements."""

from chalicelib import wiring
from chalicelib.core.paging import decode_cursor
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit
from chalicelib.statements import service
from chalicelib.statements.linking import link_document
from chalicelib.statements.schemas import (
    BillingDetailsRequest,
    HeadsBody,
    LinkBody,
    PartyBody,
    StatementBody,
    read_party,
    render_heads,
    render_link,
    render_party,
    render_statement,
)

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/statements", permission="wallet:read", query=PAGING)
def list_statements(call: Call) -> Answer[HeadsBody]:
    """List the account's months, newest first; the current one is open."""
    page = service.list_statements(
        wiring.statement_ports(),
        call.principal.account_id,
        read_limit(call.query),
        decode_cursor(call.query.get("cursor")),
    )
    return Answer(render_heads(page))


@api.route("GET", "/v1/statements/{month}", permission="wallet:read")
def read_statement(call: Call, month: str) -> Answer[StatementBody]:
    """Show a month's statement; of the current month, as it stands."""
    found = service.read_statement(wiring.statement_ports(), call.principal.account_id, month)
    return Answer(render_statement(found))


@api.route("GET", "/v1/statements/{month}/csv", cost="expensive", permission="wallet:read")
def link_statement_csv(call: Call, month: str) -> Answer[LinkBody]:
    """Link the month as CSV: one line a stay and day, one a journal of another kind."""
    return Answer(
        render_link(link_document(wiring.statement_ports(), call.principal.account_id, month, "csv"))
    )


@api.route("GET", "/v1/statements/{month}/pdf", cost="expensive", permission="wallet:read")
def link_statement_pdf(call: Call, month: str) -> Answer[LinkBody]:
    """Link the month as PDF."""
    return Answer(
        render_link(link_document(wiring.statement_ports(), call.principal.account_id, month, "pdf"))
    )


@api.route("GET", "/v1/billing-details", permission="wallet:read", tagged=True)
def read_billing_details(call: Call) -> Answer[PartyBody]:
    """Show whom statements are made out to."""
    return Answer(render_party(service.read_details(wiring.statement_ports(), call.principal.account_id)))


@api.route(
    "PUT", "/v1/billing-details", permission="wallet:write", body=BillingDetailsRequest, conditional=True
)
def put_billing_details(call: Call) -> Answer[PartyBody]:
    """Say whom statements are made out to from now on."""
    body: BillingDetailsRequest = call.read_body(BillingDetailsRequest)
    details, check = read_party(body), call.match(render_party)
    kept = service.put_details(wiring.statement_ports(), call.principal, details, check)
    return Answer(render_party(kept))

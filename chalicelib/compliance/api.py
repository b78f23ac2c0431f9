"""The routes of the audit trail."""

from chalicelib import wiring
from chalicelib.compliance import exporting, service, verifying
from chalicelib.compliance.schemas import (
    AuditExportBody,
    AuditListBody,
    AuditProofBody,
    render_entry,
    render_export,
    render_proof,
)
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_instant, read_integer, read_limit, require

api = Api(__name__, wiring.authenticate)

#: What twelve digits can name.
_LAST_SEQUENCE = 10**12 - 1


@api.route(
    "GET",
    "/v1/audit",
    permission="audit:read",
    query=PAGING | {"target", "actor", "action", "from", "to", "account_id"},
)
def list_audit(call: Call) -> Answer[AuditListBody]:
    """List what was done in the account, newest first: by whom, to what, with what begins the action, when.

    Operators name an account, or a target (a host, a rental, a pool) or an actor (a key) of any.
    A page may have fewer entries than its limit while there are more: go on until there is no cursor.
    """
    page = service.list_entries(
        wiring.audit_reader(),
        call.principal,
        service.AuditFilters(
            from_ms=read_instant(call.query, "from"),
            to_ms=read_instant(call.query, "to"),
            action=call.query.get("action", ""),
            actor=call.query.get("actor"),
            target=call.query.get("target"),
        ),
        account_id=call.query.get("account_id"),
        limit=read_limit(call.query),
        start=decode_cursor(call.query.get("cursor")),
    )
    sees_all, own = call.principal.is_operator, call.principal.account_id
    items = [render_entry(entry) for entry in page.items if sees_all or entry.account_id == own]
    return Answer(AuditListBody(items=items, next_cursor=encode_cursor(page.next_key)))


@api.route(
    "GET", "/v1/audit/proof", permission="audit:read", query=frozenset({"account_id", "from_sequence"})
)
def prove_audit(call: Call) -> Answer[AuditProofBody]:
    """Verify the account's trail now: its entries, its chain, and what the last anchor holds."""
    first = read_integer(call.query, "from_sequence", minimum=1, maximum=_LAST_SEQUENCE)
    account_id = service.choose_account(call.principal, call.query.get("account_id"))
    return Answer(render_proof(verifying.verify_account(wiring.chain_ports(), account_id, first or 1)))


@api.route("GET", "/v1/audit/export", permission="audit:read", query=frozenset({"account_id", "from", "to"}))
def export_audit(call: Call) -> Answer[AuditExportBody]:
    """Link a period of the account's trail as a document that can be verified without this API."""
    require(call.query, "from", "to")
    from_ms, to_ms = read_instant(call.query, "from"), read_instant(call.query, "to")
    assert from_ms is not None
    assert to_ms is not None
    account_id = service.choose_account(call.principal, call.query.get("account_id"))
    return Answer(render_export(exporting.export_trail(wiring.chain_ports(), account_id, from_ms, to_ms)))

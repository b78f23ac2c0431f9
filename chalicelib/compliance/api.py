"""The route of the audit trail."""

from chalicelib import wiring
from chalicelib.compliance import service
from chalicelib.compliance.schemas import AuditListBody, render_entry
from chalicelib.core.paging import decode_cursor, encode_cursor
from chalicelib.runtime.http import Answer, Api, Call
from chalicelib.runtime.listing import PAGING, read_limit

api = Api(__name__, wiring.authenticate)


@api.route("GET", "/v1/audit", permission="audit:read", query=PAGING | {"target", "actor"})
def list_audit(call: Call) -> Answer[AuditListBody]:
    """List what was done to a target (a host, a rental, a pool) or by an actor (a key), newest first."""
    page = service.list_entries(
        wiring.audit_reader(),
        target=call.query.get("target"),
        actor=call.query.get("actor"),
        limit=read_limit(call.query),
        start=decode_cursor(call.query.get("cursor")),
    )
    sees_all, own = call.principal.is_operator, call.principal.account_id
    items = [render_entry(entry) for entry in page.items if sees_all or entry.account_id == own]
    return Answer(AuditListBody(items=items, next_cursor=encode_cursor(page.next_key)))

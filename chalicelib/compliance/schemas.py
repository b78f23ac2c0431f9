"""Bodies of the audit trail."""

from typing import Any

from chalicelib.core.clock import format_instant
from chalicelib.core.ports import AuditEntry
from chalicelib.runtime.bodies import ResponseBody


class AuditEntryBody(ResponseBody):
    audit_id: str
    at: str
    #: Whose trail it stands in: the acting account, or the account that it befell.
    account_id: str
    actor: str
    action: str
    target: str
    details: dict[str, Any]


class AuditListBody(ResponseBody):
    items: list[AuditEntryBody]
    next_cursor: str | None


def render_entry(entry: AuditEntry) -> AuditEntryBody:
    return AuditEntryBody(
        audit_id=entry.audit_id,
        at=format_instant(entry.at_ms),
        account_id=entry.account_id,
        actor=entry.actor,
        action=entry.action,
        target=entry.subject,
        details=dict(entry.details),
    )

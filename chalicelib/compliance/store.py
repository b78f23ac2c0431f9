"""The audit trail in DynamoDB: append only, one partition per account, in order of time.

Access: what was done to a subject by ``by_subject``, what somebody did by ``by_actor``, both newest first.
"""

from typing import Any

from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.records import AuditItem
from chalicelib.storage.transaction import dynamo, unexpected

#: How actors with an identity of their own begin: keys, enrolments, hosts.
_OWN = ("key_", "enr_", "host:")


class DynamoAuditTrail:
    def add_entry(self, tx: Transaction, entry: AuditEntry) -> None:
        item = AuditItem(
            keys.account(entry.account_id),
            keys.created(entry.at_ms, entry.audit_id),
            audit_id=entry.audit_id,
            account_id=entry.account_id,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            indexed_actor=entry.actor if entry.actor.startswith(_OWN) else None,
            at_ms=entry.at_ms,
            details=entry.details,
        )
        dynamo(tx).put(item, AuditItem.pk.does_not_exist(), unexpected("The audit trail"))

    def list_by_target(self, target: str, limit: int, start: str | None) -> Page[AuditEntry]:
        return _list(AuditItem.by_subject, target, limit, start)

    def list_by_actor(self, actor: str, limit: int, start: str | None) -> Page[AuditEntry]:
        return _list(AuditItem.by_actor, actor, limit, start)


def _list(index: Any, key: str, limit: int, start: str | None) -> Page[AuditEntry]:
    older = None if start is None else AuditItem.sk < start
    rows = list(index.query(key, older, scan_index_forward=False, limit=limit + 1, page_size=limit + 1))
    return Page([_read(row) for row in rows[:limit]], rows[limit - 1].sk if len(rows) > limit else None)


def _read(row: AuditItem) -> AuditEntry:
    return AuditEntry(
        row.audit_id, row.account_id, row.actor, row.action, row.subject, row.at_ms, row.details
    )

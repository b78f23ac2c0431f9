"""The audit trail in DynamoDB: append only, one partition per account, in order of time.

Access: an account's trail by its partition; what was done to a subject by ``by_subject``, what somebody did
by ``by_actor``; all newest first. Entries of an hour, whoever's, by ``by_hour``.
"""

from collections.abc import Mapping
from typing import Any

from chalicelib.compliance.service import EVERYTHING, AuditFilters
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.storage import audit_keys, keys
from chalicelib.storage.tables.records import AuditItem
from chalicelib.storage.transaction import dynamo, unexpected

#: How actors with an identity of their own begin: keys, enrolments, hosts, people, service accounts.
_OWN = ("key_", "enr_", "host:", "usr_", "sva_")
_HOUR_MS = 3_600_000
#: Of rows that a page looks at, whatever its filters leave of them.
EXAMINED = 1_000
#: Of rows in one call where filters may leave few.
PAGE = 250


class DynamoAuditTrail:
    def add_entry(self, tx: Transaction, entry: AuditEntry) -> None:
        dynamo(tx).put(build_item(entry), AuditItem.pk.does_not_exist(), unexpected("The audit trail"))

    def list_by_account(
        self, account_id: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        return _list(AuditItem, keys.account(account_id), filters, limit, start)

    def list_by_target(
        self, target: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        return _list(AuditItem.by_subject, target, filters, limit, start)

    def list_by_actor(
        self, actor: str, limit: int, start: str | None, filters: AuditFilters = EVERYTHING
    ) -> Page[AuditEntry]:
        return _list(AuditItem.by_actor, actor, filters, limit, start)


def build_item(entry: AuditEntry) -> AuditItem:
    return AuditItem(
        keys.account(entry.account_id),
        keys.created(entry.at_ms, entry.audit_id),
        audit_id=entry.audit_id,
        account_id=entry.account_id,
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        indexed_actor=entry.actor if entry.actor.startswith(_OWN) else None,
        hour_shard=audit_keys.hour(entry.at_ms // _HOUR_MS, audit_keys.shard(entry.account_id)),
        at_ms=entry.at_ms,
        details=entry.details,
    )


def read_entry(row: AuditItem) -> AuditEntry:
    return AuditEntry(
        row.audit_id, row.account_id, row.actor, row.action, row.subject, row.at_ms, row.details
    )


def read_image(image: Mapping[str, Any]) -> AuditEntry:
    """Read an entry as the table's stream tells it."""
    return read_entry(AuditItem.from_raw_data(dict(image)))


def _list(index: Any, key: str, filters: AuditFilters, limit: int, start: str | None) -> Page[AuditEntry]:
    # Keys are in order up to an instant of thirteen digits.
    first = keys.created(min(filters.from_ms or 0, keys.LAST_MS), "")
    # No key is between an instant alone and the same instant with an id: both bounds are as good as open.
    until = keys.created(keys.LAST_MS if filters.to_ms is None else min(filters.to_ms, keys.LAST_MS), "")
    if start is not None and start < until:
        until = start
    found: list[AuditItem] = []
    examined = 0
    last: str | None = None
    if until > first:
        rows = index.query(
            key,
            AuditItem.sk.between(first, until),
            scan_index_forward=False,
            page_size=limit + 2 if filters.is_open else PAGE,
        )
        for row in rows:
            if row.sk == start:
                continue
            if len(found) == limit or examined == EXAMINED:
                return Page([read_entry(each) for each in found], last)
            examined += 1
            last = row.sk
            if filters.fits(row.actor, row.action, row.subject):
                found.append(row)
    return Page([read_entry(each) for each in found], None)

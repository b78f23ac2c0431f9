"""The audit trail in DynamoDB: append only, one partition per account, in order of time."""

from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.records import AuditItem
from chalicelib.storage.transaction import dynamo, unexpected


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
            at_ms=entry.at_ms,
            details=entry.details,
        )
        dynamo(tx).put(item, AuditItem.pk.does_not_exist(), unexpected("The audit trail"))

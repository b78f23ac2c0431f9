"""Seals in DynamoDB, in the append-only table; the heads that they seal; what was tampered with there."""

from collections.abc import Sequence
from typing import Any

from chalicelib.billing.model import CHAIN_START
from chalicelib.billing.month_store import PENDING_SHARDS
from chalicelib.billing.sealing import AlreadySealed
from chalicelib.billing.seals import PARTS, ChainHead, Part, Seal
from chalicelib.billing.tampering import AlreadyRecorded, Tampering
from chalicelib.core.errors import DomainError
from chalicelib.core.ports import Transaction
from chalicelib.storage import keys
from chalicelib.storage.tables.ledger import BalanceItem, LegItem, SealItem, StatementItem, TamperingItem
from chalicelib.storage.transaction import dynamo

# Every wallet has an open month, which this index lists: no posting pays for being found here.
assert PARTS == PENDING_SHARDS, "a part is a shard of the months that are pending"


class DynamoSealStore:
    def get_last_seal(self) -> Seal | None:
        rows = list(SealItem.query(keys.SEALS, scan_index_forward=False, limit=1, consistent_read=True))
        return _read(rows[0]) if rows else None

    def get_seal(self, day: str) -> Seal | None:
        try:
            return _read(SealItem.get(keys.SEALS, day, consistent_read=True))
        except SealItem.DoesNotExist:
            return None

    def add_seal(self, tx: Transaction, seal: Seal) -> None:
        item = SealItem(
            keys.SEALS,
            seal.day,
            previous_root=seal.previous_root,
            sealed_at_ms=seal.sealed_at_ms,
            parts=[[part.size, part.root] for part in seal.parts],
            root=seal.root,
        )

        def refuse(_old: Any) -> DomainError:
            return AlreadySealed("The day is sealed.")

        dynamo(tx).put(item, SealItem.pk.does_not_exist(), refuse)

    def list_wallets(self, part: int) -> list[str]:
        rows = StatementItem.by_pending.query(str(part))
        return sorted({keys.read_account(row.pk) for row in rows})

    def list_heads(self, account_ids: Sequence[str]) -> list[ChainHead]:
        wanted = [(keys.account(account_id), keys.BALANCE) for account_id in account_ids]
        fields = ["pk", "leg_version", "chain_hash"]
        found = (
            BalanceItem.batch_get(wanted, consistent_read=True, attributes_to_get=fields) if wanted else ()
        )
        return [
            ChainHead(keys.read_account(item.pk), item.leg_version or 0, item.chain_hash or CHAIN_START)
            for item in found
        ]

    def list_stored(self, heads: Sequence[ChainHead]) -> list[ChainHead]:
        owners = {keys.chain(head.account_id): head.account_id for head in heads}
        wanted = [(keys.chain(head.account_id), keys.leg_version(head.version)) for head in heads]
        fields = ["pk", "version", "hash"]
        found = LegItem.batch_get(wanted, consistent_read=True, attributes_to_get=fields) if wanted else ()
        return [ChainHead(owners[item.pk], item.version or 0, item.hash or "") for item in found]

    def add_tampering(self, tx: Transaction, found: Tampering) -> None:
        item = TamperingItem(
            keys.tampering(found.event_id),
            keys.TAMPERING,
            kind=found.kind,
            key=found.key,
            old_fingerprint=found.old_fingerprint,
            new_fingerprint=found.new_fingerprint,
        )

        def refuse(_old: Any) -> DomainError:
            return AlreadyRecorded("It is recorded.")

        dynamo(tx).put(item, TamperingItem.pk.does_not_exist(), refuse)


def _read(item: SealItem) -> Seal:
    parts = tuple(Part(*row) for row in item.parts)
    return Seal(item.sk, item.previous_root, item.sealed_at_ms, parts)

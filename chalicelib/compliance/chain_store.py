"""Chains of the audit trail in DynamoDB.

Access: a chain by its numbers, an entry's link by its id, entries of an hour by ``by_hour``, chains that
moved in the table of marks, anchors by their numbers and by account.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pynamodb.exceptions import DeleteError

from chalicelib.compliance.anchors import Anchor
from chalicelib.compliance.model import EMPTY, AccountHead, Head, Link
from chalicelib.compliance.ports import AlreadyAnchored, AnchoredHead, EntryKey, LinkTaken, Place, Progress
from chalicelib.compliance.store import build_item, read_entry
from chalicelib.core.errors import DomainError
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.storage import audit_keys, keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.chains import (
    AnchoredItem,
    AnchorItem,
    AuditProgressItem,
    LinkedEntryItem,
    LinkItem,
    MovedItem,
)
from chalicelib.storage.tables.records import AuditItem
from chalicelib.storage.transaction import dynamo, unexpected


def _taken(_old: Any) -> DomainError:
    return LinkTaken("It is linked.")


def _anchored(_old: Any) -> DomainError:
    return AlreadyAnchored("It is anchored.")


class DynamoChainStore:
    """`ports.ChainStore`."""

    def get_head(self, account_id: str) -> Head:
        pk = audit_keys.links(account_id)
        rows = list(LinkItem.query(pk, scan_index_forward=False, limit=1, consistent_read=True))
        return Head(int(rows[0].sk), rows[0].hash) if rows else EMPTY

    def find_linked(self, audit_ids: Sequence[str]) -> Mapping[str, int]:
        wanted = {(audit_keys.linked_entry(each), audit_keys.ENTRY): each for each in audit_ids}
        found = LinkedEntryItem.batch_get(list(wanted), consistent_read=True) if wanted else ()
        return {wanted[item.pk, item.sk]: item.sequence for item in found}

    def add_links(self, tx: Transaction, links: Sequence[Link]) -> None:
        write = dynamo(tx)
        for link in links:
            write.put(_build_link(link), LinkItem.pk.does_not_exist(), _taken)
            mark = LinkedEntryItem(
                audit_keys.linked_entry(link.audit_id),
                audit_keys.ENTRY,
                account_id=link.account_id,
                sequence=link.sequence,
            )
            write.put(mark, LinkedEntryItem.pk.does_not_exist(), _taken)
        last = links[-1]
        moved = MovedItem(
            audit_keys.moved(audit_keys.shard(last.account_id)),
            keys.account(last.account_id),
            sequence=last.sequence,
            hash=last.hash,
        )
        write.put(moved, None, unexpected("The mark"))

    def list_links(self, account_id: str, first: int, last: int | None = None) -> Iterator[Link]:
        start = audit_keys.sequence(first)
        where = (
            LinkItem.sk >= start if last is None else LinkItem.sk.between(start, audit_keys.sequence(last))
        )
        if last is not None and last < first:
            return
        for item in LinkItem.query(audit_keys.links(account_id), where, consistent_read=True):
            yield _read_link(account_id, item)

    def find_hashes(self, heads: Sequence[AccountHead]) -> Mapping[tuple[str, int], str]:
        wanted = {
            (audit_keys.links(head.account_id), audit_keys.sequence(head.sequence)): (
                head.account_id,
                head.sequence,
            )
            for head in heads
        }
        fields = ["pk", "sk", "hash"]
        found = (
            LinkItem.batch_get(list(wanted), consistent_read=True, attributes_to_get=fields) if wanted else ()
        )
        return {wanted[item.pk, item.sk]: item.hash for item in found}

    def find_entries(self, wanted: Sequence[EntryKey]) -> Mapping[str, AuditEntry]:
        rows = [(keys.account(each.account_id), keys.created(each.at_ms, each.audit_id)) for each in wanted]
        found = AuditItem.batch_get(rows, consistent_read=True) if rows else ()
        entries = [read_entry(item) for item in found if _is_as_written(item)]
        return {entry.audit_id: entry for entry in entries}

    def list_entries(self, account_id: str, from_ms: int, to_ms: int | None) -> Iterator[AuditEntry]:
        # Keys are in order up to an instant of thirteen digits.
        last_ms = keys.LAST_MS if to_ms is None else min(to_ms, keys.LAST_MS)
        if last_ms <= from_ms:
            return
        where = AuditItem.sk.between(keys.created(from_ms, ""), keys.created(last_ms, ""))
        for item in AuditItem.query(keys.account(account_id), where, consistent_read=True):
            yield read_entry(item)

    def list_hour(self, hour: int) -> Iterator[EntryKey]:
        for number in range(audit_keys.SHARDS):
            for item in AuditItem.by_hour.query(audit_keys.hour(hour, number)):
                at_ms, audit_id = audit_keys.read_entry_key(item.sk)
                yield EntryKey(keys.read_account(item.pk), at_ms, audit_id)

    def get_swept_hour(self) -> int | None:
        item = _get_progress(audit_keys.SWEPT)
        return None if item is None else item.hour

    def put_swept_hour(self, hour: int) -> None:
        AuditProgressItem(audit_keys.PROGRESS, audit_keys.SWEPT, hour=hour).save()

    def list_moved(self, limit: int) -> list[AccountHead]:
        found: list[AccountHead] = []
        for number in range(audit_keys.SHARDS):
            if len(found) < limit:
                rows = MovedItem.query(
                    audit_keys.moved(number), limit=limit - len(found), consistent_read=True
                )
                found += [AccountHead(keys.read_account(row.sk), row.sequence, row.hash) for row in rows]
        return found

    def forget_moved(self, head: AccountHead) -> None:
        pk = audit_keys.moved(audit_keys.shard(head.account_id))
        try:
            MovedItem(pk, keys.account(head.account_id)).delete(MovedItem.sequence == head.sequence)
        except DeleteError as error:
            if not is_condition_failure(error):
                raise

    def get_last_anchor(self) -> Anchor | None:
        found = AnchorItem.query(audit_keys.ANCHORS, scan_index_forward=False, limit=1, consistent_read=True)
        return next((_read_anchor(item) for item in found), None)

    def get_anchor(self, number: int) -> Anchor | None:
        try:
            item = AnchorItem.get(audit_keys.ANCHORS, audit_keys.sequence(number), consistent_read=True)
        except AnchorItem.DoesNotExist:
            return None
        return _read_anchor(item)

    def add_anchor(self, tx: Transaction, anchor: Anchor) -> None:
        item = AnchorItem(
            audit_keys.ANCHORS,
            audit_keys.sequence(anchor.number),
            at_ms=anchor.at_ms,
            previous_root=anchor.previous_root,
            size=anchor.size,
            tree_root=anchor.tree_root,
        )
        dynamo(tx).put(item, AnchorItem.pk.does_not_exist(), _anchored)

    def add_anchored(self, tx: Transaction, head: AccountHead, number: int) -> None:
        item = AnchoredItem(
            audit_keys.anchored(head.account_id),
            audit_keys.sequence(head.sequence),
            number=number,
            hash=head.hash,
        )
        dynamo(tx).put(item, AnchoredItem.pk.does_not_exist(), _anchored)

    def find_anchored(self, account_id: str, *, from_sequence: int = 0) -> AnchoredHead | None:
        return _find_anchored(account_id, AnchoredItem.sk >= audit_keys.sequence(from_sequence), newest=False)

    def find_last_anchored(self, account_id: str, below: int | None = None) -> AnchoredHead | None:
        where = None if below is None else AnchoredItem.sk < audit_keys.sequence(below)
        return _find_anchored(account_id, where, newest=True)

    def get_progress(self) -> Progress:
        item = _get_progress(audit_keys.VERIFIED)
        if item is None:
            return Progress()
        return Progress(
            item.newest or 0,
            item.round or 0,
            _read_place(item.new_at),
            _read_place(item.round_at),
            item.finished_at_ms,
        )

    def put_progress(self, progress: Progress) -> None:
        AuditProgressItem(
            audit_keys.PROGRESS,
            audit_keys.VERIFIED,
            newest=progress.newest,
            round=progress.round,
            new_at=_build_place(progress.new_at),
            round_at=_build_place(progress.round_at),
            finished_at_ms=progress.finished_at_ms,
        ).save()


def _get_progress(name: str) -> AuditProgressItem | None:
    try:
        return AuditProgressItem.get(audit_keys.PROGRESS, name, consistent_read=True)
    except AuditProgressItem.DoesNotExist:
        return None


def _build_place(place: Place | None) -> list[Any] | None:
    if place is None:
        return None
    return [place.head] if place.link is None else [place.head, place.link.sequence, place.link.hash]


def _read_place(stored: Any) -> Place | None:
    if stored is None:
        return None
    head, *link = stored
    return Place(head, Head(*link) if link else None)


def _is_as_written(item: AuditItem) -> bool:
    """Say whether the row is what an entry of its content is written as: keys, and what indexes are of."""
    same: bool = build_item(read_entry(item)).serialize() == item.serialize()
    return same


def _find_anchored(account_id: str, where: Any, *, newest: bool) -> AnchoredHead | None:
    found = AnchoredItem.query(
        audit_keys.anchored(account_id),
        where,
        scan_index_forward=not newest,
        limit=1,
        consistent_read=True,
    )
    rows = [AnchoredHead(Head(int(item.sk), item.hash), item.number) for item in found]
    return rows[0] if rows else None


def _build_link(link: Link) -> LinkItem:
    return LinkItem(
        audit_keys.links(link.account_id),
        audit_keys.sequence(link.sequence),
        audit_id=link.audit_id,
        at_ms=link.at_ms,
        linked_at_ms=link.linked_at_ms,
        digest=link.digest,
        previous_hash=link.previous_hash,
        hash=link.hash,
    )


def _read_link(account_id: str, item: LinkItem) -> Link:
    return Link(
        account_id,
        int(item.sk),
        item.audit_id,
        item.at_ms,
        item.linked_at_ms,
        item.digest,
        item.previous_hash,
        item.hash,
    )


def _read_anchor(item: AnchorItem) -> Anchor:
    return Anchor(int(item.sk), item.at_ms, item.previous_root, item.size, item.tree_root)

"""Anchors the heads of chains that moved.

The first document of a number stands for ever, and all else is computed from it: who comes again writes the
same rows, or goes on. The row of the anchor is last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.compliance.anchors import (
    ANCHORS_START,
    Anchor,
    AnchorDocument,
    AnchorMismatch,
    name_anchor,
    read_document,
    render_document,
)
from chalicelib.compliance.model import AccountHead
from chalicelib.compliance.ports import AlreadyAnchored, ChainPorts

#: Of heads in one anchor: its rows are written in about ten seconds.
HEADS = 1_000
#: Of rows in one transaction.
CHUNK = 50


@dataclass(frozen=True, slots=True)
class Anchored:
    """``contradicted``: accounts whose mark names a head that the chain does not have; they stay marked."""

    anchors: tuple[Anchor, ...]
    contradicted: tuple[str, ...]


def anchor_heads(ports: ChainPorts, deadline_ms: int) -> Anchored:
    """Write anchors until every head that moved is in one, or ``deadline_ms``; one at least, also if empty.

    Raises:
        AnchorMismatch: what is kept contradicts what is recorded; nothing is anchored.
        Unavailable: try again.
    """
    last = ports.store.get_last_anchor()
    if last is not None:
        _check_kept(ports, last)
    done: list[Anchor] = []
    while True:
        last, wrong, more = _write_anchor(ports, last)
        done.append(last)
        if not more or ports.clock.now_ms() >= deadline_ms:
            return Anchored(tuple(done), tuple(wrong))


def measure_anchor_age_ms(ports: ChainPorts) -> int:
    """Return how old the last anchor is; 0 before the first."""
    last = ports.store.get_last_anchor()
    return 0 if last is None else ports.clock.now_ms() - last.at_ms


def _check_kept(ports: ChainPorts, anchor: Anchor) -> None:
    kept = ports.vault.read(name_anchor(anchor.number))
    if kept is None or read_document(kept.body).anchor != anchor:
        raise AnchorMismatch(f"Anchor {anchor.number} is not the one that is kept.")


def _write_anchor(ports: ChainPorts, last: Anchor | None) -> tuple[Anchor, list[str], bool]:
    """Return the anchor, whose mark is wrong, and whether there may be more to anchor."""
    number, previous_root = (1, ANCHORS_START) if last is None else (last.number + 1, last.root)
    wrong: list[str] = []
    kept = ports.vault.read(name_anchor(number))
    if kept is None:
        heads, wrong = _take_heads(ports)
        draft = AnchorDocument(number, ports.clock.now_ms(), previous_root, tuple(heads))
        body = ports.vault.keep(name_anchor(number), render_document(draft))
    else:
        body = kept.body
    document = read_document(body)
    if (document.number, document.previous_root) != (number, previous_root):
        raise AnchorMismatch(f"What is kept as anchor {number} does not follow the one before.")
    _record(ports, document)
    return document.anchor, wrong, kept is not None or len(document.heads) == HEADS


def _take_heads(ports: ChainPorts) -> tuple[list[AccountHead], list[str]]:
    """Heads that moved, by account, as their chains have them; and accounts whose mark says another."""
    moved = ports.store.list_moved(HEADS)
    hashes = ports.store.find_hashes(moved)
    good = [head for head in moved if hashes.get((head.account_id, head.sequence)) == head.hash]
    wrong = sorted({head.account_id for head in moved} - {head.account_id for head in good})
    return sorted(good, key=lambda head: head.account_id), wrong


def _record(ports: ChainPorts, document: AnchorDocument) -> None:
    heads = document.heads
    for at in range(0, len(heads), CHUNK):
        chunk = heads[at : at + CHUNK]
        if not _add_rows(ports, chunk, document.number):
            # Some stand: a run died here, or a head was anchored before.
            for head in chunk:
                _add_rows(ports, (head,), document.number)
    for head in heads:
        ports.store.forget_moved(head)
    tx = ports.transactions()
    ports.store.add_anchor(tx, document.anchor)
    try:
        tx.commit()
    except AlreadyAnchored:
        if ports.store.get_anchor(document.number) != document.anchor:
            raise AnchorMismatch(f"Another anchor {document.number} is recorded.") from None


def _add_rows(ports: ChainPorts, heads: Sequence[AccountHead], number: int) -> bool:
    tx = ports.transactions()
    for head in heads:
        ports.store.add_anchored(tx, head, number)
    try:
        tx.commit()
    except AlreadyAnchored:
        return False
    return True

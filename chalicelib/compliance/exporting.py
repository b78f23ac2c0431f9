"""Exports a period of a trail with its links and an anchor, for a verifier that needs nothing of ours.

One JSON document a line: what it is, each link with its entry in the order of the chain, bare links from
there to the next anchored head, the anchor with the way to its root, entries that are not linked yet, and
last the SHA-256 of all lines before. docs/invariants/audit.md describes it.
"""

import hashlib
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from chalicelib.compliance.anchors import AnchorProof, build_proof, name_anchor, read_document
from chalicelib.compliance.model import Link, chunk, render_facts
from chalicelib.compliance.ports import ChainPorts, EntryKey
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import InvalidInput, Unavailable
from chalicelib.core.ports import AuditEntry
from chalicelib.statements.ports import Link as DocumentLink

#: Of entries in one export: what fits into a request.
ENTRIES = 20_000
CHUNK = 100
VERSION = 1
#: What is kept under it goes after a day.
DRAFTS = "drafts"
_SPOOL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Export:
    """``first_sequence`` and ``last_sequence`` are 0 where nothing of the period is linked."""

    document: DocumentLink
    entries: int
    first_sequence: int
    last_sequence: int
    anchor: AnchorProof | None


@dataclass(slots=True)
class _Lines:
    """Writes lines, counts them and digests them."""

    file: BinaryIO
    count: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def write(self, **facts: object) -> None:
        # One shape: whoever changes a blank changes the digest.
        line = render_facts(facts) + b"\n"
        self.file.write(line)
        self.digest.update(line)
        self.count += 1

    def end(self) -> None:
        facts = {"kind": "end", "lines": self.count, "sha256": self.digest.hexdigest()}
        self.file.write(render_facts(facts) + b"\n")


def export_trail(ports: ChainPorts, account_id: str, from_ms: int, to_ms: int) -> Export:
    """Keep a period of the trail as a document, and link it.

    What stands between the period's first and last link is in it too, whenever it was done.

    Raises:
        InvalidInput: ``invalid_period``, or ``period_too_long``: it has more than `ENTRIES`.
        Unavailable: try again.
    """
    if not from_ms < to_ms:
        raise InvalidInput("The period ends before it begins.", code="invalid_period")
    numbers, waiting = _find_period(ports, account_id, from_ms, to_ms)
    first, last = (min(numbers), max(numbers)) if numbers else (0, 0)
    if len(waiting) + (last - first + 1 if first else 0) > ENTRIES:
        raise InvalidInput(f"Ask for less at once: {ENTRIES} entries at most.", code="period_too_long")
    proof = _find_anchor(ports, account_id, last) if last else None
    with cast("BinaryIO", SpooledTemporaryFile(max_size=_SPOOL_BYTES)) as file:
        lines = _Lines(file)
        lines.write(
            kind="export",
            version=VERSION,
            account_id=account_id,
            **{"from": format_instant(from_ms), "to": format_instant(to_ms)},
            made_at=format_instant(ports.clock.now_ms()),
            first_sequence=first,
            last_sequence=last,
        )
        if first:
            _write_links(ports, lines, account_id, (first, last), proof)
        if proof is not None:
            lines.write(**_render_anchor(proof))
        for entry in waiting:
            lines.write(kind="waiting", entry=_render_entry(entry))
        lines.end()
        file.seek(0)
        key = f"{DRAFTS}/{ports.ids.new_id('doc')}.ndjson"
        ports.documents.keep(key, file, "application/x-ndjson")
    entries = len(waiting) + (last - first + 1 if first else 0)
    name = f"audit-{account_id}-{format_instant(from_ms)[:10]}.ndjson"
    return Export(ports.documents.link(key, name), entries, first, last, proof)


def _find_period(
    ports: ChainPorts, account_id: str, from_ms: int, to_ms: int
) -> tuple[list[int], list[AuditEntry]]:
    """Return the numbers of the period's links, and its entries that have none."""
    numbers: list[int] = []
    waiting: list[AuditEntry] = []
    for part in chunk(ports.store.list_entries(account_id, from_ms, to_ms), CHUNK):
        known = ports.store.find_linked([entry.audit_id for entry in part])
        numbers += known.values()
        waiting += [entry for entry in part if entry.audit_id not in known]
        if len(numbers) + len(waiting) > ENTRIES:
            raise InvalidInput(f"Ask for less at once: {ENTRIES} entries at most.", code="period_too_long")
    return numbers, waiting


def _find_anchor(ports: ChainPorts, account_id: str, last: int) -> AnchorProof | None:
    """Return the first anchor that covers the link ``last``, or the last before it; ``None``: no anchor."""
    row = ports.store.find_anchored(account_id, from_sequence=last)
    if row is None or row.head.sequence - last > ENTRIES:
        row = ports.store.find_last_anchored(account_id)
    if row is None:
        return None
    kept = ports.vault.read(name_anchor(row.number))
    proof = None if kept is None else build_proof(read_document(kept.body), account_id)
    if proof is None:
        raise Unavailable(f"Anchor {row.number} does not hold the account's chain; verify it first.")
    return proof


def _write_links(
    ports: ChainPorts, lines: _Lines, account_id: str, span: tuple[int, int], proof: AnchorProof | None
) -> None:
    first, last = span
    until = last if proof is None else max(last, proof.head.sequence)
    for part in chunk(ports.store.list_links(account_id, first, until), CHUNK):
        wanted = [EntryKey(account_id, each.at_ms, each.audit_id) for each in part if each.sequence <= last]
        entries = ports.store.find_entries(wanted) if wanted else {}
        for link in part:
            entry = entries.get(link.audit_id)
            if entry is None:
                # Behind the period; or it is gone, and the verifier says so.
                lines.write(kind="link", link=_render_link(link))
            else:
                lines.write(kind="entry", link=_render_link(link), entry=_render_entry(entry))


def _render_entry(entry: AuditEntry) -> dict[str, object]:
    return {
        "audit_id": entry.audit_id,
        "account_id": entry.account_id,
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.subject,
        "at_ms": entry.at_ms,
        "details": entry.details,
    }


def _render_link(link: Link) -> dict[str, object]:
    return {
        "sequence": link.sequence,
        "audit_id": link.audit_id,
        "at_ms": link.at_ms,
        "linked_at_ms": link.linked_at_ms,
        "digest": link.digest,
        "previous_hash": link.previous_hash,
        "hash": link.hash,
    }


def _render_anchor(proof: AnchorProof) -> dict[str, object]:
    anchor = proof.anchor
    return {
        "kind": "anchor",
        "number": anchor.number,
        "at_ms": anchor.at_ms,
        "previous_root": anchor.previous_root,
        "size": anchor.size,
        "tree_root": anchor.tree_root,
        "root": anchor.root,
        "sequence": proof.head.sequence,
        "hash": proof.head.hash,
        "index": proof.index,
        "path": list(proof.path),
    }

"""The chain of an account's audit entries: their canonical bytes, links, and what is wrong with them. Pure.

Hashes are SHA-256 in hexadecimal. What is hashed is described in docs/invariants/audit.md.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

from chalicelib.core.ports import AuditEntry

T = TypeVar("T")
#: Of the canonical bytes; it stands in them, so that two versions never read the same.
VERSION = 1
#: Before the first link.
CHAIN_START = "0" * 64

ProblemKind = Literal[
    "entry_changed",
    "entry_missing",
    "entry_not_linked",
    "entry_twice",
    "link_changed",
    "link_missing",
    "chain_broken",
    "anchor_contradicted",
    "anchor_changed",
    "anchor_missing",
    "anchor_covered",
]


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a chain: 0 and `CHAIN_START` before the first."""

    sequence: int
    hash: str


EMPTY = Head(0, CHAIN_START)


@dataclass(frozen=True, slots=True)
class AccountHead:
    """A head and whose chain it is of."""

    account_id: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Link:
    """One entry's place in the chain of its account; ``sequence`` counts from 1 without gaps.

    ``at_ms`` is the entry's own, ``digest`` of its canonical bytes, ``hash`` of all the rest.
    """

    account_id: str
    sequence: int
    audit_id: str
    at_ms: int
    linked_at_ms: int
    digest: str
    previous_hash: str
    hash: str

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash)


@dataclass(frozen=True, slots=True)
class Problem:
    """Where a trail contradicts itself. ``audit_id`` is empty where there is none to name."""

    kind: ProblemKind
    account_id: str
    sequence: int = 0
    audit_id: str = ""


def render_facts(facts: Sequence[object] | Mapping[str, object]) -> bytes:
    """Return canonical bytes: JSON in ASCII, keys in the order of their code points, no blanks."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def render_entry(entry: AuditEntry) -> bytes:
    """Return the canonical bytes of an entry."""
    return render_facts(
        [
            "audit-entry",
            VERSION,
            entry.audit_id,
            entry.account_id,
            entry.actor,
            entry.action,
            entry.subject,
            entry.at_ms,
            entry.details,
        ]
    )


def hash_entry(entry: AuditEntry) -> str:
    return hashlib.sha256(render_entry(entry)).hexdigest()


def hash_link(link: Link) -> str:
    """Compute the hash that the link must have."""
    facts = [
        "audit-link",
        VERSION,
        link.account_id,
        link.sequence,
        link.audit_id,
        link.at_ms,
        link.linked_at_ms,
        link.digest,
        link.previous_hash,
    ]
    return hashlib.sha256(render_facts(facts)).hexdigest()


def chunk(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``rows`` by ``size`` at most."""
    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield part


def build_links(
    account_id: str, head: Head, entries: Iterable[AuditEntry], linked_at_ms: int
) -> tuple[Link, ...]:
    """Return the links of ``entries``, in this order, behind ``head``."""
    links: list[Link] = []
    for entry in entries:
        bare = Link(
            account_id,
            head.sequence + 1,
            entry.audit_id,
            entry.at_ms,
            linked_at_ms,
            hash_entry(entry),
            head.hash,
            "",
        )
        link = _close(bare)
        links.append(link)
        head = link.head
    return tuple(links)


def check_links(account_id: str, before: Head, links: Iterable[Link]) -> Iterator[Problem]:
    """Yield what is wrong with ``links``, which are to follow ``before`` without a gap."""
    for link in links:
        if link.account_id != account_id or hash_link(link) != link.hash:
            yield Problem("link_changed", account_id, link.sequence, link.audit_id)
        if link.sequence != before.sequence + 1:
            yield Problem("link_missing", account_id, before.sequence + 1)
        elif link.previous_hash != before.hash:
            yield Problem("chain_broken", account_id, link.sequence, link.audit_id)
        before = link.head


def check_entry(link: Link, entry: AuditEntry | None) -> Problem | None:
    """Compare an entry, ``None`` where there is none, with its link."""
    if entry is None:
        return Problem("entry_missing", link.account_id, link.sequence, link.audit_id)
    said = (entry.account_id, entry.audit_id, entry.at_ms, hash_entry(entry))
    if said != (link.account_id, link.audit_id, link.at_ms, link.digest):
        return Problem("entry_changed", link.account_id, link.sequence, link.audit_id)
    return None


def _close(bare: Link) -> Link:
    return Link(
        bare.account_id,
        bare.sequence,
        bare.audit_id,
        bare.at_ms,
        bare.linked_at_ms,
        bare.digest,
        bare.previous_hash,
        hash_link(bare),
    )

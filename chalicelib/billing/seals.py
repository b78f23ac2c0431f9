"""Seals: each day a Merkle tree of the heads of the wallets' chains, and a chain of the days' roots. Pure.

Hashes are SHA-256 in hexadecimal. Source of the tree, its prefixes and its proofs: RFC 9162, section 2.1.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from chalicelib.core.errors import Conflict

#: Of a day's heads: each is a tree and a document of its own. By account, for ever.
PARTS = 4
#: Before the first seal.
SEALS_START = "0" * 64
#: So long after its end a day is sealed: what was being posted at midnight has ended.
GRACE_MS = 15 * 60_000


class SealMismatch(Conflict):
    """Wallets, ledger and what was sealed do not say the same."""

    code = "seal_mismatch"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last leg of a wallet: its version, 0 before the first, and its hash."""

    account_id: str
    version: int
    hash: str


@dataclass(frozen=True, slots=True)
class Part:
    """The tree of one part of the heads."""

    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Seal:
    """What was posted by the end of ``day`` (``yyyy-mm-dd``, UTC) is at or below a head of ``parts``.

    ``sealed_at_ms``: when the last head was read.
    """

    day: str
    previous_root: str
    sealed_at_ms: int
    parts: tuple[Part, ...]

    @property
    def root(self) -> str:
        facts = [
            self.previous_root,
            self.day,
            self.sealed_at_ms,
            [[part.size, part.root] for part in self.parts],
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, slots=True)
class HeadsDocument:
    """One part of a day's heads, by account, as it is kept."""

    read_at_ms: int
    heads: tuple[ChainHead, ...]

    @property
    def part(self) -> Part:
        return Part(len(self.heads), compute_root([hash_leaf(head) for head in self.heads]))


@dataclass(frozen=True, slots=True)
class Proof:
    """That ``head`` is the leaf ``index`` of ``part`` of ``seal``: the siblings on its way up."""

    seal: Seal
    part: int
    index: int
    head: ChainHead
    path: tuple[str, ...]


def choose_part(account_id: str) -> int:
    return sum(account_id.encode()) % PARTS


def name_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d")


def move_day(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


def count_days(first: str, last: str) -> int:
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


def hash_leaf(head: ChainHead) -> str:
    facts = json.dumps([head.account_id, head.version, head.hash])
    return hashlib.sha256(b"\x00" + facts.encode()).hexdigest()


def hash_node(left: str, right: str) -> str:
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def compute_root(leaves: Sequence[str]) -> str:
    """Return the root over hashes of leaves."""
    level = list(leaves)
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:
        level = _climb(level)
    return level[0]


def build_path(leaves: Sequence[str], index: int) -> tuple[str, ...]:
    """Return the siblings from the leaf ``index`` to the root."""
    level, path = list(leaves), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        level, index = _climb(level), index // 2
    return tuple(path)


def is_in_seal(proof: Proof) -> bool:
    """Say whether the path leads from the head to the root of its part."""
    if not 0 <= proof.part < len(proof.seal.parts):
        return False
    part = proof.seal.parts[proof.part]
    node, index, size, path = hash_leaf(proof.head), proof.index, part.size, list(proof.path)
    if not 0 <= index < size:
        return False
    while size > 1:
        if index ^ 1 < size:
            if not path:
                return False
            sibling = path.pop(0)
            node = hash_node(sibling, node) if index & 1 else hash_node(node, sibling)
        index, size = index // 2, (size + 1) // 2
    return not path and node == part.root


def render_heads(document: HeadsDocument) -> bytes:
    rows = [[head.account_id, head.version, head.hash] for head in document.heads]
    return json.dumps({"read_at_ms": document.read_at_ms, "heads": rows}, separators=(",", ":")).encode()


def read_heads(body: bytes) -> HeadsDocument:
    facts = json.loads(body)
    return HeadsDocument(facts["read_at_ms"], tuple(ChainHead(*row) for row in facts["heads"]))


def render_seal(seal: Seal) -> bytes:
    facts = {
        "day": seal.day,
        "previous_root": seal.previous_root,
        "sealed_at_ms": seal.sealed_at_ms,
        "parts": [[part.size, part.root] for part in seal.parts],
        "root": seal.root,
    }
    return json.dumps(facts, separators=(",", ":")).encode()


def name_seal(day: str) -> str:
    """The key of the document of a day's seal."""
    return f"seals/{day}.json"


def name_heads(day: str, part: int) -> str:
    return f"heads/{day}/{part}.json"


def _climb(level: Sequence[str]) -> list[str]:
    """Pair the nodes; one that is left over goes up as it is."""
    pairs = [hash_node(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
    return pairs + list(level[len(level) & ~1 :])

"""Anchors: hour by hour the heads of the chains that moved, chained, where nobody can change them.

The tree over the heads, its prefixes and its paths are those of the ledger's seals (RFC 9162, section 2.1):
an account is shown its own head and the way to the root, and nobody else's.
"""

import hashlib
import json
from dataclasses import dataclass

from chalicelib.billing.seals import ChainHead, build_path, compute_root
from chalicelib.billing.seals import hash_leaf as hash_head
from chalicelib.compliance.model import AccountHead, render_facts
from chalicelib.core.errors import Conflict

#: Before the first anchor.
ANCHORS_START = "0" * 64


class AnchorMismatch(Conflict):
    """What is kept is not what is recorded, or does not follow."""

    code = "anchor_mismatch"


@dataclass(frozen=True, slots=True)
class Anchor:
    """``number`` counts from 1 without gaps. ``tree_root`` is over ``size`` heads."""

    number: int
    at_ms: int
    previous_root: str
    size: int
    tree_root: str

    @property
    def root(self) -> str:
        facts = ["audit-anchor", 1, self.number, self.at_ms, self.previous_root, self.size, self.tree_root]
        return hashlib.sha256(render_facts(facts)).hexdigest()


@dataclass(frozen=True, slots=True)
class AnchorDocument:
    """As it is kept: the heads by account, each a leaf of the tree."""

    number: int
    at_ms: int
    previous_root: str
    heads: tuple[AccountHead, ...]

    @property
    def anchor(self) -> Anchor:
        leaves = [hash_leaf(head) for head in self.heads]
        return Anchor(self.number, self.at_ms, self.previous_root, len(leaves), compute_root(leaves))


@dataclass(frozen=True, slots=True)
class AnchorProof:
    """That ``head`` is the leaf ``index`` of ``anchor``: the siblings on its way up."""

    anchor: Anchor
    index: int
    head: AccountHead
    path: tuple[str, ...]


def hash_leaf(head: AccountHead) -> str:
    return hash_head(ChainHead(head.account_id, head.sequence, head.hash))


def name_anchor(number: int) -> str:
    """The key of an anchor's document."""
    return f"audit/{number:012d}.json"


def render_document(document: AnchorDocument) -> bytes:
    facts = {
        "number": document.number,
        "at_ms": document.at_ms,
        "previous_root": document.previous_root,
        "heads": [[head.account_id, head.sequence, head.hash] for head in document.heads],
        "root": document.anchor.root,
    }
    return json.dumps(facts, separators=(",", ":")).encode()


def read_document(body: bytes) -> AnchorDocument:
    """Raises AnchorMismatch: it is no document of ours, or was changed."""
    try:
        facts = json.loads(body)
        heads = tuple(AccountHead(*row) for row in facts["heads"])
        document = AnchorDocument(facts["number"], facts["at_ms"], facts["previous_root"], heads)
        same = render_document(document) == body
    except (ValueError, KeyError, TypeError) as error:
        raise AnchorMismatch("A document of an anchor cannot be read.") from error
    if not same:
        raise AnchorMismatch(f"The document of anchor {document.number} does not say its own root.")
    return document


def build_proof(document: AnchorDocument, account_id: str) -> AnchorProof | None:
    """``None``: the account's chain is not in the anchor."""
    for index, head in enumerate(document.heads):
        if head.account_id == account_id:
            path = build_path([hash_leaf(each) for each in document.heads], index)
            return AnchorProof(document.anchor, index, head, path)
    return None

"""Checks an exported audit trail by the file alone: entries, chain, anchor. Pure; nothing is asked for.

Hashes are SHA-256 in hexadecimal; the tree and its path are those of RFC 9162, section 2.1. What is hashed
stands in docs/invariants/audit.md, from which others may write a checker of their own.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

#: Before the first link.
CHAIN_START = "0" * 64
_VERSION = 1
_LINK_FIELDS = ("sequence", "audit_id", "at_ms", "linked_at_ms", "digest", "previous_hash", "hash")
_ENTRY_FIELDS = ("audit_id", "account_id", "actor", "action", "target", "at_ms", "details")


@dataclass(slots=True)
class ExportCheck:
    """What a file proves. Entries ``first`` to ``anchored_until`` are under the anchor, later ones not yet.

    ``problems`` is empty where everything agrees; else nothing of the file is to be trusted.
    """

    account_id: str = ""
    from_: str = ""
    to: str = ""
    first: int = 0
    last: int = 0
    entries: int = 0
    waiting: int = 0
    anchored_until: int = 0
    anchor_number: int = 0
    anchor_root: str = ""
    problems: list[str] = field(default_factory=list)


class _Checker:
    def __init__(self) -> None:
        self.found = ExportCheck()
        self.digest = hashlib.sha256()
        self.lines = 0
        self.expected: str | None = None
        self.sequence = 0
        self.hashes: dict[int, str] = {}
        self.ids: set[str] = set()
        self.ended = False

    def refuse(self, what: str) -> None:
        self.found.problems.append(what)

    def read(self, raw: bytes) -> None:
        try:
            facts = json.loads(raw)
            same = isinstance(facts, dict) and _render(facts) + b"\n" == raw
        except (ValueError, RecursionError):
            same = False
        where = f"line {self.lines + 1}"
        if not same or self.ended:
            self.refuse(f"{where} is not one that was written")
        else:
            try:
                self._take(facts, where)
            except (KeyError, TypeError, ValueError, AttributeError):
                self.refuse(f"{where} does not have what it must")
        if not (same and facts.get("kind") == "end"):
            self.digest.update(raw)
            self.lines += 1

    def _take(self, facts: dict[str, Any], where: str) -> None:
        kind = facts["kind"]
        if (kind == "export") != (self.lines == 0):
            self.refuse(f"{where} stands where it may not")
        elif kind == "export":
            self._take_header(facts)
        elif kind in {"entry", "link"}:
            self._take_link(facts, where)
        elif kind == "anchor":
            self._take_anchor(facts)
        elif kind == "waiting":
            self._take_entry(facts["entry"], where)
            self.found.waiting += 1
        elif kind == "end":
            self.ended = True
            if (facts["lines"], facts["sha256"]) != (self.lines, self.digest.hexdigest()):
                self.refuse("the file is not as it was written: its own digest is another")
        else:
            self.refuse(f"{where} is of no kind that is known")

    def _take_header(self, facts: dict[str, Any]) -> None:
        if facts["version"] != _VERSION:
            self.refuse("the export is of another version; take a newer client")
        found = self.found
        found.account_id, found.from_, found.to = facts["account_id"], facts["from"], facts["to"]
        found.first, found.last = int(facts["first_sequence"]), int(facts["last_sequence"])
        self.sequence = found.first - 1
        self.expected = CHAIN_START if found.first == 1 else None

    def _take_link(self, facts: dict[str, Any], where: str) -> None:
        link = facts["link"]
        if set(link) != set(_LINK_FIELDS) or _hash_link(self.found.account_id, link) != link["hash"]:
            self.refuse(f"{where}: the link is not as it was made")
        if link["sequence"] != self.sequence + 1:
            self.refuse(f"{where}: link {self.sequence + 1} is missing")
        elif self.expected not in {None, link["previous_hash"]}:
            self.refuse(f"{where}: the link does not follow the one before")
        self.sequence, self.expected = link["sequence"], link["hash"]
        self.hashes[self.sequence] = link["hash"]
        if facts["kind"] == "link":
            if self.sequence <= self.found.last:
                self.refuse(f"{where}: entry {self.sequence} is missing")
            return
        entry = facts["entry"]
        self._take_entry(entry, where)
        named = (entry["audit_id"], entry["at_ms"], _hash_entry(entry))
        if named != (link["audit_id"], link["at_ms"], link["digest"]):
            self.refuse(f"{where}: entry {self.sequence} is not the one that was linked")
        self.found.entries += 1

    def _take_entry(self, entry: dict[str, Any], where: str) -> None:
        if set(entry) != set(_ENTRY_FIELDS) or entry["account_id"] != self.found.account_id:
            self.refuse(f"{where}: the entry is not the account's")
        if entry["audit_id"] in self.ids:
            self.refuse(f"{where}: {entry['audit_id']} is there twice")
        self.ids.add(entry["audit_id"])

    def _take_anchor(self, facts: dict[str, Any]) -> None:
        self.found.anchor_number, self.found.anchor_root = int(facts["number"]), facts["root"]
        if not _is_in_anchor(self.found.account_id, facts):
            self.refuse(f"anchor {facts['number']} does not hold the chain's head")
        sequence = facts["sequence"]
        if sequence >= self.found.first and self.hashes.get(sequence) != facts["hash"]:
            self.refuse(f"the chain does not lead to entry {sequence}, which anchor {facts['number']} holds")
        if sequence >= self.found.first:
            self.found.anchored_until = min(sequence, self.found.last)

    def end(self) -> ExportCheck:
        found = self.found
        if not self.ended:
            self.refuse("the end of the file is missing")
        if found.first and self.sequence < found.last:
            self.refuse(f"links {self.sequence + 1} to {found.last} are missing")
        if found.entries != (found.last - found.first + 1 if found.first else 0):
            self.refuse("there are not as many entries as the export says")
        return found


def check_export(lines: Iterable[bytes], root: str | None = None) -> ExportCheck:
    """Check a file line by line, each with its end.

    ``root``: of the anchor, where one has noted it; without it the file is only held to itself.
    """
    checker = _Checker()
    for line in lines:
        checker.read(line)
    found = checker.end()
    if root is not None and root != found.anchor_root:
        found.problems.append("the anchor's root is another than the one given")
    return found


def _render(facts: object) -> bytes:
    """JSON in ASCII, keys in the order of their code points, no blanks."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def _hash(facts: object) -> str:
    return hashlib.sha256(_render(facts)).hexdigest()


def _hash_entry(entry: dict[str, Any]) -> str:
    return _hash(["audit-entry", _VERSION, *(entry[name] for name in _ENTRY_FIELDS)])


def _hash_link(account_id: str, link: dict[str, Any]) -> str:
    return _hash(["audit-link", _VERSION, account_id, *(link[name] for name in _LINK_FIELDS[:-1])])


def _is_in_anchor(account_id: str, facts: dict[str, Any]) -> bool:
    """Say whether the path leads from the head to the anchor's tree, and its root is its own."""
    # The leaf is that of the ledger's seals, with blanks behind its commas.
    leaf = json.dumps([account_id, facts["sequence"], facts["hash"]])
    node = hashlib.sha256(b"\x00" + leaf.encode()).hexdigest()
    index, size, path = facts["index"], facts["size"], list(facts["path"])
    if not 0 <= index < size:
        return False
    while size > 1:
        if index ^ 1 < size:
            if not path:
                return False
            sibling = path.pop(0)
            node = _hash_node(sibling, node) if index & 1 else _hash_node(node, sibling)
        index, size = index // 2, (size + 1) // 2
    names = ("number", "at_ms", "previous_root", "size", "tree_root")
    root = _hash(["audit-anchor", _VERSION, *(facts[name] for name in names)])
    return not path and node == facts["tree_root"] and root == facts["root"]


def _hash_node(left: str, right: str) -> str:
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()

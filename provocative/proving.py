"""Checks the ledger by the hashes alone: its chain of entries, and that a day's seal holds it. Pure.

Hashes are SHA-256 in hexadecimal; trees, prefixes and paths are those of RFC 9162, section 2.1.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from provocative.money_models import LedgerEntry, LedgerProof, Seal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Before the first entry.
CHAIN_START = "0" * 64


def is_in_seal(proof: LedgerProof) -> bool:
    """Say whether the path leads from the entry to the seal, and the seal's root is its own."""
    seal, path = proof["seal"], list(proof["path"])
    if not 0 <= proof["part"] < len(seal["parts"]):
        return False
    part, index = seal["parts"][proof["part"]], proof["index"]
    size, node = part["size"], _hash_leaf(proof)
    if not 0 <= index < size:
        return False
    while size > 1:
        if index ^ 1 < size:
            if not path:
                return False
            sibling = path.pop(0)
            node = _hash_node(sibling, node) if index & 1 else _hash_node(node, sibling)
        index, size = index // 2, (size + 1) // 2
    return not path and node == part["root"] and hash_seal(seal) == seal["root"]


def leads_to(proof: LedgerProof, entries: Iterable[LedgerEntry]) -> bool:
    """Say whether the chain of ``entries``, newest first, leads without a gap to the entry that is proven.

    Reads no more of them than it needs.
    """
    expected: LedgerEntry | None = None
    for entry in entries:
        if entry["hash"] != hash_entry(proof["account_id"], entry):
            return False
        if expected is not None and (entry["version"], entry["hash"]) != (
            expected["version"] - 1,
            expected["previous_hash"],
        ):
            return False
        if entry["version"] == proof["version"]:
            return entry["hash"] == proof["hash"]
        expected = entry
    if proof["version"] or proof["hash"] != CHAIN_START:
        return False
    return expected is None or (expected["version"], expected["previous_hash"]) == (1, CHAIN_START)


def hash_seal(seal: Seal) -> str:
    parts = [[part["size"], part["root"]] for part in seal["parts"]]
    return _hash_facts([seal["previous_root"], seal["day"], seal["sealed_at_ms"], parts])


def hash_entry(account_id: str, entry: LedgerEntry) -> str:
    posted_at = datetime.fromisoformat(entry["posted_at"])
    return _hash_facts(
        [
            entry["previous_hash"],
            entry["version"],
            f"cust:{account_id}:{entry['purse']}",
            entry["amount_micros"],
            entry["balance_after_micros"],
            entry["journal_key"],
            (posted_at - _EPOCH) // timedelta(milliseconds=1),
        ]
    )


def _hash_facts(facts: list[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _hash_leaf(proof: LedgerProof) -> str:
    leaf = json.dumps([proof["account_id"], proof["version"], proof["hash"]])
    return hashlib.sha256(b"\x00" + leaf.encode()).hexdigest()


def _hash_node(left: str, right: str) -> str:
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()

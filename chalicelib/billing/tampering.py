"""Writes down that somebody changed or removed what stands in the ledger. The money waits for a person."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.core.errors import Conflict
from chalicelib.core.ports import AuditEntry, AuditTrail, Clock, Ids, Transaction, Transactions

TAMPERING_ACTOR = "platform"
#: What a stream says of a row that was there; all else is a posting.
CHANGES = ("MODIFY", "REMOVE")


class AlreadyRecorded(Conflict):
    """The same event of the stream came before."""

    code = "already_recorded"


@dataclass(frozen=True, slots=True)
class Tampering:
    """``event_id`` is the stream's, ``key`` the row's; fingerprints are SHA-256, or empty."""

    event_id: str
    kind: str
    key: str
    old_fingerprint: str
    new_fingerprint: str


class TamperingStore(Protocol):
    def add_tampering(self, tx: Transaction, found: Tampering) -> None:
        """Fails with AlreadyRecorded."""


@dataclass(frozen=True, slots=True)
class TamperingPorts:
    """``account_id``: whose audit trail tells what befell the platform."""

    store: TamperingStore
    audit: AuditTrail
    transactions: Transactions
    clock: Clock
    ids: Ids
    account_id: str


def find_tampering(record: Mapping[str, Any]) -> Tampering | None:
    """Read a record of the ledger's stream; ``None`` for a new row."""
    if record["eventName"] not in CHANGES:
        return None
    change = record["dynamodb"]
    key = f"{change['Keys']['pk']['S']}/{change['Keys']['sk']['S']}"
    old, new = _fingerprint(change.get("OldImage")), _fingerprint(change.get("NewImage"))
    return Tampering(record["eventID"], record["eventName"], key, old, new)


def record_tampering(ports: TamperingPorts, found: Tampering) -> None:
    """Write one audit entry, however often the stream tells."""
    tx = ports.transactions()
    ports.store.add_tampering(tx, found)
    details: dict[str, object] = {
        "kind": found.kind,
        "old_fingerprint": found.old_fingerprint,
        "new_fingerprint": found.new_fingerprint,
    }
    entry = AuditEntry(
        ports.ids.new_id("aud"),
        ports.account_id,
        TAMPERING_ACTOR,
        "ledger.tampered",
        found.key,
        ports.clock.now_ms(),
        details,
    )
    ports.audit.add_entry(tx, entry)
    try:
        tx.commit()
    except AlreadyRecorded:
        return


def _fingerprint(image: Mapping[str, Any] | None) -> str:
    return "" if not image else hashlib.sha256(json.dumps(image, sort_keys=True).encode()).hexdigest()

"""Batches of credits, the certificates cut from them, and the register of what was done. Pure.

    allocated + sold + buffer <= issued

A batch is what one statement was issued for. Its entries are numbered without holes and chained by SHA-256.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.core.errors import Conflict, InvalidInput, NotFound

CertificateKind = Literal["allocated", "sold"]
CertificateState = Literal["active", "split", "retired"]
Act = Literal["issued", "sold", "allocated", "split", "retired"]
CHAIN_START = "0" * 64
_SERIAL = re.compile(r"(PC-[0-9]{8}-[0-9A-F]{12})(-[0-9]{4,8})?")


@dataclass(frozen=True, slots=True)
class Batch:
    """Milligrams. ``children`` numbers its certificates, ``entries`` its part of the register."""

    serial: str
    host_id: str
    unit_id: str
    day: str
    revision: int
    region: str
    issued_mg: int
    buffer_mg: int
    issued_at_ms: int
    allocated_mg: int = 0
    sold_mg: int = 0
    retired_mg: int = 0
    children: int = 0
    entries: int = 0
    chain_hash: str = CHAIN_START
    #: What was left has been shared out among the tenants; nothing more is sold of it.
    shared_out: bool = False

    @property
    def free_mg(self) -> int:
        return self.issued_mg - self.allocated_mg - self.sold_mg - self.buffer_mg


@dataclass(frozen=True, slots=True)
class Certificate:
    """A part of a batch that is somebody's. ``parent``: the certificate or batch that it was cut from."""

    serial: str
    parent: str
    kind: CertificateKind
    holder: str
    mass_mg: int
    created_at_ms: int
    state: CertificateState = "active"
    children: tuple[str, ...] = ()
    beneficiary: str | None = None
    retired_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One act of the register. ``number`` counts from 1 in its batch."""

    batch_serial: str
    number: int
    act: Act
    serial: str
    mass_mg: int
    at_ms: int
    previous_hash: str
    details: dict[str, object] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        facts = [
            self.previous_hash,
            self.batch_serial,
            self.number,
            self.act,
            self.serial,
            self.mass_mg,
            self.at_ms,
            self.details,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class BatchExhausted(Conflict):
    """``free_mg`` is in ``extra``."""

    code = "batch_exhausted"


def name_batch(statement_name: str, day: str) -> str:
    """Return the serial that belongs to a statement, so that it is issued once."""
    digest = hashlib.sha256(statement_name.encode()).hexdigest()[:12].upper()
    return f"PC-{day.replace('-', '')}-{digest}"


def find_batch_serial(serial: str) -> str:
    """Return the serial of the batch that a certificate, or a batch, is of. Raises NotFound: it is none."""
    match = _SERIAL.fullmatch(serial)
    if match is None:
        raise NotFound("There is no certificate with this serial.")
    return match[1]


def write(
    batch: Batch, act: Act, serial: str, mass_mg: int, at_ms: int, **details: object
) -> tuple[Batch, Entry]:
    """Return the batch with one more entry, and the entry."""
    entry = Entry(batch.serial, batch.entries + 1, act, serial, mass_mg, at_ms, batch.chain_hash, details)
    return replace(batch, entries=entry.number, chain_hash=entry.hash), entry


def cut(
    batch: Batch, parent: str, kind: CertificateKind, holder: str, mass_mg: int, at_ms: int
) -> tuple[Batch, Certificate]:
    """Return the batch with one more child, and the child. Counts nothing: see `take`."""
    number = batch.children + 1
    serial = f"{batch.serial}-{number:04d}"
    return replace(batch, children=number), Certificate(serial, parent, kind, holder, mass_mg, at_ms)


def take(batch: Batch, kind: CertificateKind, mass_mg: int) -> Batch:
    """Return the batch with ``mass_mg`` of what is free sold or allocated. Raises BatchExhausted."""
    if mass_mg > batch.free_mg:
        raise BatchExhausted(f"Of the batch {batch.free_mg} mg are free.", extra={"free_mg": batch.free_mg})
    if kind == "sold":
        return replace(batch, sold_mg=batch.sold_mg + mass_mg)
    return replace(batch, allocated_mg=batch.allocated_mg + mass_mg)


def split(
    batch: Batch, certificate: Certificate, first_mg: int, at_ms: int
) -> tuple[Batch, Certificate, tuple[Certificate, ...]]:
    """Return the batch, the certificate as split, and its two parts, which are it to the milligram.

    Raises:
        Conflict: ``not_active``.
        InvalidInput: a part would be nothing.
    """
    require_active(certificate)
    if not 0 < first_mg < certificate.mass_mg:
        raise InvalidInput("Both parts must be more than nothing.", code="empty_part")
    parts = []
    for mass_mg in (first_mg, certificate.mass_mg - first_mg):
        batch, part = cut(batch, certificate.serial, certificate.kind, certificate.holder, mass_mg, at_ms)
        parts.append(part)
    children = tuple(part.serial for part in parts)
    return batch, replace(certificate, state="split", children=children), tuple(parts)


def retire(batch: Batch, certificate: Certificate, beneficiary: str, at_ms: int) -> tuple[Batch, Certificate]:
    """Return both with the certificate's mass retired, for ever. Raises Conflict: ``not_active``."""
    require_active(certificate)
    retired = replace(certificate, state="retired", beneficiary=beneficiary, retired_at_ms=at_ms)
    return replace(batch, retired_mg=batch.retired_mg + certificate.mass_mg), retired


def require_active(certificate: Certificate) -> None:
    if certificate.state != "active":
        raise Conflict(f"The certificate is {certificate.state}.", code="not_active")


def find_fault(batch: Batch, entries: Sequence[tuple[Entry, str]]) -> str | None:
    """Return the first fault of a batch's entries, each with its stored hash, in order; ``None``: none."""
    previous = CHAIN_START
    for number, (entry, stored_hash) in enumerate(entries, start=1):
        if entry.number != number:
            return f"entry {number} is missing"
        if entry.previous_hash != previous or entry.hash != stored_hash:
            return f"entry {number} was changed"
        previous = stored_hash
    if len(entries) != batch.entries or previous != batch.chain_hash:
        return "the last entries are missing"
    return None

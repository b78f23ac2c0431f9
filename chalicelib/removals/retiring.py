"""Credits of verified statements: issued as a batch, sold or shared out, split, retired once for somebody.

Each act is one transaction on its batch: counters under the bound, a chained entry of the register, the audit
entry. Whoever meets another act on the batch comes again. A repeat finds what it did.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chalicelib.core.errors import NotFound
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.ports import Transaction
from chalicelib.core.principal import Principal
from chalicelib.removals import certificates
from chalicelib.removals.accounting import PPM
from chalicelib.removals.certificates import (
    Batch,
    Certificate,
    Entry,
    cut,
    find_batch_serial,
    find_fault,
    name_batch,
    take,
    write,
)
from chalicelib.removals.model import Statement, Window, mark_issued
from chalicelib.removals.ports import RemovalPorts, add_audit, find_region, insist
from chalicelib.removals.service import put_shares, read_statement

HTTP_CREATED = 201


@dataclass(frozen=True, slots=True)
class SellCredits:
    """``render`` gives the answer's bytes, stored for replays."""

    batch_serial: str
    buyer: str
    mass_mg: int
    idempotency_key: str
    fingerprint: str
    render: Callable[[Certificate], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sold:
    status: int
    body: str
    replayed: bool


def issue_credits(
    ports: RemovalPorts, principal: Principal, window: Window, revision: int, buffer_ppm: int
) -> Batch:
    """Issue what is due of a verified statement as one batch; again, return that batch.

    ``buffer_ppm`` of it, rounded up, is kept for reversals and never given away.

    Raises:
        NotFound: there is no such statement.
        WrongState: it is not verified, or another revision has taken its place.
        Conflict: ``nothing_to_issue``.
    """
    region = find_region(ports, window.host_id)

    def attempt() -> Batch:
        statement = read_statement(ports, window, revision)
        if statement.serial is not None:
            return _read_batch(ports, statement.serial)
        now_ms = ports.clock.now_ms()
        serial = name_batch(statement.name, window.day)
        issued = mark_issued(statement, serial)
        batch = Batch(
            serial,
            window.host_id,
            window.unit_id,
            window.day,
            revision,
            region,
            issued.issued_mg,
            -(-issued.issued_mg * buffer_ppm // PPM),
            now_ms,
        )
        batch, entry = write(batch, "issued", serial, batch.issued_mg, now_ms, buffer_mg=batch.buffer_mg)
        tx = ports.transactions()
        ports.store.replace_statement(tx, statement, issued)
        ports.certificates.add_batch(tx, batch)
        ports.certificates.add_entry(tx, entry)
        details: dict[str, object] = {"serial": serial, "issued_mg": batch.issued_mg}
        add_audit(ports, tx, principal, "removal.issued", statement.name, details)
        tx.commit()
        return batch

    return insist(attempt)


def sell_credits(ports: RemovalPorts, principal: Principal, command: SellCredits) -> Sold:
    """Cut a certificate for a buyer from what is free of a batch, once per key.

    Raises:
        NotFound: there is no such batch.
        BatchExhausted: less is free.
        IdempotencyMismatch: the key was used for another request.
    """

    def attempt() -> Sold:
        now_ms = ports.clock.now_ms()
        found = ports.idempotency.find(principal.account_id, command.idempotency_key, now_ms)
        if found is not None:
            raise AlreadyAnswered(found)
        before = _read_batch(ports, command.batch_serial)
        taken = take(before, "sold", command.mass_mg)
        after, sold = cut(taken, before.serial, "sold", command.buyer, command.mass_mg, now_ms)
        after, entry = write(after, "sold", sold.serial, sold.mass_mg, now_ms)
        body = command.render(sold)
        record = IdempotencyRecord(
            principal.account_id,
            command.idempotency_key,
            command.fingerprint,
            HTTP_CREATED,
            body,
            now_ms + LIFETIME_MS,
        )
        _commit(ports, principal, "credits.sold", (before, after), entry, new=(sold,), record=record)
        return Sold(HTTP_CREATED, body, replayed=False)

    try:
        return insist(attempt)
    except AlreadyAnswered as answered:
        record = check_replay(answered.record, command.fingerprint)
        return Sold(record.status, record.body, replayed=True)


def allocate_credits(ports: RemovalPorts, principal: Principal, batch_serial: str) -> Batch:
    """Share out what is left of a batch among the tenants whose GPUs gave the heat; again, change nothing.

    Raises NotFound: there is no such batch.
    """

    def attempt() -> Batch:
        before = _read_batch(ports, batch_serial)
        if before.shared_out:
            return before
        now_ms, statement = ports.clock.now_ms(), _read_statement(ports, before)
        parts = statement.share_out(before.free_mg)
        after = replace(take(before, "allocated", before.free_mg), shared_out=True)
        cuts: dict[str, Certificate] = {}
        for tenant, mass_mg in parts.items():
            if mass_mg:
                after, cuts[tenant] = cut(after, before.serial, "allocated", tenant, mass_mg, now_ms)
        after, entry = write(after, "allocated", before.serial, before.free_mg, now_ms)
        serials = {tenant: each.serial for tenant, each in cuts.items()}
        tx = ports.transactions()
        put_shares(ports, tx, statement, parts, "final", serials)
        _commit(
            ports, principal, "credits.allocated", (before, after), entry, new=tuple(cuts.values()), tx=tx
        )
        return after

    return insist(attempt)


def split_certificate(
    ports: RemovalPorts, principal: Principal, serial: str, first_mg: int
) -> tuple[Certificate, ...]:
    """Cut a certificate in two; again, return the same two.

    Raises:
        NotFound: there is no such certificate.
        Conflict: ``not_active``: it is retired, or was split otherwise.
        InvalidInput: ``empty_part``.
    """

    def attempt() -> tuple[Certificate, ...]:
        before, old = _read_both(ports, serial)
        if old.state == "split":
            parts = tuple(read_certificate(ports, each) for each in old.children)
            if parts[0].mass_mg == first_mg:
                return parts
        now_ms = ports.clock.now_ms()
        after, new, parts = certificates.split(before, old, first_mg, now_ms)
        after, entry = write(after, "split", serial, old.mass_mg, now_ms, children=list(new.children))
        _commit(ports, principal, "certificate.split", (before, after), entry, changed=new, new=parts)
        return parts

    return insist(attempt)


def retire_certificate(
    ports: RemovalPorts, principal: Principal, serial: str, beneficiary: str
) -> Certificate:
    """Retire a certificate for a beneficiary, for ever; again for the same one, it changes nothing.

    Raises:
        NotFound: there is no such certificate.
        Conflict: ``not_active``: it is split, or retired for somebody else.
    """

    def attempt() -> Certificate:
        before, old = _read_both(ports, serial)
        if old.state == "retired" and old.beneficiary == beneficiary:
            return old
        now_ms = ports.clock.now_ms()
        after, new = certificates.retire(before, old, beneficiary, now_ms)
        after, entry = write(after, "retired", serial, old.mass_mg, now_ms, beneficiary=beneficiary)
        _commit(ports, principal, "certificate.retired", (before, after), entry, changed=new)
        return new

    return insist(attempt)


def read_certificate(ports: RemovalPorts, serial: str) -> Certificate:
    """Raises NotFound."""
    find_batch_serial(serial)
    found = ports.certificates.get_certificate(serial)
    if found is None:
        raise NotFound("There is no certificate with this serial.")
    return found


@dataclass(frozen=True, slots=True)
class Proof:
    """What anybody may see. ``certificate``: ``None`` for a whole batch; ``fault``: of the register."""

    batch: Batch
    statement: Statement
    certificate: Certificate | None
    entries: tuple[tuple[Entry, str], ...]
    fault: str | None


def prove(ports: RemovalPorts, serial: str) -> Proof:
    """Return what stands behind a batch or a certificate, with its register checked now. Raises NotFound."""
    batch_serial = find_batch_serial(serial)
    # What is written after the batch was read is cut off.
    batch = _read_batch(ports, batch_serial)
    certificate = None if serial == batch_serial else read_certificate(ports, serial)
    entries = tuple(ports.certificates.list_entries(batch_serial))[: batch.entries]
    return Proof(batch, _read_statement(ports, batch), certificate, entries, find_fault(batch, entries))


def _commit(
    ports: RemovalPorts,
    principal: Principal,
    action: str,
    moved: tuple[Batch, Batch],
    entry: Entry,
    *,
    new: tuple[Certificate, ...] = (),
    changed: Certificate | None = None,
    record: IdempotencyRecord | None = None,
    tx: Transaction | None = None,
) -> None:
    tx = tx or ports.transactions()
    if record is not None:
        ports.idempotency.add(tx, record, ports.clock.now_ms())
    if changed is not None:
        ports.certificates.change_certificate(tx, changed)
    for certificate in new:
        ports.certificates.add_certificate(tx, certificate)
    ports.certificates.add_entry(tx, entry)
    ports.certificates.move_batch(tx, *moved)
    details: dict[str, object] = {"batch": entry.batch_serial, "mass_mg": entry.mass_mg, **entry.details}
    add_audit(ports, tx, principal, action, entry.serial, details)
    tx.commit()


def _read_batch(ports: RemovalPorts, serial: str) -> Batch:
    found = ports.certificates.get_batch(serial)
    if found is None:
        raise NotFound("There is no batch with this serial.")
    return found


def _read_both(ports: RemovalPorts, serial: str) -> tuple[Batch, Certificate]:
    return _read_batch(ports, find_batch_serial(serial)), read_certificate(ports, serial)


def _read_statement(ports: RemovalPorts, batch: Batch) -> Statement:
    return read_statement(ports, Window(batch.host_id, batch.unit_id, batch.day), batch.revision)

"""Batches, certificates and the register in DynamoDB. What is of one batch has its partition."""

from dataclasses import asdict
from typing import Any, cast

from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.removals.certificates import (
    Act,
    Batch,
    BatchExhausted,
    Certificate,
    CertificateKind,
    CertificateState,
    Entry,
    find_batch_serial,
)
from chalicelib.storage import carbon_keys, keys
from chalicelib.storage.tables.removals import BatchItem, CertificateItem, RegisterItem
from chalicelib.storage.transaction import dynamo, unexpected


class DynamoCertificateStore:
    def get_batch(self, serial: str) -> Batch | None:
        try:
            item = BatchItem.get(carbon_keys.batch(serial), carbon_keys.BATCH, consistent_read=True)
        except BatchItem.DoesNotExist:
            return None
        return _read_batch(item)

    def get_certificate(self, serial: str) -> Certificate | None:
        try:
            item = CertificateItem.get(*_name(serial), consistent_read=True)
        except CertificateItem.DoesNotExist:
            return None
        return Certificate(
            item.serial,
            item.parent,
            cast("CertificateKind", item.kind),
            item.holder,
            item.mass_mg,
            item.created_at_ms,
            cast("CertificateState", item.state),
            tuple(item.children or ()),
            item.beneficiary,
            item.retired_at_ms,
        )

    def list_entries(self, batch_serial: str) -> list[tuple[Entry, str]]:
        rows = RegisterItem.query(carbon_keys.batch(batch_serial), consistent_read=True)
        return [(_read_entry(batch_serial, row), row.hash) for row in rows]

    def add_batch(self, tx: Transaction, batch: Batch) -> None:
        facts = asdict(batch) | {"shared_out": int(batch.shared_out)}
        item = BatchItem(carbon_keys.batch(batch.serial), carbon_keys.BATCH, free_mg=batch.free_mg, **facts)
        dynamo(tx).put(item, BatchItem.pk.does_not_exist(), unexpected("The batch"))

    def move_batch(self, tx: Transaction, before: Batch, after: Batch) -> None:
        taken = before.free_mg - after.free_mg

        def refuse(old: Any) -> DomainError:
            if old is not None and old.free_mg < taken:
                return BatchExhausted(
                    f"Of the batch {old.free_mg} mg are free.", extra={"free_mg": old.free_mg}
                )
            return Unavailable("The batch changed at the same time; try again.")

        moved = (
            (BatchItem.allocated_mg, after.allocated_mg - before.allocated_mg),
            (BatchItem.sold_mg, after.sold_mg - before.sold_mg),
            (BatchItem.retired_mg, after.retired_mg - before.retired_mg),
            (BatchItem.free_mg, -taken),
        )
        # Arithmetic under the bound; the number of entries keeps the chain in one line.
        dynamo(tx).update(
            BatchItem,
            (carbon_keys.batch(before.serial), carbon_keys.BATCH),
            [
                *(attribute.set(attribute + change) for attribute, change in moved),
                BatchItem.children.set(after.children),
                BatchItem.entries.set(after.entries),
                BatchItem.chain_hash.set(after.chain_hash),
                BatchItem.shared_out.set(int(after.shared_out)),
            ],
            (BatchItem.free_mg >= taken) & (BatchItem.entries == before.entries),
            refuse,
        )

    def add_entry(self, tx: Transaction, entry: Entry) -> None:
        item = RegisterItem(
            carbon_keys.batch(entry.batch_serial),
            keys.entry(entry.number),
            act=entry.act,
            serial=entry.serial,
            mass_mg=entry.mass_mg,
            at_ms=entry.at_ms,
            details=dict(entry.details),
            previous_hash=entry.previous_hash,
            hash=entry.hash,
        )
        dynamo(tx).put(item, RegisterItem.pk.does_not_exist(), unexpected("The register"))

    def add_certificate(self, tx: Transaction, certificate: Certificate) -> None:
        item = _write(certificate)
        dynamo(tx).put(item, CertificateItem.pk.does_not_exist(), unexpected("The certificate"))

    def change_certificate(self, tx: Transaction, new: Certificate) -> None:
        dynamo(tx).put(_write(new), CertificateItem.state == "active", unexpected("The certificate"))


def _name(serial: str) -> tuple[str, str]:
    return carbon_keys.batch(find_batch_serial(serial)), carbon_keys.certificate(serial)


def _write(certificate: Certificate) -> CertificateItem:
    facts = asdict(certificate) | {"children": list(certificate.children)}
    return CertificateItem(*_name(certificate.serial), **facts)


def _read_batch(item: BatchItem) -> Batch:
    return Batch(
        serial=item.serial,
        host_id=item.host_id,
        unit_id=item.unit_id,
        day=item.day,
        revision=item.revision,
        region=item.region,
        issued_mg=item.issued_mg,
        buffer_mg=item.buffer_mg,
        issued_at_ms=item.issued_at_ms,
        allocated_mg=item.allocated_mg,
        sold_mg=item.sold_mg,
        retired_mg=item.retired_mg,
        children=item.children,
        entries=item.entries,
        chain_hash=item.chain_hash,
        shared_out=bool(item.shared_out),
    )


def _read_entry(batch_serial: str, item: RegisterItem) -> Entry:
    return Entry(
        batch_serial,
        keys.read_entry(item.sk),
        cast("Act", item.act),
        item.serial,
        item.mass_mg,
        item.at_ms,
        item.previous_hash,
        item.details,
    )

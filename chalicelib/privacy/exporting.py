"""Exports: all that is kept of a subject, as JSON Lines in a zip, one file to a kind of item.

An item's file has every attribute of the inventory but digests of secrets. An account's has of its people
only what they are in it: each person asks for the rest themselves (GDPR 15(4)). The document is written
first and becomes known in one transaction with the request: what an erasure overtook is never linked.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO, cast

from chalicelib.core.clock import format_instant
from chalicelib.privacy.inventory import find_row, list_owned
from chalicelib.privacy.requests import ACTOR, PrivacyRequest, Record, name_export
from chalicelib.privacy.service import PrivacyPorts, add_audit, finish_export

#: A larger document goes to the disk of the function.
MEMORY_BYTES = 16 * 1024 * 1024
#: What a person has as an account has it, found by the same keys.
OF_PERSON = ("AuditItem", "IdempotencyItem", "PrivacyRequestItem")


def export(ports: PrivacyPorts, request: PrivacyRequest) -> PrivacyRequest:
    """Make the document of an open export.

    Raises:
        Unavailable: try again; or an erasure has overtaken it, and there is nothing to do any more.
    """
    from tempfile import SpooledTemporaryFile

    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
        _write(cast("BinaryIO", file), ports, request)
        file.seek(0)
        ports.archive.keep(name_export(request.subject_id, request.request_id), cast("BinaryIO", file))
    tx = ports.transactions()
    done = finish_export(ports, tx, request, ports.clock.now_ms())
    add_audit(ports, tx, request, ACTOR, "privacy.exported")
    tx.commit()
    return done


def list_files(ports: PrivacyPorts, request: PrivacyRequest) -> Iterator[tuple[str, Iterator[Record]]]:
    """Yield each file's name and its records."""
    if not request.is_of_account:
        yield from _list_of_person(ports, request.subject_id)
        return
    for row in list_owned():
        yield row.item.removesuffix("Item"), ports.records.list_records(request.account_id, row.item)


def _list_of_person(ports: PrivacyPorts, user_id: str) -> Iterator[tuple[str, Iterator[Record]]]:
    """What the slices keep of the person, and what stands under the person's own id."""
    records = list(ports.people.list_records(user_id))
    yield "person", iter(records)
    for item in OF_PERSON:
        yield item.removesuffix("Item"), ports.records.list_records(user_id, item)
    accounts = sorted({str(each.values["account_id"]) for each in records if each.item == "Membership"})
    consents = (each for account_id in accounts for each in ports.consents.list_consents(account_id))
    made = (each for each in consents if each.actor == user_id)
    yield "Consent", (Record("Consent", user_id, each.consent_id, asdict(each)) for each in made)


def _write(file: BinaryIO, ports: PrivacyPorts, request: PrivacyRequest) -> None:
    from zipfile import ZIP_DEFLATED, ZipFile

    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        counts: dict[str, int] = {}
        for name, records in list_files(ports, request):
            with archive.open(f"{name}.jsonl", "w") as lines:
                counts[name] = 0
                for record in records:
                    lines.write(json.dumps(select_exported(record), default=str).encode() + b"\n")
                    counts[name] += 1
        about = {
            "request_id": request.request_id,
            "subject": request.subject_id,
            "made_at": format_instant(ports.clock.now_ms()),
            "records": counts,
            "purposes": {row.item.removesuffix("Item"): row.purpose for row in list_owned()},
        }
        archive.writestr("about.json", json.dumps(about, indent=2))


def select_exported(record: Record) -> dict[str, object]:
    """Return what is shown of a record: its key and all but digests of secrets."""
    try:
        names = set(find_row(record.item).list_exported())
    except StopIteration:
        # Of a person, as `People` opened it.
        names = set(record.values)
    shown = {name: value for name, value in record.values.items() if name in names}
    return {"pk": record.pk, "sk": record.sk, **shown}

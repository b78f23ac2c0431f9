"""Exports: all that is kept of a subject, as JSON Lines in a zip, one file to a kind of item.

An item's file has every attribute of the inventory but digests of secrets. An account's has of its people
only what they are in it: each person asks for the rest themselves (GDPR 15(4)). The document is written
first and becomes known in one transaction with the request: what an erasure overtook is never linked.

When time runs out, the files that are whole are kept under the document's own name, and the next run goes on
behind them. The comment of the zip says how many records each has.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import BinaryIO, cast

from chalicelib.core.clock import format_instant
from chalicelib.privacy.inventory import find_row, list_owned
from chalicelib.privacy.requests import ACTOR, FINISH_MS, PrivacyRequest, Record, name_export
from chalicelib.privacy.service import PrivacyPorts, add_audit, finish_export

#: A larger document goes to the disk of the function.
MEMORY_BYTES = 16 * 1024 * 1024
#: Of a zip's end, more than what its list of a hundred files and its comment take.
TAIL_BYTES = 1 << 16
ABOUT = "about.json"
#: What a person has as an account has it, found by the same keys.
OF_PERSON = ("AuditItem", "IdempotencyItem", "PrivacyRequestItem")


def export(ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int) -> PrivacyRequest:
    """Make the document of an open export, or as much of it as there is time for: a file at least.

    Raises:
        Unavailable: try again; or an erasure has overtaken it, and there is nothing to do any more.
        TimeoutError: not one file more was written in all the time there was.
    """
    from tempfile import SpooledTemporaryFile

    name = name_export(request.subject_id, request.request_id)
    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as spooled:
        file = cast("BinaryIO", spooled)
        if request.step > 0:
            ports.archive.fetch(name, file)
        written, complete = _write(file, ports, request, deadline_ms)
        file.seek(0)
        ports.archive.keep(name, file)
    tx, now_ms = ports.transactions(), ports.clock.now_ms()
    if not complete:
        started_at_ms = request.started_at_ms or now_ms
        begun = replace(request, state="running", step=written, started_at_ms=started_at_ms)
        ports.store.replace_request(tx, request, begun)
        tx.commit()
        return begun
    done = finish_export(ports, tx, request, now_ms)
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


def _write(
    file: BinaryIO, ports: PrivacyPorts, request: PrivacyRequest, deadline_ms: int
) -> tuple[int, bool]:
    """Write files that are not there yet; return how many there are, and whether these are all."""
    from zipfile import ZipFile

    with ZipFile(file, "a") as archive:
        counts: dict[str, int] = json.loads(archive.comment or b"{}")
        whole = ABOUT in archive.namelist()
    found = len(counts)
    for name, records in () if whole else list_files(ports, request):
        if name in counts:
            continue
        if len(counts) > found and ports.clock.now_ms() >= deadline_ms:
            return len(counts), False
        if not _write_file(file, ports, (name, records), counts, deadline_ms + FINISH_MS):
            if len(counts) == found:
                raise TimeoutError(f"No run is long enough for all of {name}.")
            return len(counts), False
    if not whole:
        _write_about(file, ports, request, counts)
    return len(counts), True


def _write_file(
    file: BinaryIO,
    ports: PrivacyPorts,
    content: tuple[str, Iterator[Record]],
    counts: dict[str, int],
    until_ms: int,
) -> bool:
    """Add a file, and to ``counts`` how much is in it; ``False``: there was no time, and all is as before."""
    from zipfile import ZIP_DEFLATED, ZipFile

    name, records = content
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    count, in_time = 0, True
    with ZipFile(file, "a", ZIP_DEFLATED) as archive:
        with archive.open(f"{name}.jsonl", "w", force_zip64=True) as lines:
            for record in records:
                lines.write(json.dumps(select_exported(record), default=str).encode() + b"\n")
                count += 1
                in_time = ports.clock.now_ms() < until_ms
                if not in_time:
                    break
        archive.comment = json.dumps(counts | {name: count}).encode()
    if in_time:
        counts[name] = count
        return True
    file.seek(size - len(tail))
    file.write(tail)
    file.truncate()
    return False


def _write_about(
    file: BinaryIO, ports: PrivacyPorts, request: PrivacyRequest, counts: dict[str, int]
) -> None:
    from zipfile import ZIP_DEFLATED, ZipFile

    about = {
        "request_id": request.request_id,
        "subject": request.subject_id,
        "made_at": format_instant(ports.clock.now_ms()),
        "records": counts,
        "purposes": {row.item.removesuffix("Item"): row.purpose for row in list_owned()},
    }
    with ZipFile(file, "a", ZIP_DEFLATED) as archive:
        archive.writestr(ABOUT, json.dumps(about, indent=2))


def select_exported(record: Record) -> dict[str, object]:
    """Return what is shown of a record: its key and all but digests of secrets."""
    try:
        names = set(find_row(record.item).list_exported())
    except StopIteration:
        # Of a person, as `People` opened it.
        names = set(record.values)
    shown = {name: value for name, value in record.values.items() if name in names}
    return {"pk": record.pk, "sk": record.sk, **shown}

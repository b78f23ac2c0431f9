"""Removals on the database that the platform runs on: the conditions as they are written, many at once."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chalicelib import wiring
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.removals.certificates import Batch, cut, find_fault, name_batch, take, write
from chalicelib.removals.retiring import prove, read_certificate, retire_certificate
from chalicelib.removals.service import list_shares, put_shares, read_statement
from infra.local.cloud import EmbeddedCloud
from tests.integration.fleet_setup import become_operator
from tests.integration.in_process import wire_to
from tests.unit.storage.test_removal_store import STATEMENT

THREADS = 16


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def issue(masses: list[int]) -> tuple[Batch, list[str]]:
    """Write a batch with a certificate of each mass, as the use cases would."""
    ports = wiring.removal_ports()
    host_id = f"hst_{uuid.uuid4().hex}"
    window = replace(STATEMENT.window, host_id=host_id)
    statement = replace(STATEMENT, window=window)
    serial = name_batch(statement.name, window.day)
    batch = Batch(serial, host_id, window.unit_id, window.day, 2, "eu-north-1", sum(masses), 0, 1)
    batch, entry = write(batch, "issued", serial, batch.issued_mg, 1)
    tx = ports.transactions()
    ports.store.add_statement(tx, statement)
    put_shares(ports, tx, statement, {host_id: 7}, "provisional")
    ports.certificates.add_batch(tx, batch)
    ports.certificates.add_entry(tx, entry)
    tx.commit()
    serials = []
    for mass_mg in masses:
        moved, certificate = cut(take(batch, "sold", mass_mg), serial, "sold", "Buyer", mass_mg, 2)
        moved, entry = write(moved, "sold", certificate.serial, mass_mg, 2)
        tx = ports.transactions()
        ports.certificates.add_certificate(tx, certificate)
        ports.certificates.add_entry(tx, entry)
        ports.certificates.move_batch(tx, batch, moved)
        tx.commit()
        batch = moved
        serials.append(certificate.serial)
    return batch, serials


def retire_at_once(asked: list[tuple[str, str]]) -> list[str]:
    operator = become_operator()

    def attempt(each: tuple[str, str]) -> str:
        while True:
            try:
                return retire_certificate(wiring.removal_ports(), operator, *each).state
            except Unavailable:
                continue
            except Conflict as refused:
                return refused.code

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(attempt, asked))


def test_sixteen_at_once_retire_one_certificate_once(wired: None) -> None:
    _, (serial,) = issue([500])
    answers = retire_at_once([(serial, f"beneficiary {n}") for n in range(THREADS)])
    assert sorted(answers) == ["not_active"] * (THREADS - 1) + ["retired"]
    proof = prove(wiring.removal_ports(), serial)
    assert proof.batch.retired_mg == 500
    assert proof.fault is None


def test_sixteen_retirements_of_one_batch_all_come_through_in_one_chain(wired: None) -> None:
    batch, serials = issue([10 + n for n in range(THREADS)])
    assert retire_at_once([(each, "Ada") for each in serials]) == ["retired"] * THREADS
    ports = wiring.removal_ports()
    found = ports.certificates.get_batch(batch.serial)
    assert found is not None
    assert (found.retired_mg, found.free_mg) == (batch.issued_mg, 0)
    assert find_fault(found, ports.certificates.list_entries(batch.serial)) is None
    assert {read_certificate(ports, each).state for each in serials} == {"retired"}


def test_rows_come_back_as_they_went(wired: None) -> None:
    batch, _ = issue([5])
    ports = wiring.removal_ports()
    window = replace(STATEMENT.window, host_id=batch.host_id)
    assert read_statement(ports, window) == replace(STATEMENT, window=window)
    assert [each.mass_mg for each in list_shares(ports, batch.host_id, 5, None).items] == [7]
    assert ports.certificates.get_batch(batch.serial) == batch

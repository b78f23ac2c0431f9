"""Credits: never more than was issued, never retired twice, every act in a chain that shows a change."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.removals.certificates import Batch, BatchExhausted, cut, find_fault, split, take, write
from chalicelib.removals.retiring import (
    allocate_credits,
    prove,
    read_certificate,
    retire_certificate,
    split_certificate,
)
from chalicelib.removals.service import list_shares
from tests.fakes import Crash
from tests.unit.removals.site import Site

THREADS = 16


@pytest.fixture
def site():
    return Site()


def check_batch(site, serial):
    """What holds at every moment."""
    batch = site.batch(serial)
    rows = [each for each in site.db.table("certificates").values() if each.serial.startswith(serial)]
    whole = [each for each in rows if each.state != "split"]
    assert batch.allocated_mg + batch.sold_mg + batch.buffer_mg <= batch.issued_mg
    assert sum(each.mass_mg for each in whole if each.kind == "sold") == batch.sold_mg
    assert sum(each.mass_mg for each in whole if each.kind == "allocated") == batch.allocated_mg
    assert sum(each.mass_mg for each in whole if each.state == "retired") == batch.retired_mg
    assert len(rows) == batch.children
    assert find_fault(batch, site.ports.certificates.list_entries(serial)) is None
    return batch


def at_once(acts):
    def attempt(act):
        try:
            return act()
        except Conflict as refused:
            return refused.code

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(attempt, acts))


def allocate(site, serial):
    return allocate_credits(site.ports, site.operator, serial)


def retire(site, serial, beneficiary="Ada"):
    return retire_certificate(site.ports, site.operator, serial, beneficiary)


def test_what_is_left_after_buffer_and_sales_is_the_tenants_to_the_milligram(site):
    serial = site.issue_all().serial
    site.sell(serial, 1_000_000)
    after = allocate(site, serial)
    assert after.free_mg == 0
    assert after.allocated_mg + after.sold_mg + after.buffer_mg == after.issued_mg
    (share,) = list_shares(site.ports, site.a, 9, None).items
    assert (share.state, read_certificate(site.ports, share.serial).mass_mg) == ("final", share.mass_mg)
    assert share.mass_mg == pytest.approx(after.allocated_mg / 2, abs=2)
    assert allocate(site, serial) == after, "again, it changes nothing"
    with pytest.raises(BatchExhausted):
        site.sell(serial, 1, key="late")
    check_batch(site, serial)


def test_no_more_is_sold_than_is_free_and_a_key_sells_once(site):
    batch = site.issue_all()
    first = site.sell(batch.serial, 5)
    assert (first.replayed, site.sell(batch.serial, 5).body) == (False, first.body)
    with pytest.raises(IdempotencyMismatch):
        site.sell(batch.serial, 6)
    with pytest.raises(BatchExhausted) as refused:
        site.sell(batch.serial, batch.free_mg, key="all")
    assert refused.value.extra["free_mg"] == batch.free_mg - 5
    site.sell(batch.serial, batch.free_mg - 5, key="rest")
    check_batch(site, batch.serial)


def test_a_certificate_is_split_to_the_milligram_and_its_parts_are_retired_alone(site):
    serial = site.issue_all().serial
    sold = site.sell(serial, 100).body
    parts = split_certificate(site.ports, site.operator, sold, 30)
    assert [each.mass_mg for each in parts] == [30, 70]
    assert {each.parent for each in parts} == {sold}
    assert split_certificate(site.ports, site.operator, sold, 30) == parts
    with pytest.raises(Conflict):
        split_certificate(site.ports, site.operator, sold, 31)
    with pytest.raises(Conflict):
        retire(site, sold)
    retire(site, parts[0].serial)
    assert check_batch(site, serial).retired_mg == 30
    for empty in (0, 70):
        with pytest.raises(InvalidInput):
            split_certificate(site.ports, site.operator, parts[1].serial, empty)


def test_nothing_is_retired_twice_by_sixteen_at_once(site):
    serial = site.issue_all().serial
    sold = site.sell(serial, 500).body
    answers = at_once([lambda name=f"beneficiary {n}": retire(site, sold, name) for n in range(THREADS)])
    retired = [each for each in answers if each != "not_active"]
    assert len(retired) == 1
    assert read_certificate(site.ports, sold).beneficiary == retired[0].beneficiary
    assert check_batch(site, serial).retired_mg == 500
    assert len(site.audit("certificate.retired")) == 1


def test_sixteen_retirements_of_one_batch_all_come_through(site):
    serial = site.issue_all().serial
    sold = [site.sell(serial, 10 + n, key=str(n)).body for n in range(THREADS)]
    answers = at_once([lambda each=each: retire(site, each) for each in sold])
    assert {each.state for each in answers} == {"retired"}
    assert check_batch(site, serial).retired_mg == sum(10 + n for n in range(THREADS))


def test_sixteen_sales_at_once_never_sell_more_than_there_is(site):
    batch = site.issue_all()
    each_mg = batch.free_mg // 5
    answers = at_once(
        [lambda n=n: site.sell(batch.serial, each_mg, key=str(n)).status for n in range(THREADS)]
    )
    assert sorted(answers, key=str) == [201] * 5 + ["batch_exhausted"] * 11
    check_batch(site, batch.serial)


def test_a_retirement_is_for_ever_and_for_one(site):
    sold = site.sell(site.issue_all().serial, 9).body
    first = retire(site, sold)
    assert retire(site, sold) == first
    with pytest.raises(Conflict) as refused:
        retire(site, sold, "somebody else")
    assert refused.value.code == "not_active"


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_whoever_dies_over_a_batch_and_comes_again_did_it_once(side):
    site = Site()
    serial = site.issue_all().serial
    made = []
    acts = (
        lambda: made.append(site.sell(serial, 100).body),
        lambda: split_certificate(site.ports, site.operator, made[0], 40),
        lambda: retire(site, f"{made[0][:-4]}0002"),
        lambda: allocate(site, serial),
    )
    for act in acts:
        setattr(site.db, side, site.db.commits)
        with pytest.raises(Crash):
            act()
        setattr(site.db, side, None)
        check_batch(site, serial)
        act()
        check_batch(site, serial)
    batch = site.batch(serial)
    assert (batch.sold_mg, batch.retired_mg, batch.free_mg) == (100, 40, 0)
    assert batch.entries == 5
    assert len(site.db.table("register")) == 5


def test_anybody_sees_what_stands_behind_a_serial(site):
    serial = site.issue_all().serial
    sold = site.sell(serial, 7).body
    proof = prove(site.ports, sold)
    assert (proof.certificate.mass_mg, proof.batch.serial, proof.fault) == (7, serial, None)
    assert proof.statement.evidence == "report 7"
    assert prove(site.ports, serial).certificate is None
    for unknown in ("PC-20270115-0123456789AB", f"{serial}-9999", "nonsense", f"{serial}-1"):
        with pytest.raises(NotFound):
            prove(site.ports, unknown)


def test_an_entry_that_is_changed_removed_or_swapped_is_found(site):
    serial = site.issue_all().serial
    for n in range(3):
        site.sell(serial, 10, key=str(n))
    batch, entries = site.batch(serial), site.ports.certificates.list_entries(serial)
    assert find_fault(batch, entries) is None
    (first, stored), *_ = entries
    changed = [(replace(first, mass_mg=first.mass_mg + 1), stored), *entries[1:]]
    assert find_fault(batch, changed) == "entry 1 was changed"
    assert find_fault(batch, entries[1:]) == "entry 1 is missing"
    assert find_fault(batch, entries[:-1]) == "the last entries are missing"
    assert find_fault(batch, [entries[1], entries[0], *entries[2:]]) is not None
    rows = site.db.table("register")
    rows[serial, 2] = (replace(rows[serial, 2][0], mass_mg=1), rows[serial, 2][1])
    assert prove(site.ports, serial).fault == "entry 2 was changed"


@settings(max_examples=1_000)
@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.lists(st.tuples(st.sampled_from(["sold", "allocated"]), st.integers(0, 10**12)), max_size=8),
)
def test_whatever_is_asked_for_the_bound_holds(issued, buffer, asked):
    batch = Batch("PC-20270115-000000000000", "h", "u", "d", 1, "r", issued, min(buffer, issued), 1)
    for kind, mass in asked:
        free = batch.free_mg
        if mass > free:
            with pytest.raises(BatchExhausted):
                take(batch, kind, mass)
            continue
        batch = take(batch, kind, mass)
        assert batch.free_mg == free - mass
    assert 0 <= batch.allocated_mg + batch.sold_mg + batch.buffer_mg <= issued


@settings(max_examples=1_000)
@given(st.integers(2, 10**12), st.lists(st.integers(1, 99), max_size=6))
def test_splits_keep_every_milligram(mass, cuts):
    batch = Batch("PC-20270115-000000000000", "h", "u", "d", 1, "r", mass, 0, 1)
    batch, whole = cut(batch, batch.serial, "sold", "x", mass, 1)
    leaves, serials = [whole], {whole.serial}
    for percent in cuts:
        target = max(leaves, key=lambda each: each.mass_mg)
        if target.mass_mg < 2:
            break
        batch, gone, parts = split(batch, target, max(1, target.mass_mg * percent // 100), 2)
        leaves = [each for each in leaves if each.serial != gone.serial] + list(parts)
        serials |= {each.serial for each in parts}
    assert sum(each.mass_mg for each in leaves) == mass
    assert len(serials) == batch.children
    batch, entry = write(batch, "issued", "s", 1, 1)
    assert find_fault(batch, [(entry, entry.hash)]) is None

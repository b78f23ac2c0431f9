"""Whatever an attacker does to any of 10,000 entries or their links, the verifier says so."""

import random
import time
from dataclasses import replace

import pytest

from chalicelib.compliance.model import (
    CHAIN_START,
    EMPTY,
    Head,
    build_links,
    check_entry,
    check_links,
    hash_link,
)
from chalicelib.compliance.verifying import verify_account
from tests.unit.compliance.trails import ACCOUNT, ENTRY_FIELDS, LINK_FIELDS, Trail, build_entry

COUNT = 10_000
ALL = 10**9


@pytest.fixture(scope="module")
def trail():
    """10,000 entries, linked and anchored, twice."""
    made = Trail()
    made.write(COUNT // 2)
    made.anchor()
    made.write(COUNT // 2)
    made.anchor()
    return made


@pytest.fixture(scope="module")
def chain(trail):
    return trail.list_chain()


def verify(trail):
    return verify_account(trail.ports, ACCOUNT, limit=ALL)


def restoring(rows):
    """Give the table back as it was."""
    before = dict(rows)

    def restore():
        rows.clear()
        rows.update(before)

    return restore


def close(link):
    """As an attacker would who knows how links are hashed."""
    return replace(link, hash=hash_link(link))


def test_what_nobody_touched_is_verified_at_a_rate(trail):
    begun = time.perf_counter()
    report = verify(trail)
    rate = COUNT / (time.perf_counter() - begun)
    assert (report.links, report.findings.count, report.next_sequence) == (COUNT, 0, None)
    assert report.head.sequence == report.last_anchor.head.sequence == COUNT
    print(f"verified {rate:,.0f} entries/s")
    assert rate > 1_000


@pytest.mark.parametrize("field", ENTRY_FIELDS)
def test_one_flipped_bit_in_any_field_of_any_entry_is_found(trail, chain, field):
    """Each entry alone, at a byte and a bit that move from entry to entry: 10,000 a field, 1,250 a bit."""
    flip, found = ENTRY_FIELDS[field], 0
    for number, link in enumerate(chain):
        flipped = flip(trail.entries[link.audit_id], number // 8, number % 8)
        found += check_entry(link, flipped) is not None
    assert found == COUNT


@pytest.mark.parametrize("field", LINK_FIELDS)
def test_one_flipped_bit_in_any_field_of_any_link_is_found(chain, field):
    flip, found, before = LINK_FIELDS[field], 0, EMPTY
    for number, link in enumerate(chain):
        found += any(check_links(ACCOUNT, before, [flip(link, number // 8, number % 8)]))
        before = link.head
    assert found == COUNT


def test_the_whole_verifier_names_each_of_ten_thousand_flipped_entries(trail):
    restore = restoring(trail.entries)
    flips = list(ENTRY_FIELDS.values())
    for number, (audit_id, entry) in enumerate(list(trail.entries.items())):
        trail.entries[audit_id] = flips[1 + number % (len(flips) - 1)](entry, number, number % 8)
    report = verify(trail)
    restore()
    assert report.findings.count >= COUNT


def spoil_samples(trail, spoil, count):
    """Spoil one of ``count`` places, verify, put it back; return how often it was found."""
    found = 0
    places = random.Random(7).sample(range(2, COUNT), count - 2)
    for number in (1, COUNT, *places):
        restores = [restoring(rows) for rows in (trail.entries, trail.links, trail.db.table("linked"))]
        spoil(trail, number)
        found += verify(trail).findings.count > 0
        for restore in restores:
            restore()
    return found


def drop_entry(trail, number):
    del trail.entries[trail.links[ACCOUNT, number].audit_id]


def drop_link(trail, number):
    del trail.links[ACCOUNT, number]


def drop_both(trail, number):
    del trail.entries[trail.links.pop((ACCOUNT, number)).audit_id]


def swap_links(trail, number):
    other = number % COUNT + 1
    one, two = trail.links[ACCOUNT, number], trail.links[ACCOUNT, other]
    trail.links[ACCOUNT, number] = close(replace(two, sequence=number, previous_hash=one.previous_hash))
    trail.links[ACCOUNT, other] = close(replace(one, sequence=other, previous_hash=two.previous_hash))


def swap_entries(trail, number):
    one, two = (trail.links[ACCOUNT, each].audit_id for each in (number, number % COUNT + 1))
    trail.entries[one], trail.entries[two] = trail.entries[two], trail.entries[one]


def rewrite_link(trail, number):
    """Another entry with a link of its own that is hashed as it must be."""
    link = trail.links[ACCOUNT, number]
    forged = replace(trail.entries[link.audit_id], actor="key_forged")
    trail.entries[link.audit_id] = forged
    head = Head(number - 1, link.previous_hash)
    (trail.links[ACCOUNT, number],) = build_links(ACCOUNT, head, [forged], link.linked_at_ms)


def insert_entry(trail, number):
    """An entry that nothing links, long ago."""
    entry = build_entry(COUNT + number, ACCOUNT, trail.entries[trail.links[ACCOUNT, 1].audit_id].at_ms)
    trail.entries[entry.audit_id] = entry


def insert_link(trail, number):
    """A link in between; all that follow move on by one, each hashed as it must be."""
    restated = trail.list_chain()[number - 1 :]
    entry = build_entry(COUNT + number, ACCOUNT, restated[0].at_ms)
    trail.entries[entry.audit_id] = entry
    relink(trail, number, [entry, *(trail.entries[link.audit_id] for link in restated)])


def relink(trail, number, entries):
    before = trail.links[ACCOUNT, number - 1].head if number > 1 else EMPTY
    for key in [key for key in trail.links if key[1] >= number]:
        trail.links.pop(key)
    for link in build_links(ACCOUNT, before, entries, trail.clock.now_ms()):
        trail.links[ACCOUNT, link.sequence] = link
        trail.db.table("linked")[link.audit_id] = link.sequence


def rewrite_all(trail, number):
    """The entry is gone, its link too, and the whole chain behind it is written anew without a fault."""
    rest = trail.list_chain()[number:]
    drop_both(trail, number)
    relink(trail, number, [trail.entries[link.audit_id] for link in rest])


def truncate(trail, number):
    """The tail is gone, entries, links and marks: what is left is a perfect chain."""
    for link in trail.list_chain()[number - 1 :]:
        del trail.links[ACCOUNT, link.sequence]
        del trail.entries[link.audit_id]
        del trail.db.table("linked")[link.audit_id]


@pytest.mark.parametrize(
    ("spoil", "samples"),
    [
        (drop_entry, 4),
        (drop_link, 4),
        (drop_both, 4),
        (swap_links, 4),
        (swap_entries, 4),
        (rewrite_link, 4),
        (insert_entry, 2),
        (insert_link, 2),
        (rewrite_all, 2),
        (truncate, 4),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_whatever_is_dropped_inserted_swapped_rewritten_or_cut_off_is_found(trail, spoil, samples):
    assert spoil_samples(trail, spoil, samples) == samples
    assert verify(trail).findings.count == 0


def test_every_entry_and_every_link_that_is_dropped_alone_is_found(trail, chain):
    """All 10,000 of each, against their neighbours: what the verifier does at that place."""
    lost = sum(check_entry(link, None) is not None for link in chain)
    gaps, swaps, before = 0, 0, EMPTY
    for link, after in zip(chain, [*chain[1:], None], strict=True):
        if after is not None:
            gaps += any(check_links(ACCOUNT, before, [after]))
            swaps += any(check_links(ACCOUNT, before, [after, link]))
        before = link.head
    assert (lost, gaps, swaps) == (COUNT, COUNT - 1, COUNT - 1)


def test_a_cut_that_takes_the_rows_of_its_anchors_too_contradicts_what_is_kept(trail):
    tables = [trail.entries, trail.links, *(trail.db.table(name) for name in ("linked", "anchored"))]
    restores = [restoring(rows) for rows in tables]
    truncate(trail, COUNT // 2 + 1)
    del trail.db.table("anchored")[ACCOUNT, COUNT]
    report = verify(trail)
    for restore in restores:
        restore()
    kinds = {problem.kind for problem in report.findings.problems}
    assert kinds == {"anchor_changed", "anchor_contradicted"}
    assert report.last_anchor.head.sequence == COUNT


def test_a_chain_begins_where_nothing_was_before():
    trail = Trail()
    trail.write(1)
    assert trail.links[ACCOUNT, 1].previous_hash == CHAIN_START

"""Chains without gaps, whoever dies, comes twice or at once; anchors; what is late is found."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.billing.seals import hash_node
from chalicelib.compliance.anchors import (
    ANCHORS_START,
    AnchorMismatch,
    build_proof,
    hash_leaf,
    name_anchor,
    read_document,
)
from chalicelib.compliance.linking import ATTEMPTS, CHUNK, HOUR_MS, OVERDUE_MS, link_entries, sweep_entries
from chalicelib.compliance.model import AccountHead, check_links, render_entry
from chalicelib.compliance.ports import Progress
from chalicelib.compliance.verifying import verify_account, verify_anchors, verify_round
from chalicelib.core.errors import Unavailable
from chalicelib.core.ports import AuditEntry
from tests.fakes.database import Crash
from tests.unit.compliance.trails import ACCOUNT, LATER, Trail


@pytest.fixture
def trail():
    return Trail()


def verify(trail, **asked):
    return verify_account(trail.ports, trail.account_id, **asked)


def assert_whole(trail, count):
    """So many entries, linked once each, without a gap and a fault."""
    chain = trail.list_chain()
    assert [link.sequence for link in chain] == list(range(1, count + 1))
    assert sorted(link.audit_id for link in chain) == sorted(trail.entries)
    assert verify(trail).findings.count == 0


def test_the_canonical_bytes_of_an_entry_are_these():
    """Version 1, for ever: a change is a new version."""
    entry = AuditEntry("aud_1", "acc_1", "key_1", "a.b", "é", 5, {"b": [1, None], "a": {"d": "x", "c": True}})
    assert render_entry(entry) == (
        b'["audit-entry",1,"aud_1","acc_1","key_1","a.b","\\u00e9",5,{"a":{"c":true,"d":"x"},"b":[1,null]}]'
    )


def test_entries_are_linked_in_the_order_of_the_stream_whatever_their_clocks_say(trail):
    late, early = reversed(trail.act(2))
    trail.link([late, early])
    assert [link.audit_id for link in trail.list_chain()] == [late.audit_id, early.audit_id]
    assert_whole(trail, 2)


def test_accounts_have_chains_of_their_own(trail):
    mixed = [entry for _ in range(3) for entry in (*trail.act(1), *trail.act(1, "acc_other"))]
    trail.link(mixed)
    assert [len(trail.list_chain(each)) for each in (ACCOUNT, "acc_other")] == [3, 3]


def test_what_the_stream_tells_again_is_linked_once(trail):
    made = trail.act(5)
    trail.link(made[:3])
    trail.link([*made, *made])
    trail.link(made[1:])
    assert_whole(trail, 5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12)), max_size=12))
def test_whatever_parts_come_however_often_no_entry_has_two_places_and_no_number_is_left_out(parts):
    trail = Trail()
    made = trail.act(12)
    for start, length in parts:
        trail.link(made[start : start + length])
    trail.link(made)
    assert_whole(trail, 12)


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
@pytest.mark.parametrize("number", range(3))
def test_a_consumer_that_dies_at_any_commit_is_followed_by_one_that_ends_its_work(when, number):
    trail = Trail()
    made = trail.act(3 * CHUNK)
    setattr(trail.db, when, number)
    with pytest.raises(Crash):
        trail.link(made)
    setattr(trail.db, when, None)
    trail.link(made)
    assert_whole(trail, len(made))


def test_two_consumers_at_once_make_one_chain(trail):
    made = trail.act(10)
    mine, theirs = made[:7], made[3:]
    steps = iter([theirs])
    trail.db.interlude = lambda: [trail.link(each) for each in itertools.islice(steps, 1)]
    trail.link(mine)
    trail.db.interlude = None
    assert_whole(trail, 10)


def test_a_chain_that_others_move_all_the_time_is_left_to_the_next_run(trail):
    made = trail.act(2)

    def move():
        trail.db.interlude = None
        trail.write(1)
        trail.db.interlude = move

    trail.db.interlude = move
    with pytest.raises(Unavailable):
        link_entries(trail.ports, ACCOUNT, made)
    assert len(trail.list_chain()) == ATTEMPTS
    trail.db.interlude = None
    trail.link(made)
    assert_whole(trail, ATTEMPTS + 2)


def test_what_the_stream_has_lost_is_found_by_the_sweep_and_told_once_it_is_late(trail):
    trail.act(3)
    assert sweep_entries(trail.ports, LATER).linked == 0, "the stream has two minutes"
    trail.clock.advance_seconds(5 * 60)
    swept = sweep_entries(trail.ports, LATER)
    assert (swept.linked, swept.overdue) == (3, 0)
    trail.act(2)
    trail.clock.advance_seconds(OVERDUE_MS // 1000 + 60)
    assert verify(trail).findings.count == 2
    assert {each.kind for each in verify(trail).findings.problems} == {"entry_not_linked"}
    swept = sweep_entries(trail.ports, LATER)
    assert (swept.linked, swept.overdue) == (2, 2)
    assert_whole(trail, 5)


def test_an_outage_of_any_length_is_swept_hour_by_hour(trail):
    sweep_entries(trail.ports, LATER)
    for _ in range(50):
        trail.act(1)
        trail.clock.advance_seconds(3600)
    sweep_entries(trail.ports, trail.clock.now_ms())
    assert trail.list_chain() == [], "without time nothing is begun"
    assert sweep_entries(trail.ports, LATER).linked == 50
    hour = trail.ports.store.get_swept_hour()
    assert trail.clock.now_ms() // HOUR_MS - 1 <= hour <= trail.clock.now_ms() // HOUR_MS
    assert sweep_entries(trail.ports, LATER).linked == 0
    assert_whole(trail, 50)


def test_an_entry_that_the_index_shows_late_is_swept_while_its_hour_is_young(trail):
    (entry,) = trail.act(1)
    trail.ports.store.unlisted = frozenset({entry.audit_id})
    trail.clock.advance_seconds(300)
    assert sweep_entries(trail.ports, LATER).linked == 0
    trail.ports.store.unlisted = frozenset()
    assert sweep_entries(trail.ports, LATER).linked == 1


def test_only_heads_that_moved_are_anchored_and_every_anchor_follows(trail):
    trail.write(2)
    trail.write(3, "acc_other")
    (first,) = trail.anchor().anchors
    trail.write(1, "acc_other")
    (second,) = trail.anchor().anchors
    (third,) = trail.anchor().anchors
    assert [each.number for each in (first, second, third)] == [1, 2, 3]
    assert [each.size for each in (first, second, third)] == [2, 1, 0]
    assert [each.previous_root for each in (first, second, third)] == [ANCHORS_START, first.root, second.root]
    report = verify_anchors(trail.ports, 1, 3, LATER)
    assert (report.anchors, report.links, report.findings.count) == (3, 6, 0)
    assert trail.db.table("moved") == {}


def test_a_chain_that_moves_while_it_is_anchored_is_in_the_next_anchor(trail):
    trail.write(1)
    trail.db.interlude = lambda: (setattr(trail.db, "interlude", None), trail.write(1))
    trail.anchor()
    assert [head.sequence for head in trail.ports.store.list_moved(9)] == [2]
    trail.anchor()
    assert verify(trail).last_anchor.head.sequence == 2


@pytest.mark.parametrize(
    ("where", "when", "number"),
    [
        *(("vault", when, 0) for when in ("crash_before", "crash_after")),
        *(("db", when, number) for when in ("crash_before", "crash_after") for number in range(2)),
    ],
)
def test_an_anchor_whose_run_dies_anywhere_is_ended_by_the_next_with_the_same_bytes(where, when, number):
    trail = Trail()
    trail.write(3)
    trail.write(2, "acc_other")
    part = getattr(trail, where)
    setattr(part, when, (trail.db.commits if where == "db" else 0) + number)
    with pytest.raises(Crash):
        trail.anchor()
    setattr(part, when, None)
    kept = dict(trail.vault.files)
    trail.write(4)
    trail.anchor()
    trail.anchor()
    assert kept.items() <= trail.vault.files.items()
    last = trail.ports.store.get_last_anchor().number
    assert verify_anchors(trail.ports, 1, last, LATER).findings.count == 0
    assert verify(trail).last_anchor.head.sequence == 7
    assert trail.db.table("moved") == {}


def test_two_runs_at_once_come_to_one_anchor(trail):
    trail.write(2)
    trail.db.interlude = lambda: (setattr(trail.db, "interlude", None), trail.anchor())
    trail.anchor()
    numbers = sorted(trail.db.table("anchors"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert verify_anchors(trail.ports, 1, numbers[-1], LATER).findings.count == 0


def test_a_mark_that_names_another_head_is_told_and_not_anchored(trail):
    trail.write(2)
    trail.db.table("moved")[ACCOUNT] = AccountHead(ACCOUNT, 2, "e" * 64)
    done = trail.anchor()
    assert done.contradicted == (ACCOUNT,)
    assert done.anchors[0].size == 0


def test_an_anchor_that_was_rewritten_is_refused_and_found(trail):
    trail.write(2)
    trail.anchor()
    trail.db.table("anchors")[1] = replace(trail.db.table("anchors")[1], at_ms=1)
    with pytest.raises(AnchorMismatch):
        trail.anchor()
    assert "anchor_changed" in {
        each.kind for each in verify_anchors(trail.ports, 1, 1, LATER).findings.problems
    }


def test_every_bit_of_a_kept_anchor_counts(trail):
    for account_id in (ACCOUNT, "acc_other", "acc_third"):
        trail.write(2, account_id)
    trail.anchor()
    body = trail.vault.files[name_anchor(1)]
    document = read_document(body)
    for at, bit in itertools.product(range(len(body)), range(8)):
        flipped = bytearray(body)
        flipped[at] ^= 1 << bit
        with pytest.raises(AnchorMismatch):
            read_document(bytes(flipped))
    for account_id in (ACCOUNT, "acc_other", "acc_third"):
        proof = build_proof(document, account_id)
        node, index, size = hash_leaf(proof.head), proof.index, proof.anchor.size
        path = list(proof.path)
        while size > 1:
            if index ^ 1 < size:
                sibling = path.pop(0)
                node = hash_node(sibling, node) if index & 1 else hash_node(node, sibling)
            index, size = index // 2, (size + 1) // 2
        assert node == proof.anchor.tree_root
    assert build_proof(document, "acc_unknown") is None


def test_rows_of_anchors_that_were_cut_off_are_found_by_what_is_kept(trail):
    for _ in range(3):
        trail.write(2)
        trail.anchor()
    assert verify_round(trail.ports, LATER).count == 0
    del trail.db.table("anchors")[3]
    assert [each.kind for each in verify_round(trail.ports, LATER).problems] == ["anchor_missing"]
    # Also where nobody remembers that there were three.
    trail.ports.store.put_progress(Progress())
    trail.clock.advance_seconds(3600)
    assert [each.kind for each in verify_round(trail.ports, LATER).problems] == ["anchor_missing"]


def test_the_round_looks_at_what_is_new_first_and_comes_back_to_what_is_old(trail):
    for _ in range(4):
        trail.write(3)
        trail.anchor()
    assert verify_round(trail.ports, LATER).count == 0
    assert trail.ports.store.get_progress() == Progress(4, 4, finished_at_ms=trail.clock.now_ms())
    victim = trail.list_chain()[1]
    trail.entries[victim.audit_id] = replace(trail.entries[victim.audit_id], actor="key_other")
    trail.write(1)
    trail.anchor()
    # No time for more than what is new, and one of the round.
    found = verify_round(trail.ports, trail.clock.now_ms())
    assert (found.count, trail.ports.store.get_progress().newest) == (0, 5)
    kinds = [each.kind for _ in range(3) for each in verify_round(trail.ports, LATER).problems]
    assert "entry_changed" in kinds


def test_a_link_of_another_account_is_none(trail):
    trail.write(2)
    (link, _) = trail.list_chain()
    assert [each.kind for each in check_links("acc_other", replace(link).head, [])] == []
    problems = list(check_links("acc_other", trail.ports.store.get_head("acc_other"), [link]))
    assert [each.kind for each in problems] == ["link_changed"]


def test_what_is_put_over_an_anchor_is_found_and_stops_nothing(trail):
    trail.write(2)
    trail.anchor()
    trail.vault.covered.add(name_anchor(1))
    problems = verify_round(trail.ports, LATER).problems
    assert {(each.kind, each.sequence) for each in problems} == {("anchor_covered", 1)}
    trail.write(2)
    trail.anchor()
    assert trail.ports.store.get_last_anchor().number == 2

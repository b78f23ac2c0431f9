"""Daily seals: gapless, the same whoever dies, and nothing that was sealed is changed unseen."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.billing import functions
from chalicelib.billing.sealing import count_unsealed, prove_head, seal_ledger, verify_seals
from chalicelib.billing.seals import (
    GRACE_MS,
    PARTS,
    SEALS_START,
    ChainHead,
    Part,
    Proof,
    Seal,
    SealMismatch,
    build_path,
    compute_root,
    hash_leaf,
    is_in_seal,
    name_heads,
    name_seal,
    render_seal,
)
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput, NotFound
from tests.factories import give_credit, seed_cloud
from tests.fakes import Crash
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire

LATER = 10**15
DAY_SECONDS = 86_400
MIDNIGHT = "2026-11-30T00:00:00Z"
ACCOUNTS = [f"acc_{number}" for number in range(9)]


@pytest.fixture
def seeded():
    return seed()


def seed():
    """Nine wallets on the 29th; a quarter of an hour after its end."""
    seeded = seed_cloud(credit_micros=0)
    seeded.cloud.clock.value_ms = parse_instant("2026-11-29T12:00:00Z")
    for account_id in ACCOUNTS:
        give_credit(seeded, account_id, 1_000_000, key=f"{account_id}:first")
    seeded.cloud.clock.value_ms = parse_instant(MIDNIGHT) + GRACE_MS
    return seeded


def seal(seeded):
    return seal_ledger(seeded.cloud.seals, LATER)


def seal_next_day(seeded, *moved):
    for account_id in moved:
        give_credit(seeded, account_id, 5, key=f"{account_id}:{seeded.cloud.clock.now_ms()}")
    seeded.cloud.clock.advance_seconds(DAY_SECONDS)
    return seal(seeded)


def define_root(leaves):
    """MTH of RFC 9162, section 2.1.1, as it stands there, over hashes of leaves."""
    if len(leaves) == 1:
        return bytes.fromhex(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    below = define_root(leaves[:split]) + define_root(leaves[split:])
    return hashlib.sha256(b"\x01" + below).digest()


def build_heads(count):
    return [ChainHead(f"acc_{each:04d}", each, f"{each:064x}") for each in range(count)]


@settings(deadline=None)
@given(st.integers(1, 40))
def test_the_root_is_that_of_the_rfc_and_every_leaf_is_proven(count):
    heads = build_heads(count)
    leaves = [hash_leaf(head) for head in heads]
    assert compute_root(leaves) == define_root(leaves).hex()
    of_part = Seal("2026-11-29", SEALS_START, 1, (Part(count, compute_root(leaves)),))
    for index, head in enumerate(heads):
        proof = Proof(of_part, 0, index, head, build_path(leaves, index))
        assert is_in_seal(proof)
        assert not is_in_seal(replace(proof, head=replace(head, version=head.version + 1)))
        assert not is_in_seal(replace(proof, path=(*proof.path, SEALS_START)))
        assert not is_in_seal(replace(proof, index=count))
        assert count == 1 or not is_in_seal(replace(proof, path=proof.path[1:]))


def test_a_node_is_no_leaf_and_nothing_has_a_root_of_its_own():
    left, right = (hash_leaf(head) for head in build_heads(2))
    assert compute_root([left, right]) != hashlib.sha256(bytes.fromhex(left + right)).hexdigest()
    assert compute_root([]) == hashlib.sha256(b"").hexdigest()


@settings(deadline=None)
@given(st.data())
def test_a_root_depends_on_every_leaf_and_their_order(data):
    heads = build_heads(data.draw(st.integers(2, 40)))
    at = data.draw(st.integers(0, len(heads) - 2))
    root = compute_root([hash_leaf(head) for head in heads])
    changed = [*heads[:at], replace(heads[at], hash="f" * 64), *heads[at + 1 :]]
    swapped = [*heads[:at], heads[at + 1], heads[at], *heads[at + 2 :]]
    for other in (changed, swapped, heads[:-1]):
        assert compute_root([hash_leaf(head) for head in other]) != root


def test_a_day_is_sealed_once_it_is_over_and_what_ran_at_midnight_has_ended(seeded):
    (first,) = seal(seeded)
    assert (first.day, first.previous_root, first.size) == ("2026-11-29", SEALS_START, len(ACCOUNTS))
    assert seeded.cloud.vault.files[name_seal(first.day)] == render_seal(first)
    seeded.cloud.clock.value_ms = parse_instant("2026-12-01T00:00:00Z") + GRACE_MS - 1
    assert seal(seeded) == []
    seeded.cloud.clock.value_ms += 1
    assert [each.day for each in seal(seeded)] == ["2026-11-30"]
    assert seal(seeded) == []


def test_each_seal_follows_the_one_before_and_days_that_were_missed_are_sealed_in_order(seeded):
    (first,) = seal(seeded)
    seeded.cloud.clock.advance_seconds(3 * DAY_SECONDS)
    assert count_unsealed(seeded.cloud.seals) == 3
    late = seal(seeded)
    assert [each.day for each in late] == ["2026-11-30", "2026-12-01", "2026-12-02"]
    assert [each.previous_root for each in late] == [first.root, late[0].root, late[1].root]
    assert count_unsealed(seeded.cloud.seals) == 0
    assert verify_seals(seeded.cloud.seals, "2026-11-29", "2026-12-02") == late[-1].root


def test_the_first_seal_waits_for_the_first_wallet():
    seeded = seed_cloud(credit_micros=0)
    seeded.cloud.db.table("months").clear()
    assert seal(seeded) == []
    assert count_unsealed(seeded.cloud.seals) == 0
    assert seeded.cloud.vault.files == {}


def test_an_index_that_lists_nothing_does_not_make_a_day_empty(seeded):
    seal(seeded)
    seeded.cloud.seals.store.unlisted = frozenset(ACCOUNTS)
    (second,) = seal_next_day(seeded, "acc_3")
    assert second.size == len(ACCOUNTS)


def test_a_wallet_that_is_new_is_in_the_next_seal(seeded):
    seal(seeded)
    (second,) = seal_next_day(seeded, "acc_new")
    assert second.size == len(ACCOUNTS) + 1
    with pytest.raises(NotFound):
        prove_head(seeded.cloud.seals, "acc_new", "2026-11-29")
    assert prove_head(seeded.cloud.seals, "acc_new", second.day).head.version == 1


def test_every_wallet_has_a_proof_of_its_head_in_every_seal(seeded):
    seal(seeded)
    seal_next_day(seeded, "acc_2", "acc_5")
    for day, version in (("2026-11-29", 1), ("2026-11-30", 2)):
        for account_id in ACCOUNTS:
            proof = prove_head(seeded.cloud.seals, account_id, day)
            assert is_in_seal(proof)
            assert proof.head.account_id == account_id
            assert proof.head.version == (version if account_id in {"acc_2", "acc_5"} else 1)
            assert not is_in_seal(replace(proof, part=(proof.part + 1) % PARTS))


@pytest.mark.parametrize("day", ["yesterday", "2026-11-31", "20261129", ""])
def test_what_is_no_day_is_refused(seeded, day):
    with pytest.raises(InvalidInput, match="A day"):
        prove_head(seeded.cloud.seals, "acc_1", day)


def test_a_day_that_is_not_sealed_has_no_proof(seeded):
    with pytest.raises(NotFound):
        prove_head(seeded.cloud.seals, "acc_1", "2026-11-29")
    with pytest.raises(NotFound):
        verify_seals(seeded.cloud.seals, "2026-11-29", "2026-11-29")


def list_deaths():
    for when in ("crash_before", "crash_after"):
        yield from (("vault", when, number) for number in range(PARTS + 1))
        yield "db", when, 0


@pytest.mark.parametrize(("where", "when", "number"), [*list_deaths()])
def test_a_run_that_dies_anywhere_is_ended_by_the_next_with_what_it_wrote(where, when, number):
    seeded = seed()
    part = getattr(seeded.cloud, where)
    first = part.commits if where == "db" else part.writes
    setattr(part, when, first + number)
    with pytest.raises(Crash):
        seal(seeded)
    kept = dict(seeded.cloud.vault.files)
    setattr(part, when, None)
    # Money moves before the next run comes.
    for account_id in ACCOUNTS:
        give_credit(seeded, account_id, 7, key=f"{account_id}:meanwhile")
    seeded.cloud.clock.advance_seconds(3600)
    seal(seeded)
    seals = seeded.cloud.db.table("seals")
    assert list(seals) == ["2026-11-29"]
    files = seeded.cloud.vault.files
    assert len(files) == PARTS + 1
    assert {name: files[name] for name in kept} == kept
    assert files[name_seal("2026-11-29")] == render_seal(seals["2026-11-29"])
    seal_next_day(seeded)
    verify_seals(seeded.cloud.seals, "2026-11-29", "2026-11-30")


def test_two_runs_at_once_come_to_one_seal(seeded):
    other = []
    seeded.cloud.db.interlude = lambda: other or (other.append(1), other.append(seal(seeded)))
    mine = seal(seeded)
    assert mine == other[1]
    assert len(seeded.cloud.db.table("seals")) == 1


def test_a_run_without_time_goes_on_where_it_stopped(seeded):
    assert seal_ledger(seeded.cloud.seals, seeded.cloud.clock.now_ms()) == []
    assert seeded.cloud.vault.files == {}
    assert len(seal(seeded)) == 1


def tamper_with_hash(db):
    leg, _ = db.table("chains")["acc_4", 1]
    db.table("chains")["acc_4", 1] = (leg, "e" * 64)


def tamper_by_removal(db):
    del db.table("chains")["acc_4", 1]


def tamper_with_wallet(db):
    db.table("balances")["acc_4"] = replace(db.table("balances")["acc_4"], chain_hash="e" * 64)


def tamper_with_version(db):
    db.table("balances")["acc_4"] = replace(db.table("balances")["acc_4"], leg_version=0)


def remove_wallet(db):
    del db.table("balances")["acc_4"]


@pytest.mark.parametrize(
    "tamper",
    [tamper_with_hash, tamper_by_removal, tamper_with_wallet, tamper_with_version, remove_wallet],
)
def test_what_was_sealed_and_is_changed_is_found_the_next_day_and_nothing_more_is_sealed(seeded, tamper):
    seal(seeded)
    tamper(seeded.cloud.db)
    kept = dict(seeded.cloud.vault.files)
    with pytest.raises(SealMismatch, match="acc_4"):
        seal_next_day(seeded)
    assert len(seeded.cloud.db.table("seals")) == 1
    assert name_seal("2026-11-30") not in seeded.cloud.vault.files
    assert kept.items() <= seeded.cloud.vault.files.items()


def test_a_seal_that_was_rewritten_contradicts_what_is_kept(seeded):
    (first,) = seal(seeded)
    rewritten = replace(first, sealed_at_ms=first.sealed_at_ms + 1)
    seeded.cloud.db.table("seals")[first.day] = rewritten
    with pytest.raises(SealMismatch):
        verify_seals(seeded.cloud.seals, first.day, first.day)
    with pytest.raises(SealMismatch):
        seal_next_day(seeded)


def test_heads_that_were_rewritten_contradict_their_root(seeded):
    (first,) = seal(seeded)
    name = name_heads(first.day, 0)
    files = seeded.cloud.vault.files
    files[name] = files[name].replace(b",1,", b",2,")
    with pytest.raises(SealMismatch):
        verify_seals(seeded.cloud.seals, first.day, first.day)


def test_verification_finds_a_leg_that_was_changed_long_after(seeded):
    seal(seeded)
    seal_next_day(seeded, *ACCOUNTS)
    tamper_with_hash(seeded.cloud.db)
    verify_seals(seeded.cloud.seals, "2026-11-30", "2026-11-30")
    with pytest.raises(SealMismatch, match="acc_4"):
        verify_seals(seeded.cloud.seals, "2026-11-29", "2026-11-30")


def test_a_seal_that_does_not_follow_is_found(seeded):
    seal(seeded)
    (second,) = seal_next_day(seeded)
    false = replace(second, previous_root=SEALS_START)
    seeded.cloud.db.table("seals")[second.day] = false
    seeded.cloud.vault.files[name_seal(second.day)] = render_seal(false)
    with pytest.raises(SealMismatch, match="does not follow"):
        verify_seals(seeded.cloud.seals, "2026-11-29", second.day)


def serve(seeded, monkeypatch):
    rewire(
        monkeypatch,
        seal_ports=seeded.cloud.seals,
        tampering_ports=seeded.cloud.tampering,
        clock=seeded.cloud.clock,
        settings=SimpleNamespace(stage="test"),
    )


SCHEDULED = {
    **dict.fromkeys(("version", "account", "region", "detail-type", "source", "time", "id"), ""),
    "detail": {},
    "resources": [],
}


def test_a_mismatch_calls_a_person_and_so_does_a_day_that_stays_open(seeded, monkeypatch, capsys):
    serve(seeded, monkeypatch)
    functions.seal_ledger(SCHEDULED, None)
    assert read_metrics(capsys) == {"seal_mismatches": 0, "days_unsealed": 0}
    remove_wallet(seeded.cloud.db)
    seeded.cloud.clock.advance_seconds(2 * DAY_SECONDS)
    functions.seal_ledger(SCHEDULED, None)
    assert read_metrics(capsys) == {"seal_mismatches": 1, "days_unsealed": 2}


@pytest.mark.parametrize("name", [name_seal("2026-11-29"), name_heads("2026-11-29", 3)])
def test_what_is_put_over_a_seal_calls_a_person_and_stops_nothing(seeded, monkeypatch, capsys, name):
    serve(seeded, monkeypatch)
    (first,) = seal(seeded)
    seeded.cloud.vault.covered.add(name)
    functions.seal_ledger(SCHEDULED, None)
    assert read_metrics(capsys)["seal_mismatches"] == 1
    with pytest.raises(SealMismatch, match=f"over {name}; what was first agrees"):
        verify_seals(seeded.cloud.seals, first.day, first.day)
    (second,) = seal_next_day(seeded)
    assert second.previous_root == first.root


def test_an_operator_verifies_a_run_of_days(seeded, monkeypatch):
    serve(seeded, monkeypatch)
    (first,) = seal(seeded)
    asked = {"first_day": first.day, "last_day": first.day}
    assert functions.verify_seals(asked, None) == {"last_day": first.day, "root": first.root}
    tamper_by_removal(seeded.cloud.db)
    with pytest.raises(SealMismatch):
        functions.verify_seals(asked, None)

"""Histories made by hand: what each breaks is named, and a good one is left alone."""

from dataclasses import replace

import pytest

from tests.simulation.history import check_history
from tests.simulation.records import Bill, EndedRental, Held, Operation, Rest

GPU = "GPU-1"
FIRST, SECOND = Held("rnt_a", GPU, 1), Held("rnt_b", GPU, 3)
BILL = Bill(1, "settled", 700, 700, (0, 1), "void")


def did(kind, invoked_us, ended_us, **facts):
    return Operation(0, kind, facts.pop("subject", "key"), invoked_us, ended_us, "ok", **facts)


def ended(rental_id, key, held, **facts):
    rental = EndedRental(rental_id, key, "terminated", "settled", (1,), (held,), 700, (BILL,))
    return replace(rental, **facts)


#: Rented, seen, wiped, rented by another.
GOOD = (
    did("rent", 0, 10, subject="a", made_id="rnt_a", held=(FIRST,)),
    did("look", 20, 25, held=(FIRST,)),
    did("beat", 40, 45, epochs=((GPU, 2),), wiped=((GPU, 2),)),
    did("rent", 42, 60, subject="b", made_id="rnt_b", held=(SECOND,)),
    did("look", 70, 75, held=(SECOND,)),
    replace(did("rent", 80, 90, subject="c"), outcome="fail", detail="no_capacity"),
)
A, B = ended("rnt_a", "a", FIRST), ended("rnt_b", "b", SECOND)
REST = Rest(rentals=(A, B), held_micros={"acc": 0}, used_gpus={"acc": 0}, tickets=(), gpus={GPU: ("free", 4)})


def rules(operations=GOOD, rest=REST):
    return {objection.rule for objection in check_history(operations, rest)}


def resting(*rentals, **facts):
    return replace(REST, rentals=rentals or REST.rentals, **facts)


def test_a_good_history_is_left_alone():
    assert rules() == set()
    assert rules((), Rest()) == set()


def test_two_rentals_with_one_epoch_are_noticed_even_when_only_a_record_tells():
    assert "double lease" in rules(rest=resting(A, ended("rnt_b", "b", replace(SECOND, epoch=1))))


def test_two_leases_that_were_held_at_one_instant_are_noticed():
    seen_again = did("look", 100, 105, held=(FIRST,))
    objections = check_history((*GOOD, seen_again), REST)
    (double,) = [each for each in objections if each.rule == "double lease"]
    assert seen_again in double.operations
    assert "rnt_a" in str(double)


def test_leases_that_only_may_have_overlapped_are_no_double_lease():
    # The look began before the wipe and ended after the second lease was there.
    assert rules((*GOOD, did("look", 41, 90, held=(FIRST,)))) == set()


@pytest.mark.parametrize(
    "late",
    [did("beat", 61, 65, epochs=((GPU, 2),)), did("rent", 61, 65, subject="b", held=(FIRST,))],
    ids=["of a free GPU", "of a leased one"],
)
def test_an_epoch_that_falls_is_noticed(late):
    assert "falling epoch" in rules((*GOOD, late))


def test_an_epoch_that_has_fallen_at_the_end_is_noticed():
    assert rules(rest=resting(gpus={GPU: ("free", 2)})) == {"falling epoch"}


def test_a_gpu_that_was_given_on_without_a_wipe_is_noticed():
    without = tuple(each for each in GOOD if not each.wiped)
    assert rules(without) == {"no wipe"}
    late = tuple(replace(each, invoked_us=65, ended_us=68) if each.wiped else each for each in GOOD)
    assert "no wipe" in rules(late)
    refused = tuple(replace(each, outcome="fail") if each.wiped else each for each in GOOD)
    assert rules(refused) == {"no wipe"}


def test_an_acknowledgement_whose_answer_was_lost_may_have_counted():
    assert rules(tuple(replace(each, outcome="info") if each.wiped else each for each in GOOD)) == set()


def test_a_rental_that_was_promised_and_is_gone_is_noticed():
    assert rules(rest=resting(A)) == {"lost rental"}


def test_a_key_that_made_two_rentals_is_noticed():
    assert rules(rest=resting(A, B, ended("rnt_x", "b", Held("rnt_x", "GPU-2", 1)))) == {
        "two rentals of one key"
    }
    again = did("rent", 70, 75, subject="b", made_id="rnt_x")
    assert "two rentals of one key" in rules((*GOOD, again))


def test_a_refused_start_that_happened_all_the_same_is_noticed():
    assert rules(rest=resting(A, B, ended("rnt_x", "c", Held("rnt_x", "GPU-2", 1)))) == {"refused and made"}
    lost = tuple(replace(each, outcome="info") if each.subject == "c" else each for each in GOOD)
    assert rules(lost, resting(A, B, ended("rnt_x", "c", Held("rnt_x", "GPU-2", 1)))) == set()


def test_a_rental_that_nobody_asked_for_is_noticed():
    stray = ended("rnt_x", "nobody", Held("rnt_x", "GPU-2", 1))
    assert rules(rest=resting(A, B, stray)) == {"rental from nowhere"}


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"state": "running"}, "no end"),
        ({"bills": (BILL, BILL), "charge_micros": 1400}, "bill"),
        ({"bills": (), "charge_micros": 0}, "bill"),
        ({"bills": (replace(BILL, segment=2),)}, "bill"),
        ({"bills": (replace(BILL, state="closed"),)}, "bill"),
        ({"bills": (replace(BILL, hold_state="pending"),)}, "bill"),
        ({"bills": (replace(BILL, posted_micros=1400),)}, "bill"),
        ({"bills": (replace(BILL, postings=(0, 0)),)}, "bill"),
        ({"bills": (replace(BILL, postings=(0, 2)),)}, "bill"),
        ({"charge_micros": 701}, "bill"),
        ({"billing_state": "closed"}, "bill"),
    ],
)
def test_a_rental_that_has_not_ended_with_one_bill_is_noticed(facts, rule):
    assert rules(rest=resting(A, replace(B, **facts))) == {rule}


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"ledger_sum_micros": 1}, "ledger"),
        ({"held_micros": {"acc": 5}}, "hold"),
        ({"used_gpus": {"acc": 1}}, "quota"),
        ({"tickets": ("t",)}, "ticket"),
        ({"gpus": {GPU: ("wiping", 4)}}, "lost GPU"),
    ],
)
def test_what_is_left_over_is_noticed(facts, rule):
    assert rules(rest=resting(**facts)) == {rule}

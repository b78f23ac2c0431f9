"""Histories of reservations made by hand: what each breaks is named, and a good one is left alone."""

from dataclasses import replace

import pytest

from tests.simulation.history import check_history
from tests.simulation.records import SLOT_MS, EndedRental, Held, KeptReservation, Operation, Promised, Rest

#: Microseconds at which the slot 11 begins; instants are told from here.
START_US = 11 * SLOT_MS * 1000
GPUS = frozenset({"GPU-1", "GPU-2"})


def book(reservation_id, gpus, first=10, end=12, host_id="host-1"):
    return Promised(reservation_id, host_id, gpus, first * SLOT_MS, end * SLOT_MS)


def did(kind, invoked_us, ended_us, subject, outcome="ok", **facts):
    return Operation(0, kind, subject, START_US + invoked_us, START_US + ended_us, outcome, **facts)


def booked(invoked_us, promised, outcome="ok", key=None):
    key = key or promised.reservation_id
    return did(
        "book",
        invoked_us,
        invoked_us + 5,
        key,
        outcome,
        made_id=promised.reservation_id,
        promised=(promised,),
    )


def keep(promised, state="active"):
    kept = (promised,) if state == "active" else ()
    return KeptReservation(promised.reservation_id, promised.reservation_id, state, kept, 0)


def count(*promises):
    calendars = {}
    for each in promises:
        for slot in each.slots:
            calendars[each.host_id, slot] = calendars.get((each.host_id, slot), 0) + each.gpu_count
    return calendars


FIRST, SECOND, THIRD = book("rsv_a", 2), book("rsv_b", 1, 11, 13), book("rsv_c", 1, 11, 13)
#: One is booked and cancelled, two share what it had; a rental uses one of them.
GOOD = (
    booked(0, FIRST),
    did("cancel", 20, 25, "rsv_a"),
    booked(21, SECOND),
    booked(30, THIRD),
    did("rent", 40, 45, "r", made_id="rnt_r", held=(Held("rnt_r", "GPU-1", 1),)),
    did("look", 50, 55, "rnt_r", held=(Held("rnt_r", "GPU-1", 1),)),
)
RENTED = EndedRental("rnt_r", "r", "terminated", "settled", (), (Held("rnt_r", "GPU-1", 1),), 0, (), "rsv_b")
REST = Rest(
    rentals=(RENTED,),
    reservations=(keep(FIRST, "cancelled"), keep(SECOND), keep(THIRD)),
    host_gpus={"host-1": GPUS},
    calendars=count(SECOND, THIRD),
    gpus={"GPU-1": ("free", 2), "GPU-2": ("free", 2)},
)


def rules(operations=GOOD, rest=REST):
    return {objection.rule for objection in check_history(operations, rest)}


def test_a_good_history_of_reservations_is_left_alone():
    assert rules() == set()


def test_two_promises_of_one_slot_at_one_instant_are_noticed():
    without_cancel = tuple(each for each in GOOD if each.kind != "cancel")
    rest = replace(REST, reservations=(keep(FIRST), *REST.reservations[1:]))
    assert "oversold" in rules(without_cancel, replace(rest, calendars=count(FIRST, SECOND, THIRD)))
    # What was refused has changed nothing, what was not answered may have.
    refused = tuple(replace(each, outcome="fail") if each.kind == "cancel" else each for each in GOOD)
    assert "oversold" in rules(refused)
    unknown = tuple(replace(each, outcome="info") if each.kind == "cancel" else each for each in GOOD)
    assert rules(unknown) == set()


def test_a_promise_before_the_cancel_had_begun_is_noticed():
    early = tuple(
        replace(each, invoked_us=each.invoked_us - 15, ended_us=each.ended_us - 15)
        if each.subject == "rsv_b"
        else each
        for each in GOOD
    )
    objections = check_history(early, REST)
    assert [each.rule for each in objections] == ["oversold"]
    assert "promises 3" in str(objections[0])


def test_promises_of_other_slots_or_hosts_are_no_oversale():
    apart = book("rsv_d", 2, 13, 14)
    kept = replace(
        REST, reservations=(*REST.reservations, keep(apart)), calendars=count(SECOND, THIRD, apart)
    )
    assert rules((*GOOD, booked(60, apart)), kept) == set()
    elsewhere = book("rsv_d", 2, 11, 12, "host-2")
    kept = replace(
        REST,
        reservations=(*REST.reservations, keep(elsewhere)),
        calendars=count(SECOND, THIRD, elsewhere),
        host_gpus={"host-1": GPUS, "host-2": frozenset({"GPU-8", "GPU-9"})},
    )
    assert rules((*GOOD, booked(60, elsewhere)), kept) == set()


@pytest.mark.parametrize("outcome", ["ok", "info"])
def test_a_host_that_was_given_up_promises_nothing_for_certain(outcome):
    lost = tuple(
        replace(each, kind="fail_over", subject="host-1", outcome=outcome) if each.kind == "cancel" else each
        for each in GOOD
    )
    broken = (keep(FIRST, "broken"), *REST.reservations[1:])
    assert rules(lost, replace(REST, reservations=broken)) == set()
    assert rules(rest=replace(REST, reservations=broken)) == {"lost cancel", "broken by nobody"}


def test_more_gpus_used_than_booked_are_noticed():
    second = did("rent", 46, 48, "s", made_id="rnt_s", held=(Held("rnt_s", "GPU-2", 1),))
    look = did("look", 60, 65, "rnt_s", held=(Held("rnt_s", "GPU-2", 1),))
    other = replace(RENTED, rental_id="rnt_s", key="s", leases=(Held("rnt_s", "GPU-2", 1),))
    rest = replace(REST, rentals=(RENTED, other))
    assert rules((*GOOD, second, look), rest) == {"overused"}
    # The reservation's other rental had ended for all that was seen.
    later = tuple(
        replace(each, invoked_us=each.invoked_us + 20, ended_us=each.ended_us + 20) for each in (second, look)
    )
    assert rules((*GOOD, *later), rest) == set()


def test_a_use_before_the_window_or_on_another_host_is_noticed():
    early = (did("rent", -20, -15, "r", made_id="rnt_r", held=RENTED.leases), *GOOD)
    assert rules(early) == {"early use"}
    moved = replace(REST, host_gpus={"host-1": frozenset({"GPU-2", "GPU-3"}), "host-2": frozenset({"GPU-1"})})
    assert rules(rest=moved) == {"overused"}


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"calendars": count(SECOND)}, "calendar"),
        ({"calendars": count(SECOND, THIRD, book("x", 1, 20, 21))}, "calendar"),
        ({"reservations": (*REST.reservations[:2], replace(REST.reservations[2], used_gpus=1))}, "in use"),
        ({"reservations": REST.reservations[:2], "calendars": count(SECOND)}, "lost reservation"),
        ({"reservations": (keep(FIRST, "ended"), *REST.reservations[1:])}, "lost cancel"),
        (
            {"reservations": (*REST.reservations[:2], keep(THIRD, "cancelled")), "calendars": count(SECOND)},
            "cancelled by nobody",
        ),
        (
            {"reservations": (*REST.reservations, replace(keep(book("rsv_n", 1), "ended"), key="no"))},
            "reservation from nowhere",
        ),
    ],
)
def test_what_the_records_tell_otherwise_is_noticed(facts, rule):
    assert rules(rest=replace(REST, **facts)) == {rule}


def test_slots_that_had_begun_are_left_in_peace():
    assert rules(rest=replace(REST, at_ms=12 * SLOT_MS, calendars={("host-1", 12): 2})) == set()

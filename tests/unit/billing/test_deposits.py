"""The money of reservations: what is held, what cancelling costs, what we owe for what we break."""

from contextlib import suppress
from dataclasses import replace

import pytest

from chalicelib.accounts.standing import suspend_account
from chalicelib.core.errors import AccountSuspended, Conflict, DomainError, InsufficientFunds, Unavailable
from chalicelib.reservations import model, upkeep
from chalicelib.reservations.service import cancel_reservation
from tests.factories import PRICES
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.reservations.booking import (
    WEALTH,
    book,
    booked,
    change_host,
    pass_slots,
    put_back,
    read,
    seed_calendars,
    take,
)

#: An hour of four GPUs.
PRICE = 4 * PRICES["reserved"]


def read_wallet(seeded):
    check_books(seeded)
    return seeded.cloud.billing.wallets.get_balance(seeded.renter.account_id)


def seed_booked(credit_micros=WEALTH, **wishes):
    seeded, _ = seed_calendars(8, credit_micros=credit_micros)
    return seeded, booked(seeded, 4, **{"start": 2, "slots": 4, **wishes})


def cancel(seeded, reservation):
    return cancel_reservation(seeded.cloud.reservations, seeded.renter, reservation.reservation_id)


def break_up(seeded, reservation):
    current = read(seeded, reservation.reservation_id)
    return upkeep.break_reservation(seeded.cloud.reservations, current, "host gone")


def end(seeded, reservation):
    current = read(seeded, reservation.reservation_id)
    now_ms = max(seeded.cloud.clock.now_ms(), reservation.ends_at_ms)
    return upkeep.pass_boundary(seeded.cloud.reservations, current, now_ms)


def list_journals(seeded, source):
    journals = seeded.cloud.db.table("journals").values()
    return [journal for journal in journals if journal.source == source]


def find_hold(seeded, reservation):
    hold_id = f"{reservation.reservation_id}#deposit"
    return seeded.cloud.billing.wallets.get_hold(reservation.account_id, hold_id)


def test_a_booking_holds_half_its_price_and_pays_nothing():
    seeded, reservation = seed_booked()
    wallet = read_wallet(seeded)
    assert reservation.deposit_micros == wallet.held_micros == PRICE // 2
    assert (wallet.posted_micros, wallet.burn_micros_per_hour) == (WEALTH, 0)


def test_what_the_wallet_does_not_cover_is_not_booked_and_takes_nothing():
    seeded, _ = seed_calendars(8, credit_micros=PRICE // 2 - 1)
    with pytest.raises(InsufficientFunds):
        book(seeded, 4, start=2, slots=4)
    assert read_wallet(seeded).held_micros == 0
    assert seeded.cloud.reservations.store.rows == {}
    # Half an hour is covered.
    book(seeded, 4, start=2, slots=2, key="less")
    assert read_wallet(seeded).held_micros == PRICE // 4


def test_nothing_is_booked_by_an_account_that_was_suspended_this_moment():
    seeded, _ = seed_calendars(8)
    suspend_account(seeded.cloud.accounts, seeded.operator, seeded.renter.account_id, "fraud")
    with pytest.raises(AccountSuspended):
        book(seeded, 4, start=2, slots=4)
    assert read_wallet(seeded).held_micros == 0
    assert seeded.cloud.reservations.store.rows == {}


def test_a_repeat_that_finds_the_wallet_empty_gets_the_first_answer():
    seeded, _ = seed_calendars(8, credit_micros=PRICE // 2)
    first = book(seeded, 4, start=2, slots=4)
    again = book(seeded, 4, start=2, slots=4)
    assert (again.body, again.replayed) == (first.body, True)
    assert read_wallet(seeded).held_micros == PRICE // 2


def test_cancelling_posts_the_fee_from_the_deposit_and_gives_the_rest_back():
    seeded, reservation = seed_booked(start=6)
    cancelled = cancel(seeded, reservation)
    # More than an hour's notice: a quarter.
    assert cancelled.cancel_fee_micros == PRICE // 4
    wallet = read_wallet(seeded)
    assert (wallet.held_micros, wallet.posted_micros) == (0, WEALTH - PRICE // 4)
    (journal,) = list_journals(seeded, "reservation_fee")
    revenue = [leg for leg in journal.legs if leg.ledger_account.startswith("revenue:reservation")]
    assert [leg.amount_micros for leg in revenue] == [PRICE // 4]
    assert journal.details["amount_micros"] == PRICE // 4
    hold = find_hold(seeded, reservation)
    assert (hold.state, hold.captured_micros) == ("captured", PRICE // 4)
    assert cancel(seeded, reservation) == read(seeded, reservation.reservation_id)
    assert len(list_journals(seeded, "reservation_fee")) == 1


def test_cancelling_a_week_ahead_costs_nothing():
    seeded, reservation = seed_booked(start=8 * 96)
    assert cancel(seeded, reservation).cancel_fee_micros == 0
    assert read_wallet(seeded).available_micros == WEALTH
    assert find_hold(seeded, reservation).state == "void"
    assert list_journals(seeded, "reservation_fee") == []


def test_a_fee_above_the_deposit_takes_what_the_wallet_has_and_no_more():
    seeded, reservation = seed_booked(credit_micros=PRICE // 2 + 1_000)
    pass_slots(seeded, 5)
    # Three of four slots have begun, and half of the last is kept.
    assert cancel(seeded, reservation).cancel_fee_micros == PRICE // 2 + 1_000
    assert read_wallet(seeded).posted_micros == 0
    (journal,) = list_journals(seeded, "reservation_fee")
    assert journal.details["waived_micros"] == PRICE * 7 // 8 - PRICE // 2 - 1_000


def test_what_rentals_pay_for_themselves_is_not_in_the_fee():
    seeded, reservation = seed_booked()
    pass_slots(seeded, 2)
    take(seeded, reservation, "rnt_1", 4)
    pass_slots(seeded, 2)
    put_back(seeded, reservation, "rnt_1", 4)
    # Two slots were used; half of the other two is kept.
    assert cancel(seeded, reservation).cancel_fee_micros == PRICE // 4


def test_a_fee_is_not_charged_as_it_was_before_a_rental_came_and_went():
    seeded, reservation = seed_booked()
    pass_slots(seeded, 3)
    seen = read(seeded, reservation.reservation_id)
    take(seeded, reservation, "rnt_1", 4)
    pass_slots(seeded, 0.5)
    put_back(seeded, reservation, "rnt_1", 4)
    tx = seeded.cloud.db.begin()
    cancelled = model.cancel(seen, seeded.cloud.clock.now_ms(), 0)
    seeded.cloud.reservations.store.replace_reservation(tx, seen, cancelled, unused=True)
    with pytest.raises(Unavailable):
        tx.commit()


@pytest.mark.parametrize("slots", [6, 600])
def test_the_end_of_the_window_gives_the_deposit_back_also_when_nobody_came(slots):
    seeded, reservation = seed_booked()
    now_ms = pass_slots(seeded, slots)
    upkeep.sweep(seeded.cloud.reservations, now_ms)
    upkeep.sweep(seeded.cloud.reservations, now_ms)
    wallet = read_wallet(seeded)
    assert (wallet.held_micros, wallet.posted_micros) == (0, WEALTH)
    assert find_hold(seeded, reservation).state == "void"


def test_what_we_break_gives_the_deposit_back_and_is_credited_with_its_evidence():
    seeded, reservation = seed_booked()
    change_host(seeded, reservation.bookings[0].host_id, state="lost")
    upkeep.rebook_host(seeded.cloud.reservations, reservation.bookings[0].host_id)
    broken = read(seeded, reservation.reservation_id)
    assert broken.state == "broken"
    wallet = read_wallet(seeded)
    assert (wallet.held_micros, wallet.posted_micros) == (0, WEALTH + PRICE)
    (journal,) = list_journals(seeded, "service_credit")
    assert journal.details["reservation_id"] == reservation.reservation_id
    assert journal.details["host_ids"] == [reservation.bookings[0].host_id]
    assert journal.details["amount_micros"] == broken.credit_due_micros == PRICE
    events = seeded.cloud.db.table("events").values()
    (told,) = [each for each in events if each.data.get("reservation_id") == reservation.reservation_id]
    assert (told.type, told.data["amount_micros"]) == ("credit.posted", PRICE)


@pytest.mark.parametrize("crash", ["crash_before", "crash_after"])
@pytest.mark.parametrize(
    ("act", "posted"), [(cancel, -PRICE // 2), (break_up, PRICE), (end, 0)], ids=["cancel", "break", "end"]
)
def test_a_crash_at_the_commit_pays_once(act, posted, crash):
    seeded, reservation = seed_booked()
    setattr(seeded.cloud.db, crash, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        act(seeded, reservation)
    seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
    try:
        act(seeded, reservation)
    except Conflict as conflict:
        assert (conflict.code, crash) == ("reservation_over", "crash_after")  # noqa: PT017
    wallet = read_wallet(seeded)
    assert (wallet.held_micros, wallet.posted_micros) == (0, WEALTH + posted)


@pytest.mark.parametrize("first", [cancel, break_up, end])
@pytest.mark.parametrize("second", [cancel, break_up, end])
def test_of_two_ends_at_once_one_stands(first, second):
    seeded, reservation = seed_booked()
    ports = seeded.cloud.reservations
    begin = ports.transactions
    met = []

    def meet():
        tx = begin()
        if not met:
            met.append(second)
            second(seeded, reservation)
        return tx

    seeded.cloud.reservations = replace(ports, transactions=meet)
    with suppress(DomainError):
        first(seeded, reservation)
    over = read(seeded, reservation.reservation_id)
    wallet = read_wallet(seeded)
    assert wallet.held_micros == 0
    gained = (over.credit_due_micros or 0) - (over.cancel_fee_micros or 0)
    assert wallet.posted_micros == WEALTH + gained
    assert len(list_journals(seeded, "reservation_fee")) == (over.state == "cancelled")
    assert len(list_journals(seeded, "service_credit")) == (over.state == "broken")

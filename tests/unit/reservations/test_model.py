"""The grid, the window's limits, states by the clock, the early-cancel rule."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import Conflict, InvalidInput
from chalicelib.reservations import model
from chalicelib.reservations.model import DAY_MS, MAX_AHEAD_MS, MAX_WINDOW_MS, SLOT_MS, Booking, Reservation
from tests.fakes import START_MS

HOUR_MS = 3_600_000
#: A million micros a GPU-hour, 4 GPUs: a slot is a million.
PRICE = 1_000_000


def build(start: int = 4, slots: int = 8, **changes) -> Reservation:
    starts = START_MS + start * SLOT_MS
    return replace(
        Reservation(
            reservation_id="rsv_1",
            account_id="acc_1",
            gpu_type="H100",
            region="eu-north-1",
            gpu_count=4,
            node_count=1,
            bookings=(Booking("hst_1", 4),),
            starts_at_ms=starts,
            ends_at_ms=starts + slots * SLOT_MS,
            price_micros_per_gpu_hour=PRICE,
            currency="USD",
            created_at_ms=START_MS,
        ),
        **changes,
    )


@given(st.integers(0, 96 * 3), st.integers(0, 96 * 4))
def test_spans_are_exactly_the_slots_of_the_window_day_by_day(start, length):
    from_ms = START_MS + start * SLOT_MS
    spans = model.list_spans(from_ms, from_ms + length * SLOT_MS)
    instants = [(span.day, slot) for span in spans for slot in range(span.first, span.end)]
    expected = [
        (model.name_day(at), at % DAY_MS // SLOT_MS)
        for at in range(from_ms, from_ms + length * SLOT_MS, SLOT_MS)
    ]
    assert instants == expected
    assert all(0 <= span.first < span.end <= 96 for span in spans)


@pytest.mark.parametrize(
    ("start_ms", "length_ms", "code"),
    [
        (0, SLOT_MS, None),
        (-SLOT_MS, 2 * SLOT_MS, "window_passed"),
        (60_000, SLOT_MS, "off_grid"),
        (0, SLOT_MS + 1, "off_grid"),
        (SLOT_MS, 0, "window_length"),
        (SLOT_MS, -SLOT_MS, "window_length"),
        (SLOT_MS, MAX_WINDOW_MS, None),
        (SLOT_MS, MAX_WINDOW_MS + SLOT_MS, "window_length"),
        (MAX_AHEAD_MS, SLOT_MS, None),
        (MAX_AHEAD_MS + SLOT_MS, SLOT_MS, "window_too_far"),
    ],
)
def test_a_window_lies_on_the_grid_within_its_limits(start_ms, length_ms, code):
    starts = START_MS + start_ms
    if code is None:
        model.check_window(starts, starts + length_ms, START_MS)
        return
    with pytest.raises(InvalidInput) as caught:
        model.check_window(starts, starts + length_ms, START_MS)
    assert caught.value.code == code


def test_the_slot_that_has_begun_may_still_be_booked():
    model.check_window(START_MS, START_MS + SLOT_MS, START_MS + SLOT_MS - 1)
    with pytest.raises(InvalidInput):
        model.check_window(START_MS, START_MS + SLOT_MS, START_MS + SLOT_MS)


@pytest.mark.parametrize(
    ("nodes", "days", "fits"), [(1, 61, True), (2, 40, True), (2, 41, False), (6, 11, True)]
)
def test_a_booking_that_no_transaction_holds_is_refused_before(nodes, days, fits):
    midnight = START_MS - START_MS % DAY_MS
    window = (midnight + SLOT_MS, midnight + (days - 1) * DAY_MS + SLOT_MS)
    if fits:
        model.check_size(nodes, *window)
        return
    with pytest.raises(InvalidInput, match="40 days") as caught:
        model.check_size(nodes, *window)
    assert caught.value.code == "too_many_slots"


@pytest.mark.parametrize(
    ("stored", "slot", "seen"),
    [
        ("confirmed", 3.99, "confirmed"),
        ("confirmed", 4, "active"),
        ("confirmed", 11.99, "active"),
        ("confirmed", 12, "ended"),
        ("active", 12, "ended"),
        ("cancelled", 5, "cancelled"),
        ("broken", 12, "broken"),
        ("ended", 5, "ended"),
    ],
)
def test_the_state_follows_the_clock_whether_or_not_the_sweep_came(stored, slot, seen):
    assert model.see_state(build(state=stored), START_MS + int(slot * SLOT_MS)) == seen


def test_a_late_sweep_ends_in_the_same_state_as_a_punctual_one():
    punctual = late = build()
    for slot in range(20):
        punctual = model.pass_boundary(punctual, START_MS + slot * SLOT_MS)
    late = model.pass_boundary(late, START_MS + 20 * SLOT_MS)
    assert punctual == late
    assert (late.state, late.open_bookings) == ("ended", ())
    assert model.find_boundary(late) is None


@pytest.mark.parametrize(
    ("notice_ms", "kept_ppm"),
    [
        (7 * DAY_MS, 0),
        (7 * DAY_MS - 1, 100_000),
        (DAY_MS, 100_000),
        (DAY_MS - 1, 250_000),
        (HOUR_MS, 250_000),
        (HOUR_MS - 1, 500_000),
        (0, 500_000),
    ],
)
def test_the_shorter_the_notice_the_more_is_kept(notice_ms, kept_ppm):
    reservation = build(start=8 * 96)
    fee = model.compute_cancel_fee(reservation, reservation.starts_at_ms - notice_ms)
    assert fee == model.CancelFee(0, 8 * PRICE * kept_ppm // 1_000_000)


def test_what_has_begun_counts_in_full_and_half_of_the_rest_is_kept():
    reservation = build(state="active")
    fee = model.compute_cancel_fee(reservation, reservation.starts_at_ms + 2 * SLOT_MS + 1)
    assert fee == model.CancelFee(3 * PRICE, 5 * PRICE // 2)
    last = model.compute_cancel_fee(reservation, reservation.ends_at_ms - 1)
    assert last == model.CancelFee(8 * PRICE, 0)


@given(st.integers(-40, 200), st.integers(1, 100), st.integers(1, 10**10))
def test_a_fee_is_never_more_than_the_price_and_never_falls_as_time_goes_by(at_slot, slots, price):
    reservation = build(start=100, slots=slots, price_micros_per_gpu_hour=price)
    whole = model.compute_price_micros(reservation, slots * SLOT_MS)
    at_ms = min(START_MS + at_slot * SLOT_MS, reservation.ends_at_ms - SLOT_MS)
    now, later = (
        model.compute_cancel_fee(reservation, at).total_micros for at in (at_ms, at_ms + SLOT_MS // 2)
    )
    assert 0 <= now <= later <= whole


def test_only_what_is_not_over_is_cancelled():
    with pytest.raises(Conflict) as caught:
        model.cancel(build(), START_MS + 12 * SLOT_MS, 0)
    assert caught.value.code == "reservation_over"
    cancelled = model.cancel(build(), START_MS, 7)
    assert (cancelled.state, cancelled.cancelled_at_ms, cancelled.open_bookings) == (
        "cancelled",
        START_MS,
        (),
    )
    assert cancelled.cancel_fee_micros == 7


def test_a_deposit_is_the_most_that_is_kept_before_the_window_begins():
    reservation = build()
    fees = [
        model.compute_cancel_fee(reservation, reservation.starts_at_ms - notice_ms).total_micros
        for notice_ms in (1, 3_600_000 - 1, 3_600_000, model.DAY_MS, 7 * model.DAY_MS)
    ]
    assert model.compute_deposit_micros(reservation) == max(fees) == 4 * PRICE


def test_what_rentals_had_is_not_charged_again_and_no_more_is_taken_off_than_has_begun():
    at_ms = build().starts_at_ms + 4 * SLOT_MS
    booking = build().bookings[0]
    gone = replace(booking, served_gpu_ms=2 * SLOT_MS)
    whole = model.compute_cancel_fee(build(state="active"), at_ms)
    fee = model.compute_cancel_fee(build(state="active", bookings=(gone,)), at_ms)
    assert whole.begun_micros - fee.begun_micros == model.compute_served_micros(
        build(bookings=(gone,)), at_ms
    )
    assert fee.kept_micros == whole.kept_micros
    there = replace(booking, uses={"rnt_1": 2}, served_gpu_ms=-2 * (at_ms - SLOT_MS))
    assert model.compute_cancel_fee(build(state="active", bookings=(there,)), at_ms) == fee
    long = replace(booking, served_gpu_ms=10**12)
    assert model.compute_cancel_fee(build(state="active", bookings=(long,)), at_ms).begun_micros == 0


def test_for_what_we_break_the_rest_of_the_window_is_owed():
    broken = model.break_up(build(), START_MS + 6 * SLOT_MS + 5)
    assert (broken.state, broken.credit_due_micros) == ("broken", 6 * PRICE)
    assert model.break_up(build(), START_MS).credit_due_micros == 8 * PRICE

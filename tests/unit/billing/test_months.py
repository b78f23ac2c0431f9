"""Months of the books: each begins where the one before ended, whoever writes, and however late."""

from dataclasses import replace

import pytest

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.model import Balance, Entry, mark
from chalicelib.billing.ports import UsageLine
from chalicelib.billing.posting import find_balance
from chalicelib.billing.rating import UsageHour, share_out
from chalicelib.billing.service import end_month
from chalicelib.core.clock import parse_instant
from chalicelib.core.money import compute_charge_micros
from tests.factories import PRICE, give_credit, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.billing.test_crediting import promise

CREDIT = 10**9


def seed(at, **named):
    seeded = seed_cloud(credit_micros=0, **named)
    seeded.cloud.clock.value_ms = parse_instant(at)
    for host in seeded.cloud.db.table("hosts"):
        seeded.beat(host)
    give_credit(seeded, seeded.renter.account_id, CREDIT, key="seed")
    return seeded


def run(seeded, rental, minutes):
    for _ in range(minutes):
        seeded.cloud.clock.advance_seconds(60)
        seeded.report(seeded.rental(rental.rental_id), "running")


def list_months(seeded):
    return seeded.cloud.billing.months.list_months(seeded.renter.account_id, "")


def list_lines(seeded, month):
    found = seeded.cloud.billing.usage.list_month(seeded.renter.account_id, month)
    return [each for each in found if isinstance(each, UsageLine)]


def list_kinds(seeded, month):
    found = seeded.cloud.billing.usage.list_month(seeded.renter.account_id, month)
    return [each.kind for each in found if isinstance(each, Entry)]


def cost(seconds, gpus=1):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)


def test_time_at_the_end_of_a_month_stands_in_the_month_that_charged_it():
    seeded = seed("2027-01-31T23:57:00Z")
    rental = start(seeded, 1)
    run(seeded, rental, 2)
    charge_rental(seeded.cloud.billing, rental.rental_id)
    run(seeded, rental, 4)
    charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)
    assert list_months(seeded) == ["2027-01", "2027-02"]
    (january,) = list_lines(seeded, "2027-01")
    late, february = list_lines(seeded, "2027-02")
    assert (january.day, january.seconds, january.micros) == ("2027-01-31", 120, cost(120))
    assert (late.day, late.seconds) == ("2027-01-31", 60)
    assert (february.day, february.seconds) == ("2027-02-01", 180)
    assert january.micros + late.micros + february.micros == cost(360)


def test_promotional_credit_pays_the_first_day_of_a_charge_and_what_lacks_is_of_the_last():
    hours = [UsageHour("2027-01-31", 23, 60, 100), UsageHour("2027-02-01", 0, 60, 100)]
    days = list(share_out(hours, 130, 50))
    assert [(each.day, each.promo_micros, each.overrun_micros) for each in days] == [
        ("2027-01-31", 100, 0),
        ("2027-02-01", 30, 20),
    ]


def test_a_clock_that_is_behind_does_not_write_into_a_month_that_ended():
    seeded = seed("2027-01-31T23:59:00Z")
    seeded.cloud.clock.advance_seconds(61)
    give_credit(seeded, seeded.renter.account_id, 5, key="february")
    seeded.cloud.clock.advance_seconds(-2)
    give_credit(seeded, seeded.renter.account_id, 7, key="behind")
    check_books(seeded)
    assert list_kinds(seeded, "2027-01") == ["credit"]
    assert list_kinds(seeded, "2027-02") == ["credit", "credit"]


def test_a_month_without_postings_after_it_is_ended_once_by_who_asks():
    seeded = seed("2027-01-31T23:59:00Z")
    account_id = seeded.renter.account_id
    end_month(seeded.cloud.billing, account_id, seeded.cloud.clock.now_ms())
    assert list_months(seeded) == ["2027-01"]
    seeded.cloud.clock.advance_seconds(61)
    for _ in range(2):
        end_month(seeded.cloud.billing, account_id, seeded.cloud.clock.now_ms())
    check_books(seeded)
    assert list_months(seeded) == ["2027-01", "2027-02"]
    promise(seeded, 3)
    check_books(seeded)
    assert list_kinds(seeded, "2027-02") == ["promo_credit"]


def test_a_month_in_which_an_account_is_silent_is_not_in_its_books():
    seeded = seed("2027-01-31T23:59:00Z")
    seeded.cloud.clock.advance_seconds(100 * 86_400)
    promise(seeded, 3)
    check_books(seeded)
    assert list_months(seeded) == ["2027-01", "2027-05"]


@pytest.mark.parametrize("first", ["posting", "turn"])
def test_a_posting_and_the_end_of_the_month_at_once_are_one_after_the_other(first):
    seeded = seed("2027-01-31T23:59:00Z")
    account_id, cloud = seeded.renter.account_id, seeded.cloud
    slow_ms = cloud.clock.now_ms()
    later_ms = cloud.clock.advance_seconds(120)

    def turn():
        end_month(cloud.billing, account_id, later_ms)

    def post():
        # By a function that read its clock before midnight.
        cloud.clock.value_ms = slow_ms
        promise(seeded, 3)

    outer, inner = (post, turn) if first == "posting" else (turn, post)

    def interrupt():
        cloud.db.interlude = None
        inner()

    cloud.db.interlude = interrupt
    outer()
    check_books(seeded)
    assert list_kinds(seeded, "2027-01") == (["credit"] if first == "posting" else ["credit", "promo_credit"])
    assert find_balance(cloud.billing, account_id).month == "2027-02"


@pytest.mark.parametrize("when", ["crash_before", "crash_after"])
def test_who_dies_while_a_month_ends_leaves_it_whole(when):
    seeded = seed("2027-01-31T23:59:00Z")
    seeded.cloud.clock.advance_seconds(120)
    setattr(seeded.cloud.db, when, seeded.cloud.db.commits)
    with pytest.raises(Crash):
        give_credit(seeded, seeded.renter.account_id, 5, key="dies")
    setattr(seeded.cloud.db, when, None)
    give_credit(seeded, seeded.renter.account_id, 5, key="dies")
    check_books(seeded)
    assert list_kinds(seeded, "2027-02") == ["credit"]


def test_a_mark_is_of_both_purses():
    balance = replace(Balance("acc_a", "USD"), posted_micros=7, leg_version=3, chain_hash="f")
    assert (mark(balance).paid_micros, mark(balance).promo_micros) == (7, 0)

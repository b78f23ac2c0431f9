"""Auto top-up: one open attempt, one an hour, paused by what a person has to mend, never paid twice."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.accounts.model import Account
from chalicelib.accounts.standing import suspend_account, unsuspend_account
from chalicelib.core.errors import InvalidInput, NotFound, Unavailable
from chalicelib.payments.methods import list_methods, open_method_page, open_portal
from chalicelib.payments.model import DOUBT_MS, KEY_LIFETIME_MS, TopUp
from chalicelib.payments.orders import AutoTopUp, begin_attempt, end_attempt, is_due
from chalicelib.payments.refilling import (
    PutAutoTopUp,
    get_order,
    put_order,
    refill_wallets,
    remove_method,
    remove_order,
)
from chalicelib.payments.service import heal
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.payments.till import Till

THRESHOLD, AMOUNT, LIMIT = 10_000_000, 50_000_000, 120_000_000
LATER = 10**15
HOUR_S = 3_600


class Standing(Till):
    """A renter with a saved card, whose wallet is empty."""

    def __init__(self):
        super().__init__()
        self.renter, self.clock = self.seeded.renter, self.seeded.cloud.clock
        open_method_page(self.ports, self.renter, "https://app.example/", "k")
        self.stripe.save_method(self.account_id, "pm_1")
        self.put()

    def put(self, method_id="pm_1", threshold=THRESHOLD, amount=AMOUNT, limit=LIMIT):
        return put_order(self.ports, self.renter, PutAutoTopUp(threshold, amount, limit, method_id))

    def refill(self):
        return refill_wallets(self.ports, LATER)

    @property
    def order(self):
        return get_order(self.ports, self.account_id)

    @property
    def state(self):
        return self.order.find_state(self.clock.now_ms())

    def list_top_ups(self):
        return [row for row in self.seeded.cloud.db.table("top_ups").values() if row.kind == "auto"]

    def list_events(self, kind):
        return [each for each in self.seeded.cloud.db.table("events").values() if each.type == kind]


@pytest.fixture
def standing():
    return Standing()


def test_a_wallet_below_its_threshold_is_filled_up_once_an_hour_and_not_above_it(standing):
    done = standing.refill()
    assert (done.begun, done.ended, done.failed) == (1, 1, ())
    assert (standing.posted, standing.state, standing.order.month_micros) == (AMOUNT, "active", AMOUNT)
    (top_up,) = standing.list_top_ups()
    assert (top_up.state, top_up.amount_micros) == ("succeeded", AMOUNT)
    assert [each.data["top_up_id"] for each in standing.list_events("top_up.succeeded")] == [top_up.top_up_id]
    standing.clock.advance_seconds(2 * HOUR_S)
    assert standing.refill().begun == 0
    standing.put(threshold=AMOUNT + 1, limit=10 * AMOUNT)
    assert standing.refill().begun == 1
    standing.put(threshold=10 * AMOUNT, limit=10 * AMOUNT)
    assert standing.refill().begun == 0, "within the hour"
    standing.clock.advance_seconds(HOUR_S)
    assert standing.refill().begun == 1
    check_books(standing.seeded)


def test_a_months_limit_stops_it_until_the_next_month(standing):
    standing.put(threshold=100 * AMOUNT)
    for expected in (1, 1, 0):
        assert standing.refill().begun == expected
        standing.clock.advance_seconds(HOUR_S)
    assert (standing.state, standing.posted) == ("limit_reached", 2 * AMOUNT)
    standing.clock.advance_seconds(31 * 24 * HOUR_S)
    assert standing.refill().begun == 1
    assert (standing.order.month_micros, standing.posted) == (AMOUNT, 3 * AMOUNT)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("authentication_required", "authentication_required"),
        ("insufficient_funds", "declined"),
        ("generic_decline", "declined"),
    ],
)
def test_what_a_person_has_to_mend_pauses_it_and_nothing_more_is_tried(standing, code, reason):
    standing.stripe.declines["pm_1"] = code
    assert standing.refill().ended == 1
    assert (standing.state, standing.order.paused, standing.posted) == ("paused", reason, 0)
    assert standing.order.month_micros == 0
    assert [row.failure_code for row in standing.list_top_ups()] == [code]
    assert [each.data["reason"] for each in standing.list_events("auto_top_up.paused")] == [reason]
    for _ in range(3):
        standing.clock.advance_seconds(HOUR_S)
        assert standing.refill().begun == 0
    assert standing.stripe.calls.count("charge") == 1
    standing.stripe.save_method(standing.account_id, "pm_2")
    standing.put("pm_2")
    assert standing.refill().begun == 1
    assert standing.posted == AMOUNT


def test_a_debit_that_takes_days_is_one_open_attempt_and_is_asked_for_once(standing):
    standing.stripe.declines["pm_1"] = "processing"
    assert (standing.refill().ended, standing.state) == (0, "attempting")
    for _ in range(60):
        standing.clock.advance_seconds(2 * HOUR_S)
        assert standing.refill().begun == 0
    assert standing.stripe.calls.count("charge") == 1
    (top_up,) = standing.list_top_ups()
    standing.change(top_up.payment_id, status="succeeded", received_cents=AMOUNT // 10_000)
    standing.tell("evt_1", top_up.payment_id)
    assert (standing.refill().ended, standing.posted, standing.state) == (1, AMOUNT, "active")


@pytest.mark.parametrize("point", ["crash_before", "crash_after"])
def test_a_death_at_any_commit_pays_once(point):
    commit, crashed = 0, True
    while crashed:
        standing = Standing()
        db = standing.seeded.cloud.db
        setattr(db, point, db.commits + commit)
        crashed = False
        try:
            standing.refill()
        except Crash:
            crashed = True
        db.crash_before = db.crash_after = None
        standing.refill()
        assert (standing.posted, standing.state, len(standing.list_top_ups())) == (AMOUNT, "active", 1)
        assert len(standing.stripe.payments) == 1
        check_books(standing.seeded)
        commit += 1
    assert commit > 3


def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_key(standing):
    standing.stripe.down = 1
    assert standing.refill().failed == ((standing.account_id, "temporarily_unavailable"),)
    assert standing.state == "attempting"
    assert (standing.refill().ended, standing.posted) == (1, AMOUNT)
    assert len(standing.stripe.payments) == 1


def test_a_failure_that_stripe_repeats_is_looked_up_before_anything_is_paid_anew(standing):
    key = "topup:{}:{}"
    standing.stripe.down = 1
    standing.refill()
    (top_up,) = standing.list_top_ups()
    standing.stripe.charges.clear()
    standing.stripe.payments.clear()
    standing.stripe.failed_keys[key.format(top_up.top_up_id, 1)] = False
    assert standing.refill().failed
    assert standing.list_top_ups()[0].attempt == 1, "Stripe's list may lag"
    standing.clock.advance_seconds(DOUBT_MS // 1000)
    assert standing.refill().failed
    assert standing.list_top_ups()[0].attempt == 2
    standing.stripe.failed_keys[key.format(top_up.top_up_id, 2)] = True
    assert (standing.refill().ended, standing.posted) == (1, AMOUNT)
    assert len(standing.stripe.payments) == 1


def test_a_key_that_stripe_has_forgotten_is_not_paid_again(standing):
    standing.stripe.down = 1
    standing.refill()
    assert len(standing.stripe.payments) == 1
    standing.clock.advance_seconds(KEY_LIFETIME_MS // 1000)
    standing.stripe.charges.clear()
    assert (standing.refill().ended, standing.posted) == (1, AMOUNT)
    assert len(standing.stripe.payments) == 1


def test_two_at_once_begin_one_attempt(standing):
    db = standing.seeded.cloud.db

    def other():
        db.interlude = None
        standing.refill()

    db.interlude = other
    assert standing.refill().failed == ((standing.account_id, "temporarily_unavailable"),)
    assert (standing.posted, len(standing.list_top_ups())) == (AMOUNT, 1)


def test_one_that_fails_keeps_no_other_back_and_time_ends_a_run(standing):
    standing.stripe.down = 1
    db = standing.seeded.cloud.db
    db.table("orders")["acc_other"] = AutoTopUp("acc_other", "USD", 1, AMOUNT, LIMIT, "pm_x", version=1)
    db.table("stripe_customers")["acc_other"] = "cus_x"
    db.table("accounts")["acc_other"] = Account("acc_other", "Other", "USD", 1)
    done = standing.refill()
    assert (done.begun, len(done.failed), done.ended) == (2, 1, 1)
    assert db.table("orders")["acc_other"].paused == "declined"
    assert refill_wallets(standing.ports, standing.clock.now_ms()).left


def suspend(standing):
    operator = standing.seeded.operator
    suspend_account(standing.seeded.cloud.accounts, operator, standing.account_id, "fraud")


def test_of_an_account_that_is_suspended_no_card_is_charged_by_itself(standing):
    suspend(standing)
    assert standing.refill().begun == 0
    assert (standing.posted, standing.list_top_ups(), standing.stripe.calls.count("charge")) == (0, [], 0)
    unsuspend_account(
        standing.seeded.cloud.accounts, standing.seeded.operator, standing.account_id, "mistaken"
    )
    assert standing.refill().begun == 1
    assert standing.posted == AMOUNT


def test_what_was_begun_before_a_suspension_comes_to_its_end(standing):
    standing.stripe.down = 1
    assert (standing.refill().begun, standing.state) == (1, "attempting")
    suspend(standing)
    assert standing.refill().ended == 1
    assert (standing.state, standing.posted) == ("active", AMOUNT)


def test_a_method_that_is_removed_pauses_what_is_paid_from_it(standing):
    remove_method(standing.ports, standing.renter, "pm_1")
    assert (standing.state, standing.order.paused) == ("paused", "method_removed")
    assert list_methods(standing.ports, standing.account_id) == []
    assert standing.refill().begun == 0
    assert len(standing.list_events("auto_top_up.paused")) == 1
    with pytest.raises(NotFound):
        remove_method(standing.ports, standing.renter, "pm_1")
    with pytest.raises(NotFound):
        standing.put("pm_1")


def test_a_method_that_was_removed_at_stripe_pauses_it_with_its_reason(standing):
    standing.stripe.remove_method("pm_1")
    assert standing.refill().ended == 1
    assert (standing.order.paused, standing.posted) == ("declined", 0)
    (top_up,) = standing.list_top_ups()
    assert (top_up.state, top_up.failure_code) == ("failed", "payment_method_unusable")


def test_an_order_that_is_switched_off_lets_what_has_begun_end(standing):
    standing.put(threshold=100 * AMOUNT)
    standing.stripe.down = 1
    standing.refill()
    remove_order(standing.ports, standing.renter)
    assert standing.state == "attempting"
    assert standing.refill().ended == 1
    assert (standing.state, standing.posted) == ("off", AMOUNT)
    standing.clock.advance_seconds(HOUR_S)
    assert standing.refill().begun == 0
    assert standing.put().find_state(standing.clock.now_ms()) == "active"


def test_a_payment_that_only_an_event_told_of_ends_the_attempt(standing):
    standing.stripe.down = 1
    standing.refill()
    (payment_id,) = standing.stripe.payments
    standing.stripe.events = [(standing.clock.now_ms(), "evt_1", "charge.succeeded", payment_id)]
    heal(standing.ports)
    assert standing.posted == AMOUNT
    assert (standing.refill().ended, standing.posted) == (1, AMOUNT)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"amount": 5_000_001}, "invalid_amount"),
        ({"amount": 4_990_000}, "invalid_amount"),
        ({"limit": AMOUNT - 10_000}, "invalid_amount"),
    ],
)
def test_an_order_that_could_never_be_carried_out_is_refused(standing, wrong, code):
    with pytest.raises(InvalidInput) as refused:
        standing.put(**wrong)
    assert refused.value.code == code


def test_another_accounts_method_is_none(standing):
    standing.stripe.methods["cus_other"] = [*standing.stripe.methods["cus_0"]]
    standing.stripe.methods["cus_0"] = []
    with pytest.raises(NotFound):
        standing.put()


def test_pages_are_opened_once_a_key_and_an_account_has_one_customer(standing):
    pages = [open_method_page(standing.ports, standing.renter, "https://app.example/", key) for key in "kkl"]
    assert pages[0] == pages[1] != pages[2]
    assert "cus_0" in open_portal(standing.ports, standing.renter, "https://app.example/")
    assert len(standing.stripe.customers) == 1
    standing.stripe.down = 1
    with pytest.raises(Unavailable):
        list_methods(standing.ports, standing.account_id)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["succeeded", "failed"]), st.integers(0, 40 * 24), st.integers(0, 5)),
        max_size=60,
    ),
    limit=st.integers(AMOUNT, 4 * AMOUNT),
)
def test_no_history_pays_more_in_a_month_than_its_limit(steps, limit):
    """Attempts as they are begun and ended, in any order of ends and hours between them."""
    order, now_ms = AutoTopUp("acc", "USD", THRESHOLD, AMOUNT, limit, "pm"), 1_790_000_000_000
    paid: dict[str, int] = {}
    attempts = []
    for number, (end, hours, available) in enumerate(steps):
        now_ms += hours * HOUR_S * 1000
        if not is_due(order, available * THRESHOLD // 4, now_ms):
            continue
        attempts.append(now_ms)
        top_up = TopUp(f"top_{number}", "acc", "auto", AMOUNT, "USD", now_ms, state=end)
        begun = begin_attempt(order, top_up)
        assert not is_due(begun, 0, now_ms + 10 * HOUR_S * 1000)
        order = end_attempt(begun, top_up)
        if end == "succeeded":
            paid[begun.month] = paid.get(begun.month, 0) + AMOUNT
        else:
            assert order.paused == "declined"
            order = AutoTopUp(
                **{name: getattr(order, name) for name in AutoTopUp.__slots__} | {"paused": None}
            )
        assert order.month_micros == paid.get(order.month, 0)
    assert all(micros <= limit for micros in paid.values())
    gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert all(gap >= HOUR_S * 1000 for gap in gaps)

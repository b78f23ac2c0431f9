"""A new account has less at once, by GPUs and by the hour, until it has paid and is older."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.crediting import GrantCredit, grant_credit
from chalicelib.billing.posting import find_balance
from chalicelib.core.capacity import DEFAULT_MAX_GPUS
from chalicelib.core.clock import format_instant
from chalicelib.core.errors import SpendLimitReached
from chalicelib.core.ids import build_id, read_created_ms
from chalicelib.rentals.allowances import find_allowance, read_quota
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.ports import QuotaExceeded
from chalicelib.rentals.ramp import DAY_MS, RAMP, Step, choose_allowance
from chalicelib.rentals.service import set_quota
from tests.factories import CREDIT, PRICE, give_credit, rent, seed_cloud
from tests.fakes import START_MS

STEPS = (
    Step(2, 100 * PRICE, until_age_ms=DAY_MS, until_paid_ms=0),
    Step(4, 100 * PRICE, until_age_ms=7 * DAY_MS, until_paid_ms=DAY_MS),
)
DAY_SECONDS = DAY_MS // 1_000


def seed(steps=STEPS, credit_micros=CREDIT):
    seeded = seed_cloud(gpus=8, credit_micros=credit_micros)
    seeded.cloud.rentals = replace(seeded.cloud.rentals, ramp=steps)
    return seeded


def wait(seeded, seconds):
    seeded.cloud.clock.advance_seconds(seconds)
    for host_id in seeded.cloud.db.table("hosts"):
        seeded.beat(host_id)


def promise(seeded):
    return find_allowance(seeded.cloud.rentals, seeded.renter.account_id)


def give_promo(seeded, amount_micros=CREDIT):
    command = GrantCredit(
        seeded.renter.account_id, amount_micros, "hello", "promo", "f", lambda _: "{}", kind="promo"
    )
    grant_credit(seeded.cloud.billing, seeded.operator, command, lambda _: True)


def test_a_new_account_gets_few_gpus_and_is_told_when_it_may_have_more():
    seeded = seed()
    with pytest.raises(QuotaExceeded, match="new") as caught:
        rent(seeded, 3)
    created_at_ms = read_created_ms(seeded.renter.account_id)
    assert dict(caught.value.extra) == {
        "max": 2,
        "available": 2,
        "needed": 3,
        "rises_at": format_instant(created_at_ms + DAY_MS),
    }
    rent(seeded, 2)
    with pytest.raises(QuotaExceeded):
        rent(seeded, 1, key="key-2")


def test_it_gets_more_with_age_once_it_has_paid_and_at_last_its_quota():
    seeded = seed()
    wait(seeded, DAY_SECONDS + 1)
    rent(seeded, 4)
    with pytest.raises(QuotaExceeded):
        rent(seeded, 1, key="key-2")
    wait(seeded, 6 * DAY_SECONDS)
    assert promise(seeded) is None
    assert read_quota(seeded.cloud.rentals, seeded.renter.account_id)[0].max_gpus == DEFAULT_MAX_GPUS
    rent(seeded, 1, key="key-2")


def test_who_never_paid_stays_on_the_first_step_and_promotional_credit_is_no_payment():
    seeded = seed(credit_micros=0)
    give_promo(seeded)
    wait(seeded, 30 * DAY_SECONDS)
    with pytest.raises(QuotaExceeded, match="first top-up"):
        rent(seeded, 3)
    assert promise(seeded).rises_at_ms is None
    assert find_balance(seeded.cloud.billing, seeded.renter.account_id).paid_since_ms is None
    give_credit(seeded, seeded.renter.account_id, CREDIT, key="paid")
    assert promise(seeded).max_gpus == 4
    rent(seeded, 4)


def test_a_payment_counts_from_its_first_and_stays_one_when_it_is_spent():
    seeded = seed()
    account_id = seeded.renter.account_id
    since_ms = find_balance(seeded.cloud.billing, account_id).paid_since_ms
    assert since_ms == START_MS
    wait(seeded, 60)
    give_credit(seeded, account_id, CREDIT, key="again")
    assert find_balance(seeded.cloud.billing, account_id).paid_since_ms == since_ms


def test_ended_stays_make_room_within_the_step():
    seeded = seed()
    rental_id = rent(seeded, 2).body
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental_id)
    assert rent(seeded, 2, key="key-2").body != rental_id


def test_a_new_account_spends_little_by_the_hour():
    seeded = seed((Step(8, 3 * PRICE, until_age_ms=DAY_MS, until_paid_ms=0),))
    rent(seeded, 2)
    with pytest.raises(SpendLimitReached):
        rent(seeded, 2, key="key-2")
    rent(seeded, 1, key="key-3")
    wait(seeded, DAY_SECONDS + 1)
    rent(seeded, 2, key="key-4")


@pytest.mark.parametrize("max_gpus", [1, 6, DEFAULT_MAX_GPUS, 200])
def test_a_quota_that_an_operator_sets_stands_for_itself(max_gpus):
    seeded = seed((Step(2, PRICE, until_age_ms=DAY_MS, until_paid_ms=0),))
    set_quota(seeded.cloud.rentals, seeded.operator, seeded.renter.account_id, max_gpus)
    assert promise(seeded) is None
    rent(seeded, min(max_gpus, 8))
    assert read_quota(seeded.cloud.rentals, seeded.renter.account_id)[0].max_gpus == max_gpus


def test_the_ramp_of_one_account_is_not_anothers():
    seeded = seed()
    wait(seeded, 8 * DAY_SECONDS)
    young = build_id("acc", now_ms=seeded.cloud.clock.now_ms(), randomness=bytes(10))
    assert find_allowance(seeded.cloud.rentals, young).max_gpus == 2
    assert promise(seeded) is None


def test_a_quota_shows_the_step_and_when_it_rises():
    seeded = seed()
    quota, allowance = read_quota(seeded.cloud.rentals, seeded.renter.account_id)
    assert (quota.max_gpus, quota.available_gpus) == (2, 2)
    assert allowance.rises_at_ms == read_created_ms(seeded.renter.account_id) + DAY_MS


def test_without_a_ramp_nothing_is_asked_for_it():
    assert promise(seed(())) is None


def test_an_account_whose_id_tells_no_time_is_new():
    seeded = seed()
    assert find_allowance(seeded.cloud.rentals, "acc_1").max_gpus == 2


@given(st.integers(0, 2**47), st.binary(min_size=10, max_size=10))
def test_an_id_tells_when_it_was_made(now_ms, randomness):
    assert read_created_ms(build_id("acc", now_ms=now_ms, randomness=randomness)) == now_ms


TIMES = st.integers(0, 10 * DAY_MS)


@given(TIMES, st.none() | TIMES, TIMES, TIMES)
def test_nobody_ever_loses_what_the_ramp_gave(created_at_ms, paid_since_ms, now_ms, later_ms):
    before = choose_allowance(RAMP, created_at_ms, paid_since_ms, now_ms)
    after = choose_allowance(RAMP, created_at_ms, paid_since_ms, now_ms + later_ms)
    if after is not None:
        assert before is not None
        assert before.max_gpus <= after.max_gpus
        assert before.spend_limit_micros_per_hour <= after.spend_limit_micros_per_hour
    if before is not None and before.rises_at_ms is not None:
        risen = choose_allowance(RAMP, created_at_ms, paid_since_ms, before.rises_at_ms)
        assert risen is None or risen.max_gpus > before.max_gpus
        assert choose_allowance(RAMP, created_at_ms, paid_since_ms, before.rises_at_ms - 1) is not None


def test_the_ramp_stays_under_the_quota_that_everybody_has():
    assert [step.max_gpus for step in RAMP] == sorted({step.max_gpus for step in RAMP})
    assert all(step.max_gpus < DEFAULT_MAX_GPUS for step in RAMP)

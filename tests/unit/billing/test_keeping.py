"""Stopped volumes: charged to the second that they were kept, once, never while held or maybe gone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.keeping import SHARDS, charge_volume, charge_volumes
from chalicelib.billing.posting import find_balance
from chalicelib.catalog.service import put_volume_price
from chalicelib.core.errors import InvalidInput
from chalicelib.rentals.life import resume_rental, stop_rental, terminate_rental
from chalicelib.rentals.retention import DAY_MS, DataHold, Keeping
from tests.factories import CREDIT, REGION, give_credit, seed_cloud, start
from tests.fakes import Crash
from tests.unit.billing.books import check_books
from tests.unit.rentals.test_life import WITH_VOLUME

#: WITH_VOLUME has one GiB.
PRICE = 3_601
DAY_SECONDS = DAY_MS // 1000


def set_price(seeded, micros=PRICE, region=REGION):
    put_volume_price(seeded.cloud.catalog, seeded.operator, region, micros, frozenset({REGION}))
    seeded.cloud.clock.advance_seconds(61)


#: A deadline that does not come.
NEVER_MS = 10**15


def stop_with_volume(*, price=PRICE, credit_micros=CREDIT):
    """A rental that ran for no time, was stopped, and keeps its volume since now."""
    seeded = seed_cloud(credit_micros=credit_micros)
    if price:
        set_price(seeded, price)
        seeded.beat(next(iter(seeded.cloud.db.table("hosts"))))
    rental = start(seeded, workload=WITH_VOLUME)
    stop_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    return seeded, seeded.rental(rental.rental_id)


def pass_hours(seeded, hours):
    for _ in range(hours):
        seeded.cloud.clock.advance_seconds(3600)
        charge_volumes(seeded.cloud.billing, seeded.cloud.clock.now_ms(), NEVER_MS)


def list_charges(seeded):
    journals = seeded.cloud.db.table("journals").values()
    return sorted((each for each in journals if each.kind == "volume"), key=lambda each: each.posted_at_ms)


def total(seeded):
    return sum(each.details["amount_micros"] for each in list_charges(seeded))


def test_a_volume_is_charged_by_the_day_and_to_the_second_when_it_is_resumed():
    seeded, rental = stop_with_volume()
    before = find_balance(seeded.cloud.billing, rental.account_id).posted_micros
    pass_hours(seeded, 60)
    assert [each.details["to_seconds"] for each in list_charges(seeded)] == [DAY_SECONDS, 2 * DAY_SECONDS]
    seeded.cloud.clock.advance_seconds(17)
    seeded.beat(rental.volume_host_id)
    resume_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    seconds = 60 * 3600 + 17
    pass_hours(seeded, 30)
    assert total(seeded) == PRICE * seconds // 3600
    after = find_balance(seeded.cloud.billing, rental.account_id)
    assert before - after.posted_micros == total(seeded)
    assert seeded.rental(rental.rental_id).kept == ()
    check_books(seeded)


def test_it_is_charged_to_its_end_when_the_rental_is_terminated():
    seeded, rental = stop_with_volume()
    seeded.cloud.clock.advance_seconds(100)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    pass_hours(seeded, 50)
    assert total(seeded) == PRICE * 100 // 3600
    assert len(list_charges(seeded)) == 1


def test_without_a_price_it_costs_nothing_and_a_new_price_is_for_new_stays():
    seeded, rental = stop_with_volume(price=0)
    set_price(seeded)
    pass_hours(seeded, 30)
    assert (rental.kept, list_charges(seeded)) == ((), [])
    with pytest.raises(InvalidInput):
        set_price(seeded, region="nowhere")


@pytest.mark.parametrize("state", ["lost", "retired"])
def test_what_may_be_gone_is_not_sold(state):
    seeded, rental = stop_with_volume()
    pass_hours(seeded, 24)
    hosts = seeded.cloud.db.table("hosts")
    host = hosts[rental.volume_host_id]
    hosts[rental.volume_host_id] = replace(host, state=state)
    pass_hours(seeded, 48)
    assert total(seeded) == PRICE * 24
    hosts[rental.volume_host_id] = host
    pass_hours(seeded, 24)
    assert total(seeded) == PRICE * 48


def test_an_empty_wallet_holds_the_data_for_nothing_and_money_makes_it_cost_again():
    seeded, rental = stop_with_volume(credit_micros=10_000_000)
    spend = find_balance(seeded.cloud.billing, rental.account_id).posted_micros - PRICE * 24 - 5
    table = seeded.cloud.db.table("balances")
    balance = table[rental.account_id]
    table[rental.account_id] = replace(
        balance,
        posted_micros=balance.posted_micros - spend,
        available_micros=balance.available_micros - spend,
    )
    pass_hours(seeded, 24)
    assert seeded.rental(rental.rental_id).data_hold is None
    pass_hours(seeded, 24)
    held = seeded.rental(rental.rental_id).data_hold
    assert held is not None
    assert 13 * DAY_MS < held.until_ms - seeded.cloud.clock.now_ms() <= 14 * DAY_MS
    assert table[rental.account_id].posted_micros == 0
    pass_hours(seeded, 72)
    assert len(list_charges(seeded)) == 2
    give_credit(seeded, rental.account_id, 10_000_000, key="saved")
    pass_hours(seeded, 24)
    assert seeded.rental(rental.rental_id).data_hold is None
    pass_hours(seeded, 24)
    assert len(list_charges(seeded)) == 3
    assert table[rental.account_id].posted_micros == 10_000_000 - PRICE * 24


def test_a_rental_that_is_resumed_or_ended_in_its_hold_owes_nothing_for_it():
    seeded, rental = stop_with_volume()
    table = seeded.cloud.db.table("rentals")
    balances = seeded.cloud.db.table("balances")
    balances[rental.account_id] = replace(balances[rental.account_id], exhausted_at_ms=1)
    table[rental.rental_id] = replace(rental, data_hold=DataHold(seeded.cloud.clock.now_ms() + 14 * DAY_MS))
    seeded.cloud.clock.advance_seconds(20 * 3600)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    assert seeded.rental(rental.rental_id).kept == ()


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_whoever_dies_over_a_charge_charges_once(side):
    seeded, _rental = stop_with_volume()
    for _ in range(3):
        seeded.cloud.clock.advance_seconds(DAY_SECONDS)
        setattr(seeded.cloud.db, side, seeded.cloud.db.commits)
        with pytest.raises(Crash):
            charge_volumes(seeded.cloud.billing, seeded.cloud.clock.now_ms(), NEVER_MS)
        seeded.cloud.db.crash_before = seeded.cloud.db.crash_after = None
        charge_volumes(seeded.cloud.billing, seeded.cloud.clock.now_ms(), NEVER_MS)
    assert total(seeded) == PRICE * 24 * 3
    check_books(seeded)


def test_a_rental_that_is_not_there_is_no_error():
    seeded = seed_cloud(hosts=0)
    assert charge_volume(seeded.cloud.billing, "rnt_none", 10**13) == 0


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**7),
    st.lists(st.integers(0, 10 * DAY_SECONDS), min_size=1, max_size=8),
)
def test_any_pattern_of_charges_sums_to_the_whole(price, size_mib, steps):
    kept = Keeping(0, size_mib, price)
    charged, now_seconds = 0, 0
    for step in steps:
        now_seconds += step
        seconds = kept.count_seconds(now_seconds * 1000)
        charged += kept.compute_micros(seconds) - kept.compute_micros(kept.charged_seconds)
        kept = replace(kept, charged_seconds=seconds)
    assert charged == price * size_mib * now_seconds // (1024 * 3600)


def test_when_time_runs_out_each_hour_begins_with_another_part():
    seeded = seed_cloud(hosts=0)
    asked = []
    seeded.cloud.rentals.store.list_kept = lambda shard: asked.append(shard) or iter(["rnt_none"])
    for _ in range(SHARDS):
        now_ms = seeded.cloud.clock.now_ms()
        assert charge_volumes(seeded.cloud.billing, now_ms, now_ms) == 0
        seeded.cloud.clock.advance_seconds(3600)
    assert sorted(asked) == [f"KEPT#{shard}" for shard in range(SHARDS)]

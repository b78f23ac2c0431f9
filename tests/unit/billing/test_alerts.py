"""A renter is told in time that money runs out, once for each bound, and that it is well again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.billing.budget import MAX_BUDGETS
from chalicelib.billing.charging import MAX_ALERTS, charge_rental
from chalicelib.billing.model import ALERT_SECONDS, RECOVERED_PERCENT, Balance, find_alert_level
from chalicelib.core.money import compute_charge_micros
from tests.factories import PRICE, give_credit, seed_cloud, start
from tests.unit.billing.books import check_books
from tests.unit.billing.test_budgets import add_budget

RATE = 2 * PRICE


def cost(seconds):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=2, seconds=seconds)


def list_events(seeded, *kinds):
    events = sorted(seeded.cloud.db.table("events").values(), key=lambda each: each.event_id)
    return [each for each in events if each.type.startswith(kinds)]


def run(seeded, rental, seconds):
    for _ in range(seconds // 50):
        seeded.cloud.clock.advance_seconds(50)
        if seeded.rental(rental.rental_id).state == "running":
            seeded.report(seeded.rental(rental.rental_id), "running")
    charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)


def test_each_bound_is_told_once_and_the_end_as_well():
    seeded = seed_cloud(credit_micros=cost(3_600 + 600))
    rental = start(seeded)
    for _ in range(84):
        run(seeded, rental, 50)
    told = [(each.type, each.data.get("level")) for each in list_events(seeded, "wallet")]
    assert told == [("wallet.low", "warning"), ("wallet.low", "critical"), ("wallet.exhausted", None)]
    first = list_events(seeded, "wallet")[0].data
    assert first["seconds_left"] == 3_600 + 550
    assert first["burn_micros_per_hour"] == RATE


def test_a_top_up_is_told_once_when_it_is_well_above_the_bound():
    seeded = seed_cloud(credit_micros=cost(3_600))
    rental = start(seeded)
    run(seeded, rental, 50)
    account_id = seeded.renter.account_id
    give_credit(seeded, account_id, cost(200), key="too little to recover")
    give_credit(seeded, account_id, cost(10**6), key="plenty")
    run(seeded, rental, 50)
    told = [each.type for each in list_events(seeded, "wallet")]
    assert told == ["wallet.low", "wallet.recovered"]


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=40))
def test_what_wavers_about_a_bound_tells_once(lasts):
    balance = Balance("acc", "USD", burn_micros_per_hour=3_600)
    for seconds in lasts:
        balance = replace(balance, posted_micros=seconds)
        level = find_alert_level(balance)
        reached = sum(seconds < bound for bound in ALERT_SECONDS)
        # Never less than what is true now; more only where it is not yet well above the bound.
        assert level >= reached
        assert level == reached or seconds * 100 < ALERT_SECONDS[level - 1] * RECOVERED_PERCENT
        balance = replace(balance, alert_level=level)


def test_nothing_that_runs_is_nothing_that_runs_out():
    assert find_alert_level(Balance("acc", "USD", posted_micros=1, alert_level=2)) == 2


def test_a_budgets_thresholds_and_its_end_are_told_once():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(180) + cost(200))
    rental = start(seeded)
    for _ in range(9):
        run(seeded, rental, 50)
    told = [(each.type, each.data.get("percent")) for each in list_events(seeded, "budget")]
    assert told == [
        ("budget.threshold_reached", 50),
        ("budget.exhausted", None),
    ]
    assert list_events(seeded, "budget")[0].data["budget_id"] == budget_id


def test_a_credit_is_told_with_its_reason():
    seeded = seed_cloud(credit_micros=7)
    (told,) = list_events(seeded, "credit")
    assert told.account_id == seeded.renter.account_id
    assert told.data == {"amount_micros": 7, "kind": "credit", "reason": "test credit"}


def test_many_budgets_that_are_reached_at_once_hold_up_no_charge_and_are_all_told():
    seeded = seed_cloud()
    for number in range(MAX_BUDGETS):
        add_budget(seeded, cost(50), key=f"budget-{number}", hard_stop=False)
    rental = start(seeded, key="busy")
    told = []
    for charges in (1, 2, 3):
        run(seeded, rental, 50)
        told.append(sum(each.type == "budget.threshold_reached" for each in list_events(seeded, "budget")))
        assert seeded.rental(rental.rental_id).billed_seconds == 50 * charges
    assert told == [MAX_ALERTS, 2 * MAX_ALERTS, MAX_BUDGETS]

"""A budget stops its rentals, and no others; a spend limit refuses what would go beyond it."""

import pytest

from chalicelib.billing.charging import charge_rental
from chalicelib.billing.service import (
    ChangeBudget,
    CreateBudget,
    change_budget,
    create_budget,
    get_budget,
    list_budgets,
    remove_budget,
    set_spend_limit,
)
from chalicelib.core.errors import (
    BudgetExhausted,
    IdempotencyMismatch,
    InvalidInput,
    NotFound,
    SpendLimitReached,
)
from chalicelib.core.money import compute_charge_micros
from chalicelib.rentals.life import terminate_rental
from tests.factories import PRICE, add_renter, rent, seed_cloud, start
from tests.unit.billing.books import check_books

DAY_S = 86_400


def cost(seconds, gpus=2):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)


def add_budget(seeded, limit_micros, *, key="budget", principal=None, **named):
    facts = {"scope": "account", "scope_value": "", "period": "month", "hard_stop": True} | named
    command = CreateBudget(
        name="research",
        limit_micros=limit_micros,
        idempotency_key=key,
        fingerprint=f"{limit_micros}{facts}",
        render=lambda budget: budget.budget_id,
        **facts,
    )
    return create_budget(seeded.cloud.billing, principal or seeded.renter, command).body


def read(seeded, budget_id):
    return get_budget(seeded.cloud.billing, seeded.renter.account_id, budget_id)


def run(seeded, rental, seconds, step=20):
    for _ in range(seconds // step):
        seeded.cloud.clock.advance_seconds(step)
        if seeded.rental(rental.rental_id).state == "running":
            seeded.report(seeded.rental(rental.rental_id), "running")
        charge_rental(seeded.cloud.billing, rental.rental_id)
        check_books(seeded)


def end(seeded, rental):
    seeded.report(seeded.rental(rental.rental_id), "terminated", wiped=True)
    seeded.charge_all()
    check_books(seeded)


def test_a_hard_budget_stops_its_rental_inside_its_runway_and_is_never_exceeded():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(180) + cost(50))
    rental = start(seeded)
    assert read(seeded, budget_id).held_micros == cost(180)
    run(seeded, rental, 160)
    ended = seeded.rental(rental.rental_id)
    assert (ended.state, ended.reason) == ("terminating", "budget_exhausted")
    end(seeded, rental)
    budget = read(seeded, budget_id)
    assert budget.spent_micros == cost(60) <= budget.limit_micros
    assert (budget.held_micros, budget.alerted_percent) == (0, 0)
    assert seeded.rental(rental.rental_id).billing_state == "settled"


def test_a_host_that_does_not_stop_costs_the_platform_and_not_the_budget():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(200))
    rental = start(seeded)
    # One charge that comes very late: far beyond what the budget and the runway have.
    for _ in range(20):
        seeded.cloud.clock.advance_seconds(20)
        seeded.report(seeded.rental(rental.rental_id), "running")
    charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)
    budget = read(seeded, budget_id)
    assert (budget.spent_micros, budget.remaining_micros) == (cost(200), 0)
    legs = seeded.cloud.db.table("legs").values()
    overrun = [leg.amount_micros for leg, _ in legs if leg.ledger_account.startswith("overrun_expense")]
    assert overrun == [cost(200) - cost(400)]


def test_a_budget_of_a_label_stops_what_has_the_label_and_no_other():
    seeded = seed_cloud(gpus=8)
    add_budget(seeded, cost(180) + cost(30), scope="label", scope_value="train")
    one = start(seeded, key="a", label="train")
    other = start(seeded, key="b", label="serve")
    bare = start(seeded, key="c")
    for _ in range(4):
        seeded.cloud.clock.advance_seconds(20)
        for each in (one, other, bare):
            if seeded.rental(each.rental_id).state == "running":
                seeded.report(seeded.rental(each.rental_id), "running")
            charge_rental(seeded.cloud.billing, each.rental_id)
    check_books(seeded)
    states = [seeded.rental(each.rental_id).state for each in (one, other, bare)]
    assert states == ["terminating", "running", "running"]


def test_starts_that_come_together_never_set_more_aside_than_the_budget_has():
    seeded = seed_cloud(gpus=8)
    budget_id = add_budget(seeded, cost(180) * 2 + 1)
    started = 0
    for number in range(4):
        try:
            rent(seeded, key=f"k{number}")
            started += 1
        except BudgetExhausted:
            pass
        check_books(seeded)
    assert started == 2
    assert read(seeded, budget_id).remaining_micros == 1


def test_a_soft_budget_tells_and_stops_nothing():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(60), hard_stop=False)
    rental = start(seeded)
    told = []
    for _ in range(10):
        run(seeded, rental, 20)
        told.append(read(seeded, budget_id).alerted_percent)
    assert seeded.rental(rental.rental_id).state == "running"
    assert told == [0, 50, 100, *[100] * 7]
    assert read(seeded, budget_id).spent_micros == cost(200)


def test_a_budget_that_comes_later_takes_the_runway_of_what_runs_or_stops_it():
    seeded = seed_cloud()
    rental = start(seeded)
    run(seeded, rental, 20)
    roomy = add_budget(seeded, cost(10_000), key="roomy")
    run(seeded, rental, 20)
    assert read(seeded, roomy).held_micros == cost(180)
    assert seeded.rental(rental.rental_id).state == "running"
    tight = add_budget(seeded, cost(100), key="tight")
    run(seeded, rental, 20)
    assert read(seeded, tight).held_micros == 0
    assert seeded.rental(rental.rental_id).reason == "budget_exhausted"
    end(seeded, rental)


def test_a_new_month_begins_with_nothing_spent():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(180) + cost(60))
    rental = start(seeded)
    run(seeded, rental, 40)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    end(seeded, rental)
    spent = read(seeded, budget_id)
    assert (spent.spent_micros, spent.period_key) == (cost(40), "2027-01")
    seeded.cloud.clock.advance_seconds(31 * DAY_S)
    fresh = read(seeded, budget_id)
    assert (fresh.spent_micros, fresh.remaining_micros) == (0, fresh.limit_micros)
    for host in {rental.host_id}:
        seeded.beat(host)
    again = start(seeded, key="next month")
    run(seeded, again, 40)
    after = read(seeded, budget_id)
    assert (after.spent_micros, after.period_key) == (cost(40), "2027-02")


def test_a_limit_that_is_lowered_below_what_was_spent_stops_and_takes_nothing_back():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(10_000))
    rental = start(seeded)
    run(seeded, rental, 40)
    change_budget(seeded.cloud.billing, seeded.renter, budget_id, ChangeBudget(limit_micros=cost(20)))
    run(seeded, rental, 20)
    assert seeded.rental(rental.rental_id).reason == "budget_exhausted"
    end(seeded, rental)
    assert read(seeded, budget_id).spent_micros == cost(60)


def test_a_removed_budget_stops_nothing_and_a_foreign_one_is_not_there():
    seeded = seed_cloud()
    budget_id = add_budget(seeded, cost(200))
    stranger = add_renter(seeded, name="stranger")
    for act in (
        lambda: get_budget(seeded.cloud.billing, stranger.account_id, budget_id),
        lambda: change_budget(seeded.cloud.billing, stranger, budget_id, ChangeBudget(limit_micros=1)),
        lambda: remove_budget(seeded.cloud.billing, stranger, budget_id),
    ):
        with pytest.raises(NotFound):
            act()
    rental = start(seeded)
    remove_budget(seeded.cloud.billing, seeded.renter, budget_id)
    run(seeded, rental, 200)
    assert seeded.rental(rental.rental_id).state == "running"
    assert list_budgets(seeded.cloud.billing, seeded.renter.account_id) == []


def test_a_budget_is_created_once_per_key_and_names_what_it_is_of():
    seeded = seed_cloud()
    assert add_budget(seeded, 7) == add_budget(seeded, 7)
    with pytest.raises(IdempotencyMismatch):
        add_budget(seeded, 8)
    with pytest.raises(InvalidInput):
        add_budget(seeded, 7, key="x", scope="label")
    with pytest.raises(InvalidInput):
        add_budget(seeded, 7, key="y", scope_value="train")
    with pytest.raises(NotFound):
        add_budget(seeded, 7, key="z", scope="rental", scope_value="rnt_none")
    assert len(list_budgets(seeded.cloud.billing, seeded.renter.account_id)) == 1


def test_a_start_beyond_the_spend_limit_is_refused_and_an_end_makes_room():
    seeded = seed_cloud(gpus=8)
    set_spend_limit(seeded.cloud.billing, seeded.renter, 3 * PRICE)
    rental = start(seeded, key="a")
    with pytest.raises(SpendLimitReached):
        rent(seeded, key="b")
    rent(seeded, 1, key="c")
    check_books(seeded)
    terminate_rental(seeded.cloud.rentals, seeded.renter, rental.rental_id)
    end(seeded, rental)
    rent(seeded, key="d")
    set_spend_limit(seeded.cloud.billing, seeded.renter, None)
    rent(seeded, 4, key="e")
    check_books(seeded)


@pytest.mark.parametrize("bound", ["wallet", "budget"])
def test_a_start_between_what_a_charge_reads_and_writes_takes_nothing_below_zero(bound):
    tight, roomy = cost(180) * 2 + cost(20), cost(10_000)
    seeded = seed_cloud(gpus=8, credit_micros=tight if bound == "wallet" else roomy)
    budget_id = add_budget(seeded, tight if bound == "budget" else roomy)
    rental = start(seeded, key="first")
    for _ in range(2):
        seeded.cloud.clock.advance_seconds(20)
        seeded.report(seeded.rental(rental.rental_id), "running")

    def between():
        seeded.cloud.db.interlude = None
        seeded.beat(rental.host_id)
        rent(seeded, key="second")

    seeded.cloud.db.interlude = between
    charge_rental(seeded.cloud.billing, rental.rental_id)
    check_books(seeded)
    assert seeded.cloud.db.interlude is None
    budget = read(seeded, budget_id)
    assert budget.spent_micros == cost(40)
    assert budget.remaining_micros >= 0
    # The second start took what was free, so the first pays out of its runway and is stopped.
    assert (
        seeded.rental(rental.rental_id).reason
        == {
            "wallet": "balance_exhausted",
            "budget": "budget_exhausted",
        }[bound]
    )

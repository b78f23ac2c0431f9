"""Money on the database that the platform runs on: conditions as they are written, faults, many at once.

The bank: customers are credited and debited through the ledger's one writer, by threads that lose replies and
meet conflicts, while others read; what the books say must add up at every moment.
"""

import os
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event

import pytest
from botocore.exceptions import BotoCoreError
from pynamodb.exceptions import PynamoDBException
from pynamodb.transactions import TransactGet

from chalicelib import wiring
from chalicelib.billing.crediting import GrantCredit, expire_grants, grant_credit
from chalicelib.billing.model import Hold, Leg, name_shard
from chalicelib.billing.ports import AlreadyPosted, PostingMismatch
from chalicelib.billing.posting import Posting, add_posting, find_balance, find_wallet
from chalicelib.billing.service import (
    ChangeBudget,
    CreateBudget,
    change_budget,
    check_chain,
    create_budget,
    list_budgets,
    remove_budget,
    set_spend_limit,
)
from chalicelib.core.errors import (
    BudgetExhausted,
    DomainError,
    InsufficientFunds,
    SpendLimitReached,
    Unavailable,
)
from chalicelib.core.money import StayHold
from chalicelib.storage import keys
from chalicelib.storage.connection import bind
from chalicelib.storage.tables.ledger import BalanceItem
from infra.local.cloud import EmbeddedCloud
from tests.integration.faults import inject
from tests.integration.fleet_setup import add_renter, become_operator
from tests.integration.in_process import wire_to

THREADS = 8
TRANSFERS = int(os.environ.get("BANK_TRANSFERS", "60"))
ACCOUNTS = 5
OPENING = 1_000_000
HOLD = 1_000


@pytest.fixture(scope="module")
def wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def hold(account_id: str, number: object, *, amount: int = HOLD, label: str | None = None) -> StayHold:
    return StayHold(f"{account_id}-{number}#0001", amount, 3_600_000, f"rnt_{number}", "h100", label)


def start(account_id: str, *holds: StayHold, now_ms: int | None = None) -> None:
    """Set money aside as a start does, which comes again when it met another."""
    for _ in range(10):
        tx = wiring.rental_ports().transactions()
        now = wiring.clock().now_ms() if now_ms is None else now_ms
        wiring.rental_ports().wallets.add_holds(tx, account_id, holds, now)
        try:
            tx.commit()
        except Unavailable:
            continue
        return
    raise AssertionError("it never came through")


def budget(principal, limit_micros: int, **named) -> str:
    facts = {"scope": "account", "scope_value": "", "period": "total", "hard_stop": True} | named
    command = CreateBudget(
        name="b",
        limit_micros=limit_micros,
        idempotency_key=uuid.uuid4().hex,
        fingerprint="b",
        render=lambda made: made.budget_id,
        **facts,
    )
    return create_budget(wiring.billing_ports(), principal, command).body


def read_total(account_ids: list[str]) -> int:
    """Return what all accounts have together at one instant."""
    connection = bind(wiring.settings().table_prefix, wiring.settings().aws_region)
    with TransactGet(connection=connection) as read:
        rows = [read.get(BalanceItem, keys.account(each), keys.BALANCE) for each in account_ids]
    return sum(row.get().posted_micros for row in rows)


def transfer(source: str, target: str, amount: int, key: str) -> None:
    """Move money from one wallet to another in one transaction.

    Raises:
        InsufficientFunds: the source has less.
    """
    ports = wiring.billing_ports()
    while True:
        tx = ports.rentals.transactions()
        balances = [find_balance(ports, each) for each in (source, target)]
        if balances[0].available_micros < amount:
            raise InsufficientFunds("too little")
        for balance, signed in zip(balances, (-amount, amount), strict=True):
            legs = (Leg(name_shard("bank", balance.account_id), -signed),)
            posting = Posting(
                "bank", f"{key}:{balance.account_id}", "transfer", legs, {"amount_micros": signed}
            )
            add_posting(ports, tx, balance, posting, 1)
        try:
            tx.commit()
        except AlreadyPosted:
            return
        except Unavailable:
            continue
        return


@pytest.mark.slow
def test_eight_threads_that_lose_replies_neither_make_money_nor_lose_any(wired: None) -> None:
    operator = become_operator()
    accounts = [add_renter(operator, OPENING).account_id for _ in range(ACCOUNTS)]
    run = uuid.uuid4().hex[:8]
    ports = wiring.billing_ports()
    working = Event()

    def work(number: int) -> int:
        rng = random.Random(f"{run}-{number}")
        done = 0
        with faults.meet(f"bank-{number}"):
            for count in range(TRANSFERS):
                source, target = rng.sample(accounts, 2)
                amount, key = rng.randint(1, OPENING // 10), f"{run}-{number}-{count}"
                with suppress(InsufficientFunds):
                    insist(lambda: transfer(source, target, amount, key))  # noqa: B023
                    done += 1
        return done

    def watch() -> set[int]:
        totals = set()
        while not working.is_set():
            totals.add(read_total(accounts))
        return totals

    with inject(20_261_124) as faults, ThreadPoolExecutor(THREADS + 1) as pool:
        watching = pool.submit(watch)
        done = sum(pool.map(work, range(THREADS)))
        working.set()
        totals = watching.result()
    print(f"{done} transfers of {THREADS * TRANSFERS}, faults: {dict(faults.counts)}")
    assert totals == {ACCOUNTS * OPENING}
    assert done > THREADS * TRANSFERS // 2
    assert faults.counts["lost reply of TransactWriteItems"] > 0
    assert faults.counts["conflict"] > 0
    balances = [find_balance(ports, account_id) for account_id in accounts]
    assert sum(each.posted_micros for each in balances) == ACCOUNTS * OPENING
    assert all(each.posted_micros >= 0 for each in balances)
    for each in balances:
        assert each.available_micros == each.posted_micros - each.held_micros
        assert check_chain(ports, each.account_id) is None
    # Each transfer stands twice, once in each account, however often its reply was lost.
    assert sum(each.leg_version for each in balances) == ACCOUNTS + 2 * done


def insist(act: Callable[[], None]) -> None:
    """Come again after a fault that no transaction retries: a read's lost reply, a throttle."""
    while True:
        try:
            return act()
        except DomainError:
            raise
        except (PynamoDBException, BotoCoreError):
            continue


@pytest.mark.slow
def test_a_thousand_starts_at_once_never_hold_more_than_there_is(wired: None) -> None:
    starts = int(os.environ.get("PARALLEL_STARTS", "1000"))
    covered = starts // 3
    renter = add_renter(become_operator(), covered * HOLD + 1)

    def attempt(number: int) -> bool:
        try:
            start(renter.account_id, hold(renter.account_id, number))
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        won = sum(pool.map(attempt, range(starts)))
    balance = find_balance(wiring.billing_ports(), renter.account_id)
    assert won == covered
    assert (balance.held_micros, balance.available_micros) == (covered * HOLD, 1)
    assert balance.burn_micros_per_hour == covered * 3_600_000


def test_starts_at_once_never_set_more_aside_than_a_budget_has(wired: None) -> None:
    renter = add_renter(become_operator(), 10**9)
    budget(renter, 10 * HOLD)
    of_label = budget(renter, 3 * HOLD, scope="label", scope_value="train")

    def attempt(number: int) -> str:
        label = "train" if number % 2 else None
        try:
            start(renter.account_id, hold(renter.account_id, number, label=label))
        except BudgetExhausted:
            return "refused"
        return label or "bare"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, range(40)))
    assert outcomes.count("train") == 3
    assert outcomes.count("bare") == 7
    left = {each.budget_id: each for each in list_budgets(wiring.billing_ports(), renter.account_id)}
    assert [each.remaining_micros for each in left.values()] == [0, 0]
    assert left[of_label].held_micros == 3 * HOLD


def test_a_spend_limit_is_a_condition_of_the_start(wired: None) -> None:
    renter = add_renter(become_operator(), 10**9)
    ports = wiring.billing_ports()
    start(renter.account_id, hold(renter.account_id, "before"))
    set_spend_limit(ports, renter, 2 * 3_600_000)
    start(renter.account_id, hold(renter.account_id, 1))
    with pytest.raises(SpendLimitReached) as refused:
        start(renter.account_id, hold(renter.account_id, 2))
    assert refused.value.extra["left_micros_per_hour"] == 0
    set_spend_limit(ports, renter, 3 * 3_600_000)
    start(renter.account_id, hold(renter.account_id, 3))
    set_spend_limit(ports, renter, None)
    start(renter.account_id, *[hold(renter.account_id, each) for each in range(10, 20)])
    balance = find_balance(ports, renter.account_id)
    assert balance.burn_micros_per_hour == 13 * 3_600_000
    assert balance.spend_limit_micros_per_hour is None


def test_who_never_had_money_starts_nothing_not_even_what_holds_none(wired: None) -> None:
    for amount in (0, HOLD):
        with pytest.raises(InsufficientFunds):
            start("acc_none", hold("acc_none", amount, amount=amount))


def test_a_budget_is_kept_changed_and_removed_and_a_month_rolls(wired: None) -> None:
    renter = add_renter(become_operator(), 10**9)
    ports = wiring.billing_ports()
    budget_id = budget(renter, 2 * HOLD, period="month")
    now_ms = wiring.clock().now_ms()
    (made,) = find_wallet(ports, renter.account_id).budgets
    tx = ports.rentals.transactions()
    spent = replace(made, spent_micros=2 * HOLD, remaining_micros=0, alerted_percent=100)
    ports.budgets.replace_budget(tx, made, spent)
    tx.commit()
    tx = ports.rentals.transactions()
    ports.budgets.replace_budget(tx, made, spent)
    with pytest.raises(Unavailable):
        tx.commit()
    with pytest.raises(BudgetExhausted) as refused:
        start(renter.account_id, hold(renter.account_id, 1))
    assert refused.value.extra["remaining_micros"] == 0
    next_month_ms = now_ms + 32 * 86_400_000
    start(renter.account_id, hold(renter.account_id, 2), now_ms=next_month_ms)
    (rolled,) = find_wallet(ports, renter.account_id).budgets
    assert (rolled.spent_micros, rolled.held_micros, rolled.remaining_micros) == (0, HOLD, HOLD)
    assert rolled.alerted_percent == 0
    changed = change_budget(ports, renter, budget_id, ChangeBudget(limit_micros=HOLD, hard_stop=False))
    assert (changed.limit_micros, changed.hard_stop) == (HOLD, False)
    remove_budget(ports, renter, budget_id)
    assert find_wallet(ports, renter.account_id).budgets == ()
    start(renter.account_id, hold(renter.account_id, 3))


def test_grants_are_spent_first_expire_and_are_found_when_due(wired: None) -> None:
    operator = become_operator()
    renter = add_renter(operator, 1_000)
    ports = wiring.billing_ports()
    now_ms = wiring.clock().now_ms()
    for key, amount, lasts_ms in (("a", 500, 60_000), ("b", 700, None)):
        command = GrantCredit(
            account_id=renter.account_id,
            amount_micros=amount,
            reason="welcome",
            idempotency_key=f"{renter.account_id}-{key}",
            fingerprint="welcome",
            render=lambda balance: str(balance.posted_micros),
            kind="promo",
            expires_at_ms=None if lasts_ms is None else now_ms + lasts_ms,
        )
        grant_credit(ports, operator, command, wiring.account_exists)
    assert renter.account_id not in ports.wallets.list_due(now_ms, 1000)
    assert renter.account_id in ports.wallets.list_due(now_ms + 60_000, 1000)
    assert expire_grants(ports, now_ms + 60_000) >= 1
    balance = find_balance(ports, renter.account_id)
    assert (balance.paid_micros, balance.promo_micros, balance.posted_micros) == (1_000, 700, 1_700)
    assert renter.account_id not in ports.wallets.list_due(now_ms + 60_000, 1000)
    transfer(renter.account_id, add_renter(operator, 1).account_id, 900, f"{renter.account_id}-spend")
    balance = find_balance(ports, renter.account_id)
    assert (balance.paid_micros, balance.promo_micros) == (800, 0)
    assert check_chain(ports, renter.account_id) is None


def test_a_posting_stands_once_and_says_one_thing(wired: None) -> None:
    renter = add_renter(become_operator(), 1_000)
    ports = wiring.billing_ports()

    def post(amount: int) -> None:
        tx = ports.rentals.transactions()
        posting = Posting(
            "test", renter.account_id, "fee", (Leg("revenue:fee:x", amount),), {"amount_micros": amount}
        )
        add_posting(ports, tx, find_balance(ports, renter.account_id), posting, 1)
        tx.commit()

    post(10)
    with pytest.raises(AlreadyPosted):
        post(10)
    with pytest.raises(PostingMismatch):
        post(11)
    with pytest.raises(Unavailable):
        posting = Posting("test", "more", "fee", (Leg("revenue:fee:x", 991),))
        tx = ports.rentals.transactions()
        add_posting(ports, tx, find_balance(ports, renter.account_id), posting, 1)
        tx.commit()
    taken = Posting("test", "taken", "dispute", (Leg("stripe_clearing:x", 991),), may_overdraw=True)
    tx = ports.rentals.transactions()
    add_posting(ports, tx, find_balance(ports, renter.account_id), taken, 1)
    tx.commit()
    assert find_balance(ports, renter.account_id).posted_micros == -1
    with pytest.raises(InsufficientFunds):
        start(renter.account_id, hold(renter.account_id, 1))
    legs = ports.ledger.read_legs("test", "taken")
    assert sorted(leg.amount_micros for leg in legs) == [-991, 991]


def test_a_hold_that_moved_is_not_changed(wired: None) -> None:
    renter = add_renter(become_operator(), 10**6)
    ports = wiring.billing_ports()
    start(renter.account_id, hold(renter.account_id, 1, label="train"))
    found = ports.wallets.get_hold(renter.account_id, f"{renter.account_id}-1#0001")
    assert found == Hold(
        f"{renter.account_id}-1#0001", HOLD, "pending", 3_600_000, "rnt_1", "h100", "train", 0, ()
    )
    for attempt in range(2):
        tx = ports.rentals.transactions()
        ports.wallets.change_hold(tx, renter.account_id, found, replace(found, amount_micros=0, state="void"))
        if attempt:
            with pytest.raises(Unavailable):
                tx.commit()
        else:
            tx.commit()

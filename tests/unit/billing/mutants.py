"""Bugs made by hand in the money path, and what is to notice each: `make mutants` prints the table."""

import contextlib
import io
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chalicelib.billing import charging, crediting, model, posting, rating
from chalicelib.billing.budget import Budget
from chalicelib.core.clock import name_month
from chalicelib.core.errors import DomainError
from tests.fakes.ledger import FakeBudgetStore, FakeLedgerStore, FakeUsageStore, FakeWalletStore
from tests.fakes.money import FakeMeterStore
from tests.unit.billing import test_budgets, test_charges, test_crediting, test_months
from tests.unit.billing.machine import Ledger
from tests.unit.payments import test_settling

EXAMPLES = 300


@contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class Unconditional:
    """A transaction whose writes ask for nothing."""

    def __init__(self, tx: Any) -> None:
        self.tx = tx

    def add(self, _check: Any, effect: Callable[[], None]) -> None:
        self.tx.add(lambda: None, effect)

    def put_new(self, table: str, key: Any, value: Any, _error: DomainError) -> None:
        rows = self.tx.database.table(table)
        self.tx.add(lambda: None, lambda: rows.__setitem__(key, value))


def unconditional(method: Any) -> Any:
    def call(self: Any, tx: Any, *arguments: Any, **named: Any) -> Any:
        return method(self, Unconditional(tx), *arguments, **named)

    return call


def journal_key_is_random() -> Any:
    """The key of a charge is drawn anew by each attempt, and the cursor is not asked."""
    return patched(
        (charging, "name_usage", lambda meter, seq: f"{meter.rental_id}:{meter.segment}:{uuid.uuid4()}"),
        (FakeMeterStore, "record_charge", unconditional(FakeMeterStore.record_charge)),
    )


def cursor_in_a_transaction_of_its_own() -> Any:
    """The cursor moves first, the money afterwards: a death between the two loses it."""
    record = FakeMeterStore.record_charge

    def alone(self: Any, _tx: Any, old: Any, new: Any) -> None:
        tx = self.db.begin()
        record(self, tx, old, new)
        tx.commit()

    return patched((FakeMeterStore, "record_charge", alone))


def each_slice_rounded() -> Any:
    """A slice costs its own seconds, not the difference of two sums."""

    def due(self: Any) -> int:
        seconds = self.billable_seconds - self.charged_seconds
        return int(self.price_micros_per_gpu_hour * self.gpu_count * seconds // 3600)

    return patched((charging.Meter, "due_micros", property(due)))


def billed_until_now() -> Any:
    """What is billed ends with the clock, not with the last proof of life."""
    charge = charging._charge

    def generous(ports: Any, meter: Any, now_ms: int) -> None:
        charge(ports, replace(meter, alive_through_ms=now_ms), now_ms)

    return patched((charging, "_charge", generous))


def floor_also_for_credits() -> Any:
    """A wallet below zero refuses money."""
    move = FakeWalletStore.move_balance

    def strict(self: Any, tx: Any, before: Any, after: Any, **named: Any) -> None:
        if after.available_micros < 0 and not named.get("may_overdraw"):
            raise DomainError("below zero")
        move(self, tx, before, after, **named)

    return patched((FakeWalletStore, "move_balance", strict))


def hold_is_not_given_back() -> Any:
    """The last charge leaves the hold as it is."""

    def keep(hold: Any, split: Any, *, settles: bool) -> Any:
        return replace(hold, amount_micros=hold.amount_micros - split.from_hold_micros)

    return patched((charging, "_draw_hold", keep))


def hold_is_spent_twice() -> Any:
    """What the hold paid stays in it."""
    draw_hold = charging._draw_hold

    def twice(hold: Any, split: Any, *, settles: bool) -> Any:
        drawn = draw_hold(hold, split, settles=settles)
        return drawn if settles else replace(drawn, amount_micros=hold.amount_micros)

    return patched((charging, "_draw_hold", twice))


def debit_without_floor() -> Any:
    """A debit is not held to what is there when it is written."""
    move = FakeWalletStore.move_balance

    def loose(self: Any, tx: Any, before: Any, after: Any, **_: Any) -> None:
        move(self, tx, before, after, may_overdraw=True)

    return patched((FakeWalletStore, "move_balance", loose))


def balance_without_version() -> Any:
    """Two postings at once both build on what they read."""
    return patched(
        (FakeWalletStore, "move_balance", unconditional(FakeWalletStore.move_balance)),
        (FakeLedgerStore, "add_journal", unconditional(FakeLedgerStore.add_journal)),
    )


def promo_expires_whole() -> Any:
    """The whole grant expires, whatever was spent of it."""

    def expire(ports: Any, account_id: str, grant_id: str, now_ms: int) -> bool:
        found = ports.ledger.get_journal("credit", grant_id)
        whole = found.details["amount_micros"]
        balance = posting.find_balance(ports, account_id)
        grant = next(each for each in balance.grants if each.grant_id == grant_id)
        asked = posting.Posting(
            crediting.PROMO_EXPIRY,
            f"{grant_id}:{grant.remaining_micros}",
            "promo_expired",
            (model.Leg(model.name_shard(model.PROMO_EXPENSE, account_id), whole),),
            expired=replace(grant, remaining_micros=whole),
        )
        tx = ports.rentals.transactions()
        posting.add_posting(ports, tx, balance, asked, now_ms)
        tx.commit()
        return True

    return patched((crediting, "_expire", expire))


def paid_credit_is_spent_first() -> Any:
    """Promotional credit is left to expire while what was paid is spent."""

    def draw(grants: Any, amount_micros: int) -> Any:
        return model.Drawn(0, amount_micros, tuple(grants))

    return patched((posting, "draw", draw))


def reversal_has_no_key() -> Any:
    """A reversal that is asked for twice is posted twice."""
    book = posting.book

    def anew(balance: Any, asked: Any, now_ms: int) -> Any:
        if asked.kind == "reversal":
            asked = replace(asked, source_id=f"{asked.source_id}:{random.random()}")
        return book(balance, asked, now_ms)

    return patched((posting, "book", anew))


def credit_after_the_last_charge() -> Any:
    """Who dies between the settling charge and the credit never comes back to it."""
    charge = charging._charge

    def late(ports: Any, meter: Any, now_ms: int) -> None:
        charge(ports, meter, now_ms)
        if crediting.is_owed_credit(meter):
            crediting.credit_failure(ports, meter, now_ms)

    return patched((charging, "_charge", late), (charging, "is_owed_credit", lambda _meter: False))


def budget_stops_everything() -> Any:
    """A label's budget counts what has no label too."""
    return patched((Budget, "covers", lambda _self, _hold: True))


def budget_without_condition() -> Any:
    """A charge writes what it read of a budget, whatever came between."""
    return patched((FakeBudgetStore, "replace_budget", unconditional(FakeBudgetStore.replace_budget)))


def budget_forgets_the_runway() -> Any:
    """A budget gives nothing back when a stay is over."""
    charge = charging._charge_budgets

    def forgetful(ports: Any, tx: Any, budgets: Any, facts: Any) -> Any:
        return charge(ports, tx, budgets, replace(facts, after=facts.before))

    return patched((charging, "_charge_budgets", forgetful))


def renter_pays_the_overrun() -> Any:
    """What nothing covers is taken from the wallet all the same."""

    def everything(amount_micros: int, purchasers: Any) -> Any:
        split = rating.split_charge(amount_micros, purchasers)
        return replace(split, paid_micros=amount_micros, overrun_micros=0)

    move = FakeWalletStore.move_balance

    def loose(self: Any, tx: Any, before: Any, after: Any, **_: Any) -> None:
        move(self, tx, before, after, may_overdraw=True)

    return patched((charging, "split_charge", everything), (FakeWalletStore, "move_balance", loose))


def same_key_says_anything() -> Any:
    """Whatever was posted under a key is taken for what is asked now."""
    return patched((model.Journal, "fingerprint", property(lambda _self: "same")))


def chain_is_not_linked() -> Any:
    """A leg does not carry the hash of the one before."""
    chain = model.chain_legs

    def loose(balance: Any, journal: Any) -> Any:
        return [replace(leg, previous_hash=model.CHAIN_START) for leg in chain(balance, journal)]

    return patched((posting, "chain_legs", loose))


def usage_outside_the_transaction() -> Any:
    """The day's line is written by itself: an attempt that fails has counted already."""
    add = FakeUsageStore.add_usage

    def alone(self: Any, _tx: Any, line: Any) -> None:
        tx = self.db.begin()
        add(self, tx, line)
        tx.commit()

    return patched((FakeUsageStore, "add_usage", alone))


def burn_is_not_given_back() -> Any:
    """A spend limit counts what has ended."""
    book = posting.book

    def burning(balance: Any, asked: Any, now_ms: int) -> Any:
        return book(balance, replace(asked, burn_micros_per_hour=0), now_ms)

    return patched((posting, "book", burning), (charging, "book", burning))


def month_is_the_clocks() -> Any:
    """A posting stands in the month of whoever's clock wrote it, though a later month has begun."""
    return patched((posting, "enter_month", lambda _balance, now_ms: name_month(now_ms)))


def month_ends_when_it_is_looked_at() -> Any:
    """A month ends as its wallet is after the posting that begins the next."""
    turn, book = posting.turn_month, posting.book
    booked: list[Any] = []

    def keep(balance: Any, asked: Any, now_ms: int) -> Any:
        booked[:] = [book(balance, asked, now_ms)]
        return booked[0]

    def late(ports: Any, tx: Any, balance: Any, month: str, now_ms: int) -> None:
        turn(ports, tx, replace(booked[0].after, month=balance.month), month, now_ms)

    return patched((posting, "book", keep), (charging, "book", keep), (posting, "turn_month", late))


MUTANTS: tuple[Callable[[], Any], ...] = (
    journal_key_is_random,
    cursor_in_a_transaction_of_its_own,
    each_slice_rounded,
    billed_until_now,
    floor_also_for_credits,
    hold_is_not_given_back,
    hold_is_spent_twice,
    debit_without_floor,
    balance_without_version,
    promo_expires_whole,
    paid_credit_is_spent_first,
    reversal_has_no_key,
    credit_after_the_last_charge,
    budget_stops_everything,
    budget_without_condition,
    budget_forgets_the_runway,
    renter_pays_the_overrun,
    same_key_says_anything,
    chain_is_not_linked,
    usage_outside_the_transaction,
    burn_is_not_given_back,
    month_is_the_clocks,
    month_ends_when_it_is_looked_at,
)


def _credit_under_crashes() -> None:
    test_crediting.test_a_crash_at_any_commit_neither_loses_a_credit_nor_doubles_it("crash_after")


def _start_between_read_and_write() -> None:
    for bound in ("wallet", "budget"):
        test_budgets.test_a_start_between_what_a_charge_reads_and_writes_takes_nothing_below_zero(bound)


#: What random steps rarely reach has a test of its own.
DIRECTED: tuple[Callable[[], None], ...] = (
    test_crediting.test_promotional_credit_is_spent_before_what_was_paid_the_earliest_to_expire_first,
    test_crediting.test_of_a_grant_that_was_spent_in_part_what_is_left_expires,
    test_crediting.test_a_reversal_is_the_opposite_and_is_posted_once,
    test_budgets.test_a_hard_budget_stops_its_rental_inside_its_runway_and_is_never_exceeded,
    test_settling.test_a_wallet_below_zero_takes_money_that_does_not_bring_it_above,
    test_crediting.test_a_key_that_posted_something_else_is_refused,
    test_crediting.test_a_lost_host_is_credited_once_with_its_evidence_however_often_it_is_charged,
    _credit_under_crashes,
    _start_between_read_and_write,
    test_months.test_a_clock_that_is_behind_does_not_write_into_a_month_that_ended,
    test_budgets.test_a_budget_of_a_label_stops_what_has_the_label_and_no_other,
    test_charges.test_a_rental_costs_its_seconds_to_the_micro_unit_and_gives_the_hold_back,
)


@dataclass(frozen=True, slots=True)
class Kill:
    """``by``: the test that noticed; empty: none did."""

    mutant: str
    by: str
    seconds: float


def run_machine() -> None:
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Ledger, settings=profile)


def hunt(mutant: Callable[[], Any]) -> Kill:
    """Return which test notices ``mutant``: a directed one, which is quick, or else the state machine."""
    began = time.monotonic()
    for killer in (*DIRECTED, run_machine):
        try:
            with mutant(), contextlib.redirect_stdout(io.StringIO()):
                killer()
        # However it shows: what matters is that nobody could have merged it.
        except (Exception, pytest.fail.Exception):
            name = "state machine" if killer is run_machine else killer.__name__.strip("_")
            return Kill(mutant.__name__, name, time.monotonic() - began)
    return Kill(mutant.__name__, "", time.monotonic() - began)


def main() -> int:
    alive = 0
    for mutant in MUTANTS:
        kill = hunt(mutant)
        alive += not kill.by
        print(f"{kill.mutant:38} {kill.seconds:6.1f} s  {kill.by or 'NOBODY NOTICED'}", flush=True)
    print(f"{len(MUTANTS) - alive} of {len(MUTANTS)} bugs are noticed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())

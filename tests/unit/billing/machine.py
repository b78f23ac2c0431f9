"""The ledger under everything at once: a state machine over the use cases, on the serialisable store.

I1 to I10, I12, I15 and I16 of docs/invariants/ledger.md are asserted after each step; what the machine keeps
for itself is only what a renter and a host could have written down: when the workload was seen alive.
"""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from chalicelib.billing.charging import charge_rental, dispatch_charges
from chalicelib.billing.crediting import (
    GrantCredit,
    ReversePosting,
    expire_grants,
    grant_credit,
    reverse_posting,
)
from chalicelib.billing.service import (
    ChangeBudget,
    CreateBudget,
    change_budget,
    create_budget,
    remove_budget,
    set_spend_limit,
)
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import Conflict, InsufficientFunds, NotFound, Unavailable
from chalicelib.core.money import compute_charge_micros
from chalicelib.metering.failover import lose_stay
from chalicelib.rentals.life import terminate_rental
from chalicelib.rentals.ports import name_hold
from tests.factories import PRICE, add_renter, rent, seed_cloud
from tests.fakes import Crash
from tests.unit.billing.books import check_books, post_dispute, sum_customer

RUNWAY = 180


class Ledger(RuleBasedStateMachine):
    """Two renters, one host of eight GPUs, and everybody at once."""

    rentals = Bundle("rentals")
    budgets = Bundle("budgets")

    def __init__(self):
        super().__init__()
        self.seeded = seed_cloud(gpus=8, credit_micros=0)
        # Most histories see a month end.
        self.seeded.cloud.clock.value_ms = parse_instant("2027-01-31T23:45:00Z")
        self.renters = [self.seeded.renter, add_renter(self.seeded, name="second", credit_micros=0)]
        self.number = 0
        #: By rental: seconds that a host has vouched for, and by account what was given.
        self.alive = {}
        self.granted = {each.account_id: 0 for each in self.renters}
        self.ranks = {}
        self.disputed = set()
        #: Rentals that began inside another step.
        self.unbundled = []

    @initialize(target=rentals, seconds=st.integers(200, 1_500), promo=st.integers(0, 500))
    def begin(self, seconds, promo):
        """A rental runs on little money, so that most histories come to its end."""
        self.credit(0, seconds, "paid", None, twice=False)
        self.credit(1, 3_000, "paid", None, twice=False)
        if promo:
            self.credit(0, promo, "promo", 300, twice=True)
        return self.start(0, 1, None)

    # What people and hosts do.

    @rule(
        target=rentals,
        who=st.integers(0, 1),
        gpus=st.integers(1, 2),
        label=st.sampled_from([None, "train"]),
    )
    def start(self, who, gpus, label):
        self.number += 1
        renter = self.renters[who]
        for host in self.seeded.cloud.db.table("hosts"):
            self.seeded.beat(host)
        try:
            rental_id = rent(self.seeded, gpus, key=f"k{self.number}", principal=renter, label=label).body
        except (InsufficientFunds, Conflict, Unavailable):
            return None
        self.alive[rental_id] = 0
        self.seeded.report(self.seeded.rental(rental_id), "running")
        return rental_id

    @rule(step=st.sampled_from([1, 7, 20, 59]), beats=st.sampled_from([1, 3, 12]))
    def run(self, step, beats):
        """Time passes, and hosts tell that their workloads are alive; ticks may starve."""
        for _ in range(beats):
            self.seeded.cloud.clock.advance_seconds(step)
            for rental_id in self.alive:
                rental = self.seeded.rental(rental_id)
                if rental.state == "running":
                    self.seeded.report(rental, "running")

    @rule(seconds=st.sampled_from([1, 30, 61, 600]))
    def fall_silent(self, seconds):
        self.seeded.cloud.clock.advance_seconds(seconds)

    @rule(rental_id=rentals)
    def charge(self, rental_id):
        if rental_id is not None:
            charge_rental(self.seeded.cloud.billing, rental_id)

    @rule(rental_id=rentals, point=st.sampled_from(["crash_before", "crash_after"]), commit=st.integers(0, 3))
    def charge_and_die(self, rental_id, point, commit):
        if rental_id is None:
            return
        db = self.seeded.cloud.db
        setattr(db, point, db.commits + commit)
        try:
            charge_rental(self.seeded.cloud.billing, rental_id)
        except Crash:
            pass
        finally:
            db.crash_before = db.crash_after = None

    @rule(rental_id=rentals, other=rentals, what=st.sampled_from(["charge", "start", "credit", "run"]))
    def charge_while(self, rental_id, other, what):
        """Something comes between what a charge reads and what it writes."""
        if rental_id is None or other is None:
            return
        db = self.seeded.cloud.db

        def between():
            db.interlude = None
            if what == "charge":
                charge_rental(self.seeded.cloud.billing, other)
            elif what == "run":
                self.run(20, 1)
            elif what == "credit":
                self.credit(0, 10, "promo", 60, twice=False)
            else:
                self.unbundled.append(self.start(0, 1, "train"))

        db.interlude = between
        try:
            charge_rental(self.seeded.cloud.billing, rental_id)
        finally:
            db.interlude = None

    @rule()
    def tick(self):
        dispatch_charges(self.seeded.cloud.billing, self.seeded.cloud.clock.now_ms())
        self.seeded.charge_all()

    @rule(rental_id=rentals)
    def stop(self, rental_id):
        if rental_id is None:
            return
        rental = self.seeded.rental(rental_id)
        owner = next(each for each in self.renters if each.account_id == rental.account_id)
        try:
            terminate_rental(self.seeded.cloud.rentals, owner, rental_id)
        except Conflict:
            return

    @rule(rental_id=rentals)
    def wipe(self, rental_id):
        if rental_id is not None and self.seeded.rental(rental_id).state == "terminating":
            self.seeded.report(self.seeded.rental(rental_id), "terminated", wiped=True)

    @rule(rental_id=rentals)
    def lose_host(self, rental_id):
        if rental_id is None:
            return
        rental = self.seeded.rental(rental_id)
        if rental.state == "running":
            lose_stay(self.seeded.cloud.meters, rental, "host_lost", self.seeded.cloud.clock.now_ms())

    # Money comes and goes.

    @rule(
        who=st.integers(0, 1),
        seconds=st.integers(1, 2_000),
        kind=st.sampled_from(["paid", "promo"]),
        lasts=st.none() | st.integers(1, 600),
        twice=st.booleans(),
    )
    def credit(self, who, seconds, kind, lasts, twice):
        self.number += 1
        account_id, amount = self.renters[who].account_id, cost(seconds, 1)
        expires = None if lasts is None or kind == "paid" else self.now_ms + lasts * 1000
        command = GrantCredit(
            account_id=account_id,
            amount_micros=amount,
            reason="why not",
            idempotency_key=f"c{self.number}",
            fingerprint=f"{amount}{kind}",
            render=lambda balance: str(balance.posted_micros),
            kind=kind,
            expires_at_ms=expires,
        )
        for _ in range(1 + twice):
            try:
                grant_credit(self.seeded.cloud.billing, self.seeded.operator, command, lambda _: True)
            except Conflict:
                return
        self.granted[account_id] += amount

    @rule(who=st.integers(0, 1), seconds=st.integers(1, 500), twice=st.booleans())
    def dispute(self, who, seconds, twice):
        """Money is taken from us, whatever the wallet still has."""
        self.number += 1
        account_id = self.renters[who].account_id
        self.disputed.add(account_id)
        for _ in range(1 + twice):
            post_dispute(self.seeded, account_id, f"du{self.number}", cost(seconds, 1))

    @rule()
    def expire(self):
        expire_grants(self.seeded.cloud.billing, self.now_ms)

    @rule(rental_id=rentals, seq=st.integers(0, 1), times=st.integers(1, 2))
    def reverse(self, rental_id, seq, times):
        command = ReversePosting(f"usage#{rental_id}:1:{seq}", "measured wrongly")
        for _ in range(times):
            try:
                reverse_posting(self.seeded.cloud.billing, self.seeded.operator, command)
            except NotFound:
                return

    @rule(
        target=budgets,
        who=st.integers(0, 1),
        seconds=st.integers(1, 1_000),
        label=st.sampled_from(["", "train"]),
        hard=st.booleans(),
    )
    def add_budget(self, who, seconds, label, hard):
        self.number += 1
        command = CreateBudget(
            name="b",
            scope="label" if label else "account",
            scope_value=label,
            period="month",
            limit_micros=cost(seconds, 1),
            hard_stop=hard,
            idempotency_key=f"b{self.number}",
            fingerprint="b",
            render=lambda budget: budget.budget_id,
        )
        return who, create_budget(self.seeded.cloud.billing, self.renters[who], command).body

    @rule(budget=budgets, seconds=st.integers(1, 1_000))
    def move_budget(self, budget, seconds):
        who, budget_id = budget
        change = ChangeBudget(limit_micros=cost(seconds, 1))
        try:
            change_budget(self.seeded.cloud.billing, self.renters[who], budget_id, change)
        except NotFound:
            return

    @rule(budget=consumes(budgets))
    def drop_budget(self, budget):
        who, budget_id = budget
        remove_budget(self.seeded.cloud.billing, self.renters[who], budget_id)

    @rule(who=st.integers(0, 1), gpus=st.none() | st.integers(1, 4))
    def limit(self, who, gpus):
        limit = None if gpus is None else gpus * PRICE
        set_spend_limit(self.seeded.cloud.billing, self.renters[who], limit)

    # What must hold.

    @property
    def now_ms(self):
        return self.seeded.cloud.clock.now_ms()

    @invariant()
    def books_are_right(self):
        check_books(self.seeded, disputed=self.disputed)

    @invariant()
    def time_is_billed_to_the_proof_and_to_the_unit(self):
        db = self.seeded.cloud.db
        for meter in db.table("meters").values():
            assert meter.charged_seconds <= meter.billable_seconds
            assert meter.alive_through_ms <= self.now_ms
            assert meter.charged_micros == cost(meter.charged_seconds, meter.gpu_count)
            slices = [
                db.table("journals")[("usage", f"{meter.rental_id}:{meter.segment}:{seq}")]
                for seq in range(meter.charge_seq)
            ]
            bounds = [(each.details["from_seconds"], each.details["to_seconds"]) for each in slices]
            assert [end for _, end in bounds[:-1]] == [begin for begin, _ in bounds[1:]]
            assert not bounds or (bounds[0][0], bounds[-1][1]) == (0, meter.charged_seconds)

    @invariant()
    def what_is_over_holds_nothing(self):
        db = self.seeded.cloud.db
        for meter in db.table("meters").values():
            hold = db.table("holds")[(meter.account_id, name_hold(meter.rental_id, meter.segment))]
            assert (meter.state == "settled") == (hold.state != "pending")

    @invariant()
    def nothing_is_reversed_twice(self):
        reversed_keys = [
            each.reverses
            for each in self.seeded.cloud.db.table("journals").values()
            if each.reverses is not None
        ]
        assert len(reversed_keys) == len(set(reversed_keys))

    @invariant()
    def states_never_go_back(self):
        order = {"open": 0, "closed": 1, "settled": 2}
        for key, meter in self.seeded.cloud.db.table("meters").items():
            assert order[meter.state] >= self.ranks.get(key, 0)
            self.ranks[key] = order[meter.state]

    @invariant()
    def promotional_credit_is_never_more_than_was_granted(self):
        for account_id, granted in self.granted.items():
            legs = self.seeded.cloud.db.table("chains").items()
            spent = sum(
                -leg.amount_micros
                for (owner, _), (leg, _) in legs
                if owner == account_id and leg.ledger_account.endswith(":promo") and leg.amount_micros < 0
            )
            assert spent <= granted

    def teardown(self):
        """After quiescence everything that was proven is billed, and nothing is held."""
        for rental_id in self.alive:
            self.stop_for_good(rental_id)
        self.tick()
        self.tick()
        check_books(self.seeded, disputed=self.disputed)
        for rental_id in self.alive:
            rental = self.seeded.rental(rental_id)
            meters = self.seeded.cloud.meters.store.list_meters(rental_id)
            assert [meter.state for meter in meters] == ["settled"]
            assert rental.billed_seconds == meters[0].billable_seconds
            assert rental.charge_micros == cost(rental.billed_seconds, rental.gpu_count)
            self.check_service_credit(meters[0])
        for balance in self.seeded.cloud.db.table("balances").values():
            assert (balance.held_micros, balance.burn_micros_per_hour) == (0, 0)

    def check_service_credit(self, meter):
        key = ("service_credit", f"{meter.rental_id}:{meter.segment}")
        journal = self.seeded.cloud.db.table("journals").get(key)
        owed = meter.end_reason == "host_lost" and meter.billable_seconds > 0
        assert (journal is not None) == owed
        if journal is not None:
            credited = cost(min(meter.billable_seconds, 3600), meter.gpu_count)
            assert sum_customer(journal) == credited

    def stop_for_good(self, rental_id):
        rental = self.seeded.rental(rental_id)
        if rental.state in {"provisioning", "running"}:
            owner = next(each for each in self.renters if each.account_id == rental.account_id)
            terminate_rental(self.seeded.cloud.rentals, owner, rental_id)
        rental = self.seeded.rental(rental_id)
        if rental.state == "terminating":
            self.seeded.report(rental, "terminated", wiped=True)


def cost(seconds, gpus):
    return compute_charge_micros(price_micros_per_gpu_hour=PRICE, gpu_count=gpus, seconds=seconds)

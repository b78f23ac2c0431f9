"""Thirty days: 500 rentals, lost hosts, prices that change, ticks that come when they like, and what pays it.

What each rental owes is added up here from the proofs of life alone, with no code of the product's, and must
be what was billed to the unit; the ledger, the wallets, the statements and their CSV must say the same, and
what came in and went back is what the simulator of Stripe has in its own books.
"""

import csv
import heapq
import io
import itertools
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest

from chalicelib.billing.charging import charge_rental, dispatch_charges
from chalicelib.catalog.service import put_price
from chalicelib.metering.failover import lose_stay
from chalicelib.rentals.life import terminate_rental
from chalicelib.statements.issuing import issue_statements
from chalicelib.statements.service import find_head, name_document, read_statement
from infra.local.stripe.server import run_stripe
from tests.factories import GPU_TYPE, PRICE, REGION, add_host, add_renter, rent, seed_cloud
from tests.unit.billing.books import check_books
from tests.unit.payments.card_till import CardTill

DAYS, RENTALS, HOSTS, RENTERS = 30, 500, 20, 10
BEAT_S, DAY_S = 20, 86_400
#: Three times a month; no rental may end for lack of money.
TOP_UP_CENTS = 300_000
MICROS_PER_CENT = 10_000


class Month:
    """Everything that happens, in its order; what a stay should cost by (rental, stay)."""

    def __init__(self, seeded, till, seed):
        self.rng = random.Random(seed)
        self.seeded, self.cloud, self.till = seeded, seeded.cloud, till
        self.hosts = [add_host(seeded, f"m{n}", 8) for n in range(HOSTS)]
        self.renters = [add_renter(seeded, name=f"r{n}", credit_micros=0) for n in range(RENTERS)]
        self.numbers, self.payments = itertools.count(), itertools.count()
        self.events = []
        self.price = PRICE
        #: Price, GPUs, whole seconds between the first proof of life and the last, by stay.
        self.owed = defaultdict(lambda: [0, 0, 0])
        self.lost = self.priced = 0

    def at(self, delay_s, act, *arguments):
        due_ms = self.cloud.clock.now_ms() + int(delay_s * 1000)
        heapq.heappush(self.events, (due_ms, next(self.numbers), act, arguments))

    def run(self):
        for renter in self.renters:
            self.pay(renter, told=True)
            for _ in range(2):
                self.at(self.rng.uniform(0, DAYS * DAY_S), self.pay, renter, self.rng.random() < 0.5)
        for day in range(1, DAYS + 1):
            self.at(day * DAY_S, self.till.look_after)
        for number in range(RENTALS):
            self.at(self.rng.uniform(60, DAYS * DAY_S), self.begin, number)
        for _ in range(12):
            self.at(self.rng.uniform(0, DAYS * DAY_S), self.change_price)
        while self.events:
            due_ms, _, act, arguments = heapq.heappop(self.events)
            self.cloud.clock.value_ms = max(self.cloud.clock.value_ms, due_ms)
            act(*arguments)

    def pay(self, renter, told):
        """Some payments no webhook tells of; some are given back in part, some the bank takes back, but
        not the first of anybody."""
        number = next(self.payments)
        payment_id = self.till.pay(renter, f"top-up-{number}", TOP_UP_CENTS, told=told)
        fate = self.rng.random()
        if fate < 0.3:
            cents = self.rng.randint(1, TOP_UP_CENTS // 4)
            self.at(self.rng.uniform(60, DAY_S), self.till.refund, payment_id, cents)
        elif fate < 0.7 and number >= RENTERS:
            self.at(self.rng.uniform(60, DAY_S), self.till.dispute, payment_id, fate < 0.5)

    def begin(self, number):
        renter = self.rng.choice(self.renters)
        for host in self.hosts:
            self.seeded.beat(host.host_id)
        label = self.rng.choice([None, "train", "serve"])
        gpus = self.rng.choice([1, 1, 2, 4])
        rental_id = rent(self.seeded, gpus, key=f"k{number}", principal=renter, label=label).body
        rental = self.seeded.rental(rental_id)
        assert rental.price_micros_per_gpu_hour == self.price
        life_s = self.rng.choice([90, 900, 3_700, 11_000])
        loses = self.rng.random() < 0.1
        self.owed[rental_id][:2] = [rental.price_micros_per_gpu_hour, rental.gpu_count]
        self.at(self.rng.uniform(5, 40), self.beat, renter, rental_id, life_s, None, loses)

    def beat(self, renter, rental_id, life_s, began_ms, loses):
        """The host vouches for the workload each 20 s, give or take; the last time it is lost or stopped."""
        now_ms = self.cloud.clock.now_ms()
        self.seeded.report(self.seeded.rental(rental_id), "running")
        began_ms = began_ms or now_ms
        self.owed[rental_id][2] = (now_ms - began_ms) // 1000
        if self.rng.random() < 0.05:
            charge_rental(self.cloud.billing, rental_id)
        if now_ms - began_ms < life_s * 1000:
            self.at(BEAT_S + self.rng.uniform(-5, 15), self.beat, renter, rental_id, life_s, began_ms, loses)
        elif loses:
            self.at(self.rng.uniform(61, 90), self.lose, rental_id)
        else:
            terminate_rental(self.cloud.rentals, renter, rental_id)
            self.at(self.rng.uniform(0, 30), self.wipe, rental_id)

    def lose(self, rental_id):
        self.lost += 1
        lose_stay(self.cloud.meters, self.seeded.rental(rental_id), "host_lost", self.cloud.clock.now_ms())
        self.at(30, self.give_back, rental_id)

    def give_back(self, rental_id):
        """The host comes back, wipes what it had, and what was lost stays lost."""
        stay = self.seeded.rental(rental_id).placements[-1]
        self.seeded.beat(stay.host_id)
        self.seeded.report(self.seeded.rental(rental_id), "terminated", wiped=True)

    def wipe(self, rental_id):
        self.seeded.report(self.seeded.rental(rental_id), "terminated", wiped=True)

    def change_price(self):
        self.priced += 1
        self.price = self.rng.randint(1_000_000, 4_000_000)
        put_price(
            self.cloud.catalog,
            self.seeded.operator,
            gpu_type=GPU_TYPE,
            region=REGION,
            price_micros_per_gpu_hour=self.price,
            known_regions=frozenset({REGION}),
        )
        self.cloud.rentals.cached_catalog.get(fresh=True)


@pytest.fixture
def seeded():
    return seed_cloud(hosts=0, credit_micros=0)


@pytest.fixture
def till(seeded):
    """Stripe's simulator, whose clock is the test's."""
    clock = seeded.cloud.clock
    with run_stripe(seed=5, now=lambda: clock.now_ms() / 1000, transport=lambda *_: 200) as running:
        yield CardTill(seeded, running)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 20_261_124])
def test_a_month_is_billed_what_was_confirmed_and_every_book_says_so(seeded, till, seed):
    month = Month(seeded, till, seed)
    month.run()
    billing, clock = month.cloud.billing, month.cloud.clock
    for _ in range(2):
        dispatch_charges(billing, clock.now_ms())
        seeded.charge_all()
        clock.advance_seconds(60)
    assert (month.priced, len(month.owed)) == (12, RENTALS)
    assert month.lost > RENTALS // 20
    assert min(till.counts.values()) > 0, till.counts
    check_books(seeded)
    billed = 0
    for rental_id, (price, gpus, seconds) in month.owed.items():
        rental = seeded.rental(rental_id)
        assert rental.billing_state == "settled"
        assert (rental.billed_seconds, rental.charge_micros) == (seconds, price * gpus * seconds // 3600)
        billed += rental.charge_micros
    found = till.look_after()
    assert (found.unmatched, found.drift_cents) == ((), 0)
    clock.advance_seconds(31 * DAY_S)
    issued = issue_statements(month.cloud.statements, clock.now_ms() + DAY_S * 1000)
    assert (issued.failed, issued.left) == ((), False)
    assert issued.issued >= RENTERS
    charged = [check_account(month, renter) for renter in month.renters]
    assert sum(each.micros for each in charged) == billed
    assert sum(each.given_back for each in charged) > 0


@dataclass
class Charged:
    micros: int = 0
    given_back: int = 0


def check_account(month, renter):
    """Statements, CSV, ledger and Stripe's books of one account agree; return what it was charged."""
    account_id, cloud = renter.account_id, month.cloud
    moved, seen = Counter(), Charged()
    for of_month in cloud.billing.months.list_months(account_id, ""):
        head = find_head(cloud.statements, account_id, of_month)
        if head.state == "open":
            continue
        statement = read_statement(cloud.statements, account_id, of_month)
        assert statement.head.number is not None
        file = cloud.documents.files[name_document(statement.head, "csv")]
        rows = list(csv.DictReader(io.StringIO(file.decode(), newline="")))
        assert sum_rows(rows, "usage", "charge_micros") == statement.charged_micros
        assert statement.charged_micros == sum(micros for _, micros in statement.days)
        for total in statement.totals:
            assert sum_rows(rows, total.kind, "paid_micros") == total.paid_micros
            moved[total.kind] += total.paid_micros
        seen.micros += statement.charged_micros
    legs = [
        leg for leg, _ in cloud.db.table("chains").values() if leg.ledger_account.split(":")[1] == account_id
    ]
    used = -sum(leg.amount_micros for leg in legs if leg.journal_key.startswith("usage#"))
    assert used == seen.micros
    assert sum(leg.amount_micros for leg in legs) == sum(moved.values()) - used
    balance = cloud.billing.wallets.get_balance(account_id)
    assert (balance.posted_micros, balance.held_micros) == (sum(moved.values()) - used, 0)
    theirs = month.till.summarise(account_id)
    assert moved["top_up"] == theirs["captured"] * MICROS_PER_CENT
    assert -moved["refund"] == theirs["refunded"] * MICROS_PER_CENT
    assert -moved["dispute"] - moved["dispute_reversed"] == theirs["disputed"] * MICROS_PER_CENT
    seen.given_back = moved["service_credit"]
    assert set(moved) <= {"top_up", "refund", "dispute", "dispute_reversed", "service_credit"}
    return seen


def sum_rows(rows, kind, column):
    return sum(int(row[column]) for row in rows if row["kind"] == kind)

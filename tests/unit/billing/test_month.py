"""Thirty days: 500 rentals, lost hosts, prices that change, ticks that come when they like.

What each rental owes is added up here from the proofs of life alone, with no code of the product's, and must
be what was billed to the unit; the ledger, the usage lines and the wallets must say the same.
"""

import heapq
import itertools
import random
from collections import defaultdict

import pytest

from chalicelib.billing.charging import charge_rental, dispatch_charges
from chalicelib.catalog.service import put_price
from chalicelib.metering.failover import lose_stay
from chalicelib.rentals.life import terminate_rental
from tests.factories import GPU_TYPE, PRICE, REGION, add_host, add_renter, rent, seed_cloud
from tests.unit.billing.books import check_books

DAYS, RENTALS, HOSTS, RENTERS = 30, 500, 20, 10
BEAT_S, DAY_S = 20, 86_400
CREDIT = 10**12


class Month:
    """Everything that happens, in its order; what a stay should cost by (rental, stay)."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.seeded = seed_cloud(hosts=0, credit_micros=CREDIT)
        self.cloud = self.seeded.cloud
        self.hosts = [add_host(self.seeded, f"m{n}", 8) for n in range(HOSTS)]
        self.renters = [add_renter(self.seeded, name=f"r{n}", credit_micros=CREDIT) for n in range(RENTERS)]
        self.numbers = itertools.count()
        self.events = []
        self.price = PRICE
        #: Price, GPUs, whole seconds between the first proof of life and the last, by stay.
        self.owed = defaultdict(lambda: [0, 0, 0])
        self.lost = self.priced = 0

    def at(self, delay_s, act, *arguments):
        due_ms = self.cloud.clock.now_ms() + int(delay_s * 1000)
        heapq.heappush(self.events, (due_ms, next(self.numbers), act, arguments))

    def run(self):
        for number in range(RENTALS):
            self.at(self.rng.uniform(0, DAYS * DAY_S), self.begin, number)
        for _ in range(12):
            self.at(self.rng.uniform(0, DAYS * DAY_S), self.change_price)
        while self.events:
            due_ms, _, act, arguments = heapq.heappop(self.events)
            self.cloud.clock.value_ms = max(self.cloud.clock.value_ms, due_ms)
            act(*arguments)

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


@pytest.mark.slow
@pytest.mark.parametrize("seed", [5, 20_261_124])
def test_a_month_is_billed_what_was_confirmed_and_every_book_says_so(seed):
    month = Month(seed)
    month.run()
    billing = month.cloud.billing
    for _ in range(2):
        dispatch_charges(billing, month.cloud.clock.now_ms())
        month.seeded.charge_all()
        month.cloud.clock.advance_seconds(60)
    assert (month.priced, len(month.owed)) == (12, RENTALS)
    assert month.lost > RENTALS // 20
    check_books(month.seeded)
    billed = 0
    for rental_id, (price, gpus, seconds) in month.owed.items():
        rental = month.seeded.rental(rental_id)
        assert rental.billing_state == "settled"
        assert (rental.billed_seconds, rental.charge_micros) == (seconds, price * gpus * seconds // 3600)
        billed += rental.charge_micros
    check_wallets(month, billed)


def check_wallets(month, billed):
    """Every wallet: what was credited less the usage lines plus what was given back; drift 0."""
    spent = given_back = 0
    for renter in [month.seeded.renter, *month.renters]:
        account_id = renter.account_id
        balance = month.cloud.billing.wallets.get_balance(account_id)
        used = sum(
            line.micros
            for of_month in month.cloud.billing.months.list_months(account_id, "")
            for line in month.cloud.billing.usage.list_days(account_id, of_month)
        )
        returned = sum(
            journal.details["amount_micros"]
            for journal in month.cloud.db.table("journals").values()
            if journal.kind == "service_credit" and journal.account_id == account_id
        )
        assert balance.posted_micros == CREDIT - used + returned
        assert (balance.held_micros, balance.burn_micros_per_hour) == (0, 0)
        spent, given_back = spent + used, given_back + returned
    assert spent == billed
    assert given_back > 0

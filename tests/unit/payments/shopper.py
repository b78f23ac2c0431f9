"""A renter who buys removals, with money that was paid in, and the month of January that ends."""

from chalicelib.payments.purchases import RemovalSettings
from chalicelib.payments.purchasing import buy_removals, put_settings
from tests.factories import give_credit, seed_cloud
from tests.unit.payments.till import Till

JANUARY, FEBRUARY, MARCH = "2027-01", "2027-02", "2027-03"
LIMIT, MONEY = 20_000_000, 100_000_000
#: 25.1 kg: three hundredths of a ton, which cost 9 USD of the cheapest.
RESIDUAL_MG, QUANTITY_MG, PRICE = 25_100_000, 30_000_000, 9_000_000
LATER = 10**15
DAY_S = 86_400


class Shopper(Till):
    def __init__(self, *, money=MONEY, residual_mg=RESIDUAL_MG, enabled=True):
        super().__init__(seed_cloud(credit_micros=money))
        self.renter, self.clock, self.db = self.seeded.renter, self.seeded.cloud.clock, self.seeded.cloud.db
        if enabled:
            self.put()
        if residual_mg is not None:
            self.report(JANUARY, residual_mg)

    def put(self, *, enabled=True, limit=LIMIT, name=None):
        wanted = RemovalSettings(self.account_id, enabled, limit, name)
        return put_settings(self.ports, self.renter, wanted)

    def report(self, month, residual_mg):
        self.residuals.masses[self.account_id, month] = residual_mg

    def end_month(self, days=31):
        self.clock.advance_seconds(days * DAY_S)

    def buy(self):
        return buy_removals(self.ports, LATER)

    def pay_in(self, amount_micros, key):
        give_credit(self.seeded, self.account_id, amount_micros, key=key)

    def read_purchase(self, month=JANUARY):
        return self.ports.climate.store.get_purchase(self.account_id, month)

    @property
    def kinds(self):
        """Of the journals of removals, as they were posted."""
        journals = self.db.table("journals").values()
        return [each.kind for each in journals if each.kind in ("removal_purchase", "reversal")]

    @property
    def live_orders(self):
        return [each for each in self.climate.orders.values() if each.status != "canceled"]

    def tell_of(self, event, kind="created"):
        (order,) = self.climate.orders.values()
        self.tell(event, order.order_id, f"climate.order.{kind}")

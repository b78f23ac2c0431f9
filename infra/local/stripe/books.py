"""The simulator's own double entry, from which balance and reconciliation come."""

from collections import defaultdict
from dataclasses import dataclass

from infra.local.stripe.errors import Object, refuse_state
from infra.local.stripe.world import World

SETTLEMENT_SECONDS = 2 * 86_400
DISPUTE_FEE = 1_500
_FEE_PERMILLE = 29
_FEE_FIXED = 30
HEADINGS = ("captured", "refunded", "disputed", "fees", "paid_out", "climate")


def price_charge(amount: int) -> int:
    """Return the fee on a charge: 2.9 % and 30 minor units, as of https://stripe.com/pricing."""
    return (amount * _FEE_PERMILLE + 500) // 1_000 + _FEE_FIXED


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of an entry, in minor units; those of one balance transaction sum to zero."""

    transaction: str
    account: str
    customer: str | None
    currency: str
    amount: int
    available_on: int


class Books:
    """Legs, appended once and never changed, beside the balance transactions that they explain."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.legs: list[Leg] = []

    def post(self, heading: str, kind: str, source: Object, amount: int, fee: int = 0) -> Object:
        """Move ``amount`` into the balance (out of it when negative), less ``fee``; return its record."""
        now = self._world.now()
        settled = now + SETTLEMENT_SECONDS if kind == "charge" else now
        details = [{"type": "stripe_fee", "amount": fee, "currency": source["currency"]}] if fee else []
        transaction = self._world.add(
            "txn",
            "balance_transaction",
            type=kind,
            amount=amount,
            fee=fee,
            net=amount - fee,
            fee_details=details,
            currency=source["currency"],
            source=source.get("id"),
            available_on=settled,
            status="pending" if settled > now else "available",
            reporting_category={"adjustment": "dispute" if amount < 0 else "dispute_reversal"}.get(
                kind, kind
            ),
            description=source.get("description"),
            exchange_rate=None,
        )
        if settled > now:
            self._world.schedule(settled - now, lambda: transaction.update(status="available"))
        for account, value in (("balance", amount - fee), ("fees", fee), (heading, -amount)):
            if value:
                customer = source.get("customer")
                leg = Leg(transaction["id"], account, customer, source["currency"], value, settled)
                self.legs.append(leg)
        return transaction

    def balance(self) -> Object:
        """Return the body of ``GET /v1/balance``."""
        sums: dict[str, dict[str, int]] = {"available": defaultdict(int), "pending": defaultdict(int)}
        for leg in self.legs:
            if leg.account == "balance":
                state = "available" if leg.available_on <= self._world.now() else "pending"
                sums[state][leg.currency] += leg.amount
        currencies = sorted({leg.currency for leg in self.legs}) or ["usd"]
        return {"object": "balance", "livemode": False} | {
            state: [{"amount": by[currency], "currency": currency} for currency in currencies]
            for state, by in sums.items()
        }

    def summarise(self) -> Object:
        """Return each heading's total per currency, in all and per customer; positive when normal."""
        total: Object = {}
        customers: Object = {}
        for leg in self.legs:
            amount = -leg.amount if leg.account == "captured" else leg.amount
            for table in (total, customers.setdefault(leg.customer, {}) if leg.customer else None):
                if table is not None:
                    row = table.setdefault(leg.currency, dict.fromkeys((*HEADINGS, "balance"), 0))
                    row[leg.account] += amount
        return {"total": total, "customers": customers}

    def pay_out(self, currency: str = "usd", amount: int | None = None) -> Object:
        """Send ``amount``, or all that is available, to the bank.

        Raises:
            Refused: there is not so much.
        """
        with self._world.lock:
            rows = self.balance()["available"]
            available = next((row["amount"] for row in rows if row["currency"] == currency), 0)
            amount = available if amount is None else amount
            if not 0 < amount <= available:
                raise refuse_state("You have insufficient funds for this payout.", "balance_insufficient")
            payout = self._world.add("po", "payout", amount=amount, currency=currency, status="paid")
            payout["balance_transaction"] = self.post("paid_out", "payout", payout, -amount)["id"]
            self._world.emit("payout.paid", payout)
            return payout

    def charge_fee(self, amount: int, currency: str = "usd", description: str = "Billing") -> Object:
        """Take a fee that belongs to no charge."""
        with self._world.lock:
            return self.post(
                "fees", "stripe_fee", {"currency": currency, "description": description}, -amount
            )

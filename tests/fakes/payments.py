"""Top-ups in memory, and a Stripe that has what the test gives it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.core.errors import DomainError, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.payments.model import (
    MICROS_PER_CENT,
    Movement,
    Payment,
    Refund,
    Session,
    StripeEvent,
    TopUp,
)
from chalicelib.payments.orders import AutoTopUp, PaymentMethod
from chalicelib.payments.ports import AlreadyReconciled, Charged, Checkout, KeyTaken, StripeFailed
from tests.fakes.database import MemoryStore
from tests.fakes.pages import cut_page


class FakePaymentStore(MemoryStore):
    """Rows: top_ups, top_up_keys ((account, key)), orders, stripe_customers, stripe_events, movements."""

    def get_top_up(self, top_up_id: str) -> TopUp | None:
        return self.db.table("top_ups").get(top_up_id)

    def list_top_ups(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[TopUp]:
        mine = [row for row in self.db.table("top_ups").values() if row.account_id == account_id]
        rest = cut_page(mine, start, lambda row: row.top_up_id, oldest_first=oldest_first)
        return Page(rest[:limit], rest[limit - 1].top_up_id if len(rest) > limit else None)

    def find_key(self, account_id: str, key: str) -> KeyTaken | None:
        found = self.db.table("top_up_keys").get((account_id, key))
        return None if found is None else KeyTaken(*found)

    def add_top_up(self, tx: Any, top_up: TopUp, key: str, fingerprint: str) -> None:
        rows, of = self.db.table("top_up_keys"), (top_up.account_id, key)
        tx.add(
            lambda: KeyTaken(*rows[of]) if of in rows else None,
            lambda: rows.__setitem__(of, (top_up.top_up_id, fingerprint)),
        )
        tx.put_new("top_ups", top_up.top_up_id, top_up, Unavailable("top-up"))

    def replace_top_up(self, tx: Any, old: TopUp, new: TopUp) -> None:
        rows = self.db.table("top_ups")
        tx.add(
            lambda: None if rows[old.top_up_id].version == old.version else Unavailable("top-up"),
            lambda: rows.__setitem__(old.top_up_id, replace(new, version=old.version + 1)),
        )

    def get_order(self, account_id: str) -> AutoTopUp | None:
        return self.db.table("orders").get(account_id)

    def list_orders(self) -> Iterator[str]:
        rows = list(self.db.table("orders").values())
        return (
            row.account_id
            for row in rows
            if row.open_top_up_id is not None or (row.enabled and row.paused is None)
        )

    def put_order(self, tx: Any, old: AutoTopUp | None, new: AutoTopUp) -> None:
        rows, of = self.db.table("orders"), new.account_id

        def check() -> DomainError | None:
            stored = rows.get(of)
            same = stored is None if old is None else stored is not None and stored.version == old.version
            return None if same else Unavailable("order")

        tx.add(check, lambda: rows.__setitem__(of, replace(new, version=new.version + 1)))

    def get_customer(self, account_id: str) -> str | None:
        return self.db.table("stripe_customers").get(account_id)

    def keep_customer(self, account_id: str, customer_id: str) -> None:
        self.db.table("stripe_customers")[account_id] = customer_id

    def get_event(self, event_id: str) -> StripeEvent | None:
        return self.db.table("stripe_events").get(event_id)

    def keep_event(self, event: StripeEvent) -> None:
        self.db.table("stripe_events").setdefault(event.event_id, event)

    def mark_done(self, event_id: str) -> None:
        rows = self.db.table("stripe_events")
        rows[event_id] = replace(rows[event_id], done=True)

    def get_cursor(self, of: str) -> int:
        return int(self.db.table("stripe_cursors").get(of, 0))

    def keep_cursor(self, of: str, at_ms: int) -> None:
        self.db.table("stripe_cursors")[of] = at_ms

    def count_movement(self, tx: Any, movement: Movement) -> None:
        tx.put_new("movements", movement.movement_id, movement, AlreadyReconciled("movement"))

    def is_counted(self, movement_id: str) -> bool:
        return movement_id in self.db.table("movements")

    def list_unmatched(self) -> list[Movement]:
        return [row for _, row in sorted(self.db.table("unmatched").items())]

    def keep_unmatched(self, movement: Movement) -> None:
        self.db.table("unmatched")[movement.movement_id] = movement

    def forget_unmatched(self, movement_id: str) -> None:
        self.db.table("unmatched").pop(movement_id, None)

    def get_reconciled_cents(self) -> int:
        return sum(each.net_cents for each in self.db.table("movements").values())


class FakeEventQueue:
    def __init__(self) -> None:
        self.waiting: list[str] = []

    def request(self, event_id: str) -> None:
        self.waiting.append(event_id)


@dataclass
class FakePayments:
    """``payments`` are what Stripe has. ``down``: so many calls are not answered, after their effect."""

    payments: dict[str, Payment] = field(default_factory=dict)
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    refunds: dict[str, Refund] = field(default_factory=dict)
    events: list[tuple[int, str, str, str]] = field(default_factory=list)
    customers: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    #: Saved methods by customer; what becomes of a charge by the method's id, where it does not succeed.
    methods: dict[str, list[PaymentMethod]] = field(default_factory=dict)
    declines: dict[str, str] = field(default_factory=dict)
    charges: dict[str, Charged] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)
    #: Keys under which Stripe failed, with whether it had paid.
    failed_keys: dict[str, bool] = field(default_factory=dict)
    down: int = 0

    def _answer(self, call: str, answer: Any) -> Any:
        self.calls.append(call)
        if self.down:
            self.down -= 1
            raise Unavailable("Stripe did not answer.")
        return answer

    def ensure_customer(self, account_id: str) -> str:
        return self._answer("customer", self.customers.setdefault(account_id, f"cus_{len(self.customers)}"))

    def open_checkout(self, top_up: TopUp, customer_id: str, return_url: str) -> Checkout:
        session_id = f"cs_{len(self.checkouts)}"
        made = Checkout(session_id, f"https://checkout.example/{session_id}?for={customer_id}", None)
        assert return_url.startswith("https://")
        return self._answer("checkout", self.checkouts.setdefault(top_up.stripe_key, made))

    def open_setup(self, customer_id: str, currency: str, return_url: str, key: str) -> str:
        assert return_url.startswith("https://")
        page = f"https://checkout.example/setup_{len(self.pages)}?for={customer_id}&in={currency}"
        return self._answer("setup", self.pages.setdefault(key, page))

    def open_portal(self, customer_id: str, return_url: str) -> str:
        return self._answer("portal", f"https://portal.example/{customer_id}?then={return_url}")

    def list_methods(self, customer_id: str) -> list[PaymentMethod]:
        return self._answer("methods", list(self.methods.get(customer_id, [])))

    def remove_method(self, method_id: str) -> None:
        for saved in self.methods.values():
            saved[:] = [each for each in saved if each.method_id != method_id]
        self._answer("remove", None)

    def save_method(self, account_id: str, method_id: str) -> None:
        """Somebody saves a card on Stripe's page."""
        card = PaymentMethod(method_id, "card", "visa", "4242", "2099-12")
        self.methods.setdefault(self.customers[account_id], []).append(card)

    def charge(self, top_up: TopUp, customer_id: str, method_id: str) -> Charged:
        key = top_up.stripe_key
        if key not in self.charges:
            saved = [each.method_id for each in self.methods.get(customer_id, [])]
            if method_id not in saved:
                self.charges[key] = Charged(None, "payment_method_unusable")
            elif key in self.failed_keys and not self.failed_keys[key]:
                self.calls.append("charge")
                raise StripeFailed("Stripe failed.")
            else:
                self._take(top_up, method_id)
        if key in self.failed_keys:
            self.calls.append("charge")
            raise StripeFailed("Stripe failed.")
        return self._answer("charge", self.charges[key])

    def _take(self, top_up: TopUp, method_id: str) -> None:
        payment_id, code = f"pi_auto_{len(self.charges)}", self.declines.get(method_id)
        self.pay(top_up, payment_id)
        if code is not None:
            declined = {"status": "requires_payment_method", "received_cents": 0, "failure_code": code}
            if code == "processing":
                declined = {"status": "processing", "received_cents": 0}
            self.payments[payment_id] = replace(self.payments[payment_id], **declined)
        failure = None if code == "processing" else code
        self.charges[top_up.stripe_key] = Charged(payment_id, failure)

    def find_charge(self, top_up: TopUp, customer_id: str) -> str | None:
        assert customer_id in self.customers.values()
        found = [each.payment_id for each in self.payments.values() if each.top_up_id == top_up.top_up_id]
        return self._answer("find", found[0] if found else None)

    def get_payment(self, payment_id: str) -> Payment:
        if payment_id not in self.payments:
            raise NotFound("no such payment")
        return self._answer("payment", self.payments[payment_id])

    def get_session(self, session_id: str) -> Session:
        if session_id not in self.sessions:
            raise NotFound("no such session")
        return self._answer("session", self.sessions[session_id])

    def refund(self, payment_id: str, amount_cents: int, key: str) -> None:
        if key not in self.refunds:
            made = Refund(f"re_{len(self.refunds)}", "succeeded", amount_cents)
            self.refunds[key] = made
            paid = self.payments[payment_id]
            self.payments[payment_id] = replace(paid, refunds=(*paid.refunds, made))
        self._answer("refund", None)

    def list_changed(self, since_ms: int) -> Iterator[tuple[str, str, str]]:
        found = sorted(each for each in self.events if each[0] >= since_ms)
        return iter(self._answer("events", [each[1:] for each in found]))

    def pay(self, top_up: TopUp, payment_id: str, *, tax_cents: int = 0) -> None:
        """Somebody pays the top-up on Stripe's page."""
        self.payments[payment_id] = Payment(
            payment_id,
            "succeeded",
            top_up.currency,
            top_up.amount_micros // MICROS_PER_CENT + tax_cents,
            top_up.account_id,
            top_up.top_up_id,
            livemode=False,
            tax_cents=tax_cents,
        )

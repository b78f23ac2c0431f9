"""Purchases of removals in memory, a Stripe Climate that has what the test gives it, months' reports."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.core.errors import DomainError, NotFound, Unavailable
from chalicelib.core.paging import Page
from chalicelib.payments.ports import RemovalRefused, StripeFailed
from chalicelib.payments.purchases import (
    MG_PER_TON,
    Purchase,
    RemovalOrder,
    RemovalProduct,
    RemovalSettings,
)
from tests.fakes.database import MemoryStore

CHEAP = RemovalProduct("climsku_cheap", "Biomass", 1_000 * MG_PER_TON, 30_000)
DEAR = RemovalProduct("climsku_dear", "Direct air capture", 50 * MG_PER_TON, 100_000)


class FakePurchaseStore(MemoryStore):
    """Rows: removal_settings, purchases ((account, month))."""

    def get_settings(self, account_id: str) -> RemovalSettings | None:
        return self.db.table("removal_settings").get(account_id)

    def put_settings(self, tx: Any, old: RemovalSettings | None, new: RemovalSettings) -> None:
        rows, of, version = (
            self.db.table("removal_settings"),
            new.account_id,
            0 if old is None else old.version,
        )

        def check() -> DomainError | None:
            stored = rows.get(of)
            return None if (0 if stored is None else stored.version) == version else Unavailable("settings")

        tx.add(check, lambda: rows.__setitem__(of, replace(new, version=version + 1)))

    def list_enabled(self) -> Iterator[str]:
        rows = list(self.db.table("removal_settings").values())
        return (row.account_id for row in rows if row.enabled)

    def get_purchase(self, account_id: str, month: str) -> Purchase | None:
        return self.db.table("purchases").get((account_id, month))

    def list_purchases(self, account_id: str, limit: int, start: str | None) -> Page[Purchase]:
        mine = [row for row in self.db.table("purchases").values() if row.account_id == account_id]
        rest = [row for row in mine if start is None or row.month < start]
        rest.sort(key=lambda row: row.month, reverse=True)
        return Page(rest[:limit], rest[limit - 1].month if len(rest) > limit else None)

    def list_open(self, kind: str) -> Iterator[tuple[str, str]]:
        rows = list(self.db.table("purchases").values())
        wanted = [row for row in rows if not row.is_final and (row.order_id is None) == (kind == "begun")]
        return ((row.account_id, row.month) for row in wanted)

    def add_purchase(self, tx: Any, purchase: Purchase) -> None:
        tx.put_new("purchases", (purchase.account_id, purchase.month), purchase, Unavailable("purchase"))

    def replace_purchase(self, tx: Any, old: Purchase, new: Purchase) -> None:
        rows, of = self.db.table("purchases"), (old.account_id, old.month)
        tx.add(
            lambda: None if rows[of].version == old.version else Unavailable("purchase"),
            lambda: rows.__setitem__(of, replace(new, version=old.version + 1)),
        )


@dataclass
class FakeClimate:
    """``orders`` by key. ``lost``: calls that are not answered, once each, after their effect."""

    products: list[RemovalProduct] = field(default_factory=lambda: [DEAR, CHEAP])
    orders: dict[str, RemovalOrder] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    #: Keys under which Stripe failed, with whether it had ordered.
    failed_keys: dict[str, bool] = field(default_factory=dict)
    refuses: bool = False
    status: str = "open"
    lost: list[str] = field(default_factory=list)

    def _answer(self, call: str, answer: Any) -> Any:
        self.calls.append(call)
        if call in self.lost:
            self.lost.remove(call)
            raise Unavailable("Stripe did not answer.")
        return answer

    def list_products(self, currency: str) -> list[RemovalProduct]:
        return self._answer("products", self.products if currency == "USD" else [])

    def place_order(self, purchase: Purchase) -> RemovalOrder:
        key = purchase.stripe_key
        if key not in self.orders and self.failed_keys.get(key, True):
            if self.refuses:
                self.calls.append("order")
                raise RemovalRefused("Stripe does not do it.")
            self.orders[key] = RemovalOrder(
                f"climorder_{len(self.orders)}",
                self.status,
                purchase.account_id,
                purchase.month,
                livemode=False,
                product_id=str(purchase.product_id),
                delivery_year=2030,
            )
        if key in self.failed_keys:
            self.calls.append("order")
            raise StripeFailed("Stripe failed.")
        return self._answer("order", self.orders[key])

    def find_order(self, purchase: Purchase) -> RemovalOrder | None:
        wanted = (purchase.account_id, purchase.month)
        found = [each for each in self.orders.values() if (each.account_id, each.month) == wanted]
        return self._answer("find", found[-1] if found else None)

    def get_order(self, order_id: str) -> RemovalOrder:
        for each in self.orders.values():
            if each.order_id == order_id:
                return self._answer("get", each)
        raise NotFound("no such order")

    def cancel_order(self, order_id: str) -> None:
        if self.refuses:
            raise RemovalRefused("too late")
        self.cancelled.append(order_id)
        self.move(order_id, status="canceled")

    def move(self, order_id: str, **facts: Any) -> None:
        """Stripe goes on with an order."""
        (key,) = [key for key, each in self.orders.items() if each.order_id == order_id]
        self.orders[key] = replace(self.orders[key], **facts)


@dataclass
class FakeResiduals:
    """Milligrams by (account, month); what is not there is not reported yet."""

    masses: dict[tuple[str, str], int] = field(default_factory=dict)

    def find_residual_mg(self, account_id: str, month: str) -> int | None:
        return self.masses.get((account_id, month))

"""Use cases of removals that accounts buy for their residual emissions: the wish, each month's purchase.

The month's intent is written down, and the month ticked off, before anything is charged or ordered; whoever
comes next goes on with it (`following`).
"""

from dataclasses import dataclass, replace

from chalicelib.core.clock import name_month
from chalicelib.core.errors import DomainError, NotFound
from chalicelib.core.paging import Page
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.payments.following import carry_on, settle_order
from chalicelib.payments.methods import add_audit
from chalicelib.payments.ports import PaymentPorts, PurchaseStore
from chalicelib.payments.purchases import (
    Purchase,
    PurchasedMass,
    RemovalProduct,
    RemovalSettings,
    change_settings,
    is_look_due,
    name_next_month,
    plan_purchase,
    sum_purchased,
)
from chalicelib.statements.model import check_month

#: An account is charged and its order placed within a run; what takes so long needs a person.
OVERDUE_MS = 6 * 3_600_000


def get_settings(ports: PaymentPorts, account_id: str) -> RemovalSettings:
    """Return what the account wants; off at first."""
    return ports.climate.store.get_settings(account_id) or RemovalSettings(account_id)


def put_settings(
    ports: PaymentPorts,
    principal: Principal,
    wanted: RemovalSettings,
    check: Check[RemovalSettings] = accept_any,
) -> RemovalSettings:
    """Turn purchases on or off, or change them. Whatever has begun comes to its end.

    Raises:
        InvalidInput: ``invalid_amount``, ``unsupported_currency``.
        PaymentsNotConfigured: they are turned on, and this stage has no Stripe.
        PreconditionFailed: as ``check`` raises it.
        Unavailable: they changed meanwhile; try again.
    """
    rentals, store = ports.billing.rentals, ports.climate.store
    stored = store.get_settings(principal.account_id)
    before = stored or RemovalSettings(principal.account_id)
    check(before)
    after = change_settings(before, wanted, rentals.currency, rentals.clock.now_ms())
    if after.enabled:
        ports.climate.connect()
    tx = rentals.transactions()
    store.put_settings(tx, stored, after)
    facts = {"enabled": after.enabled, "max_micros_per_month": after.max_micros_per_month}
    add_audit(ports, tx, principal, "removal_purchases.changed", principal.account_id, **facts)
    tx.commit()
    return replace(after, version=before.version + 1)


def list_purchases(ports: PaymentPorts, account_id: str, limit: int, start: str | None) -> Page[Purchase]:
    return ports.climate.store.list_purchases(account_id, limit, start)


def get_purchase(ports: PaymentPorts, account_id: str, month: str) -> Purchase:
    """Raises NotFound; InvalidInput (``invalid_month``)."""
    found = ports.climate.store.get_purchase(account_id, check_month(month))
    if found is None:
        raise NotFound("Nothing was bought for this month, and nothing was to be.")
    return found


def find_purchased_mg(store: PurchaseStore, account_id: str, month: str) -> PurchasedMass:
    """Return what was bought for a month, for its carbon report: a line of its own, never netted."""
    found = store.get_purchase(account_id, month)
    return PurchasedMass() if found is None else sum_purchased(found)


@dataclass(frozen=True, slots=True)
class Bought:
    """``begun``: months that were taken up in this run. ``failed``: (account, code), for another run.

    ``overdue``: how many have been planned for long and are not ordered. ``left``: time ran out.
    """

    begun: int
    failed: tuple[tuple[str, str], ...]
    overdue: int
    left: bool


def buy_removals(ports: PaymentPorts, deadline_ms: int) -> Bought:
    """Go on with what has begun, look at what is ordered, then begin what is due, until ``deadline_ms``.

    One that fails does not keep the others back.
    """
    return _Run(ports, deadline_ms).work()


class _Run:
    """One run, which asks Stripe once what it sells."""

    def __init__(self, ports: PaymentPorts, deadline_ms: int) -> None:
        self._ports, self._store = ports, ports.climate.store
        self._clock, self._deadline_ms = ports.billing.rentals.clock, deadline_ms
        self._products: list[RemovalProduct] | None = None
        self._begun = self._overdue = 0
        self._failed: list[tuple[str, str]] = []

    def work(self) -> Bought:
        left = not (self._carry_on() and self._look() and self._begin())
        return Bought(self._begun, tuple(self._failed), self._overdue, left)

    def _carry_on(self) -> bool:
        for account_id, month in self._store.list_open("begun"):
            if self._is_over():
                return False
            found = self._store.get_purchase(account_id, month)
            if found is None or found.is_final:
                continue
            try:
                found = carry_on(self._ports, found)
            except DomainError as error:
                self._failed.append((account_id, error.code))
            late = self._clock.now_ms() - found.planned_at_ms >= OVERDUE_MS
            self._overdue += late and found.state in ("planned", "charged")
        return True

    def _look(self) -> bool:
        """No event tells when an order is paid for, and one that is lost for a month is told of no more."""
        for account_id, month in self._store.list_open("ordered"):
            if not is_look_due(account_id, month, self._clock.now_ms()):
                continue
            if self._is_over():
                return False
            found = self._store.get_purchase(account_id, month)
            if found is None or found.order_id is None:
                continue
            try:
                settle_order(self._ports, found.order_id)
            except DomainError as error:
                self._failed.append((account_id, error.code))
        return True

    def _begin(self) -> bool:
        for account_id in self._store.list_enabled():
            if self._is_over():
                return False
            try:
                planned = self._plan(account_id)
                if planned is not None:
                    self._begun += 1
                    carry_on(self._ports, planned)
            except DomainError as error:
                self._failed.append((account_id, error.code))
        return True

    def _plan(self, account_id: str) -> Purchase | None:
        """Write down the purchase of the account's next month, where that is over and reported."""
        settings, now_ms = self._store.get_settings(account_id), self._clock.now_ms()
        if settings is None or not settings.enabled or settings.next_month >= name_month(now_ms):
            return None
        residual_mg = self._ports.climate.residuals.find_residual_mg(account_id, settings.next_month)
        if residual_mg is None:
            return None
        products = self._list_products() if residual_mg else []
        currency = self._ports.billing.rentals.currency
        purchase = plan_purchase(settings, residual_mg, products, currency, now_ms)
        tx = self._ports.billing.rentals.transactions()
        self._store.put_settings(
            tx, settings, replace(settings, next_month=name_next_month(settings.next_month))
        )
        self._store.add_purchase(tx, purchase)
        tx.commit()
        return purchase

    def _list_products(self) -> list[RemovalProduct]:
        if self._products is None:
            currency = self._ports.billing.rentals.currency
            self._products = self._ports.climate.connect().list_products(currency)
        return self._products

    def _is_over(self) -> bool:
        return self._clock.now_ms() >= self._deadline_ms

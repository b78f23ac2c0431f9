"""What the use cases of payments need."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from chalicelib.billing.ports import BillingPorts
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import Transaction
from chalicelib.payments.model import Movement, Payment, Session, StripeEvent, TopUp
from chalicelib.payments.orders import AutoTopUp, PaymentMethod
from chalicelib.payments.purchases import Purchase, RemovalOrder, RemovalProduct, RemovalSettings

Cursor = Literal["events", "movements"]


class PaymentsNotConfigured(Conflict):
    """No Stripe key is set for this stage."""

    code = "payments_not_configured"


class StripeFailed(Unavailable):
    """Stripe answered with a failure of its own, which it will repeat under the same key for a day."""


class ForeignPayment(Conflict):
    """The payment or the order is not one of ours, or not of this stage; a person has to look at it."""

    code = "foreign_payment"


class RemovalRefused(Conflict):
    """Stripe does not do it, and will not when it is asked again."""

    code = "removals_refused"


class AlreadyReconciled(Conflict):
    code = "already_reconciled"


class KeyTaken(Conflict):
    """The idempotency key has a top-up already. Carries its id and the fingerprint of its request."""

    code = "key_taken"

    def __init__(self, top_up_id: str, fingerprint: str) -> None:
        super().__init__("This key was used before.")
        self.top_up_id = top_up_id
        self.fingerprint = fingerprint


@dataclass(frozen=True, slots=True)
class Checkout:
    session_id: str
    url: str
    payment_id: str | None


@dataclass(frozen=True, slots=True)
class Charged:
    """Without a payment: Stripe refused the method before it made one, for the reason given."""

    payment_id: str | None
    failure_code: str | None = None


class Payments(Protocol):
    """Stripe. Whatever fails there and may be tried again is `Unavailable`."""

    def ensure_customer(self, account_id: str) -> str:
        """Return the customer's id at Stripe; asked again, the same."""
        ...

    def open_checkout(self, top_up: TopUp, customer_id: str, return_url: str) -> Checkout: ...
    def open_setup(self, customer_id: str, currency: str, return_url: str, key: str) -> str:
        """Return the address of a page on which a method is saved for payments without its owner."""
        ...

    def open_portal(self, customer_id: str, return_url: str) -> str: ...
    def list_methods(self, customer_id: str) -> list[PaymentMethod]: ...
    def remove_method(self, method_id: str) -> None:
        """Nothing happens when it is gone."""

    def charge(self, top_up: TopUp, customer_id: str, method_id: str) -> Charged:
        """Take the money with nobody there; a decline is an answer, no error."""
        ...

    def find_charge(self, top_up: TopUp, customer_id: str) -> str | None:
        """Return the top-up's payment out of Stripe's own list."""
        ...

    def get_payment(self, payment_id: str) -> Payment:
        """Raises NotFound."""
        ...

    def refund(self, payment_id: str, amount_cents: int, key: str) -> None:
        """Once per key, for ever."""

    def get_session(self, session_id: str) -> Session:
        """Raises NotFound."""
        ...

    def list_changed(self, since_ms: int) -> Iterator[tuple[str, str, str]]:
        """Yield (event id, type, subject id) of Stripe's own list of events, oldest first."""
        ...

    def get_balance(self, currency: str) -> int:
        """Return the cents that Stripe holds for us, available and pending."""
        ...

    def list_movements(self, since_ms: int) -> Iterator[Movement]: ...
    def name_fact(self, movement: Movement) -> tuple[str, str]:
        """Return the key of the fact that a movement is (see `model.list_facts`), and its payment."""
        ...


class PaymentStore(Protocol):
    def get_top_up(self, top_up_id: str) -> TopUp | None: ...
    def list_top_ups(
        self, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
    ) -> Page[TopUp]:
        """Newest first, unless the oldest are wanted."""
        ...

    def find_key(self, account_id: str, key: str) -> KeyTaken | None: ...
    def add_top_up(self, tx: Transaction, top_up: TopUp, key: str, fingerprint: str) -> None:
        """Fails with KeyTaken."""

    def replace_top_up(self, tx: Transaction, old: TopUp, new: TopUp) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def get_order(self, account_id: str) -> AutoTopUp | None: ...
    def list_orders(self) -> Iterator[str]:
        """Yield the accounts whose order is on or has an attempt. An index: a hint."""
        ...

    def put_order(self, tx: Transaction, old: AutoTopUp | None, new: AutoTopUp) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def get_customer(self, account_id: str) -> str | None: ...
    def keep_customer(self, account_id: str, customer_id: str) -> None: ...
    def get_event(self, event_id: str) -> StripeEvent | None: ...
    def keep_event(self, event: StripeEvent) -> None:
        """Nothing happens when it is there."""

    def mark_done(self, event_id: str) -> None: ...
    def get_cursor(self, of: Cursor) -> int:
        """Up to which instant a list of Stripe's was gone through; 0 at first."""
        ...

    def keep_cursor(self, of: Cursor, at_ms: int) -> None: ...
    def count_movement(self, tx: Transaction, movement: Movement) -> None:
        """Add its net to the total. Fails with AlreadyReconciled."""

    def is_counted(self, movement_id: str) -> bool: ...
    def get_reconciled_cents(self) -> int: ...
    def list_unmatched(self) -> list[Movement]:
        """Return the movements that no book of ours had when they were last looked for."""
        ...

    def keep_unmatched(self, movement: Movement) -> None: ...
    def forget_unmatched(self, movement_id: str) -> None: ...


class EventQueue(Protocol):
    def request(self, event_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class StripeSecrets:
    """``webhook_secrets``: the present one, and the one before it during a roll."""

    webhook_secrets: tuple[str, ...]
    livemode: bool


class Climate(Protocol):
    """Stripe Climate. Whatever fails there and may be tried again is `Unavailable`."""

    def list_products(self, currency: str) -> list[RemovalProduct]:
        """Return what is sold in a currency now, whether there is any of it or not."""
        ...

    def place_order(self, purchase: Purchase) -> RemovalOrder:
        """Raises RemovalRefused. Repeated under the purchase's key, it is the same order."""
        ...

    def find_order(self, purchase: Purchase) -> RemovalOrder | None:
        """Return the purchase's order out of Stripe's own list."""
        ...

    def get_order(self, order_id: str) -> RemovalOrder:
        """Raises NotFound."""
        ...

    def cancel_order(self, order_id: str) -> None:
        """Raises RemovalRefused: it is older than a day, or is over."""


#: ``begun``: not ordered yet. ``ordered``: Stripe has not ended it.
OpenKind = Literal["begun", "ordered"]


class PurchaseStore(Protocol):
    def get_settings(self, account_id: str) -> RemovalSettings | None: ...
    def put_settings(self, tx: Transaction, old: RemovalSettings | None, new: RemovalSettings) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""

    def list_enabled(self) -> Iterator[str]:
        """Yield the accounts that buy. An index: a hint."""
        ...

    def get_purchase(self, account_id: str, month: str) -> Purchase | None: ...
    def list_purchases(self, account_id: str, limit: int, start: str | None) -> Page[Purchase]:
        """Newest first."""
        ...

    def list_open(self, kind: OpenKind) -> Iterator[tuple[str, str]]:
        """Yield (account, month) of what is not final. An index: a hint."""
        ...

    def add_purchase(self, tx: Transaction, purchase: Purchase) -> None:
        """Fails with Unavailable when the month has one."""

    def replace_purchase(self, tx: Transaction, old: Purchase, new: Purchase) -> None:
        """Fails with Unavailable when ``old`` is no longer what is stored."""


class ResidualReader(Protocol):
    """Reads what the months' reports say; implemented above."""

    def find_residual_mg(self, account_id: str, month: str) -> int | None:
        """Return mg CO2e of a month: location-based emissions less removals that are finally the account's.

        Never below zero. ``None``: the month's report is not made yet; asked again, it may be.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClimatePorts:
    store: PurchaseStore
    #: As `PaymentPorts.connect`.
    connect: Callable[[], Climate]
    residuals: ResidualReader


@dataclass(frozen=True, slots=True)
class PaymentPorts:
    store: PaymentStore
    billing: BillingPorts
    queue: EventQueue
    #: Called only where Stripe is spoken with: what it returns loads Stripe's library.
    connect: Callable[[], Payments]
    #: Raises PaymentsNotConfigured.
    read_secrets: Callable[[], StripeSecrets]
    climate: ClimatePorts

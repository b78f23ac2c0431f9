"""Payments: what we asked Stripe for, what Stripe says happened, and what of it is posted. All pure.

Stripe's events are hints. What counts is the payment as it stands when it is fetched; each of its
transitions is a fact with a key of its own, so that facts can be posted in any order, any number of times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chalicelib.core.errors import InvalidInput

TopUpKind = Literal["checkout", "auto"]
#: Ranks only rise (`RANKS`): a late event never takes a success back.
TopUpState = Literal["created", "processing", "failed", "expired", "succeeded"]
RANKS: dict[TopUpState, int] = {"created": 0, "processing": 1, "failed": 2, "expired": 2, "succeeded": 3}

#: Stripe counts in the smallest unit of a currency; of these a hundred make one.
#: Source: https://docs.stripe.com/currencies
MICROS_PER_CENT = 10_000
CENT_CURRENCIES = frozenset({"USD", "EUR", "GBP"})
#: A failure of Stripe's own stays under our key. What it did, if anything, is in Stripe's list by then.
DOUBT_MS = 600_000
#: Stripe forgets keys after 24 hours; from then on a repeat would pay again.
#: Source: https://docs.stripe.com/api/idempotent_requests
KEY_LIFETIME_MS = 23 * 3_600_000
MIN_TOP_UP_MICROS = 5_000_000
MAX_TOP_UP_MICROS = 100_000_000_000


def convert_to_cents(micros: int, currency: str) -> int:
    """Raises InvalidInput: ``invalid_amount`` for parts of a cent, ``unsupported_currency``."""
    if currency not in CENT_CURRENCIES:
        raise InvalidInput(f"{currency} cannot be paid here.", code="unsupported_currency")
    cents, rest = divmod(micros, MICROS_PER_CENT)
    if rest:
        raise InvalidInput("A payment has whole cents.", code="invalid_amount")
    return cents


@dataclass(frozen=True, slots=True)
class TopUp:
    """One payment into a wallet. ``amount_micros`` is what the wallet gets; tax comes on top.

    ``attempt`` numbers what was asked of Stripe: a new one only once the one before is known to be dead.
    """

    top_up_id: str
    account_id: str
    kind: TopUpKind
    amount_micros: int
    currency: str
    created_at_ms: int
    state: TopUpState = "created"
    attempt: int = 1
    checkout_url: str | None = None
    session_id: str | None = None
    payment_id: str | None = None
    #: Stripe's code of a decline.
    failure_code: str | None = None
    receipt_url: str | None = None
    tax_micros: int = 0
    refunded_micros: int = 0
    disputed_micros: int = 0
    version: int = 0

    @property
    def stripe_key(self) -> str:
        """The idempotency key of what is asked of Stripe."""
        return f"topup:{self.top_up_id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class Refund:
    refund_id: str
    status: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class Dispute:
    """``movements``: (balance transaction, signed cents), as Stripe took the money away and gave it back."""

    dispute_id: str
    status: str
    movements: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Payment:
    """A PaymentIntent as Stripe has it now, with what became of its charge."""

    payment_id: str
    status: str
    currency: str
    received_cents: int
    account_id: str | None
    top_up_id: str | None
    livemode: bool
    tax_cents: int = 0
    failure_code: str | None = None
    receipt_url: str | None = None
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()


FactKind = Literal["top_up", "refund", "refund_failed", "dispute", "dispute_reversed"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One transition of a Stripe object. ``clearing_micros`` is what Stripe holds for us more than before.

    Of it ``tax_micros`` are tax, and the rest is the customer's; both carry the sign of ``clearing_micros``.
    """

    key: str
    kind: FactKind
    clearing_micros: int
    tax_micros: int
    #: Posted only where the fact with this key was.
    undoes: str | None = None

    @property
    def customer_micros(self) -> int:
        return self.clearing_micros - self.tax_micros


def list_facts(payment: Payment) -> list[Fact]:
    """Return what has happened to a payment, the money's coming first. Tax goes back in proportion."""
    if payment.status != "succeeded" or not payment.received_cents:
        return []
    received, tax = payment.received_cents, payment.tax_cents
    facts = [_build(f"{payment.payment_id}:succeeded", "top_up", received, tax)]
    for refund in payment.refunds:
        share = refund.amount_cents * tax // received
        gone = _build(f"{refund.refund_id}:succeeded", "refund", -refund.amount_cents, -share)
        if refund.status == "succeeded":
            facts.append(gone)
        elif refund.status == "failed":
            # A bank may send it back days later: what was posted is undone, and only that.
            back = _build(f"{refund.refund_id}:failed", "refund_failed", refund.amount_cents, share)
            facts.append(replace(back, undoes=gone.key))
    for dispute in payment.disputes:
        for movement, cents in dispute.movements:
            share = abs(cents) * tax // received
            facts.append(
                _build(f"{dispute.dispute_id}:{movement}", "dispute", cents, -share)
                if cents < 0
                else _build(f"{dispute.dispute_id}:{movement}", "dispute_reversed", cents, share)
            )
    return facts


def _build(key: str, kind: FactKind, cents: int, tax_cents: int) -> Fact:
    return Fact(key, kind, cents * MICROS_PER_CENT, tax_cents * MICROS_PER_CENT)


def advance(top_up: TopUp, payment: Payment, facts: Sequence[Fact]) -> TopUp:
    """Return the top-up as ``payment`` has it now; its state never falls, its amounts are Stripe's."""
    states: dict[str, TopUpState] = {
        "succeeded": "succeeded",
        "processing": "processing",
        "requires_action": "processing",
        "requires_payment_method": "failed" if payment.failure_code else "created",
        "canceled": "failed",
    }
    state = states.get(payment.status, "created")
    if RANKS[state] < RANKS[top_up.state]:
        state = top_up.state
    return replace(
        top_up,
        state=state,
        payment_id=payment.payment_id,
        failure_code=None if state == "succeeded" else payment.failure_code or top_up.failure_code,
        receipt_url=payment.receipt_url or top_up.receipt_url,
        tax_micros=sum(fact.tax_micros for fact in facts if fact.kind == "top_up"),
        refunded_micros=-sum(fact.clearing_micros for fact in facts if fact.kind == "refund"),
        disputed_micros=-sum(fact.clearing_micros for fact in facts if fact.kind.startswith("dispute")),
    )


#: Stripe's types of balance transactions that are facts of a payment.
#: Source: https://docs.stripe.com/reports/balance-transaction-types
FACT_KINDS: dict[str, FactKind] = {
    "charge": "top_up",
    "payment": "top_up",
    "refund": "refund",
    "payment_refund": "refund",
    "refund_failure": "refund_failed",
    "adjustment": "dispute",
}


#: Takes back the ``payment`` of a bank debit that failed while it was pending.
RETURN = "payment_failure_refund"


@dataclass(frozen=True, slots=True)
class Movement:
    """A balance transaction: ``amount_cents`` signed as Stripe's balance sees it, before ``fee_cents``."""

    movement_id: str
    kind: str
    currency: str
    amount_cents: int
    fee_cents: int
    #: The charge, refund, dispute or payout.
    source_id: str

    @property
    def fact_kind(self) -> FactKind | None:
        return FACT_KINDS.get(self.kind)

    @property
    def is_return(self) -> bool:
        return self.kind == RETURN

    @property
    def net_cents(self) -> int:
        return self.amount_cents - self.fee_cents


def find_subject_id(target: Mapping[str, object]) -> str:
    """Return the PaymentIntent that an object of Stripe is, or is of; empty: it is of none.

    A Checkout Session has none before somebody has paid: it is its own subject then. An order of Stripe
    Climate always is.
    """
    kind = target.get("object")
    own = kind in ("payment_intent", "climate.order")
    found = target.get("id") if own else target.get("payment_intent")
    if isinstance(found, Mapping):
        found = found.get("id")
    if found is None and kind == "checkout.session":
        found = target.get("id")
    return found if isinstance(found, str) else ""


def is_session(subject_id: str) -> bool:
    return subject_id.startswith("cs_")


@dataclass(frozen=True, slots=True)
class Session:
    """A page of Stripe. ``top_up_id`` is ``None`` where nothing is paid on it."""

    session_id: str
    status: str
    top_up_id: str | None


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """A hint that a payment, a page or an order has changed. ``subject_id`` empty: none that we keep."""

    event_id: str
    type: str
    subject_id: str
    received_at_ms: int
    done: bool = False

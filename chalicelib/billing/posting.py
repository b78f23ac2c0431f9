"""The ledger's only writer: `add_booking` is where every journal and every leg comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from chalicelib.billing.model import (
    MAX_GRANTS,
    USAGE,
    Balance,
    ChainedLeg,
    Entry,
    Grant,
    Journal,
    Leg,
    chain_legs,
    check_balanced,
    draw,
    enter_month,
    find_alert_level,
    mark,
    name_customer,
)
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted, BillingPorts, Wallet
from chalicelib.core.errors import Conflict, Unavailable
from chalicelib.core.ports import Transaction
from chalicelib.webhooks.model import Event, EventType

T = TypeVar("T")
#: Kinds of postings by which an account has paid: through Stripe, or as an operator wrote it down.
PAYMENTS = frozenset({"top_up", "credit"})
#: Of `alert_level`.
ALERT_NAMES = ("none", "info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Posting:
    """What is to be booked for one customer: the platform's ``legs``, and on the other side the wallet.

    A wallet's debit takes promotional credit first unless ``paid_only``. ``grant``: the credit is this
    promotional grant. ``expired``: the debit is what is left of this grant. ``held_micros`` and
    ``burn_micros_per_hour`` are added in the same transaction. ``may_overdraw``: the money is taken from us,
    whatever is left. ``exhausts``: a stay is stopped over it, because the wallet is empty.
    """

    source: str
    source_id: str
    kind: str
    legs: tuple[Leg, ...]
    details: Mapping[str, object] = field(default_factory=dict)
    reverses: str | None = None
    paid_only: bool = False
    may_overdraw: bool = False
    grant: Grant | None = None
    expired: Grant | None = None
    held_micros: int = 0
    burn_micros_per_hour: int = 0
    exhausts: bool = False

    @property
    def customer_micros(self) -> int:
        return -sum(leg.amount_micros for leg in self.legs)


def find_balance(ports: BillingPorts, account_id: str) -> Balance:
    """Return what is in the wallet, without its budgets; one that was never credited is empty."""
    return ports.wallets.get_balance(account_id) or Balance(account_id, ports.rentals.currency)


def find_wallet(ports: BillingPorts, account_id: str) -> Wallet:
    """Return the wallet; one that was never credited is empty."""
    return ports.wallets.get_wallet(account_id) or Wallet(Balance(account_id, ports.rentals.currency))


@dataclass(frozen=True, slots=True)
class Booking:
    """A posting as it will stand: the journal, the customer's chained legs, the wallet before and after."""

    journal: Journal
    chained: tuple[ChainedLeg, ...]
    before: Balance
    after: Balance
    may_overdraw: bool

    @property
    def promo_micros(self) -> int:
        return self.after.promo_micros - self.before.promo_micros

    @property
    def paid_micros(self) -> int:
        return self.after.paid_micros - self.before.paid_micros


def book(balance: Balance, posting: Posting, now_ms: int) -> Booking:
    """Return what ``posting`` writes. Pure.

    Raises:
        UnbalancedJournal: a leg is empty or stands twice.
        Conflict: ``too_many_grants``.
    """
    promo, grants = _choose_purse(balance, posting)
    own = (
        Leg(name_customer(balance.account_id, "promo"), promo),
        Leg(name_customer(balance.account_id, "paid"), posting.customer_micros - promo),
    )
    journal = Journal(
        source=posting.source,
        source_id=posting.source_id,
        kind=posting.kind,
        account_id=balance.account_id,
        legs=(*(leg for leg in own if leg.amount_micros), *posting.legs),
        currency=balance.currency,
        posted_at_ms=now_ms,
        details=posting.details,
        reverses=posting.reverses,
    )
    check_balanced(journal)
    chained = chain_legs(balance, journal)
    posted = balance.posted_micros + posting.customer_micros
    held = balance.held_micros + posting.held_micros
    after = replace(
        balance,
        posted_micros=posted,
        held_micros=held,
        available_micros=posted - held,
        leg_version=balance.leg_version + len(chained),
        chain_hash=chained[-1].hash if chained else balance.chain_hash,
        grants=grants,
        burn_micros_per_hour=balance.burn_micros_per_hour + posting.burn_micros_per_hour,
        exhausted_at_ms=now_ms if posting.exhausts else balance.exhausted_at_ms,
    )
    if posting.kind in PAYMENTS and posting.customer_micros > 0 and after.paid_since_ms is None:
        after = replace(after, paid_since_ms=now_ms)
    if posting.customer_micros > 0 and after.available_micros > 0:
        after = replace(after, exhausted_at_ms=None)
    if chained:
        after = replace(after, alert_level=find_alert_level(after))
    if chained or posting.kind == USAGE:
        after = replace(after, month=enter_month(balance, now_ms))
    return Booking(journal, tuple(chained), balance, after, posting.may_overdraw)


def add_booking(ports: BillingPorts, tx: Transaction, booking: Booking) -> None:
    """Add to ``tx`` what `book` said.

    Raises:
        Conflict: ``currency_mismatch``.

    On commit: AlreadyPosted, PostingMismatch, or Unavailable when the wallet moved or does not cover it.
    """
    if booking.before.currency != ports.rentals.currency:
        raise Conflict("The wallet is kept in another currency.", code="currency_mismatch")
    journal, before, after = booking.journal, booking.before, booking.after
    ports.ledger.add_journal(tx, journal, booking.chained)
    if after.month != before.month:
        turn_month(ports, tx, before, after.month, journal.posted_at_ms)
    if booking.chained and journal.kind != USAGE:
        ports.usage.add_entry(tx, _build_entry(booking))
    if after != before:
        ports.wallets.move_balance(tx, before, after, may_overdraw=booking.may_overdraw)
    if after.alert_level != before.alert_level:
        _add_alert(ports, tx, booking)


def turn_month(ports: BillingPorts, tx: Transaction, balance: Balance, month: str, now_ms: int) -> None:
    """Add to ``tx``: the wallet's month ends as the wallet is, and ``month`` begins with that."""
    if balance.month:
        ports.months.close_month(tx, balance, mark(balance), now_ms)
    ports.months.open_month(tx, balance, month, mark(balance), now_ms)


def _build_entry(booking: Booking) -> Entry:
    journal, after = booking.journal, booking.after
    return Entry(
        after.account_id,
        after.month,
        after.leg_version,
        journal.key,
        journal.kind,
        journal.posted_at_ms,
        booking.paid_micros,
        booking.promo_micros,
        journal.details,
    )


def add_posting(
    ports: BillingPorts, tx: Transaction, balance: Balance, posting: Posting, now_ms: int
) -> Balance:
    """Book ``posting`` and add it to ``tx``; return the wallet as it will be. Raises as both of them."""
    booking = book(balance, posting, now_ms)
    add_booking(ports, tx, booking)
    return booking.after


def add_event(
    ports: BillingPorts, tx: Transaction, account_id: str, kind: EventType, data: Mapping[str, object]
) -> None:
    """Add to ``tx``: the renter is told."""
    rentals = ports.rentals
    event = Event(rentals.ids.new_id("evt"), account_id, kind, rentals.clock.now_ms(), dict(data))
    rentals.outbox.add_event(tx, event)


def _add_alert(ports: BillingPorts, tx: Transaction, booking: Booking) -> None:
    after = booking.after
    kind: EventType = "wallet.low" if after.alert_level > booking.before.alert_level else "wallet.recovered"
    facts = {
        "balance_micros": after.posted_micros,
        "burn_micros_per_hour": after.burn_micros_per_hour,
        "seconds_left": after.seconds_left,
        "level": ALERT_NAMES[after.alert_level],
    }
    add_event(ports, tx, after.account_id, kind, facts)


def _choose_purse(balance: Balance, posting: Posting) -> tuple[int, tuple[Grant, ...]]:
    """Return what promotional credit changes by, and the grants afterwards."""
    amount = posting.customer_micros
    if posting.grant is not None:
        if len(balance.grants) >= MAX_GRANTS:
            raise Conflict(f"An account has at most {MAX_GRANTS} grants at a time.", code="too_many_grants")
        return amount, (*balance.grants, posting.grant)
    if posting.expired is not None:
        kept = [each for each in balance.grants if each.grant_id != posting.expired.grant_id]
        left = posting.expired.remaining_micros + amount
        if left:
            kept.append(replace(posting.expired, remaining_micros=left))
        return amount, tuple(kept)
    if amount >= 0 or posting.paid_only:
        return 0, balance.grants
    drawn = draw(balance.grants, -amount)
    return -drawn.promo_micros, drawn.grants


def post_once(
    ports: BillingPorts, account_id: str, attempt: Callable[[Wallet], T], done: Callable[[], T]
) -> T:
    """Call ``attempt`` with the wallet as it is until its transaction stands.

    ``done``: what to return when it stood before.

    Raises:
        PostingMismatch: the journal's key was used for something else.
        Unavailable: too much contention; try again.
    """
    for _ in range(MAX_ATTEMPTS):
        try:
            return attempt(find_wallet(ports, account_id))
        except AlreadyPosted:
            return done()
        except Unavailable:
            continue
    raise Unavailable("The account changes all the time; try again.")

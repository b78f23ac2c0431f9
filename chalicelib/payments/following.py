"""Takes a purchase of removals from its intent to its end: the charge, the order, what becomes of the order.

Each step is found done by whoever comes next: the charge moves the purchase in its own transaction, the order
is asked for under a key of the purchase's, and what Stripe says of it is a hint to look. Without an order the
money goes back, and it goes back once.
"""

from collections.abc import Callable
from dataclasses import replace

from chalicelib.billing.crediting import REVERSAL
from chalicelib.billing.model import REMOVAL_REVENUE, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, Wallet
from chalicelib.billing.posting import Posting, add_event, add_posting, post_once
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.model import DOUBT_MS, KEY_LIFETIME_MS
from chalicelib.payments.ports import ForeignPayment, PaymentPorts, RemovalRefused, StripeFailed
from chalicelib.payments.purchases import ORDERED, Purchase, RemovalOrder, follow

#: Source and kind of the journal.
REMOVAL_PURCHASE = "removal_purchase"


def carry_on(ports: PaymentPorts, purchase: Purchase) -> Purchase:
    """Do what of a purchase is not done yet; return it as it is then.

    Raises:
        Unavailable: Stripe did not answer, or too much contention; come again.
    """
    if purchase.state == "planned":
        purchase = _charge(ports, purchase)
    return _order(ports, purchase) if purchase.state == "charged" else purchase


def settle_order(ports: PaymentPorts, order_id: str) -> Purchase:
    """Fetch an order and bring its purchase to where it stands.

    Raises:
        NotFound: Stripe does not know the order.
        ForeignPayment: we did not ask for it, or it is of another mode.
        Unavailable: come again.
    """
    return _record(ports, ports.climate.connect().get_order(order_id))


def _read(ports: PaymentPorts, account_id: str, month: str) -> Purchase:
    found = ports.climate.store.get_purchase(account_id, month)
    if found is None:
        raise NotFound("There is no such purchase.")
    return found


def _charge(ports: PaymentPorts, purchase: Purchase) -> Purchase:
    """Take its price out of what was paid in, or give it up: nobody owes for removals."""
    account_id, month = purchase.account_id, purchase.month
    now_ms = ports.billing.rentals.clock.now_ms()

    def attempt(wallet: Wallet) -> Purchase:
        stored, balance = _read(ports, account_id, month), wallet.balance
        if stored.state != "planned":
            return stored
        tx = ports.billing.rentals.transactions()
        if min(balance.available_micros, balance.paid_micros) < stored.price_micros:
            after = replace(stored, state="skipped", reason="insufficient_funds")
        else:
            after = replace(stored, state="charged", charged_at_ms=now_ms)
            add_posting(ports.billing, tx, balance, _build_charge(stored), now_ms)
        ports.climate.store.replace_purchase(tx, stored, after)
        tx.commit()
        return replace(after, version=stored.version + 1)

    return post_once(ports.billing, account_id, attempt, lambda: _read(ports, account_id, month))


def _build_charge(purchase: Purchase) -> Posting:
    return Posting(
        source=REMOVAL_PURCHASE,
        source_id=purchase.source_id,
        kind=REMOVAL_PURCHASE,
        legs=(Leg(name_shard(REMOVAL_REVENUE, purchase.account_id), purchase.price_micros),),
        details={
            "reason": f"carbon removals for {purchase.month}",
            "month": purchase.month,
            "quantity_mg": purchase.quantity_mg,
            "amount_micros": purchase.price_micros,
        },
        # What is bought of others is paid with money, and comes back as what it was.
        paid_only=True,
    )


def _order(ports: PaymentPorts, purchase: Purchase) -> Purchase:
    """Raises Unavailable: come again with the same purchase."""
    climate = ports.climate.connect()
    age_ms = ports.billing.rentals.clock.now_ms() - purchase.charged_at_ms
    found = climate.find_order(purchase) if age_ms >= KEY_LIFETIME_MS else None
    try:
        order = found or climate.place_order(purchase)
    except RemovalRefused:
        # What an attempt before this one has ordered counts.
        found = climate.find_order(purchase)
        if found is None:
            return _cancel(ports, purchase, lambda stored: replace(stored, reason="refused"))
        order = found
    except StripeFailed:
        found = climate.find_order(purchase)
        if found is None:
            if age_ms >= purchase.attempt * DOUBT_MS:
                _replace(ports, purchase, replace(purchase, attempt=purchase.attempt + 1))
            raise
        order = found
    return _record(ports, order)


def _replace(ports: PaymentPorts, old: Purchase, new: Purchase) -> Purchase:
    tx = ports.billing.rentals.transactions()
    ports.climate.store.replace_purchase(tx, old, new)
    tx.commit()
    return replace(new, version=old.version + 1)


def _record(ports: PaymentPorts, order: RemovalOrder) -> Purchase:
    account_id, month = _check_ours(ports, order)
    for _ in range(MAX_ATTEMPTS):
        stored = _read(ports, account_id, month)
        if stored.order_id is None and stored.state in ("planned", "skipped"):
            raise ForeignPayment(f"The order {order.order_id} is of nothing that was charged.")
        if stored.order_id not in {None, order.order_id} or (stored.order_id is None and stored.is_final):
            _cancel_stray(ports, order)
            return stored
        after = follow(stored, order)
        if after == stored:
            return stored
        if after.state == "canceled":
            return _cancel(ports, stored, lambda before: follow(before, order))
        try:
            return _replace(ports, stored, after)
        except Unavailable:
            continue
    raise Unavailable("The purchase changes all the time; try again.")


def _check_ours(ports: PaymentPorts, order: RemovalOrder) -> tuple[str, str]:
    """Return account and month of an order."""
    if order.livemode != ports.read_secrets().livemode:
        raise ForeignPayment(f"The order {order.order_id} is of another mode.")
    account_id, month = order.account_id, order.month
    if account_id is None or month is None or ports.climate.store.get_purchase(account_id, month) is None:
        raise ForeignPayment(f"The order {order.order_id} is of no purchase of ours.")
    return account_id, month


def _cancel_stray(ports: PaymentPorts, order: RemovalOrder) -> None:
    """An order beside the one that counts, or after the money went back, is paid by nobody.

    Raises:
        ForeignPayment: it cannot be cancelled any more.
    """
    if ORDERED.get(order.status) == "canceled":
        return
    try:
        ports.climate.connect().cancel_order(order.order_id)
    except RemovalRefused as error:
        raise ForeignPayment(f"The order {order.order_id} is one too many, and stays.") from error


def _cancel(ports: PaymentPorts, purchase: Purchase, change: Callable[[Purchase], Purchase]) -> Purchase:
    """Give the money back and end the purchase, together. ``change``: what else is known of its end."""
    account_id, month = purchase.account_id, purchase.month

    def attempt(wallet: Wallet) -> Purchase:
        stored = _read(ports, account_id, month)
        if stored.is_final:
            return stored
        after = replace(change(stored), state="canceled")
        charge = f"{REMOVAL_PURCHASE}#{stored.source_id}"
        posting = Posting(
            source=REVERSAL,
            source_id=charge,
            kind=REVERSAL,
            legs=(Leg(name_shard(REMOVAL_REVENUE, account_id), -stored.price_micros),),
            details={"reason": f"no carbon removals for {month}", "journal_key": charge},
            reverses=charge,
        )
        tx = ports.billing.rentals.transactions()
        add_posting(ports.billing, tx, wallet.balance, posting, ports.billing.rentals.clock.now_ms())
        ports.climate.store.replace_purchase(tx, stored, after)
        told = {"kind": REVERSAL, "amount_micros": stored.price_micros, "month": month, "why": after.reason}
        add_event(ports.billing, tx, account_id, "credit.posted", told)
        tx.commit()
        return replace(after, version=stored.version + 1)

    return post_once(ports.billing, account_id, attempt, lambda: _read(ports, account_id, month))

"""Holds the ledger against Stripe's balance; posts what only Stripe knows: fees and payouts.

Each movement that stands in both books is counted once into a total; what the total lacks of Stripe's own
balance is the drift, which is zero or somebody has to look.
"""

from dataclasses import dataclass

from chalicelib.billing.model import STRIPE_CLEARING, Balance, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted
from chalicelib.billing.posting import Posting, add_posting
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.model import MICROS_PER_CENT, Movement
from chalicelib.payments.ports import AlreadyReconciled, ForeignPayment, PaymentPorts, Payments
from chalicelib.payments.settling import STRIPE, settle_payment

#: Whose journals are nobody's in particular.
PLATFORM = "platform"
STRIPE_FEES = "stripe_fees"
#: What Stripe takes for orders of removals, and gives back.
CLIMATE_ORDERS = "climate_orders"
CLIMATE_KINDS = frozenset({"climate_order_purchase", "climate_order_refund"})
BANK = "bank"
#: A movement may be listed late: it is looked for again from so long before.
OVERLAP_MS = 3 * 86_400_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """``drift_cents``: Stripe's balance less what both books have. ``unmatched``: what ours lacks."""

    movements: int
    unmatched: tuple[str, ...]
    stripe_cents: int
    drift_cents: int


def reconcile(ports: PaymentPorts) -> Reconciled:
    """Go through Stripe's balance transactions since the last time; run again, it counts nothing twice.

    Raises:
        Unavailable: Stripe did not answer, or too much contention; the next run begins where this one did.
    """
    payments, began_ms = ports.connect(), ports.billing.rentals.clock.now_ms()
    currency = ports.billing.rentals.currency
    # First: what moves meanwhile is in the list and not in the balance, and is counted the next time.
    stripe_cents = payments.get_balance(currency)
    counted, unmatched = 0, []
    for movement in payments.list_movements(max(0, ports.store.get_cursor("movements") - OVERLAP_MS)):
        if movement.currency != currency or not _is_matched(ports, payments, movement):
            unmatched.append(movement.movement_id)
        else:
            counted += _count(ports, movement)
    if not unmatched:
        ports.store.keep_cursor("movements", began_ms)
    drift = stripe_cents - ports.store.get_reconciled_cents()
    return Reconciled(counted, tuple(unmatched), stripe_cents, drift)


def _is_matched(ports: PaymentPorts, payments: Payments, movement: Movement) -> bool:
    """Say whether our books have the movement; what they lack of a payment of ours is posted first."""
    if movement.fact_kind is None:
        return True
    key, payment_id = payments.name_fact(movement)
    if _has(ports, key, movement):
        return True
    try:
        settle_payment(ports, payment_id)
    except (ForeignPayment, NotFound):
        return False
    return _has(ports, key, movement)


def _has(ports: PaymentPorts, key: str, movement: Movement) -> bool:
    journal = ports.billing.ledger.get_journal(STRIPE, key)
    if journal is None:
        return False
    moved = -sum(leg.amount_micros for leg in journal.legs if leg.ledger_account.startswith(STRIPE_CLEARING))
    return moved == movement.amount_cents * MICROS_PER_CENT


def _count(ports: PaymentPorts, movement: Movement) -> bool:
    """Count a movement, and post its fee, or the whole of it where it is nobody's; ``False``: it was."""
    for _ in range(MAX_ATTEMPTS):
        tx = ports.billing.rentals.transactions()
        ports.store.count_movement(tx, movement)
        for kind, other, cents in (
            ("payout", BANK, _find_payout(movement)),
            ("climate_order", CLIMATE_ORDERS, _find_order(movement)),
            ("stripe_fee", STRIPE_FEES, _find_fee(movement)),
        ):
            if cents:
                posting = Posting(
                    source=STRIPE,
                    source_id=f"{movement.movement_id}:{kind}",
                    kind=kind,
                    legs=(
                        Leg(name_shard(STRIPE_CLEARING, PLATFORM), cents * MICROS_PER_CENT),
                        Leg(name_shard(other, PLATFORM), -cents * MICROS_PER_CENT),
                    ),
                    details={"movement_id": movement.movement_id, "amount_micros": cents * MICROS_PER_CENT},
                )
                balance = Balance(PLATFORM, ports.billing.rentals.currency)
                add_posting(ports.billing, tx, balance, posting, ports.billing.rentals.clock.now_ms())
        try:
            tx.commit()
        except (AlreadyReconciled, AlreadyPosted):
            return False
        except Unavailable:
            continue
        return True
    raise Unavailable("The total changes all the time; try again.")


def _find_payout(movement: Movement) -> int:
    return -movement.amount_cents if movement.kind == "payout" else 0


def _find_order(movement: Movement) -> int:
    return -movement.amount_cents if movement.kind in CLIMATE_KINDS else 0


def _find_fee(movement: Movement) -> int:
    """Return what Stripe kept: a movement's fee, or all of one that nobody else has."""
    alone = movement.fact_kind is None and movement.kind not in {"payout", *CLIMATE_KINDS}
    return movement.fee_cents - (movement.amount_cents if alone else 0)

"""Holds the ledger against Stripe's balance; posts what only Stripe knows: fees and payouts.

Each movement that stands in both books is counted once into a total; what the total lacks of Stripe's own
balance is the drift, which is zero or somebody has to look.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

from chalicelib.billing.model import STRIPE_CLEARING, Balance, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted
from chalicelib.billing.posting import Posting, add_posting
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.model import MICROS_PER_CENT, RETURN, Movement
from chalicelib.payments.ports import AlreadyReconciled, ForeignPayment, PaymentPorts, Payments
from chalicelib.payments.settling import STRIPE, settle_payment

#: Whose journals are nobody's in particular.
PLATFORM = "platform"
STRIPE_FEES = "stripe_fees"
#: What Stripe takes for orders of removals, and gives back.
CLIMATE_ORDERS = "climate_orders"
CLIMATE_KINDS = frozenset({"climate_order_purchase", "climate_order_refund"})
BANK = "bank"
#: Stripe's type of what a bank debit brings.
DEBIT = "payment"
#: A movement may be listed late: it is looked for again from so long before.
OVERLAP_MS = 3 * 86_400_000


#: What becomes of a movement: counted; to be looked for again; or in Stripe's balance, and no money yet.
Verdict = Literal["matched", "unmatched", "in_flight"]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """``drift_cents``: Stripe's balance less what both books have and what is in flight.

    ``unmatched``: what ours lacks. ``left``: time ran out.
    """

    movements: int
    unmatched: tuple[str, ...]
    stripe_cents: int
    drift_cents: int
    left: bool


def reconcile(ports: PaymentPorts, deadline_ms: int) -> Reconciled:
    """Go through Stripe's balance transactions since the last time; run again, it counts nothing twice.

    What could not be matched is kept, and looked for again before it holds up what is new.

    Raises:
        Unavailable: Stripe did not answer, or too much contention; the next run goes on where this one was.
    """
    payments, store, clock = ports.connect(), ports.store, ports.billing.rentals.clock
    currency, began_ms = ports.billing.rentals.currency, clock.now_ms()
    # First: what moves meanwhile is in the list and not in the balance, and is counted the next time.
    stripe_cents = payments.get_balance(currency)
    kept = {each.movement_id: each for each in store.list_unmatched()}
    new = (
        each
        for each in payments.list_movements(max(0, store.get_cursor("movements") - OVERLAP_MS))
        if each.movement_id not in kept
    )
    counted, in_flight_cents, unmatched, left = 0, 0, [], False
    for movement in itertools.chain(new, kept.values()):
        if clock.now_ms() >= deadline_ms:
            left = True
            break
        if store.is_counted(movement.movement_id):
            if movement.movement_id in kept:
                # Whoever counted it died before it was forgotten.
                store.forget_unmatched(movement.movement_id)
            continue
        verdict = _judge(ports, payments, movement) if movement.currency == currency else "unmatched"
        if verdict == "matched":
            counted += _count(ports, movement)
            if movement.movement_id in kept:
                store.forget_unmatched(movement.movement_id)
            continue
        if movement.movement_id not in kept:
            store.keep_unmatched(movement)
        if verdict == "in_flight":
            in_flight_cents += movement.net_cents
        else:
            unmatched.append(movement.movement_id)
    if not left:
        store.keep_cursor("movements", began_ms)
    drift_cents = stripe_cents - store.get_reconciled_cents() - in_flight_cents
    return Reconciled(counted, tuple(unmatched), stripe_cents, drift_cents, left)


def _judge(ports: PaymentPorts, payments: Payments, movement: Movement) -> Verdict:
    """Say whether our books have the movement; what they lack of a payment of ours is posted first."""
    if movement.fact_kind is None and not movement.is_return:
        return "matched"
    try:
        key, payment_id = payments.name_fact(movement)
        if movement.is_return:
            return _judge_debit(ports, payments, key, payment_id)
        if _has(ports, key, movement):
            return "matched"
        settle_payment(ports, payment_id)
        if _has(ports, key, movement):
            return "matched"
        return _judge_debit(ports, payments, key, payment_id) if movement.kind == DEBIT else "unmatched"
    except (ForeignPayment, NotFound):
        return "unmatched"


def _judge_debit(ports: PaymentPorts, payments: Payments, key: str, payment_id: str) -> Verdict:
    """Stripe books a bank debit when it is submitted, and takes it back if it fails: no money moved."""
    payment = payments.get_payment(payment_id)
    ours = payment.top_up_id is not None and ports.store.get_top_up(payment.top_up_id) is not None
    if not ours or ports.billing.ledger.get_journal(STRIPE, key) is not None:
        return "unmatched"
    if payment.status == "processing":
        return "in_flight"
    return "matched" if payment.status in {"requires_payment_method", "canceled"} else "unmatched"


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
    alone = movement.fact_kind is None and movement.kind not in {"payout", RETURN, *CLIMATE_KINDS}
    return movement.fee_cents - (movement.amount_cents if alone else 0)

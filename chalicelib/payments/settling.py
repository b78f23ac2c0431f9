"""Posts what Stripe says has happened to a payment, each transition once, in whatever order it is told."""

from dataclasses import replace

from chalicelib.billing.model import STRIPE_CLEARING, TAX_PAYABLE, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted, Wallet
from chalicelib.billing.posting import Posting, add_event, add_posting, post_once
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.payments.following import settle_order
from chalicelib.payments.model import Fact, Payment, TopUp, advance, is_session, list_facts
from chalicelib.payments.ports import ForeignPayment, PaymentPorts
from chalicelib.payments.purchases import is_order

STRIPE = "stripe"


def settle_payment(ports: PaymentPorts, payment_id: str) -> TopUp:
    """Fetch the payment, post what of it is not posted yet, and bring its top-up to where it stands.

    Raises:
        NotFound: Stripe does not know the payment.
        ForeignPayment: we did not ask for it, or it is of another mode, currency or account.
        Unavailable: Stripe did not answer, or too much contention; come again.
    """
    payment = ports.connect().get_payment(payment_id)
    top_up = _check_ours(ports, payment)
    facts = list_facts(payment)
    for fact in facts:
        _post(ports, top_up, payment, fact)
    return _advance(ports, top_up.top_up_id, payment, facts)


def settle(ports: PaymentPorts, subject_id: str) -> None:
    """Bring to where it stands at Stripe whatever an event is about. Raises as `settle_payment`."""
    if is_session(subject_id):
        _expire(ports, subject_id)
    elif is_order(subject_id):
        settle_order(ports, subject_id)
    else:
        settle_payment(ports, subject_id)


def _expire(ports: PaymentPorts, session_id: str) -> None:
    """A page on which nobody paid in time is over, and its top-up with it; a payment still counts."""
    session = ports.connect().get_session(session_id)
    if session.status != "expired" or session.top_up_id is None:
        return
    stored = ports.store.get_top_up(session.top_up_id)
    if stored is None:
        raise ForeignPayment(f"The page {session_id} is of no top-up of ours.")
    if stored.session_id not in {None, session_id} or stored.state != "created":
        return
    tx = ports.billing.rentals.transactions()
    ports.store.replace_top_up(tx, stored, replace(stored, state="expired"))
    tx.commit()


def _check_ours(ports: PaymentPorts, payment: Payment) -> TopUp:
    top_up = None if payment.top_up_id is None else ports.store.get_top_up(payment.top_up_id)
    if top_up is None or payment.account_id != top_up.account_id:
        raise ForeignPayment(f"The payment {payment.payment_id} is of no top-up of ours.")
    if payment.livemode != ports.read_secrets().livemode or payment.currency != top_up.currency:
        raise ForeignPayment(f"The payment {payment.payment_id} is of another mode or currency.")
    if top_up.payment_id not in {None, payment.payment_id}:
        # Each attempt has a payment of its own; whatever was paid is owed, whichever it was.
        return replace(top_up, payment_id=payment.payment_id)
    return top_up


def _post(ports: PaymentPorts, top_up: TopUp, payment: Payment, fact: Fact) -> None:
    account_id = top_up.account_id
    legs = (
        Leg(name_shard(STRIPE_CLEARING, account_id), -fact.clearing_micros),
        Leg(name_shard(TAX_PAYABLE, account_id), fact.tax_micros),
    )
    posting = Posting(
        source=STRIPE,
        source_id=fact.key,
        kind=fact.kind,
        legs=tuple(leg for leg in legs if leg.amount_micros),
        details={
            "top_up_id": top_up.top_up_id,
            "payment_id": payment.payment_id,
            "amount_micros": fact.customer_micros,
            "tax_micros": fact.tax_micros,
        },
        # What was paid is what is taken back, and whatever is left of it.
        paid_only=True,
        may_overdraw=fact.clearing_micros < 0,
    )

    def attempt(wallet: Wallet) -> None:
        tx = ports.billing.rentals.transactions()
        now_ms = ports.billing.rentals.clock.now_ms()
        add_posting(ports.billing, tx, wallet.balance, posting, now_ms)
        if fact.kind == "top_up":
            add_event(ports.billing, tx, account_id, "top_up.succeeded", posting.details)
        tx.commit()

    ledger = ports.billing.ledger
    if fact.undoes is not None and ledger.get_journal(STRIPE, fact.undoes) is None:
        return
    if ledger.get_journal(STRIPE, fact.key) is None:
        post_once(ports.billing, account_id, attempt, lambda: None)


def _advance(ports: PaymentPorts, top_up_id: str, payment: Payment, facts: list[Fact]) -> TopUp:
    for _ in range(MAX_ATTEMPTS):
        stored = ports.store.get_top_up(top_up_id)
        if stored is None:
            raise NotFound("There is no such top-up.")
        after = advance(stored, payment, facts)
        if after == stored:
            return stored
        tx = ports.billing.rentals.transactions()
        ports.store.replace_top_up(tx, stored, after)
        if after.state == "failed" != stored.state:
            told = {"top_up_id": top_up_id, "failure_code": after.failure_code}
            add_event(ports.billing, tx, stored.account_id, "top_up.failed", told)
        try:
            tx.commit()
        except (Unavailable, AlreadyPosted):
            continue
        return after
    raise Unavailable("The top-up changes all the time; try again.")

"""Use cases of payments: top up a wallet, take in Stripe's events, refund, heal what was missed."""

import json
import math
from dataclasses import dataclass, replace

from chalicelib.core.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from chalicelib.core.idempotency import (
    LIFETIME_MS,
    AlreadyAnswered,
    IdempotencyRecord,
    check_replay,
    compute_fingerprint,
)
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.payments.methods import ensure_customer
from chalicelib.payments.model import (
    MAX_TOP_UP_MICROS,
    MIN_TOP_UP_MICROS,
    StripeEvent,
    TopUp,
    convert_to_cents,
    find_subject_id,
)
from chalicelib.payments.ports import ForeignPayment, KeyTaken, PaymentPorts, StripeFailed
from chalicelib.payments.settling import settle, settle_payment
from chalicelib.payments.signatures import check_signature

#: Stripe's list of events lags a little, and clocks differ: it is gone through again from so long before.
HEAL_OVERLAP_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class CreateTopUp:
    """``return_url``: where Stripe sends the browser afterwards."""

    amount_micros: int
    return_url: str
    idempotency_key: str
    fingerprint: str


def create_top_up(ports: PaymentPorts, principal: Principal, command: CreateTopUp) -> TopUp:
    """Open a payment page of Stripe for an amount, once per key. Whoever died on the way asks again.

    Raises:
        InvalidInput: ``invalid_amount``, ``unsupported_currency``.
        IdempotencyMismatch: the key was used for another request.
        PaymentsNotConfigured: this stage takes no payments.
        Unavailable: Stripe did not answer; repeat with the same key.
    """
    currency = ports.billing.rentals.currency
    convert_to_cents(command.amount_micros, currency)
    if not MIN_TOP_UP_MICROS <= command.amount_micros <= MAX_TOP_UP_MICROS:
        raise InvalidInput(
            f"A top-up is of {MIN_TOP_UP_MICROS} to {MAX_TOP_UP_MICROS} micros.", code="invalid_amount"
        )
    # First: nothing is written where nothing could be paid.
    payments = ports.connect()
    top_up = _begin(ports, principal, command, currency)
    if top_up.checkout_url is not None:
        return top_up
    customer_id = ensure_customer(ports, payments, principal.account_id)
    try:
        opened = payments.open_checkout(top_up, customer_id, command.return_url)
    except StripeFailed:
        # Nobody has seen the page, if there is one, so nobody pays it: the next attempt has its own key.
        _replace(ports, top_up, replace(top_up, attempt=top_up.attempt + 1))
        raise
    after = replace(
        top_up, checkout_url=opened.url, session_id=opened.session_id, payment_id=opened.payment_id
    )
    return _replace(ports, top_up, after)


def _replace(ports: PaymentPorts, old: TopUp, new: TopUp) -> TopUp:
    tx = ports.billing.rentals.transactions()
    ports.store.replace_top_up(tx, old, new)
    tx.commit()
    return replace(new, version=old.version + 1)


def _begin(ports: PaymentPorts, principal: Principal, command: CreateTopUp, currency: str) -> TopUp:
    """Return the top-up of the key, written down before Stripe is asked for anything."""
    rentals = ports.billing.rentals
    taken = ports.store.find_key(principal.account_id, command.idempotency_key)
    if taken is None:
        top_up = TopUp(
            rentals.ids.new_id("top"),
            principal.account_id,
            "checkout",
            command.amount_micros,
            currency,
            rentals.clock.now_ms(),
        )
        tx = rentals.transactions()
        ports.store.add_top_up(tx, top_up, command.idempotency_key, command.fingerprint)
        _add_audit(ports, tx, principal, "top_up.created", top_up)
        try:
            tx.commit()
        except KeyTaken as error:
            taken = error
        else:
            return top_up
    if taken.fingerprint != command.fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used for a different request.")
    found = ports.store.get_top_up(taken.top_up_id)
    assert found is not None, "the key and its top-up are written together"
    return found


def list_top_ups(
    ports: PaymentPorts, account_id: str, limit: int, start: str | None, *, oldest_first: bool = False
) -> Page[TopUp]:
    return ports.store.list_top_ups(account_id, limit, start, oldest_first=oldest_first)


def get_top_up(ports: PaymentPorts, principal: Principal, top_up_id: str) -> TopUp:
    """Raises NotFound: there is no such top-up, or it is another account's."""
    top_up = ports.store.get_top_up(top_up_id)
    if top_up is None or top_up.account_id != principal.account_id:
        raise NotFound("There is no such top-up.")
    return top_up


def refund_top_up(
    ports: PaymentPorts, principal: Principal, top_up_id: str, amount_micros: int, key: str
) -> TopUp:
    """Give money back the way it came, once per key. The wallet pays it, down to below zero.

    Raises:
        NotFound: there is no such top-up.
        InvalidInput: ``invalid_amount``.
        Conflict: ``not_refundable``: it was not paid, or not so much of it is left.
        Unavailable: Stripe did not answer; repeat with the same key.
    """
    top_up = ports.store.get_top_up(top_up_id)
    if top_up is None:
        raise NotFound("There is no such top-up.")
    cents = convert_to_cents(amount_micros, top_up.currency)
    payments = ports.connect()
    if top_up.state != "succeeded" or top_up.payment_id is None:
        raise Conflict("Only what was paid is refunded.", code="not_refundable")
    _note_refund(ports, principal, top_up, amount_micros, key)
    # Stripe refuses what is more than is left, also of two at once, and does one thing per key.
    # A digest: ours and what is around it would be longer than Stripe takes.
    stripe_key = f"refund:{compute_fingerprint(f'{top_up_id}:{principal.account_id}', key.encode())}"
    payments.refund(top_up.payment_id, cents, stripe_key)
    return settle_payment(ports, top_up.payment_id)


def _note_refund(
    ports: PaymentPorts, principal: Principal, top_up: TopUp, amount_micros: int, key: str
) -> None:
    """Write down who ordered it, once, before it is ordered."""
    rentals = ports.billing.rentals
    now_ms = rentals.clock.now_ms()
    fingerprint = compute_fingerprint(f"refund {top_up.top_up_id}", str(amount_micros).encode())
    record = IdempotencyRecord(principal.account_id, key, fingerprint, 200, "", now_ms + LIFETIME_MS)
    tx = rentals.transactions()
    rentals.idempotency.add(tx, record, now_ms)
    _add_audit(ports, tx, principal, "top_up.refunded", top_up, refunded_micros=amount_micros)
    try:
        tx.commit()
    except AlreadyAnswered as answered:
        check_replay(answered.record, fingerprint)


def receive_event(ports: PaymentPorts, body: bytes, signature: str) -> None:
    """Take in a webhook: check it, keep it, ask for its work. Told twice, it is worked on until it is done.

    Raises:
        BadSignature: nobody we know signed these bytes just now; nothing was parsed.
        InvalidInput: ``wrong_event``: signed, and not an event of this stage.
    """
    secrets, now_ms = ports.read_secrets(), ports.billing.rentals.clock.now_ms()
    check_signature(body, signature, secrets.webhook_secrets, now_ms)
    event = read_event(body, now_ms, livemode=secrets.livemode)
    known = ports.store.get_event(event.event_id)
    if known is not None and known.done:
        return
    if known is None:
        ports.store.keep_event(event)
    ports.queue.request(event.event_id)


def read_event(body: bytes, now_ms: int, *, livemode: bool) -> StripeEvent:
    """Raises InvalidInput: ``wrong_event``."""
    try:
        told = json.loads(body)
        event_id, kind, target = str(told["id"]), str(told["type"]), told["data"]["object"]
        mode = told["livemode"]
        subject_id = find_subject_id({**target})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput("This is no event of Stripe.", code="wrong_event") from error
    if mode is not livemode:
        raise InvalidInput("The event is of another mode than this stage.", code="wrong_event")
    return StripeEvent(event_id, kind, subject_id, now_ms)


def handle_event(ports: PaymentPorts, event_id: str) -> None:
    """Do what an event hints at; a repeat of one that is done does nothing.

    Raises:
        NotFound: no such event was kept.
        ForeignPayment: as `settle_payment`.
        Unavailable: come again.
    """
    event = ports.store.get_event(event_id)
    if event is None:
        raise NotFound("There is no such event.")
    if event.done:
        return
    if event.subject_id:
        settle(ports, event.subject_id)
    # Last: a death before it repeats what is posted once.
    ports.store.mark_done(event_id)


@dataclass(frozen=True, slots=True)
class Healed:
    """How many events had been missed, and how many payments are not ours. ``left``: time ran out first."""

    missed: int
    foreign: int
    left: bool = False


def heal(ports: PaymentPorts, deadline_ms: float = math.inf) -> Healed:
    """Go through Stripe's own list of events, oldest first, and do what no webhook has told us.

    Nothing is begun after ``deadline_ms``: the next run begins where this one did and passes over what is
    done.

    Raises:
        Unavailable: Stripe did not answer; the next run begins where this one did.
    """
    clock = ports.billing.rentals.clock
    began_ms = clock.now_ms()
    since_ms = max(0, ports.store.get_cursor("events") - HEAL_OVERLAP_MS)
    missed = foreign = 0
    settled: set[str] = set()
    for event_id, kind, subject_id in ports.connect().list_changed(since_ms):
        known = ports.store.get_event(event_id)
        if known is not None and known.done:
            continue
        if clock.now_ms() >= deadline_ms:
            return Healed(missed, foreign, left=True)
        if known is None:
            ports.store.keep_event(StripeEvent(event_id, kind, subject_id, began_ms))
        missed += 1
        try:
            # What was settled in this run was fetched after all that is listed here.
            if subject_id and subject_id not in settled:
                settle(ports, subject_id)
                settled.add(subject_id)
        except (ForeignPayment, NotFound):
            foreign += 1
        ports.store.mark_done(event_id)
    ports.store.keep_cursor("events", began_ms)
    return Healed(missed, foreign)


def _add_audit(
    ports: PaymentPorts, tx: Transaction, principal: Principal, action: str, top_up: TopUp, **details: object
) -> None:
    rentals = ports.billing.rentals
    facts = {"amount_micros": top_up.amount_micros, "kind": top_up.kind, **details}
    entry = AuditEntry(
        rentals.ids.new_id("aud"),
        top_up.account_id,
        principal.actor_id,
        action,
        top_up.top_up_id,
        rentals.clock.now_ms(),
        facts,
    )
    rentals.audit.add_entry(tx, entry)

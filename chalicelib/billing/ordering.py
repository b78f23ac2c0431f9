"""What an operator orders to be posted: a credit, a charge. Once per key, with answer and audit entry."""

from collections.abc import Callable
from dataclasses import dataclass, field

from chalicelib.billing.model import ONE_OFF_REVENUE, Balance, Leg, name_shard
from chalicelib.billing.ports import MAX_ATTEMPTS, BillingPorts
from chalicelib.billing.posting import Posting, add_booking, add_event, book, find_wallet
from chalicelib.core.errors import InsufficientFunds, NotFound, Unavailable
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.ports import AuditEntry
from chalicelib.core.principal import Principal
from chalicelib.webhooks.model import EventType

ONE_OFF = "one_off"
HTTP_CREATED = 201


@dataclass(frozen=True, slots=True)
class Order:
    """``render`` gives the answer's bytes from the wallet as it will be; they are stored for replays.

    ``action``: of the audit entry. ``told``: the event that the renter gets, if any.
    """

    account_id: str
    posting: Posting
    reason: str
    idempotency_key: str
    fingerprint: str
    action: str
    render: Callable[[Balance], str] = field(repr=False)
    told: EventType | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    status: int
    body: str
    replayed: bool


def name_order(principal: Principal, idempotency_key: str) -> str:
    """Return the journal's id: it is there for ever, also when the idempotency record has expired."""
    return f"{principal.account_id}:{idempotency_key}"


def post_order(
    ports: BillingPorts, principal: Principal, order: Order, account_exists: Callable[[str], bool]
) -> Ordered:
    """Post it, or replay the answer that this key got before.

    Raises:
        NotFound: no such account.
        InsufficientFunds: the wallet does not cover it.
        IdempotencyMismatch: the key was used for another request.
        Conflict: ``too_many_grants``.
        Unavailable: too much contention; try again.
    """
    if not account_exists(order.account_id):
        raise NotFound("There is no such account.")
    for _ in range(MAX_ATTEMPTS):
        try:
            return _post(ports, principal, order)
        except AlreadyAnswered as answered:
            record = check_replay(answered.record, order.fingerprint)
            return Ordered(record.status, record.body, replayed=True)
        except InsufficientFunds:
            # A repeat may fail where the first one took what there was: its answer wins.
            now_ms = ports.rentals.clock.now_ms()
            found = ports.rentals.idempotency.find(principal.account_id, order.idempotency_key, now_ms)
            if found is None:
                raise
            record = check_replay(found, order.fingerprint)
            return Ordered(record.status, record.body, replayed=True)
        except Unavailable:
            continue
    raise Unavailable("The account changes all the time; try again.")


def _post(ports: BillingPorts, principal: Principal, order: Order) -> Ordered:
    now_ms = ports.rentals.clock.now_ms()
    tx = ports.rentals.transactions()
    balance, posting = find_wallet(ports, order.account_id).balance, order.posting
    if posting.customer_micros < 0 and balance.available_micros < -posting.customer_micros:
        raise InsufficientFunds("The wallet does not cover this.")
    # The answer needs the wallet as it will be, the idempotency record the answer, and it is written first:
    # of several failed conditions, the answered request explains the others.
    booking = book(balance, posting, now_ms)
    body = order.render(booking.after)
    record = IdempotencyRecord(
        principal.account_id,
        order.idempotency_key,
        order.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    ports.rentals.idempotency.add(tx, record, now_ms)
    add_booking(ports, tx, booking)
    facts = {"amount_micros": abs(posting.customer_micros), "kind": posting.kind, "reason": order.reason}
    if order.told is not None:
        add_event(ports, tx, order.account_id, order.told, facts)
    entry = AuditEntry(
        ports.rentals.ids.new_id("aud"),
        order.account_id,
        principal.actor_id,
        order.action,
        posting.source_id,
        now_ms,
        facts,
    )
    ports.rentals.audit.add_entry(tx, entry)
    tx.commit()
    return Ordered(HTTP_CREATED, body, replayed=False)


@dataclass(frozen=True, slots=True)
class ChargeAccount:
    """A one-off line: what an account owes beside the time of its rentals. ``reason`` stands in its books."""

    account_id: str
    amount_micros: int
    reason: str
    idempotency_key: str
    fingerprint: str
    render: Callable[[Balance], str] = field(repr=False)


def charge_account(
    ports: BillingPorts, principal: Principal, command: ChargeAccount, account_exists: Callable[[str], bool]
) -> Ordered:
    """Charge an account once, promotional credit first, never what its stays hold. Raises as `post_order`."""
    posting = Posting(
        source=ONE_OFF,
        source_id=name_order(principal, command.idempotency_key),
        kind=ONE_OFF,
        legs=(Leg(name_shard(ONE_OFF_REVENUE, command.account_id), command.amount_micros),),
        details={"amount_micros": command.amount_micros, "reason": command.reason},
    )
    order = Order(
        command.account_id,
        posting,
        command.reason,
        command.idempotency_key,
        command.fingerprint,
        "account.charged",
        command.render,
    )
    return post_order(ports, principal, order, account_exists)

"""What the platform gives: credit by an operator, promotional credit that expires, credit for its failures;
and what undoes a posting, which is never changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from chalicelib.billing.model import (
    CUSTOMER_PREFIX,
    OPERATOR_CREDIT,
    PROMO_EXPENSE,
    SERVICE_CREDIT,
    Balance,
    Grant,
    Leg,
    name_shard,
)
from chalicelib.billing.ordering import Order, Ordered, name_order, post_order
from chalicelib.billing.ports import BillingPorts, Wallet
from chalicelib.billing.posting import (
    Posting,
    add_event,
    add_posting,
    find_wallet,
    post_once,
)
from chalicelib.core.errors import Conflict, InsufficientFunds, InvalidInput, NotFound
from chalicelib.core.money import compute_charge_micros
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.metering.model import Meter
from chalicelib.rentals.rules import REASONS, Reason

CREDIT = "credit"
PROMO_EXPIRY = "promo_expiry"
SERVICE_CREDIT_SOURCE = "service_credit"
REVERSAL = "reversal"
#: A stay that the platform broke is given back up to this much of its end: what a renter lost since a
#: checkpoint, at one an hour.
CREDITED_SECONDS = 3600
EXPIRY_BATCH = 100
REVERSIBLE_KINDS = frozenset({"usage", "credit", "service_credit", "one_off", "volume", "reservation_fee"})

CreditKind = Literal["paid", "promo"]


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """A credit as an operator asked for it. ``render`` gives the answer's bytes, stored for replays.

    ``promo`` is spent before what was paid; ``expires_at_ms`` is its end, ``None`` for never.
    """

    account_id: str
    amount_micros: int
    reason: str
    idempotency_key: str
    fingerprint: str
    render: Callable[[Balance], str] = field(repr=False)
    kind: CreditKind = "paid"
    expires_at_ms: int | None = None


def grant_credit(
    ports: BillingPorts, principal: Principal, command: GrantCredit, account_exists: Callable[[str], bool]
) -> Ordered:
    """Credit an account from the operator's side, once per key.

    Raises:
        InvalidInput: the credit would have expired already, or what was paid would expire.
        Others as `post_order`.
    """
    if command.expires_at_ms is not None:
        if command.kind != "promo":
            raise InvalidInput("Only promotional credit expires.", code="credit_does_not_expire")
        if command.expires_at_ms <= ports.rentals.clock.now_ms():
            raise InvalidInput("The credit would have expired already.", code="expires_in_the_past")
    is_promo = command.kind == "promo"
    source_id = name_order(principal, command.idempotency_key)
    expense = PROMO_EXPENSE if is_promo else OPERATOR_CREDIT
    posting = Posting(
        source=CREDIT,
        source_id=source_id,
        kind="promo_credit" if is_promo else "credit",
        legs=(Leg(name_shard(expense, command.account_id), -command.amount_micros),),
        details={"amount_micros": command.amount_micros, "reason": command.reason},
        grant=Grant(source_id, command.amount_micros, command.expires_at_ms) if is_promo else None,
    )
    order = Order(
        command.account_id,
        posting,
        command.reason,
        command.idempotency_key,
        command.fingerprint,
        "credit.granted",
        command.render,
        "credit.posted",
    )
    return post_order(ports, principal, order, account_exists)


def expire_grants(ports: BillingPorts, now_ms: int) -> int:
    """Take back what is left of expired promotional credit; return how many grants it was taken of.

    What a running stay has set aside stays with it: it is taken once the hold is given back.
    """
    count = 0
    for account_id in ports.wallets.list_due(now_ms, EXPIRY_BATCH):
        for grant in find_wallet(ports, account_id).balance.grants:
            if grant.expires_at_ms is not None and grant.expires_at_ms <= now_ms:
                count += _expire(ports, account_id, grant.grant_id, now_ms)
    return count


def _expire(ports: BillingPorts, account_id: str, grant_id: str, now_ms: int) -> bool:
    def attempt(wallet: Wallet) -> bool:
        balance = wallet.balance
        left = [each for each in balance.grants if each.grant_id == grant_id]
        taken = min(left[0].remaining_micros, max(0, balance.available_micros)) if left else 0
        if not taken:
            return False
        posting = Posting(
            source=PROMO_EXPIRY,
            # A grant may go in parts, each of which leaves another rest.
            source_id=f"{grant_id}:{left[0].remaining_micros}",
            kind="promo_expired",
            legs=(Leg(name_shard(PROMO_EXPENSE, account_id), taken),),
            details={"grant_id": grant_id, "amount_micros": taken},
            expired=left[0],
        )
        tx = ports.rentals.transactions()
        add_posting(ports, tx, balance, posting, now_ms)
        tx.commit()
        return True

    return post_once(ports, account_id, attempt, lambda: False)


def is_owed_credit(meter: Meter) -> bool:
    """Say whether the platform broke the stay, and owes for it."""
    if meter.end_reason is None or meter.state == "open":
        return False
    return REASONS[cast("Reason", meter.end_reason)].credit and meter.billable_seconds > 0


def compute_service_credit(meter: Meter) -> int:
    """Return the price of the last `CREDITED_SECONDS` that a stay was billed for."""
    seconds = min(meter.billable_seconds, CREDITED_SECONDS)
    return compute_charge_micros(
        price_micros_per_gpu_hour=meter.price_micros_per_gpu_hour, gpu_count=meter.gpu_count, seconds=seconds
    )


def credit_failure(ports: BillingPorts, meter: Meter, now_ms: int) -> None:
    """Post what the platform owes for a stay that it broke, with the evidence; once, whoever comes again.

    Raises:
        Unavailable: too much contention; try again.
    """
    owed = meter.charged_micros + meter.due_micros - meter.slowdown_micros
    amount = min(compute_service_credit(meter), owed)
    source_id = f"{meter.rental_id}:{meter.segment}"
    if amount <= 0 or ports.ledger.get_journal(SERVICE_CREDIT_SOURCE, source_id) is not None:
        # What slowdowns were credited since must not change what was posted.
        return

    def attempt(wallet: Wallet) -> None:
        posting = Posting(
            source=SERVICE_CREDIT_SOURCE,
            source_id=source_id,
            kind="service_credit",
            legs=(Leg(name_shard(SERVICE_CREDIT, meter.account_id), -amount),),
            details={
                "rental_id": meter.rental_id,
                "segment": meter.segment,
                "reason": meter.end_reason,
                "host_id": meter.host_id,
                "gpu_uuids": [lease.gpu_uuid for lease in meter.leases],
                "started_at_ms": meter.started_at_ms,
                "last_proof_of_life_at_ms": meter.alive_through_ms,
                "unproven_ms": meter.unproven_ms,
                "billed_seconds": meter.billable_seconds,
                "credited_seconds": min(meter.billable_seconds, CREDITED_SECONDS),
                "amount_micros": amount,
            },
        )
        tx = ports.rentals.transactions()
        add_posting(ports, tx, wallet.balance, posting, now_ms)
        add_event(ports, tx, meter.account_id, "credit.posted", {"kind": posting.kind, **posting.details})
        tx.commit()

    post_once(ports, meter.account_id, attempt, lambda: None)


@dataclass(frozen=True, slots=True)
class ReversePosting:
    """An operator's order to undo a journal. ``journal_key`` is ``source#source_id``."""

    journal_key: str
    reason: str


def reverse_posting(ports: BillingPorts, principal: Principal, command: ReversePosting) -> Balance:
    """Post the opposite of a journal, once; both stay. Promotional credit that was spent comes back as paid.

    Raises:
        NotFound: no such journal.
        Conflict: ``not_reversible``: it is a reversal itself, or money that Stripe moved, which is refunded.
        InsufficientFunds: the wallet does not cover what is taken back.
        Unavailable: too much contention; try again.
    """
    source, _, source_id = command.journal_key.partition("#")
    journal = ports.ledger.get_journal(source, source_id)
    if journal is None:
        raise NotFound("There is no such journal.")
    if journal.kind not in REVERSIBLE_KINDS:
        raise Conflict("A posting of this kind is not reversed.", code="not_reversible")
    now_ms = ports.rentals.clock.now_ms()
    legs = tuple(
        replace(leg, amount_micros=-leg.amount_micros)
        for leg in journal.legs
        if not leg.ledger_account.startswith(CUSTOMER_PREFIX)
    )

    def attempt(wallet: Wallet) -> Balance:
        posting = Posting(
            source=REVERSAL,
            source_id=journal.key,
            kind="reversal",
            legs=legs,
            details={"journal_key": journal.key, "reason": command.reason},
            reverses=journal.key,
        )
        balance = wallet.balance
        if posting.customer_micros < 0 and balance.available_micros < -posting.customer_micros:
            # A repeat may find nothing left where the first one took what there was.
            if ports.ledger.get_journal(REVERSAL, journal.key) is not None:
                return balance
            raise InsufficientFunds("The wallet does not cover what would be taken back.")
        tx = ports.rentals.transactions()
        after = add_posting(ports, tx, balance, posting, now_ms)
        _add_audit(ports, tx, principal, journal.account_id, command, now_ms)
        tx.commit()
        return after

    return post_once(
        ports, journal.account_id, attempt, lambda: find_wallet(ports, journal.account_id).balance
    )


def _add_audit(
    ports: BillingPorts,
    tx: Transaction,
    principal: Principal,
    account_id: str,
    command: ReversePosting,
    now_ms: int,
) -> None:
    entry = AuditEntry(
        ports.rentals.ids.new_id("aud"),
        account_id,
        principal.actor_id,
        "posting.reversed",
        command.journal_key,
        now_ms,
        {"reason": command.reason},
    )
    ports.rentals.audit.add_entry(tx, entry)

"""Use cases of billing: charge a rental, grant a credit, read a wallet. `_post` is the ledger's only writer.

A charge is one transaction: journal, legs, balance, meter cursor, rental totals and, at the end, the hold.
Charges of one account arrive serially (FIFO group), so leg numbers need no lock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from chalicelib.billing.model import (
    OPERATOR_CREDIT,
    Balance,
    Hold,
    Journal,
    Leg,
    Split,
    build_usage_legs,
    check_balanced,
    name_customer,
    name_shard,
    split_charge,
    sum_legs,
)
from chalicelib.core.errors import Conflict, NotFound, Unavailable
from chalicelib.core.idempotency import LIFETIME_MS, AlreadyAnswered, IdempotencyRecord, check_replay
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.core.principal import Principal
from chalicelib.metering.activity import end_if_idle
from chalicelib.metering.failover import end_interrupted
from chalicelib.metering.model import OPEN_SHARDS, Meter
from chalicelib.metering.ports import ChargeQueue, MeterPorts, MeterStore
from chalicelib.rentals.life import end_rental
from chalicelib.rentals.ports import SYSTEM_ACTOR, RentalPorts, name_hold
from chalicelib.rentals.rules import ACTIVE_STATES

USAGE = "usage"
CREDIT = "credit"
MAX_ATTEMPTS = 5
TICK_MS = 60_000
HTTP_CREATED = 201


class AlreadyPosted(Conflict):
    """The journal is there: another attempt posted it."""

    code = "already_posted"


class LedgerStore(Protocol):
    def get_balance(self, account_id: str) -> Balance | None: ...
    def get_hold(self, account_id: str, hold_id: str) -> Hold | None: ...
    def read_legs(self, source: str, source_id: str) -> list[Leg]:
        """The legs as they stand in the accounts of this journal, not as the journal lists them."""
        ...

    def add_journal(
        self, tx: Transaction, journal: Journal, *, leg_version: int, balance_after_micros: int
    ) -> None:
        """Write the journal and its legs, the customer's as ``leg_version``. Fails with AlreadyPosted."""

    def open_balance(self, tx: Transaction, balance: Balance) -> None: ...
    def move_balance(
        self, tx: Transaction, balance: Balance, *, posted: int, held: int, count_leg: bool
    ) -> None:
        """Add ``posted`` and ``held`` (and their difference to available).

        Fails with Unavailable when the leg version moved or available would fall below zero.
        """

    def change_hold(self, tx: Transaction, account_id: str, old: Hold, new: Hold) -> None:
        """Fails with Unavailable when the hold is no longer ``old``."""


@dataclass(frozen=True, slots=True)
class BillingPorts:
    ledger: LedgerStore
    meters: MeterStore
    rentals: RentalPorts
    charges: ChargeQueue


def dispatch_charges(ports: BillingPorts, now_ms: int) -> int:
    """Ask for a charge of every meter that is not settled; return how many.

    Runs each minute; twice in a minute, or not for an hour, comes to the same sums.
    """
    minute = now_ms // TICK_MS
    count = 0
    for shard in range(OPEN_SHARDS):
        for meter in ports.meters.list_open(f"OPEN#{shard}"):
            ports.charges.request_charge(meter.account_id, meter.rental_id, f"{meter.rental_id}:{minute}")
            count += 1
    return count


def charge_rental(ports: BillingPorts, rental_id: str) -> None:
    """Post what the meter has proven since the last charge; settle when the meter is closed.

    Raises:
        NotFound: there is no meter, so there is nothing that could be owed.
        Unavailable: too much contention; come again.
    """
    for _ in range(MAX_ATTEMPTS):
        meters = ports.meters.list_meters(rental_id)
        if not meters:
            raise NotFound(f"There is no meter of {rental_id}.")
        try:
            # The minute's tick is all that comes by when a host has gone.
            now_ms = ports.rentals.clock.now_ms()
            if end_interrupted(_read_meter_ports(ports), meters[-1], now_ms):
                continue
            # In the order of the stays: the last that is settled says that all are.
            for meter in meters:
                if meter.state != "settled" and (meter.state == "closed" or meter.due_micros):
                    _charge(ports, meter)
            end_if_idle(_read_meter_ports(ports), rental_id, now_ms)
        except (Unavailable, AlreadyPosted):
            continue
        return
    raise Unavailable(f"The account of {rental_id} changes all the time.")


def _read_meter_ports(ports: BillingPorts) -> MeterPorts:
    return MeterPorts(ports.meters, ports.rentals, ports.charges)


def _charge(ports: BillingPorts, meter: Meter) -> None:
    balance = ports.ledger.get_balance(meter.account_id)
    hold = ports.ledger.get_hold(meter.account_id, name_hold(meter.rental_id, meter.segment))
    if balance is None or hold is None:
        raise NotFound(f"The rental {meter.rental_id} has no hold.")
    split = split_charge(meter.due_micros, balance.available_micros, hold.amount_micros)
    settles = meter.state == "closed"
    charged = replace(
        meter,
        state="settled" if settles else meter.state,
        charge_seq=meter.charge_seq + (1 if meter.due_micros else 0),
        charged_seconds=meter.billable_seconds,
        charged_micros=meter.charged_micros + meter.due_micros,
    )
    kept_hold = Hold(hold.hold_id, 0 if settles else hold.amount_micros - split.from_hold, hold.state)
    if settles:
        kept_hold = replace(kept_hold, state="released")
    tx = ports.rentals.transactions()
    ports.meters.record_charge(tx, meter, charged)
    ports.rentals.store.record_charge(
        tx,
        meter.rental_id,
        seconds=charged.charged_seconds - meter.charged_seconds,
        micros=meter.due_micros,
        settled_segment=meter.segment if settles else None,
    )
    held_change = kept_hold.amount_micros - hold.amount_micros
    if kept_hold != hold:
        ports.ledger.change_hold(tx, meter.account_id, hold, kept_hold)
    _post_usage(ports, tx, meter, balance, split, held_change)
    tx.commit()
    if split.from_hold and not settles:
        _stop_for_balance(ports, meter.rental_id)


def _post_usage(
    ports: BillingPorts, tx: Transaction, meter: Meter, balance: Balance, split: Split, held_change: int
) -> None:
    if meter.due_micros == 0:
        if held_change:
            ports.ledger.move_balance(tx, balance, posted=0, held=held_change, count_leg=False)
        return
    journal = Journal(
        source=USAGE,
        source_id=name_usage(meter, meter.charge_seq),
        kind="usage",
        legs=build_usage_legs(meter.account_id, meter.due_micros, split),
        currency=balance.currency,
        posted_at_ms=ports.rentals.clock.now_ms(),
    )
    _post(ports, tx, journal, balance, held_change)


def name_usage(meter: Meter, charge_seq: int) -> str:
    """The journal id is the cursor, so a repeat with a later end cannot bill the same time twice."""
    return f"{meter.rental_id}:{meter.segment}:{charge_seq}"


def _post(ports: BillingPorts, tx: Transaction, journal: Journal, balance: Balance, held_change: int) -> None:
    check_balanced(journal)
    customer = name_customer(balance.account_id)
    posted = sum_legs([leg for leg in journal.legs if leg.ledger_account == customer])
    ports.ledger.add_journal(
        tx,
        journal,
        leg_version=balance.leg_version + 1,
        balance_after_micros=balance.posted_micros + posted,
    )
    if balance.leg_version == 0:
        opened = replace(balance, posted_micros=posted, available_micros=posted, leg_version=1)
        ports.ledger.open_balance(tx, opened)
    elif posted or held_change:
        ports.ledger.move_balance(tx, balance, posted=posted, held=held_change, count_leg=posted != 0)


def _stop_for_balance(ports: BillingPorts, rental_id: str) -> None:
    # The hold was touched: the runway is shrinking and cannot be refilled, so the workload stops inside it.
    rental = ports.rentals.store.get_rental(rental_id)
    if rental is not None and rental.state in ACTIVE_STATES:
        end_rental(ports.rentals, rental, "balance_exhausted", ports.rentals.clock.now_ms(), SYSTEM_ACTOR)


@dataclass(frozen=True, slots=True)
class GrantCredit:
    """A credit as an operator asked for it. ``render`` gives the answer's bytes, stored for replays."""

    account_id: str
    amount_micros: int
    reason: str
    idempotency_key: str
    fingerprint: str
    render: Callable[[Balance], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Granted:
    status: int
    body: str
    replayed: bool


def grant_credit(
    ports: BillingPorts, principal: Principal, command: GrantCredit, account_exists: Callable[[str], bool]
) -> Granted:
    """Credit an account from the operator's side, once per key.

    Raises:
        NotFound: no such account.
        IdempotencyMismatch: the key was used for another request.
        Unavailable: too much contention; try again.
    """
    if not account_exists(command.account_id):
        raise NotFound("There is no such account.")
    for _ in range(MAX_ATTEMPTS):
        try:
            return _grant(ports, principal, command)
        except AlreadyAnswered as answered:
            record = check_replay(answered.record, command.fingerprint)
            return Granted(record.status, record.body, replayed=True)
        except Unavailable:
            continue
    raise Unavailable("The account changes all the time; try again.")


def _grant(ports: BillingPorts, principal: Principal, command: GrantCredit) -> Granted:
    now_ms = ports.rentals.clock.now_ms()
    tx = ports.rentals.transactions()
    balance = read_wallet(ports, command.account_id)
    after = replace(
        balance,
        posted_micros=balance.posted_micros + command.amount_micros,
        available_micros=balance.available_micros + command.amount_micros,
        leg_version=balance.leg_version + 1,
    )
    body = command.render(after)
    record = IdempotencyRecord(
        principal.account_id,
        command.idempotency_key,
        command.fingerprint,
        HTTP_CREATED,
        body,
        now_ms + LIFETIME_MS,
    )
    ports.rentals.idempotency.add(tx, record, now_ms)
    journal = Journal(
        source=CREDIT,
        # For ever, also when the idempotency record has expired.
        source_id=f"{principal.account_id}:{command.idempotency_key}",
        kind="credit",
        legs=(
            Leg(name_customer(command.account_id), command.amount_micros),
            Leg(name_shard(OPERATOR_CREDIT, command.account_id), -command.amount_micros),
        ),
        currency=balance.currency,
        posted_at_ms=now_ms,
    )
    _post(ports, tx, journal, balance, 0)
    entry = AuditEntry(
        ports.rentals.ids.new_id("aud"),
        command.account_id,
        principal.key_id,
        "credit.granted",
        journal.source_id,
        now_ms,
        {"amount_micros": command.amount_micros, "reason": command.reason},
    )
    ports.rentals.audit.add_entry(tx, entry)
    tx.commit()
    return Granted(HTTP_CREATED, body, replayed=False)


def read_wallet(ports: BillingPorts, account_id: str) -> Balance:
    """Return the wallet; one that was never credited is empty."""
    found = ports.ledger.get_balance(account_id)
    return found or Balance(account_id, ports.rentals.currency, 0, 0, 0, 0)


def read_usage_legs(ports: BillingPorts, meter: Meter) -> list[Leg]:
    """Return every leg that the charges of this stay left in the accounts."""
    return [
        leg
        for seq in range(meter.charge_seq)
        for leg in ports.ledger.read_legs(USAGE, name_usage(meter, seq))
    ]

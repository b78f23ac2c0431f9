"""Charges what meters have proven. One charge is one transaction: journal, legs, wallet, budgets, the meter's
cursor, the rental's totals, the day's usage line and, where it changes, the hold.

Charges of one account arrive serially (FIFO group), so leg numbers need no lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.billing.budget import (
    Budget,
    find_alert,
    find_remaining,
    find_spent,
    list_covering,
    name_period,
)
from chalicelib.billing.crediting import credit_failure, is_owed_credit
from chalicelib.billing.model import USAGE, Hold, HoldState
from chalicelib.billing.ports import MAX_ATTEMPTS, AlreadyPosted, BillingPorts, UsageLine
from chalicelib.billing.posting import Booking, Posting, add_booking, add_event, book, find_wallet
from chalicelib.billing.rating import (
    Purchaser,
    Slice,
    Split,
    build_usage_legs,
    share_out,
    split_by_hour,
    split_charge,
)
from chalicelib.billing.slowdowns import credit_slowdowns
from chalicelib.core.errors import NotFound, Unavailable
from chalicelib.core.ports import ChargeRequest, Transaction
from chalicelib.metering.activity import end_if_idle
from chalicelib.metering.failover import end_interrupted
from chalicelib.metering.model import OPEN_SHARDS, Meter
from chalicelib.metering.ports import MeterPorts
from chalicelib.rentals.life import end_rental
from chalicelib.rentals.ports import SYSTEM_ACTOR, name_hold
from chalicelib.rentals.rules import ACTIVE_STATES, Reason
from chalicelib.webhooks.model import EventType

TICK_MS = 60_000
#: Of budgets, in one charge: a transaction has room for 100 items, and the next minute tells the others.
MAX_ALERTS = 20


def dispatch_charges(ports: BillingPorts, now_ms: int) -> int:
    """Ask for a charge of every meter that is not settled; return how many.

    Runs each minute; twice in a minute, or not for an hour, comes to the same sums.

    Raises:
        Unavailable: the queue did not take all; the next minute asks again.
    """
    minute = now_ms // TICK_MS
    return ports.charges.request_charges(
        ChargeRequest(account_id, rental_id, f"{rental_id}:{minute}")
        for shard in range(OPEN_SHARDS)
        for account_id, rental_id in ports.meters.list_open(f"OPEN#{shard}")
    )


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
                _bring_up(ports, meter, now_ms)
            end_if_idle(_read_meter_ports(ports), meters[-1], now_ms)
        except (Unavailable, AlreadyPosted):
            continue
        return
    raise Unavailable(f"The account of {rental_id} changes all the time.")


def _bring_up(ports: BillingPorts, meter: Meter, now_ms: int) -> None:
    if meter.state != "settled" and is_owed_credit(meter):
        # Before it is settled: nobody comes back to a meter that is.
        credit_failure(ports, meter, now_ms)
    if meter.state != "open":
        # Late telemetry asks for a settled one.
        credit_slowdowns(ports, meter, now_ms)
    if meter.state == "closed" or (meter.state == "open" and meter.due_micros):
        _charge(ports, meter, now_ms)
    if meter.state == "open":
        # What it gives back at most is what was charged.
        credit_slowdowns(ports, meter, now_ms)


def _read_meter_ports(ports: BillingPorts) -> MeterPorts:
    return MeterPorts(ports.meters, ports.rentals, ports.charges)


def name_usage(meter: Meter, charge_seq: int) -> str:
    """The journal id is the cursor, so a repeat with a later end cannot bill the same time twice."""
    return f"{meter.rental_id}:{meter.segment}:{charge_seq}"


def _charge(ports: BillingPorts, meter: Meter, now_ms: int) -> None:
    hold = ports.wallets.get_hold(meter.account_id, name_hold(meter.rental_id, meter.segment))
    if hold is None:
        raise NotFound(f"The rental {meter.rental_id} has no hold.")
    wallet = find_wallet(ports, meter.account_id)
    budgets = list_covering(wallet.budgets, hold)
    stopping = [budget for budget in budgets if budget.hard_stop]
    split = split_charge(
        meter.due_micros,
        [
            Purchaser(wallet.balance.available_micros, hold.amount_micros),
            *(_describe_purchaser(budget, hold, now_ms) for budget in stopping),
        ],
    )
    settles = meter.state == "closed"
    kept = _draw_hold(hold, split, settles=settles)
    tx = ports.rentals.transactions()
    charged = _advance(meter, settles=settles)
    ports.meters.record_charge(tx, meter, charged)
    ports.rentals.store.record_charge(
        tx,
        meter.rental_id,
        seconds=charged.charged_seconds - meter.charged_seconds,
        micros=meter.due_micros,
        settled_segment=meter.segment if settles else None,
    )
    joined, refused = _charge_budgets(ports, tx, budgets, _Charge(hold, kept, split, now_ms))
    kept = replace(kept, budget_ids=joined)
    if kept != hold:
        ports.wallets.change_hold(tx, meter.account_id, hold, kept)
    # The hold was touched: the runway is shrinking and cannot be refilled, so the workload stops in it.
    stops = not settles and bool(split.from_hold_micros or split.overrun_micros or refused)
    poor = wallet.balance.available_micros < meter.due_micros
    held_micros = kept.amount_micros - hold.amount_micros
    burn_micros = -hold.rate_micros_per_hour if settles else 0
    if meter.due_micros:
        posting = Posting(
            source=USAGE,
            source_id=name_usage(meter, meter.charge_seq),
            kind=USAGE,
            legs=build_usage_legs(meter.account_id, meter.due_micros, split.overrun_micros),
            details=_describe(meter, charged),
            held_micros=held_micros,
            burn_micros_per_hour=burn_micros,
            exhausts=stops and poor,
        )
        booking = book(wallet.balance, posting, now_ms)
        _add_usage(ports, tx, booking, (meter, charged), kept)
        add_booking(ports, tx, booking)
    elif held_micros or burn_micros:
        balance = wallet.balance
        after = replace(
            balance,
            held_micros=balance.held_micros + held_micros,
            available_micros=balance.available_micros - held_micros,
            burn_micros_per_hour=balance.burn_micros_per_hour + burn_micros,
        )
        ports.wallets.move_balance(tx, balance, after)
    if stops and not hold.captured_micros:
        told: EventType = "wallet.exhausted" if poor else "budget.exhausted"
        add_event(ports, tx, meter.account_id, told, {"rental_id": meter.rental_id})
    tx.commit()
    if stops:
        _stop(ports, meter.rental_id, "balance_exhausted" if poor else "budget_exhausted")


def _advance(meter: Meter, *, settles: bool) -> Meter:
    return replace(
        meter,
        state="settled" if settles else meter.state,
        charge_seq=meter.charge_seq + (1 if meter.due_micros else 0),
        charged_seconds=meter.billable_seconds,
        charged_micros=meter.charged_micros + meter.due_micros,
    )


def _draw_hold(hold: Hold, split: Split, *, settles: bool) -> Hold:
    captured = hold.captured_micros + split.from_hold_micros
    if not settles:
        return replace(
            hold, amount_micros=hold.amount_micros - split.from_hold_micros, captured_micros=captured
        )
    state: HoldState = "captured" if captured else "void"
    return replace(hold, amount_micros=0, captured_micros=captured, state=state)


def _describe_purchaser(budget: Budget, hold: Hold, now_ms: int) -> Purchaser:
    held = hold.amount_micros if budget.budget_id in hold.budget_ids else 0
    return Purchaser(find_remaining(budget, now_ms), held)


@dataclass(frozen=True, slots=True)
class _Charge:
    before: Hold
    after: Hold
    split: Split
    at_ms: int


def _charge_budgets(
    ports: BillingPorts, tx: Transaction, budgets: Sequence[Budget], charge: _Charge
) -> tuple[tuple[str, ...], bool]:
    """Add to ``tx`` what the charge is to each budget; return who holds its runway, and if any refused.

    A budget that is younger than the stay sets the runway aside now, if it can.
    """
    joined, refused, told = [], False, 0
    for budget in budgets:
        remaining = find_remaining(budget, charge.at_ms)
        held = charge.before.amount_micros if budget.budget_id in charge.before.budget_ids else 0
        wanted = charge.after.amount_micros if budget.hard_stop else 0
        if wanted and not held and wanted > remaining - charge.split.paid_micros:
            wanted, refused = 0, True
        if wanted:
            joined.append(budget.budget_id)
        spent = find_spent(budget, charge.at_ms) + charge.split.paid_micros
        alerted = budget.alerted_percent if spent > charge.split.paid_micros else 0
        reached = find_alert(budget, spent, alerted) if told < MAX_ALERTS else alerted
        after = replace(
            budget,
            period_key=name_period(budget.period, charge.at_ms),
            spent_micros=spent,
            held_micros=budget.held_micros + wanted - held,
            remaining_micros=remaining - charge.split.paid_micros - (wanted - held),
            alerted_percent=reached,
        )
        if after != budget:
            ports.budgets.replace_budget(tx, budget, after)
        if after.alerted_percent > alerted:
            add_event(ports, tx, budget.account_id, "budget.threshold_reached", _describe_budget(after))
            told += 1
    return tuple(joined), refused


def _describe_budget(budget: Budget) -> dict[str, object]:
    return {
        "budget_id": budget.budget_id,
        "percent": budget.alerted_percent,
        "spent_micros": budget.spent_micros,
        "limit_micros": budget.limit_micros,
        "period_key": budget.period_key,
    }


def _describe(before: Meter, after: Meter) -> dict[str, object]:
    return {
        "rental_id": before.rental_id,
        "segment": before.segment,
        "gpu_count": before.gpu_count,
        "price_micros_per_gpu_hour": before.price_micros_per_gpu_hour,
        "from_seconds": before.charged_seconds,
        "to_seconds": after.charged_seconds,
        "amount_micros": before.due_micros,
    }


def _add_usage(
    ports: BillingPorts, tx: Transaction, booking: Booking, meters: tuple[Meter, Meter], hold: Hold
) -> None:
    before, after = meters
    billed = Slice(
        before.price_micros_per_gpu_hour,
        before.gpu_count,
        before.charged_seconds,
        after.charged_seconds,
        before.alive_through_ms,
    )
    hours = sorted(split_by_hour(billed), key=lambda each: (each.day, each.hour))
    for day in share_out(hours, -booking.promo_micros, -booking.paid_micros):
        line = UsageLine(
            account_id=before.account_id,
            month=booking.after.month,
            day=day.day,
            rental_id=before.rental_id,
            segment=before.segment,
            gpu_type=hold.gpu_type,
            gpu_count=before.gpu_count,
            region=before.region,
            label=hold.label,
            price_micros_per_gpu_hour=before.price_micros_per_gpu_hour,
            seconds=sum(each.seconds for each in day.hours),
            micros=sum(each.micros for each in day.hours),
            promo_micros=day.promo_micros,
            overrun_micros=day.overrun_micros,
            hours=tuple((each.hour, each.seconds, each.micros) for each in day.hours),
        )
        ports.usage.add_usage(tx, line)


def _stop(ports: BillingPorts, rental_id: str, reason: Reason) -> None:
    rental = ports.rentals.store.get_rental(rental_id)
    if rental is not None and rental.state in ACTIVE_STATES:
        end_rental(ports.rentals, rental, reason, ports.rentals.clock.now_ms(), SYSTEM_ACTOR)

"""Credits for GPUs that were slowed beyond what is promised (`billing.promise`).

The clock is the cloud's, so an hour is looked at `RECOVERY_MS` after its end, when nothing more was told of
slowdowns for as long, or when the stay is over: within 5 minutes of the recovery. What comes later raises
the credit by the difference, in a journal of its own; nothing lowers it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chalicelib.billing.crediting import SERVICE_CREDIT_SOURCE
from chalicelib.billing.model import SERVICE_CREDIT, Leg, name_shard
from chalicelib.billing.ports import BillingPorts, Wallet
from chalicelib.billing.posting import Posting, add_event, add_posting, post_once
from chalicelib.billing.promise import Promise, compute_slowdown_credit, find_promise
from chalicelib.billing.rating import Slice, split_by_hour
from chalicelib.core.clock import format_hour
from chalicelib.core.leases import Lease
from chalicelib.metering.model import HourlyEnergy, Meter

SLOWDOWN_SOURCE = "slowdown_credit"
REASON = "gpu_slowed"
#: More than the time between two telemetry records of a host.
RECOVERY_MS = 120_000


def credit_slowdowns(ports: BillingPorts, meter: Meter, now_ms: int) -> None:
    """Post what is owed for the slowed hours of a stay that are due; once, whoever comes again.

    Raises:
        Unavailable: too much contention, or more was told meanwhile; try again.
    """
    due = find_due(meter, now_ms)
    if not due:
        return
    noted = meter
    cost = meter.charged_micros + meter.due_micros
    room = cost - meter.slowdown_micros - _read_failure_credit(ports, meter)
    for hour in sorted(due):
        promise = find_promise(hour)
        charged = 0 if promise is None else _read_charge(ports, meter, hour) // meter.gpu_count
        for used in ports.meters.list_hour_energy(meter.rental_id, hour):
            if promise is None or Lease(used.gpu_uuid, used.epoch) not in meter.leases:
                continue
            owed = compute_slowdown_credit(promise, used.slowed_ms, meter.price_micros_per_gpu_hour, charged)
            amount = min(owed - used.slowdown_micros, room)
            if amount > 0:
                _post(ports, meter, used, promise, amount, now_ms)
                meter = replace(meter, slowdown_micros=meter.slowdown_micros + amount)
                room -= amount
    # Last: who dies before finds the same to do, and what was credited counted.
    ports.meters.forget_slowed(noted, due)


def find_due(meter: Meter, now_ms: int) -> frozenset[str]:
    """Return the hours of ``meter`` that are to be looked at now."""
    if not meter.slowed_hours:
        return meter.slowed_hours
    if meter.state != "open" or now_ms >= meter.slowed_at_ms + RECOVERY_MS:
        return meter.slowed_hours
    return frozenset(hour for hour in meter.slowed_hours if hour < format_hour(now_ms - RECOVERY_MS))


def _read_failure_credit(ports: BillingPorts, meter: Meter) -> int:
    """All that a stay is credited by itself is at most what it cost."""
    if meter.end_reason is None:
        return 0
    journal = ports.ledger.get_journal(SERVICE_CREDIT_SOURCE, f"{meter.rental_id}:{meter.segment}")
    return 0 if journal is None else -sum(leg.amount_micros for leg in journal.legs if leg.amount_micros < 0)


def _read_charge(ports: BillingPorts, meter: Meter, hour: str) -> int:
    """Return what the stay costs in an hour: what was charged, and what settles it."""
    day, number = hour[:10], int(hour[11:])
    micros = 0
    for month in _list_months(hour):
        for line in ports.usage.list_usage(meter.account_id, month, day, day):
            if (line.rental_id, line.segment) == (meter.rental_id, meter.segment):
                micros += sum(each[2] for each in line.hours if each[0] == number)
    if meter.state == "closed":
        rest = Slice(
            meter.price_micros_per_gpu_hour,
            meter.gpu_count,
            meter.charged_seconds,
            meter.billable_seconds,
            meter.alive_through_ms,
        )
        micros += sum(each.micros for each in split_by_hour(rest) if (each.day, each.hour) == (day, number))
    return micros


def _list_months(hour: str) -> Iterator[str]:
    """Yield the months of the books in which an hour can stand: its end is charged in the next."""
    moment = datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    yield hour[:7]
    tomorrow = (moment + timedelta(days=1)).strftime("%Y-%m")
    if tomorrow != hour[:7]:
        yield tomorrow


def _post(
    ports: BillingPorts, meter: Meter, used: HourlyEnergy, promise: Promise, amount: int, now_ms: int
) -> None:
    cumulative = used.slowdown_micros + amount
    details = {
        "rental_id": meter.rental_id,
        "segment": meter.segment,
        "reason": REASON,
        "host_id": meter.host_id,
        "gpu_uuid": used.gpu_uuid,
        "hour": used.hour,
        "thermal_slowdown_ms": used.thermal_slowdown_ms,
        "power_brake_ms": used.power_brake_ms,
        "slowdown_source": used.slowdown_source,
        "slowed_ms": used.slowed_ms,
        "promised_ms": promise.slowed_ms,
        "promise_version": promise.version,
        "amount_micros": amount,
        "credited_before_micros": used.slowdown_micros,
    }

    def attempt(wallet: Wallet) -> None:
        posting = Posting(
            source=SLOWDOWN_SOURCE,
            source_id=f"{meter.rental_id}:{meter.segment}:{used.hour}:{used.gpu_uuid}:{cumulative}",
            kind="service_credit",
            legs=(Leg(name_shard(SERVICE_CREDIT, meter.account_id), -amount),),
            details=details,
        )
        tx = ports.rentals.transactions()
        add_posting(ports, tx, wallet.balance, posting, now_ms)
        ports.meters.record_slowdown(tx, meter, used, amount)
        add_event(ports, tx, meter.account_id, "credit.posted", {"kind": posting.kind, **details})
        tx.commit()

    post_once(ports, meter.account_id, attempt, lambda: None)

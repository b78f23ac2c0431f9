"""Use cases of metering: heartbeats drive rentals and billable time, telemetry drives energy.

The queue's clock counts (SentTimestamp), never the host's. What a host reports can end billable time
early; nothing it reports can lengthen it beyond the proofs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InsufficientFunds, Unavailable
from chalicelib.core.leases import Lease
from chalicelib.core.ports import ChargeRequest, Transaction
from chalicelib.core.workloads import Endpoint
from chalicelib.fleet.health import NoticeKind
from chalicelib.fleet.service import StaleEpoch, record_capabilities
from chalicelib.metering.activity import observe_stays
from chalicelib.metering.model import (
    DAY_MARGIN_MS,
    HOUR_MS,
    UNRENTED,
    CaptureDatapoint,
    Interval,
    LateSite,
    Meter,
    close,
    extend,
)
from chalicelib.metering.parts import Piece, cut_parts, list_site_uses, merge_shares
from chalicelib.metering.ports import AlreadyStored, MeterPorts, TelemetryRecord
from chalicelib.metering.slowdowns import mark_slowed_stays, request_late_credits
from chalicelib.rentals.life import end_rental, finish_stay, restart_stay, return_gpus
from chalicelib.rentals.messages import LogExcerpt
from chalicelib.rentals.model import Placement, Rental, acknowledge_wipe, mark_running
from chalicelib.rentals.ports import add_state_event
from chalicelib.rentals.rules import ACTIVE_STATES, Reason
from chalicelib.rentals.timing import explain_failure, explain_preemption

HOST_ACTOR_PREFIX = "host:"
MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Report:
    """What a host says of one workload (see `wire.v1.WorkloadReport`)."""

    rental_id: str
    leases: tuple[Lease, ...]
    state: Literal["starting", "running", "exited", "failed", "terminated"]
    exit_code: int | None
    ended_at_ms: int | None
    wiped: bool
    endpoints: tuple[Endpoint, ...] = ()
    #: The host ended it, as was announced.
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a host says that its provider announces (see `wire.v1.HostNotice`)."""

    kind: NoticeKind
    action: str
    ends_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat, and when the queue took it."""

    host_id: str
    boot_id: str
    agent_version: str
    gpus_ok: int
    spool_records: int
    records_lost: int
    sent_at_ms: int
    reports: tuple[Report, ...]
    #: GPUs that are to get no new work, and why.
    unfit: frozenset[str] = frozenset()
    conditions: dict[str, list[str]] = field(default_factory=dict)
    draining: bool = False
    #: By rental.
    logs: dict[str, LogExcerpt] = field(default_factory=dict)
    #: The host's clock when it spoke; ``None``: not known.
    observed_at_ms: int | None = None
    notices: tuple[Announcement, ...] = ()
    #: Of the machine's own boot, which resets GPUs; empty from agents that do not tell.
    kernel_boot_id: str = ""
    ok_gpu_uuids: frozenset[str] = frozenset()


def build_excerpt(taken_at_ms: int, text: str, *, truncated: bool) -> LogExcerpt:
    return LogExcerpt(taken_at_ms, text, truncated)


def keep_logs(ports: MeterPorts, host_id: str, logs: Mapping[str, LogExcerpt]) -> None:
    """Keep what a host tells of the logs of rentals that it has; of others it is ignored."""
    for rental_id, excerpt in logs.items():
        rental = ports.rentals.store.get_rental(rental_id)
        if rental is not None and rental.host_id == host_id:
            ports.rentals.store.keep_log(rental_id, excerpt)


def apply_report(ports: MeterPorts, host_id: str, report: Report, sent_at_ms: int) -> None:
    """Apply what a host says of one workload; a report of a foreign rental or an old epoch is ignored."""
    for _ in range(MAX_ATTEMPTS):
        rental = ports.rentals.store.get_rental(report.rental_id)
        if rental is None or all(stay.host_id != host_id for stay in rental.placements):
            return
        try:
            if report.state == "terminated":
                _apply_wipe(ports, host_id, rental, report, sent_at_ms)
            elif rental.host_id == host_id and _same(report.leases, rental.leases):
                _apply(ports, rental, report, sent_at_ms)
        except Unavailable:
            continue
        return
    raise Unavailable(f"The rental {report.rental_id} changes all the time.")


def _apply(ports: MeterPorts, rental: Rental, report: Report, sent_at_ms: int) -> None:
    if report.state == "running":
        _prove_life(ports, rental, report, sent_at_ms)
    elif report.state in {"exited", "failed"} and rental.state in ACTIVE_STATES:
        _end(ports, rental, report, sent_at_ms)


def _apply_wipe(ports: MeterPorts, host_id: str, rental: Rental, report: Report, sent_at_ms: int) -> None:
    if not report.wiped:
        return
    present = rental.placement
    awaited = rental.state in {"stopping", "terminating"}
    for stay in rental.placements:
        if stay.host_id != host_id or not _same(report.leases, stay.wipe_leases):
            continue
        if stay == present and awaited:
            _finish(ports, rental, stay, report, sent_at_ms)
        elif stay.lost:
            # A host that was given up has come back and acknowledges the wipe that it owed.
            tx = ports.rentals.transactions()
            return_gpus(ports.rentals, tx, stay, rental.rental_id)
            ports.rentals.store.replace_rental(tx, rental, acknowledge_wipe(rental, stay))
            tx.commit()


def _prove_life(ports: MeterPorts, rental: Rental, report: Report, sent_at_ms: int) -> None:
    if rental.state == "provisioning":
        _start_meter(ports, rental, report, sent_at_ms)
        return
    proof_ms = sent_at_ms
    if rental.stop_requested_at_ms is not None:
        proof_ms = min(proof_ms, rental.stop_requested_at_ms)
    meter = ports.store.get_meter(rental.rental_id, rental.segment)
    if meter is not None:
        _extend(ports, meter, proof_ms)


def _start_meter(ports: MeterPorts, rental: Rental, report: Report, sent_at_ms: int) -> None:
    # Whole seconds from the first: what people see is what is billed.
    tx = ports.rentals.transactions()
    running = mark_running(rental, sent_at_ms, report.endpoints)
    ports.rentals.store.replace_rental(tx, rental, running)
    ports.store.open_meter(tx, build_meter(rental, sent_at_ms))
    add_state_event(ports.rentals, tx, running)
    tx.commit()


def _extend(ports: MeterPorts, meter: Meter, proof_ms: int) -> Meter:
    extended = extend(meter, proof_ms)
    if extended != meter:
        ports.store.replace_meter(None, meter, extended)
    return extended


def _end(ports: MeterPorts, rental: Rental, report: Report, sent_at_ms: int) -> None:
    reason: Reason = "workload_exited"
    announced = explain_preemption(rental) if report.preempted else None
    if announced is not None:
        reason = announced
    elif rental.state == "provisioning":
        reason = "start_failed"
    elif report.state == "failed" or report.exit_code != 0:
        reason = explain_failure(rental, sent_at_ms)
    end_ms = sent_at_ms
    if report.ended_at_ms is not None:
        end_ms = min(end_ms, report.ended_at_ms)
    if rental.running_at_ms is not None:
        # A host clock that runs behind must not make the time negative.
        end_ms = max(end_ms, rental.running_at_ms)
    meter = ports.store.get_meter(rental.rental_id, rental.segment)
    if meter is not None:
        _extend(ports, meter, end_ms)
    end_rental(ports.rentals, rental, reason, end_ms, f"{HOST_ACTOR_PREFIX}{rental.host_id}")


def _finish(ports: MeterPorts, rental: Rental, stay: Placement, report: Report, sent_at_ms: int) -> None:
    """The wipe is acknowledged: the stay is over, its meter closes, its GPUs are free or start anew."""
    # A workload that had ended before it was told to stop did not run until then.
    proof_ms = sent_at_ms if report.ended_at_ms is None else min(sent_at_ms, report.ended_at_ms)
    restarted = False
    if rental.reason == "restart_requested" and rental.state == "stopping":
        restarted = _restart(ports, rental, sent_at_ms, proof_ms)
    if not restarted:
        tx = ports.rentals.transactions()
        finish_stay(ports.rentals, tx, rental, sent_at_ms)
        return_gpus(ports.rentals, tx, stay, rental.rental_id)
        close_meter(ports, tx, rental, proof_ms)
        tx.commit()
    request_final_charge(ports, rental)


def _restart(ports: MeterPorts, rental: Rental, sent_at_ms: int, proof_ms: int) -> bool:
    """Start the workload anew on the same GPUs; ``False``: they, or the wallet, do not allow it."""
    tx = ports.rentals.transactions()
    restart_stay(ports.rentals, tx, rental, sent_at_ms)
    close_meter(ports, tx, rental, proof_ms)
    try:
        tx.commit()
    except (InsufficientFunds, StaleEpoch):
        return False
    return True


def close_meter(ports: MeterPorts, tx: Transaction, rental: Rental, proof_ms: int | None) -> None:
    """Add to ``tx``: billable time of the present stay ends where it was told to stop.

    ``proof_ms``: the host was there then; ``None``: nothing proves anything beyond what is stored.
    """
    meter = ports.store.get_meter(rental.rental_id, rental.segment)
    stop_ms = rental.stop_requested_at_ms or proof_ms
    assert stop_ms is not None, "a stay that is over was told to stop"
    if meter is None:
        # It never ran: a closed meter of no length lets billing release the hold the usual way.
        ports.store.open_meter(tx, close(build_meter(rental, stop_ms), stop_ms, rental.reason))
        return
    proven = meter if proof_ms is None else extend(meter, min(stop_ms, proof_ms))
    ports.store.replace_meter(tx, meter, close(proven, stop_ms, rental.reason))


def request_final_charge(ports: MeterPorts, rental: Rental) -> None:
    final = f"{rental.rental_id}:final:{rental.segment}"
    ports.charges.request_charges([ChargeRequest(rental.account_id, rental.rental_id, final)])


def build_meter(rental: Rental, started_at_ms: int) -> Meter:
    stay, price = rental.placement, rental.price_micros_per_gpu_hour
    assert stay is not None, "what is metered is on a host"
    assert price is not None, "what is metered has its price"
    return Meter(
        rental_id=rental.rental_id,
        segment=stay.segment,
        account_id=rental.account_id,
        host_id=stay.host_id,
        region=stay.region,
        leases=stay.leases,
        price_micros_per_gpu_hour=price,
        state="open",
        started_at_ms=started_at_ms,
        alive_through_ms=started_at_ms,
    )


def store_telemetry(ports: MeterPorts, record: TelemetryRecord, intervals: Sequence[Interval]) -> bool:
    """Store a record and add its energy; return False when all of it was there already.

    It is stored in parts (`metering.parts`), each with its energy or neither; the last is the record itself.
    Whoever dies between two comes again and stores what is left.

    An interval of a rental that this host never had, or under another epoch, is kept as evidence only. Whose
    GPUs warmed the site is noted by the hour: what is not a rental's is the platform's.
    """
    # First: a repeated record, which is all that a crash leaves, does it again.
    record_capabilities(ports.rentals.fleet, record.host_id, record.capabilities, record.sent_at_ms)
    named = {each.rental_id for each in intervals} - {UNRENTED}
    rentals = {rental_id: ports.rentals.store.get_rental(rental_id) for rental_id in sorted(named)}
    parts = cut_parts(intervals)
    stored, slowed = False, dict[str, Rental]()
    for number, pieces in enumerate(parts):
        tx = ports.rentals.transactions()
        if number + 1 < len(parts):
            ports.store.add_part(tx, record, number)
        else:
            ports.store.add_record(tx, record)
        # Each part tells another time: who looks at a stay between two of them does not forget the second.
        told_at_ms = record.sent_at_ms + number
        slowed |= _add_pieces(ports, tx, record.host_id, rentals, pieces, told_at_ms)
        try:
            tx.commit()
        except AlreadyStored:
            continue
        stored = True
    counted = [each for each in intervals if _is_entitled(rentals.get(each.rental_id), record.host_id, each)]
    if stored:
        known = {rental_id: rental for rental_id, rental in rentals.items() if rental is not None}
        observe_stays(ports, known, counted, record.utilization_percent)
    request_late_credits(ports, list(slowed.values()), record)
    if not stored:
        for rental_id in sorted({each.rental_id for each in counted}):
            ports.store.add_duplicate(rental_id)
    return stored


def _add_pieces(
    ports: MeterPorts,
    tx: Transaction,
    host_id: str,
    rentals: Mapping[str, Rental | None],
    pieces: Sequence[Piece],
    told_at_ms: int,
) -> dict[str, Rental]:
    """Add to ``tx``: energy of the rentals, and as much of the site; return whose GPUs were slowed."""
    counted = [
        each for each in pieces if _is_entitled(rentals.get(each.interval.rental_id), host_id, each.interval)
    ]
    shares = merge_shares([each.share for each in counted])
    for share in shares:
        ports.store.add_energy(tx, share)
    slowed = mark_slowed_stays(ports, tx, rentals, shares, host_id, told_at_ms)
    uses = list_site_uses(rentals, pieces, counted)
    for hour, of_hour in uses.items():
        ports.store.add_site_energy(tx, host_id, hour, of_hour)
    now_ms = ports.rentals.clock.now_ms()
    for day in sorted({hour[:10] for hour in uses}):
        if parse_instant(f"{day}T00:00:00Z") + 24 * HOUR_MS + DAY_MARGIN_MS <= now_ms:
            ports.store.mark_late(tx, LateSite(host_id, day, now_ms))
    return {rental.rental_id: rental for rental in slowed}


def keep_capture(ports: MeterPorts, record: TelemetryRecord) -> list[CaptureDatapoint]:
    """Keep what capture units showed, each once; return what contradicts something that was told before.

    The first stands: what is sold by these figures must not change after the fact.
    """
    return [
        each
        for each in record.capture
        if not ports.store.keep_datapoint(record.host_id, each, record.sent_at_ms)
    ]


def _is_entitled(rental: Rental | None, host_id: str, interval: Interval) -> bool:
    used = Lease(interval.gpu_uuid, interval.epoch)
    return rental is not None and any(
        stay.host_id == host_id and used in stay.leases for stay in rental.placements
    )


def _same(left: Sequence[Lease], right: Sequence[Lease]) -> bool:
    return sorted(left, key=_by_uuid) == sorted(right, key=_by_uuid)


def _by_uuid(lease: Lease) -> str:
    return lease.gpu_uuid

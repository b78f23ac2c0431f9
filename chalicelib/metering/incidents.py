"""Use cases of what goes wrong with a host or a GPU: rentals are told, ended, billed to the first evidence.

Every step may be taken again: a repeat, a crash between two, or a message that comes twice changes nothing.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from chalicelib.core.clock import format_instant
from chalicelib.core.errors import Unavailable
from chalicelib.fleet.detector import choose_watch, end_silence, watch_as
from chalicelib.fleet.health import (
    ERROR_RULES,
    ErrorClass,
    ErrorRule,
    GpuFault,
    HostNotice,
    choose_notice,
    correct_instant,
    ends_rental,
    find_fault,
)
from chalicelib.fleet.model import Host, HostGpu, Liveness, announce, clear_faults, set_fault
from chalicelib.fleet.service import list_moved, sort_out_unfit
from chalicelib.metering.model import shorten
from chalicelib.metering.ports import MeterPorts
from chalicelib.metering.service import (
    HOST_ACTOR_PREFIX,
    MAX_ATTEMPTS,
    Beat,
    apply_report,
    build_meter,
    keep_logs,
)
from chalicelib.rentals.life import add_end
from chalicelib.rentals.messages import GpuWarning, Interruption
from chalicelib.rentals.model import Rental, add_warning
from chalicelib.rentals.ports import add_audit, add_event
from chalicelib.rentals.rules import ACTIVE_STATES
from chalicelib.rentals.timing import is_imminent


@dataclass(frozen=True, slots=True)
class GpuError:
    """One Xid of one GPU, repeated ``count`` times (see `wire.v1.XidEvent`); times are the host's clock.

    Kernel boot and record numbers identify it: told twice, it has the same ones.
    """

    gpu_uuid: str
    code: int
    error_class: ErrorClass
    count: int
    first_at_ms: int
    last_at_ms: int
    kernel_boot_id: str
    first_sequence: int
    last_sequence: int

    @property
    def rule(self) -> ErrorRule:
        return ERROR_RULES[self.error_class]


def record_heartbeat(ports: MeterPorts, beat: Beat) -> None:
    """Apply one heartbeat. Late, repeated and reordered ones are harmless.

    Raises:
        Unavailable: what it touches changes all the time; it must come again.
    """
    fleet, liveness = ports.rentals.fleet, build_liveness(beat)
    withheld = fleet.extend_liveness(beat.host_id, liveness)
    if withheld is None:
        before = fleet.get_liveness(beat.host_id)
        if before is None or before.last_seen_at_ms < beat.sent_at_ms:
            # Before it counts as heard: after a crash the next heartbeat finds the same to do.
            host, read = _apply_announcements(ports, beat, before)
            withheld = fleet.record_liveness(beat.host_id, watch_as(liveness, host, read), read)
    for report in beat.reports:
        apply_report(ports, beat.host_id, report, beat.sent_at_ms)
    keep_logs(ports, beat.host_id, beat.logs)
    if withheld is not None:
        # After the reports: a GPU that they release may not be fit.
        sort_out_unfit(fleet, ports.rentals.transactions, beat.host_id, beat.unfit, withheld)


def build_liveness(beat: Beat) -> Liveness:
    notices = [[notice.kind, notice.action, notice.ends_at_ms] for notice in beat.notices]
    announced = json.dumps([beat.kernel_boot_id, sorted(beat.ok_gpu_uuids), notices, beat.draining])
    offset_ms = 0 if beat.observed_at_ms is None else beat.sent_at_ms - beat.observed_at_ms
    return Liveness(
        beat.sent_at_ms,
        beat.boot_id,
        beat.agent_version,
        beat.gpus_ok,
        beat.spool_records,
        beat.records_lost,
        beat.conditions,
        hashlib.sha256(announced.encode()).hexdigest()[:16],
        offset_ms,
    )


def _apply_announcements(
    ports: MeterPorts, beat: Beat, before: Liveness | None
) -> tuple[Host | None, Liveness | None]:
    """Return the host under what it announces, and its last heartbeat, as both are stored now."""
    fleet = ports.rentals.fleet
    host = fleet.get_host(beat.host_id)
    if host is None:
        return None, before
    gpus = fleet.list_gpus(beat.host_id)
    announced = [
        HostNotice(each.kind, each.action, beat.sent_at_ms, each.ends_at_ms) for each in beat.notices
    ]
    notice = choose_notice(announced, host.notice)
    said = announce(host, gpus, notice, draining=beat.draining, heard_at_ms=beat.sent_at_ms)
    heard = end_silence(said, before, beat.sent_at_ms)
    changed, changed_gpus = clear_faults(heard, gpus, beat.sent_at_ms, lambda gpu: _is_mended(gpu, beat))
    read = _store_health(ports, beat, before, (host, changed), list_moved(gpus, changed_gpus))
    planned = [] if changed.maintenance is None else [changed.maintenance.notice]
    told = choose_notice([*announced, *planned], host.notice)
    if (host.notice, told) == (None, None) and (before is None or before.announced):
        return changed, read
    # Read after the host was closed: what was placed until then is there.
    for rental_id in sorted({gpu.rental_id for gpu in fleet.list_gpus(beat.host_id) if gpu.rental_id}):
        _tell_interruption(ports, rental_id, told)
        _give_up_start(ports, rental_id, beat.sent_at_ms)
    return changed, read


def _store_health(
    ports: MeterPorts,
    beat: Beat,
    before: Liveness | None,
    change: tuple[Host, Host],
    moved: list[tuple[HostGpu, HostGpu]],
) -> Liveness | None:
    """Write what has changed of a host; return its last heartbeat as it is stored then."""
    fleet, (host, changed) = ports.rentals.fleet, change
    returned = host.state == "lost" != changed.state
    silent = before is not None and before.suspect_since_ms is not None
    if changed == host and not moved and not silent:
        return before
    tx = ports.rentals.transactions()
    fleet.replace_health(tx, host, changed, moved)
    if before is not None and (silent or returned):
        # Counted as heard at once: watched again, its old silence must not give it up again.
        watch_key = before.watch_key if changed.state == "lost" else choose_watch(host.region, host.host_id)
        fleet.end_silence(tx, beat.host_id, before, beat.sent_at_ms, watch_key)
    elif before is not None:
        # One that is being heard right now must look again, and a newer one must not be undone.
        fleet.unsettle_liveness(tx, beat.host_id, beat.sent_at_ms)
    tx.commit()
    return None if before is None else replace(before, announced="")


def _is_mended(gpu: HostGpu, beat: Beat) -> bool:
    """Say whether the machine has booted since the fault and the GPU is back."""
    fault = gpu.fault
    return (
        fault is not None
        and fault.rule.reboot_clears
        and beat.kernel_boot_id not in {"", fault.kernel_boot_id}
        and gpu.gpu.gpu_uuid in beat.ok_gpu_uuids
    )


def _tell_interruption(ports: MeterPorts, rental_id: str, notice: HostNotice | None) -> None:
    rental = ports.rentals.store.get_rental(rental_id)
    if rental is None or rental.state in {"terminated", "failed"}:
        return
    interruption = build_interruption(notice)
    if rental.interruption == interruption:
        return
    tx = ports.rentals.transactions()
    told = replace(rental, interruption=interruption)
    ports.rentals.store.replace_messages(tx, rental, told)
    action = "rental.interruption_withdrawn" if interruption is None else "rental.interruption_announced"
    details = {} if interruption is None else asdict(interruption)
    add_audit(ports.rentals, tx, rental, f"{HOST_ACTOR_PREFIX}{rental.host_id}", action, details)
    if interruption is not None:
        ends_at = None if interruption.ends_at_ms is None else format_instant(interruption.ends_at_ms)
        announced = {"cause": interruption.reason, "ends_at": ends_at}
        add_event(ports.rentals, tx, "rental.interruption_announced", told, announced)
    tx.commit()


def _give_up_start(ports: MeterPorts, rental_id: str, now_ms: int) -> None:
    """End a start whose host is about to go. Its meter of no length is what settles it."""
    rental = ports.rentals.store.get_rental(rental_id)
    if rental is None or rental.state != "provisioning" or rental.interruption is None:
        return
    if rental.interruption.reason != "spot_interruption" and not is_imminent(rental, now_ms):
        return
    tx = ports.rentals.transactions()
    add_end(ports.rentals, tx, rental, "host_interrupted", now_ms, f"{HOST_ACTOR_PREFIX}{rental.host_id}")
    ports.store.open_meter(tx, build_meter(rental, now_ms))
    tx.commit()


def build_interruption(notice: HostNotice | None) -> Interruption | None:
    """Return what a renter is told; a mere recommendation is the operator's affair."""
    if notice is None or notice.kind == "rebalance_recommendation":
        return None
    return Interruption(notice.kind, notice.noticed_at_ms, notice.ends_at_ms)


def apply_gpu_errors(ports: MeterPorts, host_id: str, errors: Sequence[GpuError], sent_at_ms: int) -> None:
    """Do what the class of each error asks; the graver first.

    Raises:
        Unavailable: what they touch changes all the time; they must come again.
    """
    for error in sorted(errors, key=lambda each: -each.rule.gravity):
        if error.rule.cordons_gpu or error.rule.rental != "keep":
            for gpu_uuid in _list_affected(ports.rentals.fleet.list_gpus(host_id), error):
                _retry(ports, host_id, replace(error, gpu_uuid=gpu_uuid), sent_at_ms)


def _list_affected(gpus: Sequence[HostGpu], error: GpuError) -> list[str]:
    """Return the rented GPU that an error speaks of, or all instances of the board that it names.

    Which instance's tenant caused an error the board does not tell: only one that is alone is warned.
    """
    affected = [each for each in gpus if error.gpu_uuid in {each.gpu.gpu_uuid, each.gpu.parent_uuid}]
    if error.rule.rental == "warn":
        affected = [each for each in affected if each.rental_id is not None]
        affected = affected if len(affected) == 1 else []
    return [each.gpu.gpu_uuid for each in affected]


def _retry(ports: MeterPorts, host_id: str, error: GpuError, sent_at_ms: int) -> None:
    for _ in range(MAX_ATTEMPTS):
        try:
            _apply_error(ports, host_id, error, sent_at_ms)
        except Unavailable:
            continue
        return
    raise Unavailable(f"The host {host_id} changes all the time.")


def _apply_error(ports: MeterPorts, host_id: str, error: GpuError, sent_at_ms: int) -> None:
    fleet = ports.rentals.fleet
    host, gpus = fleet.get_host(host_id), fleet.list_gpus(host_id)
    gpu = next((each for each in gpus if each.gpu.gpu_uuid == error.gpu_uuid), None)
    if host is None or gpu is None:
        return
    liveness = fleet.get_liveness(host_id)
    offset_ms = 0 if liveness is None else liveness.clock_offset_ms
    at_ms = correct_instant(error.first_at_ms, offset_ms, sent_at_ms)
    _record_fault(ports, host, gpus, gpu, error, at_ms)
    rental = _find_rental(ports, gpu, at_ms)
    if rental is None:
        return
    if error.rule.rental == "warn":
        last_at_ms = correct_instant(error.last_at_ms, offset_ms, sent_at_ms)
        _warn(ports, rental, error, last_at_ms)
    elif ends_rental(error.rule, rental.gpu_count):
        _end_at_evidence(ports, rental, error, at_ms)


def _record_fault(
    ports: MeterPorts, host: Host, gpus: list[HostGpu], gpu: HostGpu, error: GpuError, at_ms: int
) -> None:
    found = GpuFault(error.code, error.error_class, at_ms, error.kernel_boot_id, error.last_sequence)
    fault = find_fault(gpu.fault, found)
    if fault is None:
        return
    changed, changed_gpus = set_fault(host, gpus, error.gpu_uuid, fault)
    tx = ports.rentals.transactions()
    ports.rentals.fleet.replace_health(tx, host, changed, list_moved(gpus, changed_gpus))
    tx.commit()


def _find_rental(ports: MeterPorts, gpu: HostGpu, at_ms: int) -> Rental | None:
    """Return the rental that had the GPU at ``at_ms`` and still has: an older error is not its own."""
    if gpu.rental_id is None:
        return None
    rental = ports.rentals.store.get_rental(gpu.rental_id)
    if rental is None or rental.state not in ACTIVE_STATES or at_ms < rental.created_at_ms:
        return None
    return rental


def _warn(ports: MeterPorts, rental: Rental, error: GpuError, last_at_ms: int) -> None:
    warning = GpuWarning(
        gpu_uuid=error.gpu_uuid,
        code=error.code,
        error_class=error.error_class,
        count=error.count,
        last_at_ms=last_at_ms,
        kernel_boot_id=error.kernel_boot_id,
        last_sequence=error.last_sequence,
    )
    warned = add_warning(rental, warning, error.first_sequence)
    if warned == rental:
        return
    tx = ports.rentals.transactions()
    ports.rentals.store.replace_messages(tx, rental, warned)
    tx.commit()


def _end_at_evidence(ports: MeterPorts, rental: Rental, error: GpuError, at_ms: int) -> None:
    """End a rental as the platform's failure; the meter goes back to the evidence in the same transaction."""
    at_ms = max(at_ms, rental.running_at_ms or rental.created_at_ms)
    tx = ports.rentals.transactions()
    evidence = {**asdict(error), "evidence_at_ms": at_ms}
    actor = f"{HOST_ACTOR_PREFIX}{rental.host_id}"
    add_end(ports.rentals, tx, rental, "gpu_failed", at_ms, actor, evidence)
    meter = ports.store.get_meter(rental.rental_id, rental.segment)
    if meter is not None:
        ports.store.replace_meter(tx, meter, shorten(meter, at_ms))
    tx.commit()

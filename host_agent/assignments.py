"""What the host was told to do, durable before it is done: workloads and the newest epoch of each GPU.

Pure rules over a value, and one file. A command that comes twice, late, or before the one it follows is
decided here by its epochs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from chalicelib.wire.v1 import (
    Command,
    GpuMemoryWipe,
    Lease,
    PublishedPort,
    WorkloadReport,
    WorkloadSpec,
)
from host_agent.durable import read_if_there, write_atomic

Phase = Literal["starting", "live", "ended", "stopping", "terminated"]
#: In how many heartbeats that the queue took the end of a workload is told: some may be lost behind it.
TELLINGS = 30
FILE_NAME = "assignments.json"
#: Of a start that was refused by its epoch.
STALE = "stale_epoch"


class Workload(msgspec.Struct, frozen=True):
    """``leases`` are the start's, ``wipe_leases`` the stop's. ``detail`` never names what a tenant runs."""

    rental_id: str
    leases: list[Lease]
    instance_id: str
    phase: Phase
    spec: WorkloadSpec | None = None
    wipe_leases: list[Lease] = []
    exit_code: int | None = None
    ended_at_ms: int | None = None
    failed: bool = False
    detail: str = ""
    #: How many heartbeats that say how it ended the queue took.
    tellings: int = 0
    ports: list[PublishedPort] = []
    #: Set by a preemption: the workload is told, and ended by then.
    deadline_at_ms: int | None = None
    keep_volume: bool = False
    #: ``spec`` then still says which volume.
    volume_kept: bool = False
    #: Nothing is left but the volume, and it goes now.
    discarding: bool = False
    gpu_memory: GpuMemoryWipe | None = None


class Assignments(msgspec.Struct, frozen=True):
    epochs: dict[str, int] = {}
    workloads: dict[str, Workload] = {}


def apply_start(before: Assignments, command: Command, now_ms: int, *, draining: bool = False) -> Assignments:
    """Return the assignments after a start; the same when it is known or superseded.

    One that must not run, because its epoch is old or the host takes no new work, is reported as failed. A
    rental that was terminated starts again when its leases are newer than all that the host knows.
    """
    known = before.workloads.get(command.rental_id)
    stale = _is_stale(before.epochs, command.leases)
    if command.workload is None or (known is not None and (known.phase != "terminated" or stale)):
        return before
    refused = stale or draining
    reason = STALE if stale else "draining"
    workload = Workload(
        rental_id=command.rental_id,
        leases=command.leases,
        instance_id=command.command_id,
        phase="ended" if refused else "starting",
        spec=command.workload,
        failed=refused,
        ended_at_ms=now_ms if refused else None,
        detail=reason if refused else "",
    )
    return _put(before, workload, [] if stale else command.leases)


def apply_stop(before: Assignments, command: Command) -> Assignments:
    """Return the assignments after a stop; an unknown rental becomes one that is being stopped.

    So a start that comes after its stop finds it and does nothing. A stop of an earlier life is refused. One
    that does not keep the volume, after one that did, destroys it.
    """
    known = before.workloads.get(command.rental_id)
    if known is not None and known.phase == "terminated" and known.volume_kept and not command.keep_volume:
        discarding = msgspec.structs.replace(
            known,
            phase="stopping",
            tellings=0,
            wipe_leases=command.leases,
            keep_volume=False,
            volume_kept=False,
            discarding=True,
        )
        return _put(before, discarding, command.leases)
    if known is not None and _precedes(command, known):
        return before
    if known is not None and known.phase in {"stopping", "terminated"}:
        if not _is_newer(command, known):
            # Told to keep the volume and not to keep it, in any order: it goes.
            goes = known.phase == "stopping" and known.keep_volume and not command.keep_volume
            return change(before, known.rental_id, keep_volume=False) if goes else before
        # The start between the two was overtaken: nothing of it is here.
        known = msgspec.structs.replace(known, leases=[])
    if known is None:
        known = Workload(command.rental_id, [], command.command_id, "stopping")
    stopping = msgspec.structs.replace(
        known,
        phase="stopping",
        tellings=0,
        wipe_leases=command.leases,
        keep_volume=command.keep_volume,
    )
    return _put(before, stopping, command.leases)


def apply_preempt(before: Assignments, command: Command) -> Assignments:
    """Return the assignments after a preemption; the same unless the workload runs under these epochs."""
    if not holds(before, command) or command.deadline_at_ms is None:
        return before
    return set_deadline(before, command.rental_id, command.deadline_at_ms)


def holds(before: Assignments, command: Command) -> bool:
    """Say whether the rental is here under the epochs that a command names."""
    known = before.workloads.get(command.rental_id)
    return known is not None and known.leases == command.leases


def set_deadline(before: Assignments, rental_id: str, deadline_at_ms: int) -> Assignments:
    """Return the assignments with a workload that ends by then; a deadline only ever comes nearer."""
    known = before.workloads[rental_id]
    if known.phase not in {"starting", "live"}:
        return before
    if known.deadline_at_ms is not None and known.deadline_at_ms <= deadline_at_ms:
        return before
    return change(before, rental_id, deadline_at_ms=deadline_at_ms)


def change(before: Assignments, rental_id: str, **facts: object) -> Assignments:
    """Return the assignments with some facts of one workload replaced."""
    workload = msgspec.structs.replace(before.workloads[rental_id], **facts)
    return _put(before, workload, [])


def settle_volume(workload: Workload, *, volume_kept: bool) -> dict[str, object]:
    """Return the facts of a workload that is wiped: of its volume, if that is there, nothing else is known.

    One that a wipe kept, and that is not wanted any more since, is destroyed by another.
    """
    if not volume_kept:
        # A life that never started left the volume of the one before alone.
        volume_kept = workload.volume_kept and workload.keep_volume
    spec = None
    if workload.spec is not None and volume_kept:
        spec = WorkloadSpec([], volume=workload.spec.volume)
    if volume_kept and not workload.keep_volume:
        return {"spec": spec, "volume_kept": False, "discarding": True}
    return {"spec": spec, "volume_kept": volume_kept}


def note_told(before: Assignments, reports: Sequence[WorkloadReport]) -> Assignments:
    """Return the assignments after the queue took a heartbeat with these reports.

    A workload that is over, was told often enough and left nothing is dropped; its epochs stay for ever. A
    host that nobody hears keeps what it owes: the cloud holds the GPUs until it is told.
    """
    after = before
    for report in reports:
        known = after.workloads.get(report.rental_id)
        if known is None or not _is_over(known) or known.volume_kept or build_report(known) != report:
            continue
        if known.tellings + 1 < TELLINGS:
            after = change(after, known.rental_id, tellings=known.tellings + 1)
        else:
            kept = {key: each for key, each in after.workloads.items() if each is not known}
            after = Assignments(after.epochs, kept)
    return after


def build_report(workload: Workload) -> WorkloadReport | None:
    """Return what the cloud is told; nothing while a stop is under way."""
    if workload.phase == "stopping":
        return None
    states: Mapping[Phase, Literal["starting", "running", "terminated"]] = {
        "starting": "starting",
        "live": "running",
        "terminated": "terminated",
    }
    ended: Literal["failed", "exited"] = "failed" if workload.failed else "exited"
    terminated = workload.phase == "terminated"
    return WorkloadReport(
        rental_id=workload.rental_id,
        leases=workload.wipe_leases if terminated else workload.leases,
        state=states.get(workload.phase, ended),
        instance_id=workload.instance_id,
        exit_code=workload.exit_code,
        ended_at_ms=workload.ended_at_ms,
        wiped=terminated,
        detail=workload.detail,
        ports=workload.ports if workload.phase == "live" else [],
        gpu_memory=workload.gpu_memory,
        volume_kept=workload.volume_kept,
    )


def load(path: Path) -> Assignments:
    """Raises msgspec.DecodeError: the file is damaged, and guessing would risk a tenant's GPUs."""
    data = read_if_there(path)
    return Assignments() if data is None else msgspec.json.decode(data, type=Assignments)


def save(path: Path, assignments: Assignments) -> None:
    """Raises OSError: nothing has changed then."""
    write_atomic(path, msgspec.json.encode(assignments))


def _precedes(stop: Command, known: Workload) -> bool:
    """Say whether a stop belongs to an earlier life of the rental than the one that is here."""
    started = {lease.gpu_uuid: lease.epoch for lease in known.leases}
    return any(lease.epoch <= started.get(lease.gpu_uuid, -1) for lease in stop.leases)


def _is_newer(stop: Command, known: Workload) -> bool:
    """Say whether a stop is of a later life than the one that was stopped: its start was overtaken."""
    wiped = {lease.gpu_uuid: lease.epoch for lease in known.wipe_leases}
    return any(lease.epoch > wiped.get(lease.gpu_uuid, -1) for lease in stop.leases)


def _is_over(workload: Workload) -> bool:
    """Say whether nothing more is to come: it was wiped, or a newer command of its GPUs forestalled it."""
    return workload.phase == "terminated" or (workload.phase == "ended" and workload.detail == STALE)


def _is_stale(epochs: Mapping[str, int], leases: Sequence[Lease]) -> bool:
    return any(lease.epoch <= epochs.get(lease.gpu_uuid, 0) for lease in leases)


def _put(before: Assignments, workload: Workload, leases: Sequence[Lease]) -> Assignments:
    epochs = dict(before.epochs)
    for lease in leases:
        epochs[lease.gpu_uuid] = max(lease.epoch, epochs.get(lease.gpu_uuid, 0))
    return Assignments(epochs, {**before.workloads, workload.rental_id: workload})

"""A simulated host: the real agent's rules for commands, and workloads that start, run and end as told.

What it holds is the physical truth that bills and leases are checked against.
"""

import random
from dataclasses import dataclass, field

from chalicelib.core.leases import Lease
from chalicelib.core.workloads import Workload
from chalicelib.fleet.model import HostCommand
from chalicelib.metering.service import Beat, Report
from chalicelib.wire import v1
from host_agent import assignments
from host_agent.assignments import Assignments


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass
class SimHost:
    """``online``: it runs and is heard. A host that is ``dark`` runs on and is not heard."""

    host_id: str
    gpu_uuids: tuple[str, ...]
    known: Assignments = field(default_factory=Assignments)
    online: bool = True
    dark: bool = False
    boot: int = 0
    next_beat_ms: int = 0
    #: That a workload ends by itself, at each look.
    exit_chance: float = 0.002
    #: When each live workload began; by rental and instance.
    live_since_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Milliseconds that workloads of a rental have really run, without those that still do.
    lived_ms: dict[str, int] = field(default_factory=dict)

    @property
    def reachable(self) -> bool:
        return self.online and not self.dark

    def accept(self, command: HostCommand) -> None:
        wire = v1.Command(
            schema_version=v1.SCHEMA_VERSION,
            command_id=command.command_id,
            kind=command.kind,
            host_id=command.host_id,
            rental_id=command.rental_id,
            leases=[v1.Lease(lease.gpu_uuid, lease.epoch) for lease in command.leases],
            issued_at_ms=command.issued_at_ms,
            workload=None if command.workload is None else _spec(command.workload),
            keep_volume=command.keep_volume,
            deadline_at_ms=command.deadline_at_ms,
        )
        if command.kind == "start":
            self.known = assignments.apply_start(self.known, wire, command.issued_at_ms)
        elif command.kind == "stop":
            self.known = assignments.apply_stop(self.known, wire)
        elif command.kind == "preempt":
            self.known = assignments.apply_preempt(self.known, wire)

    def work(self, now_ms: int, rng: random.Random) -> bool:
        """Advance each workload by a step; return whether anything changed that the cloud should hear."""
        changed = False
        for rental_id, workload in list(self.known.workloads.items()):
            if workload.phase == "starting" and rng.random() < 0.8:
                self._begin(workload, now_ms)
                self.known = assignments.change(self.known, rental_id, phase="live")
                changed = True
            elif workload.phase == "live":
                due = workload.deadline_at_ms is not None and now_ms >= workload.deadline_at_ms - 30_000
                exits = rng.random() < self.exit_chance
                if due or exits:
                    self._finish(workload, now_ms)
                    facts = {"phase": "ended", "ended_at_ms": now_ms, "exit_code": 0}
                    detail = "preempted" if due else ""
                    self.known = assignments.change(self.known, rental_id, detail=detail, **facts)
                    changed = True
            elif workload.phase == "stopping" and rng.random() < 0.8:
                self._finish(workload, now_ms)
                self.known = assignments.change(
                    self.known,
                    rental_id,
                    phase="terminated",
                    **assignments.settle_volume(workload, volume_kept=workload.keep_volume),
                )
                changed = True
        return changed

    def _begin(self, workload: assignments.Workload, now_ms: int) -> None:
        wanted = {lease.gpu_uuid for lease in workload.leases}
        for other in self.known.workloads.values():
            # One whose volume alone is being destroyed holds no GPU any more, one that was refused never did.
            busy = other.phase in {"live", "stopping", "ended"} and not other.discarding
            busy = busy and other.detail != assignments.STALE
            if (
                busy
                and other.rental_id != workload.rental_id
                and wanted & {lease.gpu_uuid for lease in other.leases}
            ):
                raise Violation(f"I4: {workload.rental_id} starts on a GPU of {other.rental_id}")
        self.live_since_ms[workload.rental_id, workload.instance_id] = now_ms

    def _finish(self, workload: assignments.Workload, now_ms: int) -> None:
        since = self.live_since_ms.pop((workload.rental_id, workload.instance_id), None)
        if since is not None:
            self.lived_ms[workload.rental_id] = self.lived_ms.get(workload.rental_id, 0) + now_ms - since

    def measure_life_ms(self, rental_id: str, now_ms: int) -> int:
        running = sum(
            now_ms - since for (known, _), since in self.live_since_ms.items() if known == rental_id
        )
        return self.lived_ms.get(rental_id, 0) + running

    def crash(self, now_ms: int) -> None:
        """The machine dies: its workloads end, its disk stays."""
        self.online = False
        for workload in list(self.known.workloads.values()):
            if workload.phase in {"live", "starting"}:
                self._finish(workload, now_ms)
                facts = {"phase": "ended", "ended_at_ms": now_ms, "exit_code": 137, "failed": True}
                self.known = assignments.change(self.known, workload.rental_id, **facts)

    def boot_again(self) -> None:
        self.online, self.dark = True, False
        self.boot += 1

    def beat(self, sent_at_ms: int) -> Beat:
        """The queue takes it; what becomes of it then is another matter."""
        told = [assignments.build_report(each) for each in self.known.workloads.values()]
        reports = [report for report in told if report is not None]
        self.known = assignments.note_told(self.known, reports)
        return Beat(
            host_id=self.host_id,
            boot_id=f"boot-{self.boot}",
            agent_version="0.1.0",
            gpus_ok=len(self.gpu_uuids),
            spool_records=0,
            records_lost=0,
            sent_at_ms=sent_at_ms,
            reports=tuple(_read(report) for report in reports),
            observed_at_ms=sent_at_ms,
            kernel_boot_id=f"kernel-{self.boot}",
            ok_gpu_uuids=frozenset(self.gpu_uuids),
        )


def _spec(workload: Workload) -> v1.WorkloadSpec:
    volume = workload.volume
    kept = None if volume is None else v1.VolumeSpec("vol", volume.size_mib, volume.mount_path)
    return v1.WorkloadSpec(list(workload.command), volume=kept)


def _read(report: v1.WorkloadReport) -> Report:
    return Report(
        rental_id=report.rental_id,
        leases=tuple(Lease(lease.gpu_uuid, lease.epoch) for lease in report.leases),
        state=report.state,
        exit_code=report.exit_code,
        ended_at_ms=report.ended_at_ms,
        wiped=report.wiped,
        preempted=report.detail == "preempted",
    )

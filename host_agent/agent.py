"""The agent's state machine: commands in, workloads and meters on the host, records out.

Invariants: what is to be done is durable before it is done, so every step may be done again after a crash;
the meter moves only when the record that says so is on the disk; no network call happens here.
"""

import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from chalicelib.wire.v1 import (
    MAX_XIDS_PER_RECORD,
    CaptureDatapoint,
    Command,
    GpuStatus,
    Heartbeat,
    HostNotice,
    Telemetry,
)
from host_agent import assignments, logs
from host_agent.assignments import Assignments, Workload
from host_agent.cgroups import find_foreign
from host_agent.clock import Clock
from host_agent.draining import is_draining
from host_agent.gpu import GpuInfo, GpuLost, GpuState, Reading, RoundReader
from host_agent.identity import AGENT_VERSION
from host_agent.log_requests import LogRequests
from host_agent.metering import EnergyMeter, MeterState, Owner
from host_agent.notices import Machine
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.preflight import Fitness, Preflight, judge_statuses, list_capabilities
from host_agent.samples import build_samples, note_peaks
from host_agent.spool import SpoolBroken
from host_agent.workloads.notice import Notice
from host_agent.workloads.runtime import WorkloadOrder, WorkloadRuntime
from host_agent.xid import XidSource

#: Between the polite signal and the other one when a rental ends.
STOP_GRACE_SECONDS = 10.0
#: Between the polite signal and the deadline of a preemption: time to save.
PREEMPT_GRACE_SECONDS = 30.0


class Agent:
    """One host. Methods may be called from several threads; one lock guards state and meter."""

    def __init__(  # noqa: PLR0913 - the ports of a host, by name
        self,
        *,
        state_dir: Path,
        gpus: list[GpuInfo],
        reader: RoundReader,
        runtime: WorkloadRuntime,
        outbox: TelemetryOutbox,
        heartbeats: HeartbeatSlot,
        meter_state: bytes | None,
        xids: XidSource,
        clock: Clock,
        preflight: Preflight | None = None,
    ) -> None:
        """Raises msgspec.DecodeError: the state on disk is damaged."""
        self._state_dir = state_dir
        self._file = state_dir / assignments.FILE_NAME
        self._gpus = [gpu.gpu_uuid for gpu in gpus]
        self._reader = reader
        self._runtime = runtime
        self._outbox = outbox
        self._heartbeats = heartbeats
        self._clock = clock
        self._xids = xids
        self._preflight = Preflight(gpus) if preflight is None else preflight
        self._untold = list_capabilities(gpus)
        #: Filled by whoever asks the machine and its provider.
        self.machine = Machine()
        self._told_notices: tuple[HostNotice, ...] = ()
        self._lock = threading.RLock()
        self._assignments = assignments.load(self._file)
        state = MeterState() if meter_state is None else msgspec.msgpack.decode(meter_state, type=MeterState)
        self._meter = EnergyMeter(state, gpus)
        self._statuses: dict[str, GpuStatus] = {}
        self._readings: dict[str, Reading] = {}
        #: Of each GPU since its last sample.
        self._peaks: dict[str, int] = {}
        self._logs = LogRequests(runtime, clock)
        #: What each workload was told last of its end.
        self._announced: dict[str, int | None] = {}
        #: As the cloud was told last.
        self.draining = is_draining(state_dir)

    @property
    def notices(self) -> tuple[HostNotice, ...]:
        """What the machine's provider announces now, what ends first at the front."""
        return self.machine.notices

    @property
    def interruption_at_ms(self) -> int | None:
        """When work on this machine ends, by the provider's clock; ``None``: nothing says that it does."""
        return self.machine.interruption_at_ms

    def accept(self, command: Command) -> bool:
        """Make a command durable. Returns whether it changed anything; `work` does what it asks.

        Raises:
            OSError: it is not durable; the queue must keep it.
        """
        with self._lock:
            before = self._assignments
            if command.kind == "start":
                draining = is_draining(self._state_dir)
                after = assignments.apply_start(before, command, self._clock.now_ms(), draining=draining)
            elif command.kind == "stop":
                after = assignments.apply_stop(before, command)
            elif command.kind == "log":
                return assignments.holds(before, command) and self._logs.ask(
                    command.rental_id, command.command_id
                )
            else:
                after = assignments.apply_preempt(before, command)
            self._save(after)
            return after is not before

    def work(self) -> bool:
        """Do what is outstanding; return whether anything changed that the cloud should hear of now."""
        changed = is_draining(self._state_dir) != self.draining or self.notices != self._told_notices
        for workload in list(self._assignments.workloads.values()):
            try:
                changed |= self._advance(workload)
            except (OSError, SpoolBroken) as error:
                logs.warn("workload_step_failed", rental_id=workload.rental_id, reason=str(error))
        with self._lock:
            changed |= self._fetch_logs()
        return changed

    def _fetch_logs(self) -> bool:
        try:
            return self._logs.advance()
        except OSError as error:
            logs.warn("log_not_read", reason=str(error))
            return False

    def look(self) -> None:
        """Read every GPU for the integral of its power, between two samples."""
        readings = self.read_gpus()
        with self._lock:
            self._meter.observe(readings)

    def beat(self) -> None:
        """Look at the GPUs and put a heartbeat up for sending."""
        readings = self.read_gpus(deep=True)
        with self._lock:
            self._meter.observe(readings)
            fitness = self._preflight.judge(readings, self._meter.list_leased())
            reports = [assignments.build_report(each) for each in self._assignments.workloads.values()]
        self.draining = is_draining(self._state_dir)
        foreign = find_foreign(self._list_cgroups(), readings)
        notices = self.notices
        heartbeat = Heartbeat(
            observed_at_ms=self._clock.now_ms(),
            agent_version=AGENT_VERSION,
            gpus=judge_statuses(self._gpus, self._statuses, fitness, foreign),
            workloads=[report for report in reports if report is not None],
            spool=self._outbox.describe(),
            draining=self.draining,
            notices=list(notices),
            kernel_boot_id=self.machine.kernel_boot_id,
            logs=self._logs.take(),
        )
        self._heartbeats.put(heartbeat)
        self._told_notices = notices

    def confirm(self, heartbeat: Heartbeat) -> None:
        """The queue has this heartbeat. Raises OSError: it is told again."""
        with self._lock:
            self._save(assignments.note_told(self._assignments, heartbeat.workloads))

    def sample(self) -> None:
        """Cut every running interval and spool it with the samples."""
        readings = self.read_gpus(deep=True)
        with self._lock:
            cut = self._meter.cut(readings)
            samples = build_samples(readings, self._peaks)
            record = Telemetry(samples, cut.intervals, capabilities=self._untold)
            if self._outbox.put(record, msgspec.msgpack.encode(cut.state)):
                self._meter.state, self._untold, self._peaks = cut.state, [], {}

    def tell_xids(self) -> None:
        """Spool what the kernel log has said of the GPUs; it is never given up, only told later."""
        events = self._xids.poll()[:MAX_XIDS_PER_RECORD]
        if not events:
            return
        with self._lock:
            state = msgspec.msgpack.encode(self._meter.state)
            try:
                self._outbox.put(Telemetry([], [], events), state, required=True)
                self._xids.confirm(events)
            except (SpoolBroken, OSError) as error:
                logs.warn("xids_not_spooled", reason=str(error))

    def record_capture(self, datapoints: list[CaptureDatapoint]) -> bool:
        """Spool what a capture unit showed; return whether it is durable."""
        with self._lock:
            state = msgspec.msgpack.encode(self._meter.state)
            return self._outbox.put(Telemetry([], [], capture=datapoints), state)

    def read_gpus(self, *, deep: bool = False) -> dict[str, Reading]:
        """Read every GPU and the boards of instances; one that cannot be read is left out, never zero."""
        readings: dict[str, Reading] = {}
        statuses: dict[str, GpuStatus] = {}
        for gpu_uuid, found in self._reader.read_round(self._gpus, deep=deep).items():
            if isinstance(found, Reading):
                readings[gpu_uuid] = found
                statuses[gpu_uuid] = GpuStatus(gpu_uuid, "ok")
            else:
                lost = isinstance(found, GpuLost)
                statuses[gpu_uuid] = GpuStatus(gpu_uuid, "lost" if lost else "unknown")
                logs.warn("gpu_not_read", gpu_uuid=gpu_uuid, reason=str(found))
        self._statuses = statuses
        self._readings = {**self._readings, **readings}
        note_peaks(self._peaks, readings)
        return readings

    def list_looks(self) -> Mapping[str, tuple[GpuState, Reading | None]]:
        """Return each GPU's and board's state at the last look, and its last reading, which may be older."""
        unknown: GpuState = "unknown"
        return {
            uuid: (
                self._statuses[uuid].state if uuid in self._statuses else unknown,
                self._readings.get(uuid),
            )
            for uuid in dict.fromkeys([*self._gpus, *self._statuses])
        }

    def list_fitness(self) -> Mapping[str, Fitness]:
        """Return what the last heartbeat said of each GPU's health, for the status file."""
        return self._preflight.list_told()

    def _list_cgroups(self) -> Mapping[str, str]:
        """Return, of each GPU whose workload has one, the control group to which its processes belong."""
        cgroups: dict[str, str] = {}
        for workload in self._assignments.workloads.values():
            cgroup = self._runtime.find_cgroup(workload.rental_id) if workload.phase == "live" else None
            if cgroup is not None:
                cgroups |= dict.fromkeys((lease.gpu_uuid for lease in workload.leases), cgroup)
        return cgroups

    def count_workloads(self) -> Mapping[str, int]:
        """Workloads by phase, for the status file."""
        counts: dict[str, int] = {}
        for workload in self._assignments.workloads.values():
            counts[workload.phase] = counts.get(workload.phase, 0) + 1
        return counts

    def _advance(self, workload: Workload) -> bool:
        if workload.phase == "starting":
            return self._start(workload)
        if workload.phase == "live":
            return self._watch(workload)
        if workload.phase == "stopping":
            return self._stop(workload)
        return False

    def _start(self, workload: Workload) -> bool:
        assert workload.spec is not None
        gpu_uuids = [lease.gpu_uuid for lease in workload.leases]
        unknown = [gpu_uuid for gpu_uuid in gpu_uuids if gpu_uuid not in self._gpus]
        if unknown:
            return self._end(workload, failed=True, detail="unknown_gpu")
        status = self._runtime.inspect(workload.rental_id)
        if status.state == "absent":
            owners = {lease.gpu_uuid: Owner(workload.rental_id, lease.epoch) for lease in workload.leases}
            self._hand_over(owners)
            order = WorkloadOrder(workload.rental_id, workload.instance_id, workload.spec, gpu_uuids)
            self._runtime.start(order)
            return False
        if status.state == "running":
            self._change(workload.rental_id, phase="live", ports=status.ports)
            logs.info("workload_running", rental_id=workload.rental_id)
            return True
        return self._watch(workload)

    def _watch(self, workload: Workload) -> bool:
        preempted = self._preempt(workload)
        status = self._runtime.inspect(workload.rental_id)
        if status.state in {"running", "starting"}:
            return False
        failed = status.state != "exited" and not preempted
        # What cannot be started is told by its kind alone: the text could name the tenant's program.
        detail = "preempted" if preempted else status.detail.partition(":")[0] if failed else ""
        return self._end(
            workload, failed=failed, detail=detail, exit_code=status.exit_code, ended_at_ms=status.ended_at_ms
        )

    def _preempt(self, workload: Workload) -> bool:
        """Announce the end, if there is one, and bring it about in time; return whether that has begun.

        The earlier of what the cloud ordered and what the provider says now, which it can take back.
        """
        ends = [at for at in (workload.deadline_at_ms, self.interruption_at_ms) if at is not None]
        deadline_at_ms = min(ends, default=None)
        if self._announced.get(workload.rental_id, -1) != deadline_at_ms:
            notice = None if deadline_at_ms is None else Notice("preempted", deadline_at_ms)
            self._runtime.announce(workload.rental_id, notice)
            self._announced[workload.rental_id] = deadline_at_ms
        if deadline_at_ms is None:
            return False
        left_seconds = (deadline_at_ms - self._clock.now_ms()) / 1000
        if left_seconds > PREEMPT_GRACE_SECONDS:
            return False
        self._runtime.stop(workload.rental_id, max(0.0, left_seconds))
        return True

    def _end(
        self,
        workload: Workload,
        *,
        failed: bool,
        detail: str,
        exit_code: int | None = None,
        ended_at_ms: int | None = None,
    ) -> bool:
        self._change(
            workload.rental_id,
            phase="ended",
            failed=failed,
            detail=detail,
            exit_code=exit_code,
            ended_at_ms=self._clock.now_ms() if ended_at_ms is None else ended_at_ms,
        )
        logs.info("workload_ended", rental_id=workload.rental_id, failed=failed, exit_code=exit_code)
        return True

    def _stop(self, workload: Workload) -> bool:
        """Kill, close the energy, wipe, and only then say so. Every step stands repetition."""
        if workload.discarding and workload.spec is not None:
            order = WorkloadOrder(workload.rental_id, workload.instance_id, workload.spec, [])
            self._runtime.prepare_discard(order)
        if not self._runtime.stop(workload.rental_id, STOP_GRACE_SECONDS):
            return False
        owned = [
            gpu_uuid
            for gpu_uuid, meter in self._meter.state.gpus.items()
            if meter.owner is not None and meter.owner.rental_id == workload.rental_id
        ]
        self._hand_over(dict.fromkeys(owned))
        # A GPU that fell off the bus can never be overwritten; the cloud knows it as lost, or as faulty.
        lost = {uuid for uuid, status in self._statuses.items() if status.state == "lost"}
        unreachable = not workload.discarding and any(each.gpu_uuid in lost for each in workload.leases)
        wiped = self._runtime.wipe(
            workload.rental_id, keep_volume=workload.keep_volume, unreachable=unreachable
        )
        if wiped is None:
            return False
        self._announced.pop(workload.rental_id, None)
        if not workload.discarding:
            self._preflight.repeat([lease.gpu_uuid for lease in workload.leases])
        facts = assignments.settle_volume(
            self._assignments.workloads[workload.rental_id], volume_kept=wiped.volume_kept
        )
        if "discarding" in facts:
            self._change(workload.rental_id, **facts)
            return False
        self._change(
            workload.rental_id,
            phase="terminated",
            gpu_memory=wiped.gpu_memory,
            **facts,
        )
        logs.info("workload_terminated", rental_id=workload.rental_id)
        return True

    def _hand_over(self, owners: Mapping[str, Owner | None]) -> None:
        """Cut at a lease boundary. Raises SpoolBroken: nothing has changed hands then."""
        if not owners:
            return
        readings = self.read_gpus(deep=True)
        with self._lock:
            cut = self._meter.change_owner(owners, readings, self._clock.now_ms())
            if cut.state == self._meter.state:
                return
            samples = build_samples(readings, self._peaks)
            record = Telemetry([each for each in samples if each.gpu_uuid in owners], cut.intervals)
            if self._outbox.put(record, msgspec.msgpack.encode(cut.state), required=True):
                self._meter.state = cut.state

    def _change(self, rental_id: str, **facts: object) -> None:
        with self._lock:
            self._save(assignments.change(self._assignments, rental_id, **facts))

    def _save(self, after: Assignments) -> None:
        if after is not self._assignments:
            assignments.save(self._file, after)
            self._assignments = after

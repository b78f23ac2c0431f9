"""What an agent says of itself: written while it runs, read by ``provocative-agent status`` and /metrics."""

import fcntl
import os
from pathlib import Path

import msgspec

from chalicelib.wire.v1 import HostNotice, SpoolStatus
from host_agent.durable import read_if_there
from host_agent.gpu import Capabilities, GpuState, Reading
from host_agent.instance import Instance
from host_agent.preflight import Fitness

#: Three heartbeats of ten seconds: an agent that runs has written since.
STALE_MS = 30_000


class Sent(msgspec.Struct):
    """Messages that SQS confirmed since the agent started, and when it last did."""

    heartbeats: int = 0
    telemetry: int = 0
    commands: int = 0
    last_ack_at_ms: int | None = None

    def count_heartbeats(self, number: int, now_ms: int) -> None:
        self.heartbeats += number
        self.last_ack_at_ms = now_ms

    def count_telemetry(self, number: int, now_ms: int) -> None:
        self.telemetry += number
        self.last_ack_at_ms = now_ms


class GpuReport(msgspec.Struct, frozen=True):
    """``state`` is what the last heartbeat said; ``reading`` is the last one that there was."""

    gpu_uuid: str
    pci_bus_id: str
    model: str
    state: GpuState
    reading: Reading | None
    capabilities: Capabilities
    #: What was last judged of a GPU that can be rented; ``None``: nothing yet, or a board of instances.
    fitness: Fitness | None = None


class CaptureReport(msgspec.Struct, frozen=True):
    """What was read of one capture unit since the agent started."""

    unit_id: str
    last_reading_at_ms: int | None
    datapoints: int
    refused: int
    #: Why the last reading failed.
    error: str = ""


class Status(msgspec.Struct, frozen=True):
    written_at_ms: int
    pid: int
    agent_version: str
    host_id: str
    boot_id: str
    spool: SpoolStatus
    sent: Sent
    #: Number of workloads by phase.
    workloads: dict[str, int]
    gpus: list[GpuReport]
    draining: bool = False
    capture: list[CaptureReport] = []
    #: ``None`` when the machine is not known to be an EC2 instance.
    instance: Instance | None = None
    notices: list[HostNotice] = []


def write_status(state_dir: Path, status: Status) -> None:
    """Replace the last one; not synced, for it says nothing that must survive a crash."""
    aside = state_dir / "status.new"
    aside.write_bytes(msgspec.json.encode(status))
    aside.replace(state_dir / "status.json")


def read_status(state_dir: Path) -> Status | None:
    """Return what was written last, or ``None`` when no agent ever ran here or wrote another form."""
    data = read_if_there(state_dir / "status.json")
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Status)
    except msgspec.DecodeError:
        return None


def lock_state(state_dir: Path) -> int | None:
    """Take the lock of a state directory; return its descriptor, or ``None`` while an agent holds it.

    Raises:
        OSError: the directory cannot be used.
    """
    lock = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def is_running(state_dir: Path) -> bool:
    if not (state_dir / "lock").exists():
        return False
    lock = lock_state(state_dir)
    if lock is None:
        return True
    os.close(lock)
    return False


def render_status(status: Status, now_ms: int, *, running: bool) -> str:
    """Return the status for people."""
    spool, sent = status.spool, status.sent
    acked = "never" if sent.last_ack_at_ms is None else _say_ago(now_ms - sent.last_ack_at_ms)
    waiting = f"{spool.depth_records} records, {spool.depth_bytes} bytes on {spool.medium}"
    workloads = ", ".join(f"{count} {phase}" for phase, count in sorted(status.workloads.items()))
    state = f"running (pid {status.pid})" if running else "NOT RUNNING"
    lines = [
        f"agent      {state}, version {status.agent_version}, seen {_say_ago(now_ms - status.written_at_ms)}",
        f"host       {status.host_id}",
        f"spool      {waiting}, {spool.records_lost} lost, {spool.samples_thinned} samples thinned",
        f"sent       {sent.heartbeats} heartbeats, {sent.telemetry} records, last confirmed {acked}",
        f"workloads  {workloads or 'none'}{', DRAINING: no new one is started' if status.draining else ''}",
    ]
    if status.instance is not None:
        instance = status.instance
        lines.append(f"instance   {instance.instance_id}, {instance.instance_type}, {instance.zone}")
    lines += [_render_notice(notice, now_ms) for notice in status.notices]
    units = [_render_capture(unit, now_ms) for unit in status.capture]
    return "\n".join([*lines, *map(_render_gpu, status.gpus), *units])


def _render_capture(unit: CaptureReport, now_ms: int) -> str:
    at_ms = unit.last_reading_at_ms
    last = "never read" if at_ms is None else f"read {_say_ago(now_ms - at_ms)}"
    shown = f"capture    {unit.unit_id}  {last}, {unit.datapoints} datapoints, {unit.refused} refused"
    return f"{shown}\n           {unit.error}" if unit.error else shown


def _render_notice(notice: HostNotice, now_ms: int) -> str:
    if notice.ends_at_ms is None:
        return f"NOTICE     {notice.kind}: {notice.action}"
    return f"NOTICE     {notice.kind}: {notice.action} in {max(0, notice.ends_at_ms - now_ms) // 1000} s"


def _render_gpu(gpu: GpuReport) -> str:
    reading = gpu.reading
    if reading is None:
        return f"gpu        {gpu.gpu_uuid}  {gpu.state}, never read"
    power = "-" if reading.power_milliwatts is None else f"{reading.power_milliwatts / 1000:.0f} W"
    busy = "-" if reading.utilization_percent is None else f"{reading.utilization_percent} %"
    heat = "-" if reading.temperature_celsius is None else f"{reading.temperature_celsius} °C"
    meter = "counter" if reading.energy_counter_millijoules is not None else "no counter"
    source = gpu.capabilities.power_source or "no power figure"
    if gpu.gpu_uuid.startswith("MIG-"):
        # Its board stands in a line of its own.
        return f"gpu        {gpu.gpu_uuid}  {gpu.state}, {busy} (metered with its board){_render_offer(gpu)}"
    shown = f"gpu        {gpu.gpu_uuid}  {gpu.state}, {power}, {busy}, {heat} ({meter}, {source})"
    return shown + _render_offer(gpu)


def _render_offer(gpu: GpuReport) -> str:
    """Return a line that says what is wrong, or nothing."""
    if gpu.fitness is None or not (gpu.fitness.conditions or not gpu.fitness.rentable):
        return ""
    offer = "offered" if gpu.fitness.rentable else "NOT OFFERED"
    return f"\n           {offer}: {', '.join(gpu.fitness.conditions)}"


def _say_ago(elapsed_ms: int) -> str:
    seconds = max(0, elapsed_ms) // 1000
    if seconds < 120:  # noqa: PLR2004 - two minutes, in seconds
        return f"{seconds} s ago"
    minutes = seconds // 60
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"  # noqa: PLR2004

"""Builds one agent from its configuration and runs it until it is told to stop."""

import os
import secrets
import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from host_agent import logs
from host_agent.agent import Agent
from host_agent.backoff import Backoff
from host_agent.boards import BoardReader, list_boards
from host_agent.clock import Clock
from host_agent.config import Config, ConfigError
from host_agent.gpu import GpuError, GpuInfo, GpuReader, GpuUnavailable
from host_agent.identity import (
    AGENT_VERSION,
    ApiUnavailable,
    HostApi,
    Identity,
    enrol,
    load_identity,
)
from host_agent.instance import InstanceMetadata, open_credentials
from host_agent.notices import Machine, NoticeWatch
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.preflight import CommandProbe, Floors, Preflight, read_toolkit_version
from host_agent.sender import (
    CommandReceiver,
    Downlink,
    HeartbeatSender,
    Outbox,
    Pace,
    TelemetrySender,
    Uplink,
    keep_trying,
)
from host_agent.spool import Spool
from host_agent.status import CaptureReport, GpuReport, Sent, Status, write_status
from host_agent.transport import ClockSkew, SqsQueue
from host_agent.watchdog import WatchedReader
from host_agent.workloads.selection import open_runtime
from host_agent.xid import XidLog, XidSource, read_boot_id

#: How often workloads are looked at; a change is reported at once.
WORK_SECONDS = 0.2
#: How old what `status` shows may be.
STATUS_SECONDS = 5.0
#: SQS holds a poll open; the connection must wait longer than that.
_POLL_SLACK_SECONDS = 10.0
_SEND_TIMEOUT_SECONDS = 10.0
_STOP_SECONDS = 5.0
_BEAT_RETRY_SECONDS = 10.0


def open_reader(config: Config, clock: Clock) -> GpuReader:
    """Raises GpuUnavailable: the driver or the simulator is not there."""
    if config.gpu_reader == "simulator":
        from host_agent.simulator.reader import SimulatorReader

        return SimulatorReader(Path(config.simulator_socket))
    from host_agent.nvml import NvmlReader

    return NvmlReader(clock)


def become_host(config: Config, reader: GpuReader, clock: Clock, stopped: threading.Event) -> Identity | None:
    """Return the identity, enrolling if this machine has none; ``None`` when stopped meanwhile.

    Raises:
        ConfigError: there is no identity and no token.
        ApiRefused: the API will not have this machine.
    """
    identity = load_identity(config.state_path)
    if identity is not None:
        return identity
    if not config.enrolment_token:
        raise ConfigError("this machine is not enrolled; set enrolment_token")
    api = HostApi(config.api_url, clock)
    backoff = Backoff(draw)
    while not stopped.is_set():
        try:
            gpus = reader.list_gpus()
            return enrol(
                config.state_path,
                api,
                config.enrolment_token,
                gpus,
                lambda: secrets.token_hex(16),
                config.fabric_id or None,
            )
        except (ApiUnavailable, GpuUnavailable) as error:
            delay = backoff.next_delay()
            logs.warn("not_enrolled_yet", reason=str(error), retry_seconds=round(delay, 1))
            stopped.wait(delay)
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """A running host: the agent, the threads that speak to the cloud, to EC2 and to capture units."""

    agent: Agent
    gpus: list[GpuInfo]
    sent: Sent
    sampling_seconds: float
    heartbeat_seconds: float
    telemetry_seconds: float
    state_dir: Path
    boot_id: str
    host_id: str
    outbox: TelemetryOutbox
    #: Each wakes one of the uplinks.
    waiting: tuple[threading.Event, ...]
    uplinks: tuple[threading.Thread, ...]
    downlink: threading.Thread
    capture: "Capture"
    #: ``None`` where no metadata service is to be asked.
    watch: threading.Thread | None


def build_service(
    config: Config, identity: Identity, reader: GpuReader, clock: Clock, stopped: threading.Event
) -> Service:
    """Raises OSError or msgspec.DecodeError: the state directory cannot be used."""
    boot_id, sent = secrets.token_hex(16), Sent()
    beats, records = threading.Event(), threading.Event()
    spool = Spool(config.state_path / "spool")
    outbox, slot = TelemetryOutbox(spool, boot_id, records), HeartbeatSlot(beats)
    gpus = look_again(reader, identity.gpus)
    runtime = open_runtime(config, len(gpus), _name_simulator(config), clock, draw)
    agent = Agent(
        state_dir=config.state_path,
        gpus=gpus,
        reader=BoardReader(WatchedReader(reader), gpus),
        runtime=runtime,
        outbox=outbox,
        heartbeats=slot,
        meter_state=spool.latest_state,
        xids=choose_xids(XidLog(config.state_path, gpus, clock), reader, boot_id, clock),
        clock=clock,
        preflight=build_preflight(config, gpus, identity.gpus, clock),
    )
    agent.machine.kernel_boot_id = read_boot_id()
    line = Line(config, identity, clock, boot_id)
    beat_line = Uplink(
        line.open_heartbeats(agent, slot), lambda number: sent.count_heartbeats(number, clock.now_ms()), beats
    )
    record_line = Uplink(
        line.open_telemetry(outbox),
        lambda number: sent.count_telemetry(number, clock.now_ms()),
        records,
        Pace(draw),
    )
    downlink = Downlink(line.open_commands(agent), sent)
    return Service(
        agent=agent,
        gpus=gpus,
        sent=sent,
        sampling_seconds=config.sampling_seconds,
        heartbeat_seconds=config.heartbeat_interval_seconds or identity.heartbeat_interval_seconds,
        telemetry_seconds=config.telemetry_interval_seconds or identity.telemetry_interval_seconds,
        state_dir=config.state_path,
        boot_id=boot_id,
        host_id=identity.host_id,
        outbox=outbox,
        waiting=(beats, records),
        uplinks=(
            # A host that is back must be heard before it counts as silent.
            _build_thread("send-beats", beat_line.step, stopped, _BEAT_RETRY_SECONDS),
            _build_thread("send-records", record_line.step, stopped),
        ),
        downlink=_build_thread("receive", downlink.step, stopped),
        capture=build_capture(config, agent, clock, stopped),
        watch=_watch_notices(config, agent.machine, stopped),
    )


@dataclass(frozen=True, slots=True)
class Capture:
    """What reads the capture units, each in a thread of its own: a dead controller holds up nobody."""

    threads: tuple[threading.Thread, ...] = ()
    describe: Callable[[], list[CaptureReport]] = list


def build_capture(config: Config, agent: Agent, clock: Clock, stopped: threading.Event) -> Capture:
    if not config.capture_units:
        return Capture()
    from host_agent.capture.opening import open_capture_reader
    from host_agent.capture.poller import CapturePoller

    pollers = [
        CapturePoller(
            unit.unit_id,
            open_capture_reader(unit, clock, os.environ),
            agent.record_capture,
            clock,
            unit.interval_seconds,
        )
        for unit in config.capture_units
    ]
    threads = (_build_thread(f"capture-{n}", each.step, stopped) for n, each in enumerate(pollers))
    return Capture(tuple(threads), lambda: [each.describe() for each in pollers])


def choose_xids(log: XidLog, reader: GpuReader, boot_id: str, clock: Clock) -> XidSource:
    """The kernel log has all that NVML tells, and what happened before: NVML only where it cannot be read."""
    if log.available:
        return log
    from host_agent.nvml import NvmlReader
    from host_agent.nvml_events import NvmlXids

    return NvmlXids(reader.take_xids, boot_id, clock) if isinstance(reader, NvmlReader) else log


def build_preflight(config: Config, gpus: list[GpuInfo], enrolled: list[GpuInfo], clock: Clock) -> Preflight:
    """Memory is held against what was enrolled, the rest is as of now."""
    memory = {gpu.gpu_uuid: gpu.memory_mib for gpu in enrolled}
    gpus = [msgspec.structs.replace(gpu, memory_mib=memory[gpu.gpu_uuid]) for gpu in gpus]
    probe = CommandProbe(shlex.split(config.preflight_command), clock) if config.preflight_command else None
    floors = Floors(config.driver_floor, config.toolkit_floor)
    return Preflight(gpus, read_toolkit_version(), floors, probe)


def _watch_notices(config: Config, machine: Machine, stopped: threading.Event) -> threading.Thread | None:
    if not config.metadata_url:
        return None
    watch = NoticeWatch(InstanceMetadata(config.metadata_url), machine)
    return _build_thread("notices", watch.step, stopped)


class Line:
    """The host's three queues, with its credentials and its signature."""

    def __init__(self, config: Config, identity: Identity, clock: Clock, boot_id: str) -> None:
        self._config, self._identity, self._clock, self._boot_id = config, identity, clock, boot_id
        self._key = identity.read_signing_key()
        self._credentials = open_credentials(config, identity, clock)
        self._skew = ClockSkew()

    def open_heartbeats(self, agent: Agent, slot: HeartbeatSlot) -> HeartbeatSender:
        return HeartbeatSender(
            agent,
            slot,
            self._open_queue(self._identity.heartbeats_queue_url),
            host_id=self._identity.host_id,
            boot_id=self._boot_id,
            signing_key=self._key,
        )

    def open_telemetry(self, outbox: Outbox) -> TelemetrySender:
        queue = self._open_queue(self._identity.telemetry_queue_url)
        return TelemetrySender(outbox, queue, host_id=self._identity.host_id, signing_key=self._key)

    def open_commands(self, agent: Agent) -> CommandReceiver:
        wait_seconds = self._config.command_wait_seconds
        queue = self._open_queue(self._identity.commands_queue_url, wait_seconds + _POLL_SLACK_SECONDS)
        return CommandReceiver(agent, queue, signing_key=self._key, wait_seconds=wait_seconds)

    def _open_queue(self, url: str, timeout_seconds: float = _SEND_TIMEOUT_SECONDS) -> SqsQueue:
        return SqsQueue(
            url, self._identity.aws_region, self._credentials, self._clock, self._skew, timeout_seconds
        )


def look_again(reader: GpuReader, enrolled: list[GpuInfo]) -> list[GpuInfo]:
    """Return the enrolled GPUs with what the driver says of them now; one that is gone stays as it was."""
    try:
        present = {gpu.gpu_uuid: gpu for gpu in reader.list_gpus()}
    except GpuError as error:
        logs.warn("gpus_not_listed", reason=str(error))
        return enrolled
    known = {gpu.gpu_uuid for gpu in enrolled}
    for gpu_uuid in sorted(known ^ set(present)):
        logs.warn("gpus_changed", gpu_uuid=gpu_uuid, enrolled=gpu_uuid in known)
    return [present.get(gpu.gpu_uuid, gpu) for gpu in enrolled]


def run_service(service: Service, clock: Clock, stopped: threading.Event) -> None:
    """Run until ``stopped``; workloads go on without the agent."""
    watch = () if service.watch is None else (service.watch,)
    for thread in (*service.uplinks, service.downlink, *service.capture.threads, *watch):
        thread.start()
    logs.info("started", host_id=service.host_id, boot_id=service.boot_id)
    next_beat = next_sample = next_look = next_status = clock.monotonic()
    while not stopped.is_set():
        now = clock.monotonic()
        try:
            changed = service.agent.work()
            if changed or now >= next_beat:
                service.agent.beat()
                # Up to a tenth either way, so that a fleet started at once does not beat at once.
                next_beat = now + service.heartbeat_seconds * (0.9 + 0.2 * draw())
            if now >= next_sample:
                service.agent.sample()
                next_sample = now + service.telemetry_seconds
            elif now >= next_look:
                service.agent.look()
            if now >= next_look:
                service.agent.tell_xids()
                # From the plan, not from now: a late look must not make all later ones late.
                next_look = max(next_look + service.sampling_seconds, now)
            if now >= next_status:
                write_status(service.state_dir, describe(service, clock))
                next_status = now + STATUS_SECONDS
        except Exception:
            logs.crash("step_failed")
        stopped.wait(WORK_SECONDS)
    service.agent.sample()
    join_uplinks(service)
    write_status(service.state_dir, describe(service, clock))
    logs.info("stopped", telemetry_left=service.outbox.describe().depth_records)


def join_uplinks(service: Service) -> None:
    """Wait a little for what is being sent.

    Not for the downlink: its poll may be held open for long, and a command that it cuts off comes again.
    """
    # Wakes the senders, which then see that it is over.
    for waiting in service.waiting:
        waiting.set()
    for uplink in service.uplinks:
        uplink.join(_STOP_SECONDS)


def describe(service: Service, clock: Clock) -> Status:
    """Return what is written to the state directory and shown to Prometheus."""
    looks, fitness = service.agent.list_looks(), service.agent.list_fitness()
    return Status(
        written_at_ms=clock.now_ms(),
        pid=os.getpid(),
        agent_version=AGENT_VERSION,
        host_id=service.host_id,
        boot_id=service.boot_id,
        spool=service.outbox.describe(),
        sent=service.sent,
        workloads=dict(service.agent.count_workloads()),
        instance=service.agent.machine.instance,
        notices=list(service.agent.notices),
        gpus=[
            GpuReport(
                gpu.gpu_uuid,
                gpu.pci_bus_id,
                gpu.model,
                *looks[gpu.gpu_uuid],
                capabilities=gpu.capabilities,
                fitness=fitness.get(gpu.gpu_uuid),
            )
            for gpu in [*list_boards(service.gpus), *service.gpus]
            if gpu.gpu_uuid in looks
        ],
        draining=service.agent.draining,
        capture=service.capture.describe(),
    )


def _name_simulator(config: Config) -> dict[str, str]:
    if config.gpu_reader != "simulator":
        return {}
    from host_agent.simulator.workload import SOCKET_VARIABLE

    return {SOCKET_VARIABLE: config.simulator_socket}


def _build_thread(
    name: str, step: Callable[[], float], stopped: threading.Event, retry_seconds: float = 30.0
) -> threading.Thread:
    backoff = Backoff(draw, cap_seconds=retry_seconds)
    return threading.Thread(target=keep_trying, args=(name, step, backoff, stopped), name=name, daemon=True)


def draw() -> float:
    """Return a number in [0, 1), for jitter."""
    return secrets.randbits(53) / (1 << 53)

"""``provocative-agent doctor``: checks what the agent needs, one line each, and says what to do next."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from host_agent.boards import BoardReader
from host_agent.clock import Clock
from host_agent.config import Config, ConfigError
from host_agent.durable import write_atomic
from host_agent.findings import Finding
from host_agent.gpu import GpuError, GpuReader, Reading
from host_agent.health import find_conditions
from host_agent.identity import ApiRefused, ApiUnavailable, load_identity
from host_agent.instance import InstanceMetadata, MetadataUnavailable, open_credentials, read_instance
from host_agent.preflight import NO_FLOORS, Floors, check_gpu, read_toolkit_version
from host_agent.status import is_running
from host_agent.watchdog import WatchedReader
from host_agent.workloads.examination import examine_runtime
from host_agent.xid import KERNEL_LOG

ReaderFactory = Callable[[], GpuReader]
#: What the spool may take, with room for workloads' logs.
FREE_BYTES = 256 * 1024 * 1024
#: AWS refuses signatures that are older or newer.
MAX_SKEW_MS = 5 * 60_000


def examine(config: Config, open_reader: ReaderFactory, clock: Clock) -> Iterator[Finding]:
    """Yield findings as they are made. Nothing is changed but a probe file that is removed again."""
    yield examine_disk(config.state_path)
    yield from examine_gpus(
        open_reader, Floors(config.driver_floor, config.toolkit_floor), rented=is_running(config.state_path)
    )
    yield examine_kernel_log()
    yield from examine_runtime(config)
    yield from examine_capture(config, clock)
    yield examine_instance(config)
    yield from examine_cloud(config, clock)


def examine_disk(state_dir: Path) -> Finding:
    """Write, sync and remove a file where the spool is."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = state_dir / "doctor.probe"
        write_atomic(probe, b"probe")
        probe.unlink()
        found = os.statvfs(state_dir)
    except OSError as error:
        advice = "give the agent's user a directory that it may write, on a disk that is not full"
        return Finding("state directory", ok=False, detail=str(error), advice=advice)
    free = found.f_bavail * found.f_frsize
    running = "an agent runs on it" if is_running(state_dir) else "no agent runs on it"
    return Finding(
        "state directory",
        ok=free >= FREE_BYTES,
        detail=f"{state_dir}, {free // 2**20} MiB free, {running}",
        advice=f"make room: {FREE_BYTES // 2**20} MiB are needed for an outage of days",
    )


def examine_gpus(
    open_reader: ReaderFactory, floors: Floors = NO_FLOORS, *, rented: bool = False
) -> Iterator[Finding]:
    """Read every GPU once, tell how its energy will be measured and what its health is.

    Where an agent runs (``rented``), memory in use is no fault.
    """
    try:
        reader = open_reader()
        gpus = reader.list_gpus()
    except GpuError as error:
        yield Finding("gpus", ok=False, detail=str(error), advice="install or reload the NVIDIA driver")
        return
    rounds = BoardReader(WatchedReader(reader), gpus)
    readings = rounds.read_round([gpu.gpu_uuid for gpu in gpus], deep=True)
    toolkit_version = read_toolkit_version()
    for gpu in gpus:
        found = readings[gpu.gpu_uuid]
        if not isinstance(found, Reading):
            advice = "reset the GPU or reboot; see the kernel log"
            yield Finding(gpu.gpu_uuid, ok=False, detail=str(found), advice=advice)
            continue
        board = readings[gpu.board_uuid]
        assert isinstance(board, Reading)
        counter = board.energy_counter_millijoules is not None
        source = gpu.capabilities.power_source
        meter = "its counter" if counter else f"the integral of {source}" if source else "a model only"
        yield Finding(
            gpu.gpu_uuid,
            ok=counter or source is not None,
            detail=f"{gpu.model}, {gpu.memory_mib} MiB, {gpu.pci_bus_id}, energy from {meter}",
            advice="the board tells neither energy nor power; its energy will be a coarse estimate",
        )
        checks = check_gpu(gpu, board, found, toolkit_version, floors)
        if rented:
            del checks["memory_free"], checks["processes"]
        rules = find_conditions(board)
        yield Finding(
            f"{gpu.gpu_uuid} preflight",
            ok="failed" not in checks.values() and not any(rule.unfit for rule in rules),
            detail=", ".join(f"{name} {answer}" for name, answer in checks.items()),
            advice="; ".join(rule.meaning for rule in rules)
            or "memory is in use when work runs on it; see driver_floor and toolkit_floor for versions",
        )
    reader.close()


def examine_kernel_log(path: Path = KERNEL_LOG) -> Finding:
    """Without it the agent works, and learns of hardware errors from the GPU's figures alone."""
    return Finding(
        "kernel log",
        ok=os.access(path, os.R_OK),
        detail=f"{path}, for Xid errors",
        advice="give the agent's user CAP_SYSLOG, or run it as root",
    )


def examine_capture(config: Config, clock: Clock) -> Iterator[Finding]:
    """Read every capture unit once."""
    if not config.capture_units:
        return
    from host_agent.capture.datapoint import CaptureUnavailable
    from host_agent.capture.opening import open_capture_reader

    for unit in config.capture_units:
        name = f"capture unit {unit.unit_id}"
        try:
            reader = open_capture_reader(unit, clock, os.environ)
        except ConfigError as error:
            yield Finding(name, ok=False, detail=str(error), advice="the agent does not start like this")
            continue
        with contextlib.closing(reader) as opened:
            try:
                found = opened.read()
            except CaptureUnavailable as error:
                advice = "check its address, the network and, for http, CARBON_CAPTURE_API_KEY"
                yield Finding(name, ok=False, detail=str(error), advice=advice)
                continue
        refused = "; ".join(f"{sensor}: {reason}" for sensor, reason in found.refused.items())
        yield Finding(
            name,
            ok=bool(found.datapoints) and not refused,
            detail=f"{len(found.datapoints)} sensors read{', not ' + refused if refused else ''}",
            advice="mend the sensors that are named, or take them out of the configuration",
        )


def examine_instance(config: Config) -> Finding:
    """A machine that is not on EC2 is as good; only one that needs its role fails here."""
    if not config.metadata_url:
        return Finding("instance", ok=True, detail="EC2's metadata service is not asked")
    try:
        found = read_instance(InstanceMetadata(config.metadata_url))
    except MetadataUnavailable as error:
        return Finding(
            "instance",
            ok=config.credentials == "platform",
            detail=f"not on EC2, no notices to expect ({error})",
            advice="enable IMDSv2 for the instance; in a container its hop limit must be 2",
        )
    return Finding("instance", ok=True, detail=f"{found.instance_id}, {found.instance_type}, {found.zone}")


def examine_cloud(config: Config, clock: Clock) -> Iterator[Finding]:
    """Ask for the credentials of the host's queues: shows network, clock and identity at once."""
    identity = load_identity(config.state_path)
    if identity is None:
        yield Finding(
            "identity",
            ok=bool(config.enrolment_token),
            detail="not enrolled; it will be on the first start"
            if config.enrolment_token
            else "not enrolled",
            advice="set enrolment_token; an operator gets one from POST /v1/enrolments",
        )
        return
    yield Finding("identity", ok=True, detail=f"{identity.host_id}, {len(identity.gpus)} GPUs enrolled")
    try:
        credentials = open_credentials(config, identity, clock).get()
    except ApiRefused as error:
        own_role = config.credentials == "instance_profile"
        advice = (
            "give the instance a role that may use the host's queues, see docs/host.md"
            if own_role
            else "the host was retired or its key replaced: enrol it again"
        )
        yield Finding("api", ok=False, detail=str(error), advice=advice)
    except ApiUnavailable as error:
        advice = f"check the network and api_url ({config.api_url}); nothing is lost meanwhile"
        yield Finding("api", ok=False, detail=str(error), advice=advice)
    else:
        source = config.api_url if config.credentials == "platform" else "the instance's role"
        left_ms = credentials.expires_at_ms - clock.now_ms()
        yield Finding(
            "api",
            ok=left_ms > MAX_SKEW_MS,
            detail=f"{source} gives credentials for {left_ms // 60_000} min",
            advice="this machine's clock is wrong: run a time service",
        )

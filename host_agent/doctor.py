"""``provocative-agent doctor``: checks what the agent needs, one line each, and says what to do next."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from host_agent.clock import Clock
from host_agent.config import Config
from host_agent.durable import write_atomic
from host_agent.gpu import GpuError, GpuReader, Reading
from host_agent.identity import ApiRefused, ApiUnavailable, load_identity
from host_agent.instance import InstanceMetadata, MetadataUnavailable, open_credentials, read_instance
from host_agent.status import is_running
from host_agent.watchdog import WatchedReader
from host_agent.xid import KERNEL_LOG

ReaderFactory = Callable[[], GpuReader]
#: What the spool may take, with room for workloads' logs.
FREE_BYTES = 256 * 1024 * 1024
#: AWS refuses signatures that are older or newer.
MAX_SKEW_MS = 5 * 60_000


class Finding(msgspec.Struct, frozen=True):
    """``advice`` says what to do when it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def examine(config: Config, open_reader: ReaderFactory, clock: Clock) -> Iterator[Finding]:
    """Yield findings as they are made. Nothing is changed but a probe file that is removed again."""
    yield examine_disk(config.state_path)
    yield from examine_gpus(open_reader)
    yield examine_kernel_log()
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


def examine_gpus(open_reader: ReaderFactory) -> Iterator[Finding]:
    """Read every GPU once and tell how its energy will be measured."""
    try:
        reader = open_reader()
        gpus = reader.list_gpus()
    except GpuError as error:
        yield Finding("gpus", ok=False, detail=str(error), advice="install or reload the NVIDIA driver")
        return
    readings = WatchedReader(reader).read_round([gpu.gpu_uuid for gpu in gpus])
    for gpu in gpus:
        found = readings[gpu.gpu_uuid]
        if not isinstance(found, Reading):
            advice = "reset the GPU or reboot; see the kernel log"
            yield Finding(gpu.gpu_uuid, ok=False, detail=str(found), advice=advice)
            continue
        counter = found.energy_counter_millijoules is not None
        source = gpu.capabilities.power_source
        meter = "its counter" if counter else f"the integral of {source}" if source else "a model only"
        yield Finding(
            gpu.gpu_uuid,
            ok=counter or source is not None,
            detail=f"{gpu.model}, {gpu.memory_mib} MiB, {gpu.pci_bus_id}, energy from {meter}",
            advice="the board tells neither energy nor power; its energy will be a coarse estimate",
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


def render_finding(finding: Finding) -> str:
    line = f"{'ok    ' if finding.ok else 'FAILED'}  {finding.name}: {finding.detail}"
    return line if finding.ok else f"{line}\n        {finding.advice}"

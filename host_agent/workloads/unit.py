"""Workloads as transient systemd units, for hosts without a container engine: no image, but real limits.

The unit has a user of its own that exists as long as it runs, sees the host's programs read-only, only its
own GPUs' device nodes, and cannot reach the metadata service. Source of every property: systemd.exec(5),
systemd.resource-control(5).
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from host_agent.durable import write_atomic
from host_agent.workloads import gpu_memory
from host_agent.workloads.engine import EngineUnavailable, StartRefused
from host_agent.workloads.network import METADATA_V4, METADATA_V6
from host_agent.workloads.notice import NOTICE, name_notice
from host_agent.workloads.operations import Running
from host_agent.workloads.runtime import Feature, Wiped, WorkloadOrder, find_refusal
from host_agent.workloads.settings import UnitSettings
from host_agent.workloads.supervisor import Ended, Started, read_start_ticks
from host_agent.workloads.volume import Volumes

SUPPORTED: frozenset[Feature] = frozenset({"volume"})
NOTICE_PATH = Path("/run/provocative")
#: Where systemd keeps the state directories of units with a dynamic user.
STATE_ROOT = Path("/var/lib/private")
#: The driver's own list of GPUs, one directory per PCI address. Source: NVIDIA driver README, chapter procfs.
DRIVER_GPUS = Path("/proc/driver/nvidia/gpus")
#: Nodes that every CUDA program opens besides its GPU's.
SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_SHOWN = (
    "LoadState,ActiveState,MainPID,ExecMainCode,ExecMainStatus,ExecMainStartTimestamp,ExecMainExitTimestamp"
)
_POLL_SECONDS = 0.2
#: CLD_EXITED: ExecMainStatus is then an exit code, otherwise a signal. Source: waitid(2).
_EXITED = "1"

Run = Callable[[Sequence[str]], str]


def run_systemd(command: Sequence[str]) -> str:
    """Run ``systemctl``, ``systemd-run`` or ``journalctl``. Raises EngineUnavailable with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise EngineUnavailable(f"{command[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("utf-8", "replace")


class UnitEngine:
    """Implements `host_agent.workloads.engine.Engine`. ``run`` and ``wait`` are injected for tests."""

    def __init__(
        self, settings: UnitSettings, run: Run = run_systemd, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._settings, self._run, self._wait = settings, run, wait
        self._volumes = Volumes(Path(settings.volumes))

    def start(self, order: WorkloadOrder, directory: Path) -> Running:
        refusal = find_refusal(order.spec, supported=SUPPORTED)
        if refusal:
            raise StartRefused(refusal, "cannot be run as a unit")
        if self._show(order)["LoadState"] != "loaded":
            environment = directory / "environment"
            write_atomic(environment, self._build_environment(order).encode())
            properties = [f"--property={each}" for each in self.build_properties(order, directory)]
            command = ["systemd-run", f"--unit={name_unit(order)}", "--quiet", *properties, "--"]
            try:
                self._run([*command, *order.spec.command])
            except EngineUnavailable as error:
                # Type=exec: systemd-run answers once the program was executed, or could not be.
                if "Failed to find executable" in str(error) or "status=203" in str(error):
                    raise StartRefused("command_not_found", str(error)) from error
                raise
        found = self.inspect(order)
        return Running(Started(0, 0, found.ended_at_ms)) if isinstance(found, Ended) else found

    def inspect(self, order: WorkloadOrder) -> Running | Ended:
        shown = self._show(order)
        if shown["LoadState"] != "loaded":
            return Ended(time.time_ns() // 1_000_000, error="unit_lost")
        ticks = read_start_ticks(int(shown["MainPID"])) if shown["MainPID"] != "0" else None
        if ticks is not None:
            started_at_ms = _parse_instant(shown["ExecMainStartTimestamp"])
            return Running(Started(int(shown["MainPID"]), ticks, started_at_ms))
        if not shown["ExecMainExitTimestamp"]:
            raise EngineUnavailable(f"the unit is {shown['ActiveState']} without a process")
        status = int(shown["ExecMainStatus"])
        code = status if shown["ExecMainCode"] == _EXITED else 128 + status
        return Ended(_parse_instant(shown["ExecMainExitTimestamp"]), exit_code=code)

    def stop(self, order: WorkloadOrder, grace_seconds: float) -> Ended | None:
        unit = name_unit(order)
        if self._show(order)["LoadState"] != "loaded":
            return None
        if isinstance(self.inspect(order), Running):
            self._run(["systemctl", "kill", "--kill-who=all", "--signal=SIGTERM", unit])
            for _ in range(int(grace_seconds / _POLL_SECONDS)):
                if isinstance(self.inspect(order), Ended):
                    break
                self._wait(_POLL_SECONDS)
        # Whatever is left in its control group, also when the main process ended long ago.
        self._run(["systemctl", "kill", "--kill-who=all", "--signal=SIGKILL", unit])
        for _ in range(int(10 / _POLL_SECONDS)):
            found = self.inspect(order)
            if isinstance(found, Ended):
                return found
            self._wait(_POLL_SECONDS)
        raise EngineUnavailable("the unit does not end")

    def wipe(self, order: WorkloadOrder, *, keep_volume: bool, unreachable: bool) -> Wiped:
        if self._show(order)["LoadState"] == "loaded":
            # Ends it for good: a unit that remains after exit is active until it is stopped.
            self._run(["systemctl", "stop", name_unit(order)])
            if self._show(order)["LoadState"] == "loaded":
                self._run(["systemctl", "reset-failed", name_unit(order)])
        state = STATE_ROOT / name_state(order)
        if state.exists():
            shutil.rmtree(state)
        volume = order.spec.volume
        if volume is not None and keep_volume:
            self._volumes.detach(volume.volume_id)
        elif volume is not None:
            self._volumes.destroy(volume.volume_id)
        simulated = not self._settings.scrub
        scrubbed = gpu_memory.wipe(order.gpu_uuids, simulated=simulated, unreachable=unreachable)
        return Wiped(scrubbed, volume_kept=volume is not None and keep_volume)

    def read_log(self, order: WorkloadOrder, max_bytes: int) -> bytes:
        lines = max(1, max_bytes // 16)
        text = self._run(
            ["journalctl", f"--unit={name_unit(order)}", "--output=cat", "--no-pager", f"--lines={lines}"]
        )
        return text.encode()[-max_bytes:]

    def build_properties(self, order: WorkloadOrder, directory: Path) -> list[str]:
        """Return the unit's properties as ``Name=value``."""
        share = self._settings.share_per_gpu.multiply(len(order.gpu_uuids))
        denied = [*METADATA_V4, *METADATA_V6, *self._settings.blocked_networks]
        properties = [
            "Type=exec",
            # Keeps how it ended until it is wiped.
            "RemainAfterExit=yes",
            f"Description=Provocative Cloud rental {order.rental_id}",
            "DynamicUser=yes",
            f"StateDirectory={name_state(order)}",
            f"WorkingDirectory=/var/lib/{name_state(order)}",
            f"EnvironmentFile={directory / 'environment'}",
            f"BindReadOnlyPaths={directory / NOTICE}:{NOTICE_PATH}",
            f"MemoryMax={share.memory_bytes}",
            "MemorySwapMax=0",
            f"CPUQuota={share.cpu_millis // 10}%",
            f"TasksMax={share.processes}",
            "CapabilityBoundingSet=",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "ProtectProc=invisible",
            "ProtectKernelTunables=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelLogs=yes",
            "ProtectControlGroups=yes",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "RestrictNamespaces=yes",
            "RestrictSUIDSGID=yes",
            "RestrictRealtime=yes",
            "LockPersonality=yes",
            "SystemCallArchitectures=native",
            "SystemCallFilter=@system-service",
            "DevicePolicy=closed",
            *(f"DeviceAllow={node} rw" for node in find_nodes(order.gpu_uuids)),
            f"IPAddressDeny={' '.join(denied)}",
        ]
        if order.spec.volume is not None:
            volume = order.spec.volume
            mount = self._volumes.attach(volume.volume_id, volume.size_mib, 0)
            # The unit's user has another number every time; nobody else comes this far down.
            mount.chmod(0o777)
            properties.append(f"BindPaths={mount}:{volume.mount_path}")
        return properties

    def _build_environment(self, order: WorkloadOrder) -> str:
        values: Mapping[str, str] = {
            **self._settings.env,
            **order.spec.env,
            **name_notice(NOTICE_PATH),
            "NVIDIA_VISIBLE_DEVICES": ",".join(order.gpu_uuids),
            "CUDA_VISIBLE_DEVICES": ",".join(order.gpu_uuids),
            "RENTAL_ID": order.rental_id,
        }
        return "".join(f'{name}="{_escape(value)}"\n' for name, value in values.items())

    def _show(self, order: WorkloadOrder) -> dict[str, str]:
        text = self._run(["systemctl", "show", "--timestamp=unix", f"--property={_SHOWN}", name_unit(order)])
        shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if not shown.get("LoadState"):
            raise EngineUnavailable("systemctl show said nothing of the unit")
        return shown


def name_unit(order: WorkloadOrder) -> str:
    return f"provocative-{order.rental_id}.service"


def name_state(order: WorkloadOrder) -> str:
    return f"provocative-{order.rental_id}"


def find_nodes(gpu_uuids: Sequence[str], driver_gpus: Path = DRIVER_GPUS) -> list[str]:
    """Return the device nodes of these GPUs, and the shared ones; none where there is no driver.

    Raises:
        StartRefused: the driver does not know one of the GPUs.
    """
    if not driver_gpus.exists():
        return []
    minors = {}
    for information in driver_gpus.glob("*/information"):
        facts = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in information.read_text().splitlines())
        }
        minors[facts.get("GPU UUID", "")] = facts.get("Device Minor", "")
    unknown = [each for each in gpu_uuids if not minors.get(each)]
    if unknown:
        raise StartRefused("unknown_gpu", "the driver has no device node for it")
    return [*(f"/dev/nvidia{minors[each]}" for each in gpu_uuids), *filter(os.path.exists, SHARED_NODES)]


def _escape(value: str) -> str:
    """Quote for an EnvironmentFile. Source: systemd.exec(5), double quotes."""
    for special in ("\\", '"', "$", "`"):
        value = value.replace(special, f"\\{special}")
    return value


def _parse_instant(text: str) -> int:
    """Return milliseconds of ``@SECONDS``; 0 when nothing was said."""
    return int(text.removeprefix("@") or "0") * 1000

"""Simulated GPU hosts: for each a device process, which stands for the hardware, and a real agent process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from host_agent.simulator.client import DeviceConnection
from infra.local.ministack import stop_group
from infra.local.paths import GUARD, LOGS, ROOT
from infra.local.progress import StepFailed

START_SECONDS = 20
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class SimulatedHost:
    """``name`` is unique within a run; files are under ``directory``."""

    name: str
    directory: Path
    gpus: int
    seed: int
    _device: subprocess.Popen[bytes] | None = None
    _agent: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        return self.directory / "device.sock"

    @property
    def agent_log(self) -> Path:
        return LOGS / f"agent-{self.name}.log"

    def start(self, api_url: str, enrolment_token: str) -> None:
        """Start device and agent; the agent enrols itself.

        Raises:
            StepFailed: the device does not come up.
        """
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self._write_config(api_url, enrolment_token)
        arguments = ["--socket", str(self.socket_path), "--gpus", str(self.gpus), "--seed", str(self.seed)]
        self._device = self._spawn("host_agent.simulator", arguments, LOGS / f"device-{self.name}.log")
        deadline = time.monotonic() + START_SECONDS
        while not self.socket_path.exists():
            if self._device.poll() is not None or time.monotonic() > deadline:
                raise StepFailed(f"the device of {self.name} did not start", f"see {LOGS}")
            time.sleep(_POLL_SECONDS)
        self.start_agent()

    def start_agent(self) -> None:
        arguments = ["run", "--config", str(self.directory / "agent.toml")]
        self._agent = self._spawn("host_agent", arguments, self.agent_log)

    def kill_agent(self) -> None:
        """End the agent as a crash would (kill -9); the device and the workloads go on."""
        assert self._agent is not None
        self._agent.send_signal(signal.SIGKILL)
        self._agent.wait()

    def read_truth(self, gpu_uuid: str, from_ms: int, to_ms: int) -> float:
        """Return the device's exact energy between two instants in millijoules."""
        device = DeviceConnection(self.socket_path)
        try:
            answer = device.ask(op="truth", gpu_uuid=gpu_uuid, from_ms=from_ms, to_ms=to_ms)
        finally:
            device.close()
        return float(answer["energy_millijoules"])

    def stop(self) -> None:
        """End agent, workloads and device."""
        for process in (self._agent, self._device):
            if process is not None:
                stop_group(process)
        for started in self.directory.glob("state/workloads/*/started.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                os.killpg(json.loads(started.read_text())["pid"], signal.SIGKILL)

    def _write_config(self, api_url: str, enrolment_token: str) -> None:
        settings = {
            "api_url": api_url,
            "enrolment_token": enrolment_token,
            "state_dir": str(self.directory / "state"),
            "gpu_reader": "simulator",
            "runtime": "process",
            "simulator_socket": str(self.socket_path),
            # What is announced for this machine is not meant for a simulated one.
            "metadata_url": "",
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        # The demonstration's workload is a module of this clone.
        lines += ["", "[workload_env]", f"PYTHONPATH = {json.dumps(str(ROOT))}"]
        config = self.directory / "agent.toml"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")

    def _spawn(self, module: str, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        LOGS.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, str(GUARD), sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@dataclass(slots=True)
class SimulatedFleet:
    hosts: list[SimulatedHost] = field(default_factory=list)

    def find(self, gpu_uuid: str) -> SimulatedHost:
        """Return the host that has this GPU: the seed is in the UUID."""
        for host in self.hosts:
            if gpu_uuid.startswith(f"GPU-{host.seed:08x}-"):
                return host
        raise LookupError(gpu_uuid)


@contextlib.contextmanager
def run_fleet(directory: Path, *, hosts: int, gpus: int) -> Iterator[SimulatedFleet]:
    """Yield hosts that are not started yet; end whatever was started."""
    fleet = SimulatedFleet(
        [
            SimulatedHost(
                f"{directory.parent.name}-{number}", directory / str(number), gpus, 0x5EED00 + number
            )
            for number in range(hosts)
        ]
    )
    for host in fleet.hosts:
        host.agent_log.unlink(missing_ok=True)
    try:
        yield fleet
    finally:
        for host in fleet.hosts:
            host.stop()

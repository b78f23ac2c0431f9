"""``make bench-agent``: what the agent costs a host, beside its peers, on the same simulated NVML in one run.

Every program samples 8 GPUs once a second while a writer moves the GPUs' figures ten times a second. The
agent runs its whole path: NVML through pynvml, spool with fsync, signed messages to the embedded SQS,
heartbeats every 10 s. CPU and memory are read from /proc, as the kernel counts them.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from host_agent.simulator.model import SimulatedGpu
from infra.local.cloud import EmbeddedCloud, run_cloud
from infra.local.environments import ensure_environment
from infra.local.ministack import find_free_port
from infra.local.paths import GUARD, LOCAL, LOGS, ROOT
from infra.local.progress import Progress, StepFailed
from infra.local.seed import create_enrolment_token, seed_installation
from tests.gpu.simulation.library import build_environment
from tests.gpu.simulation.state import Simulation
from tests.performance.agent_day import measure_growth
from tests.performance.bench import OUTPUT

GPUS = 8
SECONDS = 600
#: Until imports and first connections are over.
SETTLE_SECONDS = 15
WRITE_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")

CODECARBON = """
import logging, time
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code="SWE", measure_power_secs=1, save_to_file=False,
                                  log_level="critical", allow_multiple_runs=True)
tracker.start()
time.sleep(1e6)
"""
ZEUS = """
import time
if __name__ == "__main__":
    from zeus.monitor import PowerMonitor
    monitor = PowerMonitor(update_period=1.0)
    time.sleep(1e6)
"""


@dataclass(slots=True)
class Subject:
    """A program under measurement, with the processes that it has started."""

    name: str
    process: subprocess.Popen[bytes]
    cpu_seconds_before: float = 0.0
    rss_mib: list[float] = field(default_factory=list)

    def read_cpu_seconds(self) -> float:
        return sum(_read_cpu_seconds(pid) for pid in self._list_pids())

    def sample_memory(self) -> None:
        self.rss_mib.append(sum(_read_rss_mib(pid) for pid in self._list_pids()))

    def _list_pids(self) -> list[int]:
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                # Field 6 is the session: every subject leads its own.
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    found.append(int(path.name))
        return found


def _read_cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    return 0.0


def _read_rss_mib(pid: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


@contextlib.contextmanager
def move_gpus(simulation: Simulation) -> Iterator[None]:
    """Let the simulated GPUs draw power under changing load, ten times a second."""
    now_ms = time.time_ns() // 1_000_000
    gpus = [SimulatedGpu(uuid, seed, now_ms) for seed, uuid in enumerate(simulation.uuids)]
    stopped = threading.Event()

    def write() -> None:
        while not stopped.wait(WRITE_SECONDS):
            now = time.time_ns() // 1_000_000
            for index, gpu in enumerate(gpus):
                gpu.set_load(now, 0.9 if (now // 20_000 + index) % 3 else 0.1)
                milliwatts = int(gpu.power_watts * 1000)
                simulation.set(
                    index,
                    energy=gpu.energy_counter_millijoules,
                    power_usage=milliwatts,
                    power_average=milliwatts,
                    power_instant=milliwatts,
                    utilization_gpu=round(gpu.utilization * 100),
                    temperature=round(gpu.temperature_celsius),
                )

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    yield
    stopped.set()
    writer.join()


def spawn(name: str, command: list[str], environment: dict[str, str]) -> Subject:
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"bench-{name}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(GUARD), *command],
            env={"PATH": os.environ["PATH"], "HOME": str(LOCAL / "run"), "LANG": "C.UTF-8", **environment},
            cwd=LOCAL / "run",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Subject(name, process)


def spawn_agent(cloud: EmbeddedCloud, directory: Path, nvml: dict[str, str]) -> Subject:
    seed = seed_installation(cloud)
    settings = {
        "api_url": cloud.api_url,
        "enrolment_token": create_enrolment_token(seed.operator),
        "state_dir": str(directory / "state"),
    }
    config = directory / "agent.toml"
    config.touch(mode=0o600)
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    command = [sys.executable, "-m", "host_agent", "run", "--config", str(config)]
    return spawn("agent", command, {**nvml, "PYTHONPATH": str(ROOT)})


def spawn_peers(nvml: dict[str, str], progress: Progress) -> list[Subject]:
    python = str(ensure_environment("peers", "the peers that the agent is measured beside", progress))
    exporter = str(Path(python).with_name("nvitop-exporter"))
    port = str(find_free_port(8000))
    # CodeCarbon takes a machine for one with NVIDIA GPUs when it can start this program.
    (LOCAL / "run" / "bin").mkdir(exist_ok=True)
    (LOCAL / "run" / "bin" / "nvidia-smi").write_text("#!/bin/sh\n")
    (LOCAL / "run" / "bin" / "nvidia-smi").chmod(0o700)
    with_smi = {**nvml, "PATH": f"{LOCAL / 'run' / 'bin'}:{os.environ['PATH']}"}
    return [
        spawn("nvitop_exporter", [python, exporter, "--port", port, "--interval", "1"], nvml),
        spawn("codecarbon", [python, "-c", CODECARBON], with_smi),
        spawn("zeus", [python, "-c", ZEUS], nvml),
    ]


def watch(subjects: list[Subject], seconds: int) -> dict[str, dict[str, float]]:
    """Return CPU percent of one core and the highest MiB of each over ``seconds``.

    Raises:
        StepFailed: one of them has ended.
    """
    time.sleep(SETTLE_SECONDS)
    for subject in subjects:
        subject.cpu_seconds_before = subject.read_cpu_seconds()
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        time.sleep(1)
        for subject in subjects:
            subject.sample_memory()
            if subject.process.poll() is not None:
                raise StepFailed(f"{subject.name} has ended", f"see {LOGS}/bench-{subject.name}.log")
    elapsed = time.monotonic() - started
    return {
        subject.name: {
            "cpu_percent": 100 * (subject.read_cpu_seconds() - subject.cpu_seconds_before) / elapsed,
            "rss_mb": max(subject.rss_mib),
            "rss_mb_median": statistics.median(subject.rss_mib),
        }
        for subject in subjects
    }


def run(seconds: int, progress: Progress) -> dict[str, tuple[float, str]]:
    """Return every figure with its unit. Raises StepFailed."""
    directory = LOCAL / "run" / "bench-agent-host"
    (directory / "state").mkdir(parents=True, exist_ok=True)
    for old in sorted(directory.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    simulation = Simulation(directory / "nvml.state", GPUS)
    nvml = build_environment(directory / "nvml.state")
    with run_cloud("bench-agent", progress) as cloud, move_gpus(simulation):
        subjects = [spawn_agent(cloud, directory, nvml), *spawn_peers(nvml, progress)]
        try:
            with progress.step(f"{GPUS} GPUs at 1 Hz for {seconds} s"):
                found = watch(subjects, seconds)
            status = json.loads((directory / "state" / "status.json").read_text())
            if not status["sent"]["telemetry"] or not status["sent"]["heartbeats"]:
                raise StepFailed("the agent sent nothing", f"see {LOGS}/bench-agent.log")
        finally:
            for subject in subjects:
                subject.process.kill()
                subject.process.wait()
    spool_bytes = sum(path.stat().st_size for path in (directory / "state" / "spool").iterdir())
    figures = {
        f"{name}_{figure}": (value, "%" if figure == "cpu_percent" else "MiB")
        for name, figures in found.items()
        for figure, value in figures.items()
        if figure != "rss_mb_median"
    }
    figures["agent_spool_mib"] = (spool_bytes / 2**20, "MiB")
    with progress.step("a day of samples, as fast as they go"):
        figures["agent_rss_growth_mb_per_day"] = (measure_growth(), "MiB")
    return figures


def print_table(figures: dict[str, tuple[float, str]]) -> None:
    table = Table(title=f"{GPUS} simulated GPUs at 1 Hz", title_justify="left")
    for column in ("program", "CPU, % of one core", "highest RSS, MiB"):
        table.add_column(column, justify="left" if column == "program" else "right")
    for name in ("agent", "nvitop_exporter", "codecarbon", "zeus"):
        cpu, rss = figures[f"{name}_cpu_percent"][0], figures[f"{name}_rss_mb"][0]
        table.add_row(name.replace("_", "-"), f"{cpu:.2f}", f"{rss:.1f}")
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    progress = Progress()
    try:
        figures = run(parser.parse_args().seconds, progress)
    except StepFailed as failed:
        progress.say(f"FAILED: {failed.reason}\n        {failed.hint}")
        return 1
    print_table(figures)
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    results |= {name: {"value": round(value, 3), "unit": unit} for name, (value, unit) in figures.items()}
    OUTPUT.write_text(json.dumps(results, indent=2) + "\n")
    for name in ("agent_spool_mib", "agent_rss_growth_mb_per_day"):
        progress.say(f"  {name} = {results[name]['value']} {results[name]['unit']}")
    progress.say(f"  written to {OUTPUT.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

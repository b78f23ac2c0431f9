"""A day of the agent's work in one process, as fast as it goes: what stays in memory is a leak.

``python -m tests.performance.agent_day STATE_FILE`` prints the resident MiB after the first hour and at the
end. NVML is the simulated library; SQS is a queue that confirms everything.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from host_agent.agent import Agent
from host_agent.nvml import NvmlReader
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.sender import HeartbeatSender, TelemetrySender
from host_agent.spool import Spool
from host_agent.transport import BatchOutcome
from host_agent.watchdog import WatchedReader
from host_agent.workloads.notice import NoticeBoard
from host_agent.workloads.process import ProcessRuntime
from host_agent.xid import XidLog
from infra.local.paths import LOCAL, ROOT
from tests.gpu.simulation.library import build_environment
from tests.gpu.simulation.state import Simulation

GPUS = 8
HOUR, DAY = 3600, 86_400
BEAT_SECONDS, SAMPLE_SECONDS = 10, 60
KEY = b"key"


class DayClock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000

    def now_ms(self) -> int:
        return self.seconds * 1000

    def monotonic(self) -> float:
        return float(self.seconds)


class ConfirmingQueue:
    def send(self, body: bytes) -> None:
        assert body

    def send_batch(self, bodies: list[bytes]) -> BatchOutcome:
        return BatchOutcome(frozenset(range(len(bodies))), frozenset())


def read_rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def live_a_day(state_dir: Path) -> tuple[float, float]:
    """Return resident MiB after an hour and after a day."""
    clock = DayClock()
    reader = NvmlReader(clock, "all")
    gpus = reader.list_gpus()
    outbox, slot = TelemetryOutbox(Spool(state_dir / "spool"), "boot"), HeartbeatSlot()
    agent = Agent(
        state_dir=state_dir,
        gpus=gpus,
        reader=WatchedReader(reader),
        runtime=ProcessRuntime(state_dir / "workloads", {}, clock, NoticeBoard()),
        outbox=outbox,
        heartbeats=slot,
        meter_state=None,
        xids=XidLog(state_dir, gpus, clock),
        clock=clock,
    )
    queue = ConfirmingQueue()
    beats = HeartbeatSender(agent, slot, queue, host_id="hst", boot_id="boot", signing_key=KEY)
    records = TelemetrySender(outbox, queue, host_id="hst", signing_key=KEY)
    after_hour = 0.0
    for second in range(DAY):
        clock.seconds += 1
        agent.work()
        if second % SAMPLE_SECONDS == 0:
            agent.sample()
            records.send_next()
        else:
            agent.look()
        agent.tell_xids()
        if second % BEAT_SECONDS == 0:
            agent.beat()
            beats.send_next()
        if second == HOUR:
            after_hour = read_rss_mib()
    return after_hour, read_rss_mib()


def measure_growth() -> float:
    """Return by how many MiB a fresh agent process grows over a day, after its first hour."""
    with tempfile.TemporaryDirectory(dir=LOCAL) as directory:
        simulation = Simulation(Path(directory) / "nvml.state", GPUS)
        done = subprocess.run(
            [sys.executable, "-m", "tests.performance.agent_day", directory],
            cwd=ROOT,
            env={**os.environ, **build_environment(Path(directory) / "nvml.state")},
            check=True,
            capture_output=True,
            text=True,
        )
        simulation.close()
    before, after = map(float, done.stdout.split())
    return after - before


if __name__ == "__main__":
    print(*live_a_day(Path(sys.argv[1])))

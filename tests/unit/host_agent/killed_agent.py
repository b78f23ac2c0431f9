"""An agent that is killed again and again: ``python killed_agent.py DIRECTORY SOCKET ROUNDS SEED``.

This process forks a child that runs the agent as fast as it can on the same disk, and kills it (kill -9)
after a random time, ``ROUNDS`` times; the last child is told to stop the workload and leaves by itself. What
the agent sends goes to SOCKET, one connection per batch: a stand-in for SQS that answers once it has stored.
"""

import os
import random
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from host_agent.agent import Agent
from host_agent.gpu import GpuInfo, Reading
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.sender import TelemetrySender
from host_agent.spool import Spool
from host_agent.transport import BatchOutcome, TransportError
from host_agent.watchdog import WatchedReader
from tests.unit.host_agent.fakes import FakeRuntime, FakeXids, build_start, build_stop

KEY = b"key"
WATTS = 400
GPUS = ("GPU-0", "GPU-1")


class WallClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyReader:
    """GPUs that draw ``WATTS`` since ``began_ms``, whoever looks at them."""

    def __init__(self, began_ms: int) -> None:
        self._began_ms = began_ms

    def list_gpus(self) -> list[GpuInfo]:
        return [GpuInfo(uuid, uuid, "H100", 81_559, 700_000) for uuid in GPUS]

    def read(self, gpu_uuid: str, *, deep: bool = False) -> Reading:
        now_ms = WallClock().now_ms()
        return Reading(now_ms, None, (now_ms - self._began_ms) * WATTS, WATTS * 1000)

    def close(self) -> None:
        pass


class SocketQueue:
    def __init__(self, path: str) -> None:
        self._path = path

    def send_batch(self, bodies: list[bytes]) -> BatchOutcome:
        data = b"".join(struct.pack("<I", len(body)) + body for body in bodies)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self._path)
            connection.sendall(struct.pack("<I", len(bodies)) + data)
            if connection.recv(1) != b"+":
                raise TransportError("no_answer", "the reply was lost")
        return BatchOutcome(frozenset(range(len(bodies))), frozenset())


def build_agent(directory: Path, queue: Any, boot_id: str, began_ms: int) -> tuple[Agent, TelemetrySender]:
    spool = Spool(directory / "spool", segment_bytes=16 * 1024)
    reader = SteadyReader(began_ms)
    outbox = TelemetryOutbox(spool, boot_id)
    agent = Agent(
        state_dir=directory,
        gpus=reader.list_gpus(),
        reader=WatchedReader(reader),
        runtime=FakeRuntime(),
        outbox=outbox,
        heartbeats=HeartbeatSlot(),
        meter_state=spool.latest_state,
        xids=FakeXids(),
        clock=WallClock(),
    )
    return agent, TelemetrySender(outbox, queue, host_id="hst", signing_key=KEY)


def live(directory: Path, queue: SocketQueue, boot_id: str, began_ms: int) -> None:
    """Run until killed."""
    agent, sender = build_agent(directory, queue, boot_id, began_ms)
    agent.accept(build_start(gpus=GPUS))
    while True:
        agent.work()
        agent.sample()
        try_to_send(sender)


def finish(directory: Path, queue: SocketQueue, boot_id: str, began_ms: int) -> None:
    """Stop the workload and send everything that is left."""
    agent, sender = build_agent(directory, queue, boot_id, began_ms)
    agent.accept(build_stop(gpus=GPUS))
    agent.work()
    while agent._outbox.describe().depth_records:
        try_to_send(sender)


def try_to_send(sender: TelemetrySender) -> None:
    try:
        sender.send_next()
    except TransportError:
        return


class ConfirmingQueue:
    def send_batch(self, bodies: list[bytes]) -> BatchOutcome:
        return BatchOutcome(frozenset(range(len(bodies))), frozenset())


def measure_life(began_ms: int, steps: int = 10) -> float:
    """Return how many seconds an agent of this machine needs to come up and do ``steps`` steps."""
    with tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        agent, sender = build_agent(Path(directory), ConfirmingQueue(), "trial", began_ms)
        for _ in range(steps):
            agent.sample()
            try_to_send(sender)
        return time.monotonic() - started


def main(directory: Path, socket_path: str, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    began_ms = WallClock().now_ms()
    queue = SocketQueue(socket_path)
    life_seconds = max(measure_life(began_ms) for _ in range(3))
    for number in range(rounds + 1):
        child = os.fork()
        if child == 0:
            step = finish if number == rounds else live
            step(directory, queue, f"boot-{number}", began_ms)
            os._exit(0)
        if number < rounds:
            time.sleep(rng.uniform(0, 2 * life_seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

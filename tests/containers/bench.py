"""A host whose workloads are containers, for tests: real runtime, real engine, injected draw."""

import time
from collections.abc import Callable
from pathlib import Path

from chalicelib.wire.v1 import PortSpec, VolumeSpec, WorkloadSpec
from host_agent.clock import SystemClock
from host_agent.workloads.notice import NoticeBoard
from host_agent.workloads.operations import OPERATION_LOG, OperatedRuntime, launch_operation
from host_agent.workloads.runtime import Wiped, WorkloadOrder, WorkloadStatus
from host_agent.workloads.settings import ContainerSettings
from host_agent.workloads.share import Share
from tests.containers.conftest import IMAGE, list_links

SHARE = Share(memory_bytes=64 << 20, cpu_millis=500, processes=100)
WAIT_SECONDS = 60


class ContainerHost:
    def __init__(self, state: Path, engine_url: str) -> None:
        self.state, self.engine_url = state, engine_url
        self.rentals: set[str] = set()
        self.runtime: OperatedRuntime | None = None
        self.open()

    def open(self, **settings: object) -> OperatedRuntime:
        """Open the runtime as the next agent on the same disk would."""
        for rental_id in () if self.runtime is None else list(self.runtime._operations):
            self.wait(rental_id, lambda rental_id=rental_id: not self.runtime._is_busy(rental_id))
        chosen = ContainerSettings(
            **{
                "engine_url": self.engine_url,
                "volumes": str(self.state / "volumes"),
                "share_per_gpu": SHARE,
                "gpu_injection": "none",
                **settings,
            }
        )
        self.runtime = OperatedRuntime(
            self.state / "workloads",
            chosen,
            SystemClock(),
            NoticeBoard(),
            launch=launch_operation("container"),
            draw=lambda: 0.0,
        )
        return self.runtime

    def order(self, rental_id: str, script: str, **spec: object) -> WorkloadOrder:
        self.rentals.add(rental_id)
        spec.setdefault("image", IMAGE)
        return WorkloadOrder(
            rental_id, f"cmd-{rental_id}", WorkloadSpec(["sh", "-c", script], **spec), ["GPU-1"]
        )

    def run(self, rental_id: str, script: str, **spec: object) -> WorkloadStatus:
        """Start a script and wait until it runs, has ended or has failed."""
        self.runtime.start(self.order(rental_id, script, **spec))
        return self.wait_for(rental_id, "running", "exited", "failed")

    def wait_for(self, rental_id: str, *states: str) -> WorkloadStatus:
        return self.wait(
            rental_id, lambda: (seen := self.runtime.inspect(rental_id)).state in states and seen
        )

    def read(self, rental_id: str, until: str = "") -> str:
        """Return the log once it holds ``until``."""

        def look() -> str | None:
            text = self.runtime.read_log(rental_id, 64_000)
            return text.decode() if text is not None and until in text.decode() else None

        return self.wait(rental_id, look)

    def stop(self, rental_id: str, grace_seconds: float = 0) -> None:
        self.wait(rental_id, lambda: self.runtime.stop(rental_id, grace_seconds))

    def wipe(self, rental_id: str, *, keep_volume: bool = False) -> Wiped:
        return self.wait(
            rental_id, lambda: self.runtime.wipe(rental_id, keep_volume=keep_volume, unreachable=False)
        )

    def end(self, rental_id: str) -> Wiped:
        self.stop(rental_id)
        return self.wipe(rental_id)

    def wait(self, rental_id: str, look: Callable[[], object]):
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := look()):
            log = self.state / "workloads" / rental_id / OPERATION_LOG
            assert time.monotonic() < deadline, log.read_text() if log.exists() else "no operation ran"
            time.sleep(0.05)
        return found


def volume(volume_id: str, size_mib: int = 32) -> VolumeSpec:
    return VolumeSpec(volume_id, size_mib, "/data")


def port(number: int) -> PortSpec:
    return PortSpec(number)


def list_bridges() -> list[str]:
    return [each for each in list_links() if each.startswith("pvc-")]

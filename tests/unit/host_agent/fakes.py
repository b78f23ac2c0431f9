"""Fakes of the agent's ports."""

from collections.abc import Sequence

import msgspec

from chalicelib.wire.v1 import Command, Lease, WorkloadSpec, XidEvent
from host_agent.agent import Agent
from host_agent.gpu import GpuInfo, GpuLost, GpuUnavailable, Reading
from host_agent.outbox import HeartbeatSlot, TelemetryOutbox
from host_agent.spool import Spool
from host_agent.watchdog import WatchedReader
from host_agent.workloads.notice import Notice
from host_agent.workloads.runtime import Wiped, WorkloadOrder, WorkloadStatus

START_MS = 1_800_000_000_000
WATTS = 500


class FakeClock:
    """Tests move ``ms``; ``jump`` sets the host's clock and lets no time pass."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.jumped_ms = 0

    def jump(self, by_ms: int) -> None:
        self.jumped_ms += by_ms

    def now_ms(self) -> int:
        return self.ms + self.jumped_ms

    def monotonic(self) -> float:
        return self.ms / 1000


class FakeReader:
    """GPUs that draw ``WATTS`` each since ``START_MS``; single GPUs can be lost or silent."""

    def __init__(self, clock: FakeClock, gpus: int = 2) -> None:
        self._clock = clock
        self.infos = [GpuInfo(f"GPU-{n}", f"0:{n}", "H100", 81_559, 700_000) for n in range(gpus)]
        self.lost: set[str] = set()
        self.silent: set[str] = set()
        #: What readings say besides, by GPU.
        self.facts: dict[str, dict[str, object]] = {}

    def list_gpus(self) -> list[GpuInfo]:
        return self.infos

    def read(self, gpu_uuid: str, *, deep: bool = False) -> Reading:
        if gpu_uuid in self.lost:
            raise GpuLost("gpu_lost")
        if gpu_uuid in self.silent:
            raise GpuUnavailable("silent")
        elapsed_ms = self._clock.ms - START_MS
        now_ms, counter = self._clock.now_ms(), elapsed_ms * WATTS
        reading = Reading(now_ms, self._clock.ms, counter, WATTS * 1000, 90, 1000, 60)
        return msgspec.structs.replace(reading, **self.facts.get(gpu_uuid, {}))

    def close(self) -> None:
        pass


class FakeRuntime:
    """Workloads run as soon as they are started; tests end them by hand. Outlives agents, as processes do.

    ``stubborn`` workloads take one more call to stop and to wipe, as those of an engine do.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, WorkloadStatus] = {}
        self.started: list[str] = []
        self.wiped: list[str] = []
        self.announced: dict[str, Notice] = {}
        self.graces: dict[str, float] = {}
        self.kept: list[str] = []
        self.discarded: list[str] = []
        #: Rentals whose volume is attached or was kept.
        self.volumes: set[str] = set()
        #: As a wipe that was under way when it was told otherwise.
        self.keeps_whatever_is_asked = False
        self.stubborn = False
        self._asked: set[tuple[str, str]] = set()

    def start(self, order: WorkloadOrder) -> None:
        if order.rental_id not in self.statuses:
            self.started.append(order.rental_id)
            if order.spec.volume is not None:
                self.volumes.add(order.rental_id)
            self.statuses[order.rental_id] = WorkloadStatus("running")

    def inspect(self, rental_id: str) -> WorkloadStatus:
        return self.statuses.get(rental_id, WorkloadStatus("absent"))

    def find_cgroup(self, rental_id: str) -> str | None:
        return f"/{rental_id}"

    def stop(self, rental_id: str, grace_seconds: float) -> bool:
        self.graces.setdefault(rental_id, grace_seconds)
        if self._is_slow("stop", rental_id):
            return False
        if rental_id in self.statuses:
            self.statuses[rental_id] = WorkloadStatus("exited", 143, START_MS)
        return True

    def wipe(self, rental_id: str, *, keep_volume: bool, unreachable: bool) -> Wiped | None:
        if self._is_slow("wipe", rental_id):
            return None
        self.statuses.pop(rental_id, None)
        self.wiped.append(rental_id)
        kept = (keep_volume or self.keeps_whatever_is_asked) and rental_id in self.volumes
        if kept:
            self.kept.append(rental_id)
        else:
            self.volumes.discard(rental_id)
        return Wiped("unreachable" if unreachable else "verified", volume_kept=kept)

    def prepare_discard(self, order: WorkloadOrder) -> None:
        assert order.spec.volume is not None, "what is discarded is a volume"
        if order.rental_id in self.kept:
            self.kept.remove(order.rental_id)
            self.discarded.append(order.spec.volume.volume_id)
            self.volumes.discard(order.rental_id)
            self.keeps_whatever_is_asked = False

    def announce(self, rental_id: str, notice: Notice | None) -> None:
        if notice is None:
            self.announced.pop(rental_id, None)
        else:
            self.announced[rental_id] = notice

    def read_log(self, rental_id: str, max_bytes: int) -> bytes | None:
        return f"log of {rental_id}".encode()[-max_bytes:]

    def _is_slow(self, what: str, rental_id: str) -> bool:
        first = self.stubborn and (what, rental_id) not in self._asked
        self._asked.add((what, rental_id))
        return first


class FakeXids:
    """Tells ``events`` until they are confirmed."""

    def __init__(self) -> None:
        self.events: list[XidEvent] = []

    def poll(self) -> list[XidEvent]:
        return list(self.events)

    def confirm(self, told: list[XidEvent]) -> None:
        self.events = [event for event in self.events if event not in told]


class Host:
    """A host's hardware, disk and workloads, on which agents may die and be started again."""

    def __init__(self, directory, gpus: int = 2) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.reader = FakeReader(self.clock, gpus)
        self.runtime = FakeRuntime()
        self.xids = FakeXids()
        self.boots = 0
        self.restart()

    def restart(self) -> None:
        """Start a new agent on the same disk, as after kill -9."""
        self.boots += 1
        self.spool = Spool(self.directory / "spool")
        self.outbox = TelemetryOutbox(self.spool, f"boot-{self.boots}")
        self.heartbeats = HeartbeatSlot()
        self.agent = Agent(
            state_dir=self.directory,
            gpus=self.reader.infos,
            reader=WatchedReader(self.reader),
            runtime=self.runtime,
            outbox=self.outbox,
            heartbeats=self.heartbeats,
            meter_state=self.spool.latest_state,
            xids=self.xids,
            clock=self.clock,
        )

    def reports(self) -> dict[str, object]:
        self.agent.beat()
        taken = self.heartbeats.take()
        assert taken is not None
        return {report.rental_id: report for report in taken[1].workloads}

    def tell(self, times: int) -> None:
        """Send heartbeats that the queue takes."""
        for _ in range(times):
            self.agent.beat()
            taken = self.heartbeats.take()
            assert taken is not None
            self.agent.confirm(taken[1])

    def intervals(self) -> list:
        return [each for pending in self.outbox.take(10_000) for each in pending.record.intervals]


def build_start(rental_id: str = "rnt_1", epoch: int = 1, gpus: Sequence[str] = ("GPU-0",)) -> Command:
    leases = [Lease(gpu, epoch) for gpu in gpus]
    return Command(
        1, f"cmd-start-{rental_id}", "start", "hst", rental_id, leases, START_MS, WorkloadSpec(["x"])
    )


def build_stop(rental_id: str = "rnt_1", epoch: int = 2, gpus: Sequence[str] = ("GPU-0",)) -> Command:
    leases = [Lease(gpu, epoch) for gpu in gpus]
    return Command(1, f"cmd-stop-{rental_id}", "stop", "hst", rental_id, leases, START_MS)


def build_preempt(
    deadline_at_ms: int, rental_id: str = "rnt_1", epoch: int = 1, gpus: Sequence[str] = ("GPU-0",)
) -> Command:
    leases = [Lease(gpu, epoch) for gpu in gpus]
    command = Command(1, f"cmd-preempt-{rental_id}", "preempt", "hst", rental_id, leases, START_MS)
    return msgspec.structs.replace(command, deadline_at_ms=deadline_at_ms)

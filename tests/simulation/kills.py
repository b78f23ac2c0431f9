"""Hosts that die under load, with the real watch, failover and dispatch: how long until somebody acts.

Heartbeats take up to two seconds to be handled, some are lost, ticks come every five seconds; everything else
is as in `tests.simulation.world`.
"""

import heapq
import itertools
import random
from dataclasses import dataclass, replace

from chalicelib.core.capacity import name_pool
from chalicelib.fleet.watch import watch_region
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.rentals.dispatch import dispatch_pool
from tests.factories import GPU_TYPE, REGION, add_host, rent, seed_cloud
from tests.simulation.hosts import SimHost

HOSTS, GPUS, RENTALS = 40, 2, 26
BEAT_MS, JITTER_MS, TICK_MS = 10_000, 1_000, 5_000
KILL_EVERY_MS = 40_000
#: A dead machine comes back, wipes, and is offered again.
BACK_AFTER_MS = 75_000
POOL = name_pool(GPU_TYPE, REGION)


@dataclass(frozen=True, slots=True)
class KillTimes:
    """From the kill: until the host was given up, and until its rental was leased GPUs elsewhere."""

    detected_ms: int
    replaced_ms: int


class Region:
    """One region of hosts, most of which have a rental."""

    def __init__(self, seed: int, *, loss: float = 0.0, delay_ms: int = 2_000) -> None:
        self.rng = random.Random(seed)
        self.loss, self.delay_ms = loss, delay_ms
        self.seeded = seed_cloud(hosts=0, credit_micros=10**12)
        self.cloud = self.seeded.cloud
        self.watch = replace(self.cloud.watch, failover=self.cloud.failover)
        self.hosts: dict[str, SimHost] = {}
        self.queue: list[tuple[int, int, object]] = []
        self.numbers = itertools.count()
        for number in range(HOSTS):
            host = add_host(self.seeded, f"h{number}", GPUS)
            gpus = tuple(gpu.gpu.gpu_uuid for gpu in self.cloud.fleet_store.list_gpus(host.host_id))
            first = self.now_ms + self.rng.randrange(BEAT_MS)
            self.hosts[host.host_id] = SimHost(host.host_id, gpus, next_beat_ms=first, exit_chance=0)
        self.next_tick_ms = self.now_ms
        self.run(15_000 + 2 * delay_ms)

    @property
    def now_ms(self) -> int:
        return self.cloud.clock.now_ms()

    def rent_all(self) -> None:
        for number in range(RENTALS):
            rent(self.seeded, GPUS, key=f"r{number}", recovery="replace")
        self.run(20_000)

    def run(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        while True:
            beats = [host.next_beat_ms for host in self.hosts.values() if host.online]
            waiting = [self.queue[0][0]] if self.queue else []
            at_ms = min([end_ms, self.next_tick_ms, *beats, *waiting])
            self.cloud.clock.value_ms = max(self.now_ms, at_ms)
            if at_ms >= end_ms:
                return
            self.step()

    def step(self) -> None:
        for host in self.hosts.values():
            if host.online and host.next_beat_ms <= self.now_ms:
                host.work(self.now_ms, self.rng)
                host.next_beat_ms = self.now_ms + BEAT_MS + self.rng.randrange(-JITTER_MS, JITTER_MS)
                if self.rng.random() >= self.loss:
                    late_ms = self.now_ms + self.rng.randrange(self.delay_ms // 2, self.delay_ms + 1)
                    heapq.heappush(self.queue, (late_ms, next(self.numbers), host.beat(self.now_ms)))
        while self.queue and self.queue[0][0] <= self.now_ms:
            record_heartbeat(self.cloud.meters, heapq.heappop(self.queue)[2])
        if self.now_ms >= self.next_tick_ms:
            self.next_tick_ms += TICK_MS
            watch_region(self.watch, REGION, self.now_ms)
            dispatch_pool(self.cloud.rentals, POOL)
        self.hand_over()

    def hand_over(self) -> None:
        rows = self.cloud.db.table("commands")
        while rows:
            command = rows.pop(next(iter(rows)))
            self.hosts[command.host_id].accept(command)

    def list_lost(self) -> set[str]:
        return {host_id for host_id, host in self.cloud.db.table("hosts").items() if host.state == "lost"}

    def list_incidents(self, kind: str) -> list[object]:
        return [each for each in self.cloud.db.table("incidents").values() if each.kind == kind]


def measure_kills(seed: int, kills: int) -> list[KillTimes]:
    """Kill so many hosts with a running rental, one after the other, and return what each took."""
    region = Region(seed)
    region.rent_all()
    rentals = region.cloud.db.table("rentals")
    open_kills: dict[str, tuple[int, str, int]] = {}
    detected: dict[str, int] = {}
    back: list[tuple[int, str]] = []
    times: list[KillTimes] = []
    next_kill_ms, killed = region.now_ms, 0
    while len(times) < kills:
        if region.now_ms >= next_kill_ms and killed < kills:
            busy = [
                row for row in rentals.values() if row.state == "running" and row.host_id not in open_kills
            ]
            victim = region.rng.choice(busy)
            region.hosts[victim.host_id].crash(region.now_ms)
            open_kills[victim.host_id] = (region.now_ms, victim.rental_id, victim.segment)
            back.append((region.now_ms + BACK_AFTER_MS, victim.host_id))
            next_kill_ms, killed = region.now_ms + KILL_EVERY_MS + region.rng.randrange(BEAT_MS), killed + 1
        region.run(1_000)
        lost = region.list_lost()
        for host_id, (at_ms, rental_id, segment) in list(open_kills.items()):
            if host_id in lost:
                detected.setdefault(host_id, region.now_ms - at_ms)
            rental = rentals[rental_id]
            if rental.segment > segment and rental.placement is not None:
                times.append(KillTimes(detected.pop(host_id), region.now_ms - at_ms))
                del open_kills[host_id]
        while back and back[0][0] <= region.now_ms:
            host = region.hosts[back.pop(0)[1]]
            host.boot_again()
            host.next_beat_ms = region.now_ms
    return times

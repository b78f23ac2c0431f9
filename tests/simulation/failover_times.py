"""Killed hosts under the real watch, failover and dispatch: how long until each step of the failover.

Heartbeats, ticks and commands are messages that take their time; nothing but its silence tells that a
machine is dead.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chalicelib.core.capacity import name_pool
from chalicelib.fleet.detector import TICK_MS
from chalicelib.fleet.watch import watch_region
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.model import Rental
from chalicelib.rentals.service import set_quota
from tests.factories import GPU_TYPE, REGION, add_host, rent, seed_cloud
from tests.fakes import Crash
from tests.simulation.hosts import SimHost

POOL = name_pool(GPU_TYPE, REGION)
HOSTS, GPUS = 50, 8
#: About two thirds of the GPUs are leased.
SIZES = (1, 1, 2, 2, 4, 8)
LEASED_GPUS = HOSTS * GPUS * 2 // 3
#: A rental is placed at most a hundred times.
KILLS_PER_REGION = 250
#: So that dead and suspect hosts together stay under a fifth of the region, where the brake is.
KILL_EACH_MS = 14_000
#: From its death until a machine has booted again: its rentals are elsewhere by then.
DEAD_MS = 90_000
#: Of ticks: far more than of functions that run.
CRASHES = 0.2
MAX_DELAY_MS = 2_000
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class KillTimes:
    """From the kill until the host was given up, and until the last of its rentals had GPUs again."""

    detected_ms: int
    replaced_ms: int
    rentals: int


@dataclass
class Kill:
    host_id: str
    at_ms: int
    #: The stays that ran there.
    segments: dict[str, int]
    lost_at_ms: int | None = None
    replaced_at_ms: dict[str, int] = field(default_factory=dict)

    @property
    def times(self) -> KillTimes:
        assert self.lost_at_ms is not None, f"{self.host_id} was never given up"
        assert set(self.replaced_at_ms) == set(self.segments), f"rentals of {self.host_id} wait for ever"
        replaced_ms = max(self.replaced_at_ms.values()) - self.at_ms
        return KillTimes(self.lost_at_ms - self.at_ms, replaced_ms, len(self.segments))


def draw_delay(rng: random.Random, _at_ms: int) -> int:
    return rng.randrange(MAX_DELAY_MS)


class Region:
    """``delay_ms``: of a heartbeat on its queue, from the generator and the time since the beginning.

    ``loss``: of heartbeats that never arrive; ``crash``: of ticks whose function dies around one of the
    first commits that it makes, and leaves the rest to the next.
    """

    def __init__(
        self,
        seed: int,
        *,
        hosts: int = HOSTS,
        leased_gpus: int = LEASED_GPUS,
        loss: float = 0.0,
        crash: float = 0.0,
        delay_ms: Callable[[random.Random, int], int] = draw_delay,
    ) -> None:
        self.random = random.Random(seed)
        self.loss, self.crash, self.delay_ms = loss, crash, delay_ms
        self.seeded = seed_cloud(hosts=0, credit_micros=10**15)
        self.cloud = self.seeded.cloud
        self.began_ms = self.now_ms
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.kills: list[Kill] = []
        self.open_kills: list[Kill] = []
        #: Hosts that were given up while they lived.
        self.false_lost: list[str] = []
        #: Hosts that were killed once: booted again, they may still stand as lost until they are heard.
        self.rebooted: set[str] = set()
        self.blind_ticks = self.crashes = 0
        self.hosts: dict[str, SimHost] = {}
        set_quota(self.cloud.rentals, self.seeded.operator, self.seeded.renter.account_id, 10**6)
        for number in range(hosts):
            host = add_host(self.seeded, f"sim-{number}", GPUS)
            self.seeded.beat(host.host_id)
            gpus = tuple(gpu.gpu.gpu_uuid for gpu in self.cloud.fleet_store.list_gpus(host.host_id))
            self.hosts[host.host_id] = SimHost(host.host_id, gpus, exit_chance=0)
            self.later(
                self.random.randrange(10_000), lambda host_id=host.host_id: self.beat(self.hosts[host_id])
            )
        self.later(self.random.randrange(TICK_MS), self.tick)
        self.later(self.random.randrange(MINUTE_MS), self.sweep)
        for number in itertools.count():
            if leased_gpus <= 0:
                break
            gpus_wanted = self.random.choice(SIZES)
            leased_gpus -= gpus_wanted
            rent(self.seeded, gpus_wanted, key=f"key-{number}", waits=True, recovery="replace")
        self.deliver_commands()

    @property
    def now_ms(self) -> int:
        return self.cloud.clock.now_ms()

    @property
    def rentals(self) -> list[Rental]:
        return list(self.cloud.db.table("rentals").values())

    def later(self, delay_ms: int, work: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now_ms + delay_ms, next(self.numbers), work))

    def run(self, duration_ms: int) -> None:
        end_ms = self.now_ms + duration_ms
        while self.events[0][0] <= end_ms:
            at_ms, _, work = heapq.heappop(self.events)
            self.cloud.clock.value_ms = at_ms
            work()
        self.cloud.clock.value_ms = end_ms

    # Hosts.

    def beat(self, host: SimHost) -> None:
        self.later(10_000 + self.random.randint(-1_000, 1_000), lambda: self.beat(host))
        if not host.online:
            return
        host.work(self.now_ms, self.random)
        if host.dark or self.random.random() < self.loss:
            return
        beat = host.beat(self.now_ms)
        delay_ms = self.delay_ms(self.random, self.now_ms - self.began_ms)
        self.later(delay_ms, lambda: self.hear(beat))

    def hear(self, beat) -> None:
        record_heartbeat(self.cloud.meters, beat)
        self.deliver_commands()

    def deliver_commands(self) -> None:
        rows = self.cloud.db.table("commands")
        while rows:
            command = rows.pop(next(iter(rows)))
            self.later(self.random.randrange(MAX_DELAY_MS), lambda command=command: self.hand_over(command))

    def hand_over(self, command) -> None:
        host = self.hosts[command.host_id]
        if host.reachable:
            host.accept(command)
        else:
            # It waits on the host's queue.
            self.later(3_000, lambda: self.hand_over(command))

    # Schedules.

    def tick(self) -> None:
        """A tick each five seconds; its message may come late."""
        until_next_ms = TICK_MS - (self.now_ms - self.began_ms) % TICK_MS
        self.later(until_next_ms + self.random.randrange(MAX_DELAY_MS), self.tick)
        ports, db = replace(self.cloud.watch, failover=self.cloud.failover), self.cloud.db
        if self.random.random() < self.crash:
            point = db.commits + self.random.randrange(4)
            setattr(db, self.random.choice(("crash_before", "crash_after")), point)
        try:
            report = watch_region(ports, REGION, self.now_ms)
            self.blind_ticks += report.watch.blind_since_ms is not None
        except Crash:
            self.crashes += 1
        finally:
            db.crash_before = db.crash_after = None
        self.note_lost()
        self.note_replaced()
        self.deliver_commands()

    def sweep(self) -> None:
        self.later(MINUTE_MS, self.sweep)
        dispatch_pool(self.cloud.rentals, POOL)
        self.note_replaced()
        self.deliver_commands()

    def note_lost(self) -> None:
        for host_id, host in self.hosts.items():
            if self.cloud.fleet_store.get_host(host_id).state != "lost":
                continue
            if host.online and host_id not in self.false_lost and host_id not in self.rebooted:
                self.false_lost.append(host_id)
            for kill in self.open_kills:
                if kill.host_id == host_id and kill.lost_at_ms is None:
                    kill.lost_at_ms = self.now_ms

    def note_replaced(self) -> None:
        for kill in self.open_kills:
            for rental_id, segment in kill.segments.items():
                rental = self.seeded.rental(rental_id)
                moved = rental.segment > segment and rental.host_id is not None
                if rental_id not in kill.replaced_at_ms and moved:
                    assert rental.host_id != kill.host_id, "a dead host has got its rental back"
                    kill.replaced_at_ms[rental_id] = self.now_ms
        self.open_kills = [
            each
            for each in self.open_kills
            if each.lost_at_ms is None or len(each.replaced_at_ms) < len(each.segments)
        ]

    # What happens to hosts.

    def kill(self) -> None:
        """Kill a host on which rentals run; the phase of its heartbeat is whatever it is."""
        running: dict[str, dict[str, int]] = {}
        for rental in self.rentals:
            if rental.state == "running" and rental.host_id is not None:
                running.setdefault(rental.host_id, {})[rental.rental_id] = rental.segment
        host_id = self.random.choice(sorted(each for each in running if self.hosts[each].online))
        host = self.hosts[host_id]
        host.crash(self.now_ms)
        kill = Kill(host_id, self.now_ms, running[host_id])
        self.rebooted.add(host_id)
        self.kills.append(kill)
        self.open_kills.append(kill)
        self.later(DEAD_MS, host.boot_again)


def measure_kills(seed: int, kills: int) -> list[KillTimes]:
    """Kill hosts one after the other in regions of `HOSTS` hosts."""
    times: list[KillTimes] = []
    for first in range(0, kills, KILLS_PER_REGION):
        region = Region(seed + first, crash=CRASHES)
        region.run(2 * MINUTE_MS)
        for _ in range(min(KILLS_PER_REGION, kills - first)):
            region.run(region.random.randrange(KILL_EACH_MS * 3 // 4, KILL_EACH_MS * 5 // 4))
            region.kill()
        region.run(3 * MINUTE_MS)
        kinds = {incident.kind for incident in region.cloud.watch_store.incidents}
        assert kinds == {"host_lost"}, f"a region with {kinds} does not show single failures"
        assert not region.false_lost
        times += [kill.times for kill in region.kills]
    return times


def find_percentile(values: list[int], percent: int) -> int:
    """Return the smallest value that this many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

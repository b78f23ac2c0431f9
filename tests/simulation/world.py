"""The whole control plane under one random generator: clock, queues, hosts, renters, operators, crashes.

One seed is one run, to the last byte: a failing seed replays to the identical trace. Every use case is the
real one; what is simulated is what stands around them.
"""

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.billing.charging import charge_rental, dispatch_charges
from chalicelib.core.capacity import name_pool
from chalicelib.core.errors import DomainError, Unavailable
from chalicelib.core.principal import Principal
from chalicelib.core.workloads import Volume, Workload
from chalicelib.fleet.model import HostCommand
from chalicelib.fleet.watch import watch_region
from chalicelib.metering.incidents import record_heartbeat
from chalicelib.metering.service import Beat
from chalicelib.rentals.dispatch import dispatch_pool
from chalicelib.rentals.due import do_due
from chalicelib.rentals.life import restart_rental, resume_rental, stop_rental, terminate_rental
from chalicelib.rentals.policies import Policies
from chalicelib.rentals.rules import FINAL_STATES
from tests.factories import GPU_TYPE, REGION, add_host, add_renter, give_credit, rent, seed_cloud
from tests.fakes import Crash
from tests.simulation.hosts import SimHost, Violation

POOL = name_pool(GPU_TYPE, REGION)
HOSTS, GPUS, RENTERS = 3, 4, 2
#: In some runs wallets run dry.
CREDITS = (2_000_000, 40_000_000, 40_000_000)
WITH_VOLUME = Workload(("work",), volume=Volume(1024, "/data"))
PLAIN = Workload(("work",))


@dataclass(order=True)
class Event:
    at_ms: int
    number: int
    run: Callable[[], None] = field(compare=False)
    name: str = field(compare=False, default="")


class World:
    """``step`` does one thing; `tests.simulation.invariants.check` says whether all is still well."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        credit_micros = self.rng.choice(CREDITS)
        self.seeded = seed_cloud(hosts=0, credit_micros=credit_micros, every_class=True)
        self.cloud = self.seeded.cloud
        self.renters: list[Principal] = [self.seeded.renter]
        self.renters += [
            add_renter(self.seeded, name=f"renter-{n}", credit_micros=credit_micros)
            for n in range(1, RENTERS)
        ]
        self.hosts: dict[str, SimHost] = {}
        self.events: list[Event] = []
        self.numbers = itertools.count()
        self.delivered: set[str] = set()
        self.charges_taken = 0
        self.trace = hashlib.sha256()
        self.interluding = False
        self.faulty = True
        self.keys = itertools.count()
        self.next_watch_ms = 0
        self.answers: dict[str, str] = {}
        for number in range(HOSTS):
            self.enrol(f"sim-{number}")
        self.cloud.db.interlude = self.interlude

    @property
    def now_ms(self) -> int:
        return self.cloud.clock.now_ms()

    def enrol(self, name: str) -> None:
        host = add_host(self.seeded, name, GPUS)
        gpus = tuple(gpu.gpu.gpu_uuid for gpu in self.cloud.fleet_store.list_gpus(host.host_id))
        self.hosts[host.host_id] = SimHost(host.host_id, gpus, next_beat_ms=self.now_ms)

    # What happens between a use case's reads and its writes.

    def interlude(self) -> None:
        if self.interluding or not self.faulty or self.rng.random() > 0.08:
            return
        self.interluding = True
        try:
            self.guard(self.choose())
        finally:
            self.interluding = False

    # Running things that may die.

    def guard(self, work: Callable[[], object]) -> bool:
        """Run a use case as a function would: it may die around any commit; return whether it ended."""
        db = self.cloud.db
        if self.faulty and not self.interluding and self.rng.random() < 0.03:
            point = db.commits + self.rng.randrange(2)
            setattr(db, self.rng.choice(("crash_before", "crash_after")), point)
        try:
            work()
        except Crash:
            self.note("crash")
            return False
        except Unavailable:
            return False
        except DomainError as error:
            self.note(error.code)
        finally:
            if not self.interluding:
                db.crash_before = db.crash_after = None
        return True

    def note(self, *facts: object) -> None:
        self.trace.update(repr(facts).encode())

    def later(self, delay_ms: int, name: str, run: Callable[[], None]) -> None:
        heapq.heappush(self.events, Event(self.now_ms + delay_ms, next(self.numbers), run, name))

    def post(self, name: str, work: Callable[[], object], *, loss: float = 0.0) -> None:
        """Put a message on a queue: late, twice, out of order, again until it was handled."""
        if self.faulty and self.rng.random() < loss:
            return

        def deliver() -> None:
            if not self.guard(work):
                self.later(self.rng.randrange(1000, 30_000), name, deliver)

        copies = 2 if self.faulty and self.rng.random() < 0.1 else 1
        for _ in range(copies):
            slow = self.faulty and self.rng.random() < 0.1
            self.later(self.rng.randrange(0, 40_000 if slow else 1500), name, deliver)

    # One step.

    def step(self) -> None:
        self.note(self.now_ms)
        if self.rng.random() < 0.45:
            self.pass_time(self.rng.choice((1, 5, 10, 20, 60)))
        else:
            self.guard(self.choose())
        self.collect()

    def choose(self) -> Callable[[], object]:
        actions: list[tuple[int, Callable[[], object]]] = [
            (8, self.rent_something),
            (4, lambda: self.act(terminate_rental)),
            (4, lambda: self.act(stop_rental)),
            (4, lambda: self.act(resume_rental)),
            (2, lambda: self.act(restart_rental)),
            (2, lambda: dispatch_pool(self.cloud.rentals, POOL)),
            (1, lambda: do_due(self.cloud.rentals, self.now_ms)),
            (2, self.charge_something),
            (4, self.hear_something),
            (2, self.break_host),
            (3, self.mend_host),
            (1, self.top_up),
        ]
        (chosen,) = self.rng.choices([work for _, work in actions], [weight for weight, _ in actions])
        return chosen

    def rent_something(self) -> None:
        rng = self.rng
        wishes = {
            "waits": rng.random() < 0.8,
            "recovery": rng.choice(("replace", "fail")),
            "billing_class": rng.choice(("on_demand", "on_demand", "spot")),
            "workload": rng.choice((PLAIN, PLAIN, WITH_VOLUME)),
            "priority": rng.choice((0, 0, 50)),
            "spread_group": rng.choice((None, None, None, "group")),
            "policies": rng.choice((Policies(), Policies(), Policies(max_duration_seconds=300))),
            "deadline_at_ms": rng.choice((None, None, self.now_ms + 120_000)),
        }
        key = f"key-{next(self.keys)}"
        principal = rng.choice(self.renters)
        gpus = rng.choice((1, 1, 2, 4))

        def ask() -> None:
            created = rent(self.seeded, gpus, key=key, principal=principal, **wishes)
            self.note("rented", created.body, created.replayed)
            if self.answers.setdefault(key, created.body) != created.body:
                raise Violation(f"I2: {key} started {self.answers[key]} and {created.body}")

        ask_again = self.faulty and rng.random() < 0.2
        self.guard(ask)
        if ask_again:
            self.guard(ask)

    def act(self, action: Callable[..., object]) -> None:
        rentals = [row for row in self.cloud.db.table("rentals").values() if row.state not in FINAL_STATES]
        if not rentals:
            return
        rental = self.rng.choice(rentals)
        principal = next(each for each in self.renters if each.account_id == rental.account_id)
        more = {"wait": self.rng.random() < 0.5} if action is resume_rental else {}
        self.note(action.__name__, rental.rental_id)
        action(self.cloud.rentals, principal, rental.rental_id, **more)

    def charge_something(self) -> None:
        meters = [row for row in self.cloud.db.table("meters").values() if row.state != "settled"]
        if meters:
            charge_rental(self.cloud.billing, self.rng.choice(meters).rental_id)

    def hear_something(self) -> None:
        heard = [host for host in self.hosts.values() if host.reachable]
        if heard:
            record_heartbeat(self.cloud.meters, self.rng.choice(heard).beat(self.now_ms))

    def break_host(self) -> None:
        host = self.rng.choice(list(self.hosts.values()))
        if self.rng.random() < 0.5:
            host.crash(self.now_ms)
        else:
            host.dark = True
        self.note("broken", host.host_id, host.online)

    def mend_host(self) -> None:
        broken = [host for host in self.hosts.values() if not host.reachable]
        if broken:
            self.mend(self.rng.choice(broken))

    def mend(self, host: SimHost) -> None:
        self.note("mended", host.host_id)
        if host.online:
            host.dark = False
        else:
            host.boot_again()
        host.next_beat_ms = self.now_ms

    def top_up(self) -> None:
        give_credit(
            self.seeded, self.rng.choice(self.renters).account_id, 1_000_000, key=f"top-{next(self.keys)}"
        )

    # Time, and what comes with it.

    def pass_time(self, seconds: int) -> None:
        end_ms = self.now_ms + seconds * 1000
        while True:
            beats = [host.next_beat_ms for host in self.hosts.values() if host.online]
            first = self.events[0].at_ms if self.events else end_ms
            at_ms = min([first, end_ms, *beats])
            if at_ms >= end_ms:
                break
            self.cloud.clock.value_ms = max(at_ms, self.now_ms)
            self.run_due()
            if self.now_ms >= self.next_watch_ms:
                self.next_watch_ms = self.now_ms + 5_000
                self.watch()
        self.cloud.clock.value_ms = end_ms
        self.run_due()

    def run_due(self) -> None:
        for host in self.hosts.values():
            if host.online and host.next_beat_ms <= self.now_ms:
                changed = host.work(self.now_ms, self.rng)
                jitter = self.rng.randrange(-1000, 1000)
                host.next_beat_ms = self.now_ms + (2_000 if changed else 10_000 + jitter)
                if not host.dark:
                    self.send_beat(host.beat(self.now_ms))
        while self.events and self.events[0].at_ms <= self.now_ms:
            heapq.heappop(self.events).run()
            self.collect()

    def send_beat(self, beat: Beat) -> None:
        self.post("beat", lambda: record_heartbeat(self.cloud.meters, beat), loss=0.05)

    def collect(self) -> None:
        """Outboxes: commands to hosts, charges that were asked for, capacity that became free."""
        for command in self.cloud.fleet_store.commands:
            if command.command_id not in self.delivered:
                self.delivered.add(command.command_id)
                self.note("command", command.kind, command.rental_id)
                self.post("command", lambda command=command: self.hand_over(command))
        waiting = self.cloud.charges.waiting
        while self.charges_taken < len(waiting):
            rental_id = waiting[self.charges_taken]
            self.charges_taken += 1
            self.post("charge", lambda rental_id=rental_id: charge_rental(self.cloud.billing, rental_id))

    def hand_over(self, command: HostCommand) -> None:
        host = self.hosts[command.host_id]
        if not host.reachable:
            raise Unavailable("nobody takes it")
        host.accept(command)
        host.next_beat_ms = min(host.next_beat_ms, self.now_ms + 500)

    def tick(self) -> None:
        """What schedules do: charges, lines, what is due, hosts that are silent."""
        self.guard(lambda: dispatch_charges(self.cloud.billing, self.now_ms))
        self.guard(lambda: dispatch_pool(self.cloud.rentals, POOL))
        self.guard(lambda: do_due(self.cloud.rentals, self.now_ms))
        self.watch()

    def watch(self) -> None:
        ports = replace(self.cloud.watch, failover=self.cloud.failover, instances=self)
        self.guard(lambda: watch_region(ports, REGION, self.now_ms))

    def list_ended(self, host_ids: Sequence[str]) -> frozenset[str]:
        """What EC2 says: a machine that has crashed is stopped, after a while."""
        return frozenset(
            host_id for host_id in host_ids if not self.hosts[host_id].online and self.rng.random() < 0.5
        )

    # The end of a run.

    def settle(self) -> None:
        """Mend everything, end every rental, and let it all come to rest."""
        self.faulty = False
        for host in self.hosts.values():
            if not host.reachable:
                self.mend(host)
        for renter in self.renters:
            give_credit(self.seeded, renter.account_id, 10**9, key=f"end-{renter.account_id}")
        for _ in range(40):
            for rental in list(self.cloud.db.table("rentals").values()):
                if rental.state in FINAL_STATES:
                    continue
                principal = next(each for each in self.renters if each.account_id == rental.account_id)
                self.guard(
                    lambda principal=principal, rental=rental: terminate_rental(
                        self.cloud.rentals, principal, rental.rental_id
                    )
                )
            self.collect()
            self.pass_time(20)
            self.tick()
            self.collect()
            if all(row.state in FINAL_STATES for row in self.cloud.db.table("rentals").values()):
                break
        for _ in range(6):
            self.pass_time(60)
            self.tick()
            self.collect()


def run(seed: int, steps: int, check: Callable[[World], None] | None = None) -> World:
    """Run one seed. ``check`` is called after every step."""
    world = World(seed)
    for number in range(steps):
        world.step()
        if number % 10 == 9:
            world.tick()
            world.collect()
        if check is not None:
            check(world)
    world.settle()
    return world

"""A seeded simulation of packing: our choice of host and GPUs beside first fit and random, on one trace.

The trace is synthetic. Sizes: 70 % of the rentals want 1 GPU, 10 % 2, 15 % 4, 5 % 8, the mix that Gavel
(Narayanan et al., OSDI 2020, section 7.1) samples after Microsoft's published Philly trace (Jeon et al., ATC
2019). Arrivals are Poisson. Durations are log-normal with a median of an hour and sigma 1.5, so heavy-tailed:
the mean is three hours. The line is the product's: oldest first, smaller ones go ahead until somebody has
waited ten minutes. The fleet: hosts of 8 GPUs, joined in two groups of four.
"""

import bisect
import heapq
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.leases import Lease
from chalicelib.fleet.placement import (
    Candidate,
    Crowds,
    choose_leases,
    compute_rank,
    compute_spread,
    order_candidates,
    search,
)

GPUS_PER_HOST, GROUP_GPUS = 8, 4
SIZES, SIZE_PERCENT = (1, 2, 4, 8), (70, 10, 15, 5)
MEDIAN_SECONDS, SIGMA = 3600.0, 1.5
PATIENCE_SECONDS = 600.0
#: Part of the arrivals before which nothing is measured: the fleet begins empty.
WARM_UP = 0.2
_CANDIDATES = 8


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    arrives_at: float
    gpus: int
    seconds: float


class Fleet:
    """Free GPUs by host, and the hosts by rank as the index has them."""

    def __init__(self, hosts: int) -> None:
        self.names = [f"hst_{number}" for number in range(hosts)]
        self.free = {name: set(range(GPUS_PER_HOST)) for name in self.names}
        self.ranks = sorted((compute_rank(GPUS_PER_HOST, name), name) for name in self.names)
        self.capacity = hosts * GPUS_PER_HOST

    def move(self, host: str, gpus: Sequence[int], *, free: bool) -> None:
        held = self.free[host]
        self.ranks.pop(bisect.bisect_left(self.ranks, (compute_rank(len(held), host), host)))
        held.update(gpus) if free else held.difference_update(gpus)
        bisect.insort(self.ranks, (compute_rank(len(held), host), host))

    def read(self, low: int, high: int) -> list[Candidate]:
        first = bisect.bisect_left(self.ranks, (low, ""))
        found = self.ranks[first : first + _CANDIDATES]
        return [self.describe(host) for rank, host in found if rank <= high]

    def describe(self, host: str) -> Candidate:
        leases = tuple(Lease(str(gpu), 0) for gpu in sorted(self.free[host]))
        return Candidate(host, "here", leases, {str(gpu): gpu // GROUP_GPUS for gpu in range(GPUS_PER_HOST)})

    @property
    def free_gpus(self) -> int:
        return sum(map(len, self.free.values()))

    @property
    def whole_gpus(self) -> int:
        """Free GPUs of hosts that are all free: what an 8-GPU rental can have."""
        return sum(len(free) for free in self.free.values() if len(free) == GPUS_PER_HOST)


class Policy(Protocol):
    name: str

    def choose(self, fleet: Fleet, job: Job) -> tuple[str, Sequence[int]] | None: ...


@dataclass
class BestFit:
    """The control plane's own code."""

    name: str = "ours"
    crowds: Crowds = field(default_factory=Crowds)

    def choose(self, fleet: Fleet, job: Job) -> tuple[str, Sequence[int]] | None:
        found = search(fleet.read, "pool", job.gpus, _CANDIDATES, compute_spread(job.name), self.crowds)
        if not found:
            return None
        best = order_candidates(found, job.name, job.gpus)[0]
        return best.host_id, [int(each.gpu_uuid) for each in choose_leases(best, job.gpus, job.name)]


@dataclass
class FirstFit:
    """The first host in a fixed order that has room, its first free GPUs."""

    name: str = "first fit"

    def choose(self, fleet: Fleet, job: Job) -> tuple[str, Sequence[int]] | None:
        for host in fleet.names:
            if len(fleet.free[host]) >= job.gpus:
                return host, sorted(fleet.free[host])[: job.gpus]
        return None


@dataclass
class Random:
    """Any host that has room, any of its free GPUs."""

    seed: int
    name: str = "random"

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # a simulation, not a secret

    def choose(self, fleet: Fleet, job: Job) -> tuple[str, Sequence[int]] | None:
        hosts = [host for host in fleet.names if len(fleet.free[host]) >= job.gpus]
        if not hosts:
            return None
        host = self.random.choice(hosts)
        return host, self.random.sample(sorted(fleet.free[host]), job.gpus)


@dataclass(slots=True)
class Outcome:
    """``stranded``: part of the free GPU-seconds on hosts that could not serve an 8-GPU rental.

    ``split``: part of the rentals of 2 and 4 GPUs that span both groups of their host.
    """

    stranded: float
    wait_mean_seconds: float
    wait_p95_seconds: float
    wait_p95_of_8_seconds: float
    utilisation: float
    split: float


def build_trace(seed: int, hosts: int, jobs: int, load: float) -> list[Job]:
    """Return jobs that would keep ``load`` of the fleet busy, if none waited."""
    drawn = random.Random(seed)  # a simulation, not a secret
    mean_gpus = sum(size * percent for size, percent in zip(SIZES, SIZE_PERCENT, strict=True)) / 100
    mean_seconds = MEDIAN_SECONDS * math.exp(SIGMA**2 / 2)
    per_second = load * hosts * GPUS_PER_HOST / (mean_gpus * mean_seconds)
    now, trace = 0.0, []
    for number in range(jobs):
        now += drawn.expovariate(per_second)
        (gpus,) = drawn.choices(SIZES, SIZE_PERCENT)
        seconds = drawn.lognormvariate(math.log(MEDIAN_SECONDS), SIGMA)
        trace.append(Job(f"rnt_{seed}_{number}", now, gpus, seconds))
    return trace


@dataclass
class Run:
    """One policy on one trace."""

    policy: Policy
    fleet: Fleet
    trace: list[Job]
    waits: list[tuple[int, float]] = field(default_factory=list)
    joined: list[bool] = field(default_factory=list)
    ends: list[tuple[float, str, Sequence[int]]] = field(default_factory=list)
    line: list[Job] = field(default_factory=list)
    free_seconds: float = 0.0
    whole_seconds: float = 0.0
    span_seconds: float = 0.0

    def play(self) -> Outcome:
        from_at = self.trace[int(len(self.trace) * WARM_UP)].arrives_at
        until, now = self.trace[-1].arrives_at, 0.0
        for job in self.trace:
            while self.ends and self.ends[0][0] <= job.arrives_at:
                at, host, gpus = heapq.heappop(self.ends)
                self._measure(max(now, from_at), at)
                now = at
                self.fleet.move(host, gpus, free=True)
                self._serve(now, from_at)
            self._measure(max(now, from_at), job.arrives_at)
            now = job.arrives_at
            self.line.append(job)
            self._serve(now, from_at)
        # Who still waits has waited at least until now.
        self.waits += [(job.gpus, until - job.arrives_at) for job in self.line if job.arrives_at >= from_at]
        waits = [wait for _, wait in self.waits]
        return Outcome(
            stranded=1 - self.whole_seconds / self.free_seconds,
            wait_mean_seconds=statistics.mean(waits),
            wait_p95_seconds=_compute_p95(waits),
            wait_p95_of_8_seconds=_compute_p95([wait for gpus, wait in self.waits if gpus == max(SIZES)]),
            utilisation=1 - self.free_seconds / (self.span_seconds * self.fleet.capacity),
            split=1 - statistics.mean(self.joined),
        )

    def _measure(self, since: float, until: float) -> None:
        if until > since:
            self.free_seconds += (until - since) * self.fleet.free_gpus
            self.whole_seconds += (until - since) * self.fleet.whole_gpus
            self.span_seconds += until - since

    def _serve(self, now: float, from_at: float) -> None:
        left: list[Job] = []
        blocked = False
        # A size that found no room finds none until something ends.
        full = GPUS_PER_HOST + 1
        for job in self.line:
            chosen = None if blocked or job.gpus >= full else self.policy.choose(self.fleet, job)
            if chosen is None:
                left.append(job)
                full = min(full, job.gpus)
                blocked = blocked or now - job.arrives_at >= PATIENCE_SECONDS
                continue
            host, gpus = chosen
            self.fleet.move(host, gpus, free=False)
            heapq.heappush(self.ends, (now + job.seconds, host, gpus))
            if job.arrives_at >= from_at:
                self.waits.append((job.gpus, now - job.arrives_at))
                if 1 < job.gpus <= GROUP_GPUS:
                    self.joined.append(len({gpu // GROUP_GPUS for gpu in gpus}) == 1)
        self.line = left


def _compute_p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def compare(seeds: Sequence[int], hosts: int, jobs: int, load: float) -> dict[str, Outcome]:
    """Return the mean outcome of each policy over the seeds' traces."""
    outcomes: dict[str, list[Outcome]] = {}
    for seed in seeds:
        trace = build_trace(seed, hosts, jobs, load)
        policies: tuple[Policy, ...] = (BestFit(), FirstFit(), Random(seed))
        for policy in policies:
            outcomes.setdefault(policy.name, []).append(Run(policy, Fleet(hosts), trace).play())
    names = list(Outcome.__dataclass_fields__)
    return {
        policy: Outcome(*(statistics.mean(getattr(each, name) for each in runs) for name in names))
        for policy, runs in outcomes.items()
    }

"""Pools that grow and shrink by themselves: what may be bought, what was ordered, what is wanted. All pure.

Invariants: a launch is one intent and at most one instance; its states only go forward; what is ended has
an `ended_at_ms`. `plan` is in `planner`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from chalicelib.core.capacity import name_pool

Purchase = Literal["on_demand", "spot", "capacity_block"]
PURCHASES: tuple[Purchase, ...] = ("on_demand", "spot", "capacity_block")

#: ``requested``: the intent is stored, EC2 may or may not have heard. ``launching``: there is an instance,
#: and no host yet. ``draining``: its host is closed for good, EC2 has not taken the order to terminate.
LaunchState = Literal["requested", "launching", "running", "draining", "terminating", "terminated", "failed"]
#: Capacity that is on its way.
COMING: frozenset[LaunchState] = frozenset({"requested", "launching"})
ENDING: frozenset[LaunchState] = frozenset({"draining", "terminating"})
ENDED: frozenset[LaunchState] = frozenset({"terminated", "failed"})

#: A machine that has not become a host by then never will: a boot of a GPU instance takes minutes.
ENROL_WITHIN_MS = 30 * 60_000
#: How long a launch is asked for again under its token when EC2 does not say what became of it.
ASK_AGAIN_FOR_MS = 30 * 60_000
#: An instance that nobody ordered is left alone this long: its record may be on its way.
ORPHAN_GRACE_MS = 10 * 60_000
#: EC2 shows a terminated instance for about an hour, then knows it no more.
FORGOTTEN_AFTER_MS = 60 * 60_000
#: A person is called when an instance has not ended by then. It is never given up.
SLOW_END_MS = 15 * 60_000
ORPHAN_PREFIX = "orphan_"


@dataclass(frozen=True, slots=True)
class LaunchOption:
    """One way to buy a host. ``list_price_micros_per_hour`` is what the whole instance costs."""

    name: str
    instance_type: str
    gpus_per_host: int
    availability_zone: str
    purchase: Purchase
    launch_template_id: str
    list_price_micros_per_hour: int
    capacity_reservation_id: str | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """``warm_gpus``: free GPUs to keep beyond what is asked for. ``version`` rises with each change."""

    gpu_type: str
    region: str
    min_hosts: int
    max_hosts: int
    warm_gpus: int
    scale_in_after_seconds: int
    options: tuple[LaunchOption, ...]
    version: int = 1

    @property
    def pool(self) -> str:
        return name_pool(self.gpu_type, self.region)


@dataclass(frozen=True, slots=True)
class Launch:
    """One order for an instance, from the intent to EC2's word that it is gone.

    ``attempts`` counts calls in the present state. ``missing_since_ms``: EC2 has said since then that it
    does not know the instance.
    """

    launch_id: str
    pool: str
    region: str
    host_id: str
    option: LaunchOption
    state: LaunchState
    requested_at_ms: int
    changed_at_ms: int
    instance_id: str | None = None
    ending_since_ms: int | None = None
    ended_at_ms: int | None = None
    attempts: int = 0
    last_error: str | None = None
    missing_since_ms: int | None = None
    version: int = 1

    @property
    def is_orphan(self) -> bool:
        return self.launch_id.startswith(ORPHAN_PREFIX)


_NEXT: Mapping[LaunchState, frozenset[LaunchState]] = {
    "requested": frozenset({"launching", "draining", "terminating", "failed"}),
    "launching": frozenset({"running", "draining", "terminating", "terminated"}),
    "running": frozenset({"draining", "terminating", "terminated"}),
    "draining": frozenset({"terminating", "terminated"}),
    "terminating": frozenset({"terminated"}),
    "terminated": frozenset(),
    "failed": frozenset(),
}

_GOES_WELL = frozenset({"launching", "running"})


def move(launch: Launch, state: LaunchState, now_ms: int, error: str | None = None) -> Launch:
    """Return the launch in its next state.

    Raises:
        ValueError: there is no way from here to there.
    """
    if state not in _NEXT[launch.state]:
        raise ValueError(f"a launch that is {launch.state} cannot become {state}")
    ending = launch.ending_since_ms
    if state in ENDING and ending is None:
        ending = now_ms
    return replace(
        launch,
        state=state,
        changed_at_ms=now_ms,
        attempts=0,
        # What went wrong on the way no longer counts once there is an instance.
        last_error=error if error is not None or state in _GOES_WELL else launch.last_error,
        ending_since_ms=ending,
        ended_at_ms=now_ms if state in ENDED else None,
        missing_since_ms=None,
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A ticket: ``node_count`` hosts with ``gpu_count`` free GPUs each."""

    gpu_count: int
    node_count: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class HostUse:
    """``busy``: leased or wiping. ``free`` is 0 on a host that is not offered."""

    host_id: str
    gpus: int
    free: int
    busy: int
    idle_since_ms: int | None = None
    protected_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """``reserved_soon_gpus``: of what makes way for reservations before a host ordered now would be up."""

    waiting: tuple[Waiting, ...] = ()
    reserved_soon_gpus: int = 0
    hosts: tuple[HostUse, ...] = ()

    @property
    def free_gpus(self) -> int:
        return sum(host.free for host in self.hosts)


@dataclass(frozen=True, slots=True)
class PoolState:
    """What one minute tells the next. ``idle_since_ms`` is by host."""

    last_action_at_ms: int | None = None
    surplus_since_ms: int | None = None
    idle_since_ms: Mapping[str, int] = field(default_factory=dict)
    blind_since_ms: int | None = None
    version: int = 0


def note_idle(before: Mapping[str, int], hosts: tuple[HostUse, ...], now_ms: int) -> dict[str, int]:
    """Return since when each host has had nothing to do; a host that is busy has no entry."""
    return {host.host_id: before.get(host.host_id, now_ms) for host in hosts if host.busy == 0}

"""One decision a minute for a pool: buy a host, end a host, or neither, with the reason. All pure.

Wanted = tickets that no free host fits, best fit first, largest first; reservations that begin soon; the
warm target; the least number of hosts. Capacity on its way counts as free. Growing waits for nothing but the
minute; shrinking waits until the surplus has stood for `scale_in_after_seconds`, so that a flapping demand
buys at most one host too many and ends none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chalicelib.scaling.model import (
    COMING,
    ENDING,
    Demand,
    HostUse,
    Launch,
    LaunchOption,
    PoolSettings,
    PoolState,
    Purchase,
)

ACTION_INTERVAL_MS = 60_000
#: After an option failed n times in a row it is left alone for 5 min * 2^(n-1), an hour at most.
BACKOFF_MS = 5 * 60_000
MAX_BACKOFF_MS = 60 * 60_000

#: Weights of the score, which is micros of the pool's currency per useful GPU-hour, the lower the better.
#: Spot is taken away: what is lost and begun again costs about a quarter (restart from a checkpoint).
#: A capacity block is paid for whether it is used or not, so using it costs next to nothing more.
PURCHASE_PERCENT: Mapping[Purchase, int] = {"on_demand": 100, "spot": 125, "capacity_block": 10}
#: Price put on carbon: 100 units of money per tonne = 0.1 micros per mg CO2e.
CARBON_MICROS_PER_TONNE = 100_000_000
MG_PER_TONNE = 1_000_000_000
#: Power of a host besides its GPUs (processors, fans, switches), and of a GPU at work and idle, in watts.
#: Round figures for 8-GPU servers of the A100 and H100 generation; they weigh options, they bill nobody.
HOST_WATTS = 1_500
BUSY_GPU_WATTS = 500
IDLE_GPU_WATTS = 80


@dataclass(frozen=True, slots=True)
class LaunchDecision:
    option: LaunchOption
    kind: Literal["launch"] = "launch"


@dataclass(frozen=True, slots=True)
class TerminateDecision:
    launch_id: str
    host_id: str
    kind: Literal["terminate"] = "terminate"


@dataclass(frozen=True, slots=True)
class Plan:
    """``surplus_since_ms`` is for the next minute; ``shortage_gpus`` is what is wanted and not there."""

    decision: LaunchDecision | TerminateDecision | None
    reason: str
    surplus_since_ms: int | None = None
    shortage_gpus: int = 0


@dataclass(frozen=True, slots=True)
class History:
    state: PoolState
    #: Launches that have ended, newest first.
    ended: tuple[Launch, ...] = ()


def plan(
    settings: PoolSettings,
    demand: Demand,
    launches: Sequence[Launch],
    history: History,
    now_ms: int,
    intensity_mg_per_kwh: int,
) -> Plan:
    """Return what to do this minute, if anything. ``launches`` are those that have not ended."""
    ending = {launch.host_id for launch in launches if launch.state in ENDING}
    hosts = [host for host in demand.hosts if host.host_id not in ending]
    known = {host.host_id for host in hosts}
    coming = [
        launch
        for launch in launches
        if launch.host_id not in known and (launch.state in COMING or launch.state == "running")
    ]
    coming_gpus = [launch.option.gpus_per_host for launch in coming]
    short = find_shortage(settings, demand, [host.free for host in hosts], coming_gpus)
    usable = sum(host.free + host.busy > 0 for host in hosts) + len(coming)
    too_few = usable < settings.min_hosts
    if short or too_few:
        return _grow(
            settings,
            _Want(short, too_few, len(hosts) + len(coming), len(ending)),
            history,
            now_ms,
            intensity_mg_per_kwh,
        )
    return _shrink(settings, demand, launches, hosts, coming_gpus, history, now_ms)


@dataclass(frozen=True, slots=True)
class _Want:
    gpus: int
    too_few_hosts: bool
    hosts: int
    ending: int


def find_shortage(settings: PoolSettings, demand: Demand, free: Sequence[int], coming: Sequence[int]) -> int:
    """Return how many GPUs are wanted beyond those of the hosts in ``free`` and ``coming``.

    A node needs its GPUs on one host. A ticket that no option could ever serve counts for nothing.
    """
    largest = max((option.gpus_per_host for option in settings.options), default=0)
    room = sorted([*free, *coming])
    missing = 0
    nodes = [each.gpu_count for each in demand.waiting for _ in range(each.node_count)]
    for gpus in sorted(nodes, reverse=True):
        fits = next((index for index, there in enumerate(room) if there >= gpus), None)
        if fits is not None:
            room[fits] -= gpus
            room.sort()
        elif gpus <= largest:
            missing += gpus
    spare = sum(room)
    return missing + max(0, settings.warm_gpus + demand.reserved_soon_gpus - spare)


def _grow(
    settings: PoolSettings, want: _Want, history: History, now_ms: int, intensity_mg_per_kwh: int
) -> Plan:
    why = f"{want.gpus} GPUs are wanted and not there" if want.gpus else "there are too few hosts"
    if want.hosts + want.ending >= settings.max_hosts:
        return Plan(None, f"{why}, and the pool has its {settings.max_hosts} hosts.", None, want.gpus)
    if _is_too_soon(history.state, now_ms):
        return Plan(None, f"{why}; the last action was less than a minute ago.", None, want.gpus)
    ready = [each for each in settings.options if find_backoff_end(each, history.ended) <= now_ms]
    if not ready:
        return Plan(None, f"{why}; every option failed lately and is left alone.", None, want.gpus)
    wanted = max(1, want.gpus)
    chosen = min(ready, key=lambda each: (score_option(each, wanted, intensity_mg_per_kwh), each.name))
    passed_over = len(settings.options) - len(ready)
    note = f" ({passed_over} in backoff)" if passed_over else ""
    return Plan(LaunchDecision(chosen), f"{why}: launch {chosen.name}{note}.", None, want.gpus)


def _shrink(
    settings: PoolSettings,
    demand: Demand,
    launches: Sequence[Launch],
    hosts: Sequence[HostUse],
    coming: Sequence[int],
    history: History,
    now_ms: int,
) -> Plan:
    if coming:
        return Plan(None, "Capacity is on its way.")
    ours = {launch.host_id: launch for launch in launches if launch.state == "running"}
    spare = [
        host for host in hosts if host.host_id in ours and _can_go(settings, demand, hosts, host, now_ms)
    ]
    if not spare:
        return Plan(None, "Nothing is wanted, and nothing is to spare.")
    since_ms = history.state.surplus_since_ms
    since_ms = now_ms if since_ms is None else since_ms
    patience_ms = settings.scale_in_after_seconds * 1000
    idle = [
        host
        for host in spare
        if host.idle_since_ms is not None and now_ms - host.idle_since_ms >= patience_ms
    ]
    if now_ms - since_ms < patience_ms or not idle:
        return Plan(None, "A host is to spare; the surplus has not stood for long enough.", since_ms)
    if _is_too_soon(history.state, now_ms):
        return Plan(None, "A host is to spare; the last action was less than a minute ago.", since_ms)

    def rank(host: HostUse) -> tuple[bool, int, int, str]:
        option = ours[host.host_id].option
        price = option.list_price_micros_per_hour * PURCHASE_PERCENT[option.purchase]
        return host.free > 0, -price // max(1, host.gpus), host.idle_since_ms or 0, host.host_id

    gone = min(idle, key=rank)
    reason = f"Host {gone.host_id} was idle and not wanted for {settings.scale_in_after_seconds} s: end it."
    return Plan(TerminateDecision(ours[gone.host_id].launch_id, gone.host_id), reason, since_ms)


def _can_go(
    settings: PoolSettings, demand: Demand, hosts: Sequence[HostUse], host: HostUse, now_ms: int
) -> bool:
    if host.busy or host.protected_until_ms > now_ms:
        return False
    if host.free == 0:
        # Nothing of it can be leased: it counts neither for the least number nor for what is free.
        return True
    others = [each for each in hosts if each is not host]
    usable = sum(each.free + each.busy > 0 for each in others)
    return usable >= settings.min_hosts and not find_shortage(
        settings, demand, [each.free for each in others], ()
    )


def _is_too_soon(state: PoolState, now_ms: int) -> bool:
    return state.last_action_at_ms is not None and now_ms - state.last_action_at_ms < ACTION_INTERVAL_MS


def score_option(option: LaunchOption, wanted_gpus: int, intensity_mg_per_kwh: int) -> int:
    """Return micros per useful GPU-hour: price by risk, and carbon at its price.

    GPUs that nobody asked for cost money and idle power, and are of no use.
    """
    useful = max(1, min(option.gpus_per_host, wanted_gpus))
    price = option.list_price_micros_per_hour * PURCHASE_PERCENT[option.purchase] // 100
    watts = HOST_WATTS + useful * BUSY_GPU_WATTS + (option.gpus_per_host - useful) * IDLE_GPU_WATTS
    carbon_mg = watts * intensity_mg_per_kwh // 1000
    return (price + carbon_mg * CARBON_MICROS_PER_TONNE // MG_PER_TONNE) // useful


def find_backoff_end(option: LaunchOption, ended: Sequence[Launch]) -> int:
    """Return when an option may be tried again; 0 when it never failed, or worked since.

    What was launched and never became a host has failed too: a broken image must not be bought each minute.
    """
    failures = 0
    last_ms = 0
    for launch in sorted(ended, key=lambda each: each.requested_at_ms, reverse=True):
        if launch.option.name != option.name or launch.is_orphan:
            continue
        if launch.last_error is None:
            break
        failures += 1
        last_ms = max(last_ms, launch.ended_at_ms or launch.requested_at_ms)
    if not failures:
        return 0
    return last_ms + min(MAX_BACKOFF_MS, BACKOFF_MS << min(failures - 1, 10))

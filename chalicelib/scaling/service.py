"""Use cases of scaling: run a pool for a minute, show its plan, read and set pools.

The intent is stored before EC2 is asked, and one transaction stores it together with the minute's one
action: two schedulers at once, or one that dies between any two calls, buy one host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.core.errors import InvalidInput, NotFound, PreconditionFailed, Unavailable
from chalicelib.core.preconditions import Check, accept_any
from chalicelib.core.principal import Principal
from chalicelib.scaling.model import Demand, Launch, PoolSettings, PoolState, move, note_idle
from chalicelib.scaling.planner import History, LaunchDecision, Plan, TerminateDecision, plan
from chalicelib.scaling.ports import HostInUse, Instances, ScalingPorts, add_audit
from chalicelib.scaling.reconcile import reconcile_pool, start

#: Ended launches that a plan looks at, for what failed lately.
HISTORY_LIMIT = 50


@dataclass(frozen=True, slots=True)
class PoolReport:
    pool: str
    plan: Plan
    blind: bool
    alarms: tuple[str, ...]
    slow_ends: int = 0


@dataclass(frozen=True, slots=True)
class PoolView:
    settings: PoolSettings
    launches: Sequence[Launch]


@dataclass(frozen=True, slots=True)
class PlanView:
    settings: PoolSettings
    demand: Demand
    launches: Sequence[Launch]
    plan: Plan


def run_pool(ports: ScalingPorts, instances: Instances, settings: PoolSettings) -> PoolReport:
    """Make records and EC2 agree, then do what the plan says. Safe to repeat, to stop, and to run twice.

    A pool whose instances cannot be seen is neither grown nor shrunk.
    """
    seen = reconcile_pool(ports, instances, settings)
    state = ports.store.get_state(settings.pool)
    now_ms = ports.clock.now_ms()
    if seen.blind:
        blind_since_ms = now_ms if state.blind_since_ms is None else state.blind_since_ms
        _keep_state(ports, settings.pool, state, replace(state, blind_since_ms=blind_since_ms))
        return PoolReport(
            settings.pool, Plan(None, "EC2's list cannot be believed."), True, seen.alarms, seen.slow_ends
        )
    demand, launches, noted = _look(ports, settings, state)
    made = _plan(ports, settings, demand, launches, noted)
    noted = replace(noted, surplus_since_ms=made.surplus_since_ms, blind_since_ms=None)
    alarms = seen.alarms
    try:
        _carry_out(ports, instances, settings, (state, noted), made, launches)
    except (Unavailable, HostInUse) as error:
        alarms = (*alarms, f"not done: {made.reason} ({error.detail})")
    return PoolReport(settings.pool, made, False, alarms, seen.slow_ends)


def preview_plan(ports: ScalingPorts, settings: PoolSettings) -> PlanView:
    """Return what the next minute would do by what is known now. Nothing is written, EC2 is not asked."""
    demand, launches, state = _look(ports, settings, ports.store.get_state(settings.pool))
    return PlanView(settings, demand, launches, _plan(ports, settings, demand, launches, state))


def list_pools(ports: ScalingPorts) -> list[PoolView]:
    return [PoolView(each, ports.store.list_open(each.pool)) for each in ports.store.list_pools()]


def read_pool(ports: ScalingPorts, gpu_type: str, region: str) -> PoolView:
    """Raises NotFound."""
    settings = ports.store.get_pool(gpu_type, region)
    if settings is None:
        raise NotFound("This pool does not scale by itself.")
    return PoolView(settings, ports.store.list_open(settings.pool))


def put_pool(
    ports: ScalingPorts, principal: Principal, wanted: PoolSettings, check: Check[PoolView] = accept_any
) -> PoolView:
    """Create or replace what a pool may buy and keep. What was launched already stays as it is.

    Raises:
        InvalidInput: bounds contradict each other, or two options have one name.
        PreconditionFailed: as ``check`` raises it of what `read_pool` gives; or there is none to check.
        Unavailable: it changed at the same time.
    """
    if wanted.min_hosts > wanted.max_hosts:
        raise InvalidInput("min_hosts is above max_hosts.")
    if len({option.name for option in wanted.options}) != len(wanted.options):
        raise InvalidInput("Two options have the same name.")
    for option in wanted.options:
        if option.purchase == "capacity_block" and option.capacity_reservation_id is None:
            raise InvalidInput(f"The capacity block {option.name} needs its capacity_reservation_id.")
    before = ports.store.get_pool(wanted.gpu_type, wanted.region)
    if check is not accept_any:
        if before is None:
            raise PreconditionFailed("There is nothing yet to change.")
        check(PoolView(before, ports.store.list_open(before.pool)))
    settings = replace(wanted, version=1 if before is None else before.version + 1)
    if before is not None and settings == replace(before, version=settings.version):
        return PoolView(before, ports.store.list_open(before.pool))
    tx = ports.transactions()
    ports.store.put_pool(tx, settings)
    details = {
        "min_hosts": settings.min_hosts,
        "max_hosts": settings.max_hosts,
        "warm_gpus": settings.warm_gpus,
        "options": [option.name for option in settings.options],
    }
    add_audit(ports, tx, "pool.set", settings.pool, details, principal.actor_id)
    tx.commit()
    return PoolView(settings, ports.store.list_open(settings.pool))


def _look(
    ports: ScalingPorts, settings: PoolSettings, state: PoolState
) -> tuple[Demand, list[Launch], PoolState]:
    now_ms = ports.clock.now_ms()
    # Launches first: a host that enrols between the two reads is seen as one of them, never as none.
    launches = ports.store.list_open(settings.pool)
    demand = ports.demands.read_demand(settings, now_ms)
    idle = note_idle(state.idle_since_ms, demand.hosts, now_ms)
    hosts = tuple(replace(host, idle_since_ms=idle.get(host.host_id)) for host in demand.hosts)
    return replace(demand, hosts=hosts), launches, replace(state, idle_since_ms=idle)


def _plan(
    ports: ScalingPorts, settings: PoolSettings, demand: Demand, launches: Sequence[Launch], state: PoolState
) -> Plan:
    history = History(state, tuple(ports.store.list_ended(settings.pool, HISTORY_LIMIT)))
    intensity = ports.read_intensity(settings.region)
    return plan(settings, demand, launches, history, ports.clock.now_ms(), intensity)


def _carry_out(
    ports: ScalingPorts,
    instances: Instances,
    settings: PoolSettings,
    states: tuple[PoolState, PoolState],
    made: Plan,
    launches: Sequence[Launch],
) -> None:
    before, after = states
    if isinstance(made.decision, LaunchDecision):
        launch = _order(ports, settings, states, made, made.decision)
        start(ports, instances, launch)
    elif isinstance(made.decision, TerminateDecision):
        decision = made.decision
        (launch,) = [each for each in launches if each.launch_id == decision.launch_id]
        _close(ports, states, made, launch)
    else:
        _keep_state(ports, settings.pool, before, after)


def _order(
    ports: ScalingPorts,
    settings: PoolSettings,
    states: tuple[PoolState, PoolState],
    made: Plan,
    decision: LaunchDecision,
) -> Launch:
    """Store the intent: from here on it is carried out, by whoever comes next."""
    now_ms = ports.clock.now_ms()
    launch = Launch(
        launch_id=ports.ids.new_id("lch"),
        pool=settings.pool,
        region=settings.region,
        host_id=ports.ids.new_id("hst"),
        option=decision.option,
        state="requested",
        requested_at_ms=now_ms,
        changed_at_ms=now_ms,
    )
    before, after = states
    tx = ports.transactions()
    ports.store.replace_state(tx, settings.pool, before, replace(after, last_action_at_ms=now_ms))
    ports.store.add_launch(tx, launch)
    ports.hosts.add_enrolment(tx, launch.launch_id, launch.host_id, settings)
    details = {"reason": made.reason, "option": decision.option.name, "host_id": launch.host_id}
    add_audit(ports, tx, "launch.requested", launch.launch_id, details)
    tx.commit()
    return launch


def _close(ports: ScalingPorts, states: tuple[PoolState, PoolState], made: Plan, launch: Launch) -> None:
    """Take the host out if nothing of it is leased; the next round, and all that follow, end its instance."""
    now_ms = ports.clock.now_ms()
    before, after = states
    tx = ports.transactions()
    ports.store.replace_state(tx, launch.pool, before, replace(after, last_action_at_ms=now_ms))
    ports.store.replace_launch(tx, launch, move(launch, "draining", now_ms))
    ports.hosts.close(tx, launch.launch_id, launch.host_id)
    details = {"reason": made.reason, "host_id": launch.host_id}
    add_audit(ports, tx, "launch.closed", launch.launch_id, details)
    tx.commit()


def _keep_state(ports: ScalingPorts, pool: str, before: PoolState, after: PoolState) -> None:
    if before == after:
        return
    tx = ports.transactions()
    ports.store.replace_state(tx, pool, before, after)
    tx.commit()

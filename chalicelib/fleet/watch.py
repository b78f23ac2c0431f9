"""Use cases of the watch: silent hosts become suspect, then lost; lost ones are failed over to the last GPU.

Every tick may come twice, late, or at the same time as another: what it writes is conditional on what it
read, consistently, a moment before. An index only says where to look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.accounts.service import AccountPorts
from chalicelib.core.capacity import ClosedCause
from chalicelib.core.errors import Conflict, DomainError, Unavailable
from chalicelib.core.paging import Page
from chalicelib.core.ports import AuditEntry, Transaction
from chalicelib.fleet.detector import (
    ASK_AFTER_MS,
    LOST_AFTER_MS,
    STORM_WINDOW_MS,
    RegionWatch,
    SilentHost,
    Verdict,
    View,
    judge,
)
from chalicelib.fleet.incident import Incident, build_incident
from chalicelib.fleet.model import HostState, LossReason, give_up
from chalicelib.fleet.service import FleetStore

#: Hosts that one tick gives up, or asks to be failed over; the next comes in five seconds.
MAX_HOSTS_PER_TICK = 50
#: Instances that a provider is asked for at most: EC2 takes 100 ids in a call.
MAX_ASKED = 100
WATCH_ACTOR = "system:watch"


class HoldsBack(Conflict):
    """The region is blind or its brake is on: nobody is given up for silence."""

    code = "watch_holds"


class NotLost(Conflict):
    """The host has come back, or was never given up."""

    code = "host_not_lost"


@dataclass(frozen=True, slots=True)
class PoolTotals:
    """Hosts of a pool and their GPUs by the state of the host; retired ones are not counted.

    ``closed``: those of the GPUs that get nothing new, see `fleet.model.count_closed`.
    """

    gpu_type: str
    region: str
    hosts: Mapping[HostState, int]
    gpus: Mapping[HostState, int]
    closed: Mapping[ClosedCause, int]


@dataclass(frozen=True, slots=True)
class PoolScore:
    """The reliability of a pool: the mean of its hosts, weighted by their GPUs."""

    gpu_type: str
    region: str
    reliability_ppm: int
    gpus: int
    computed_at_ms: int


class WatchStore(Protocol):
    def find_watermark(self, region: str) -> int | None:
        """Return when the newest heartbeat of any watched host was sent. Index; may be stale."""

    def list_silent(self, region: str, heard_before_ms: int) -> tuple[list[SilentHost], bool]:
        """Return watched hosts that were last heard before an instant, and whether there are more. Index."""
        ...

    def list_lost(self, region: str) -> list[SilentHost]:
        """Return lost hosts that may still have something to be failed over. Index; may be stale."""
        ...

    def get_region_watch(self, region: str) -> RegionWatch: ...
    def replace_region_watch(
        self, tx: Transaction, region: str, old: RegionWatch, new: RegionWatch
    ) -> None: ...
    def require_sight(self, tx: Transaction, region: str) -> None:
        """Fails with HoldsBack while the region is blind or its brake is on."""

    def mark_suspect(self, host_id: str, last_seen_at_ms: int) -> None:
        """Note the silence of a host and make its next heartbeat count as new, unless it was heard since."""

    def end_watch(self, tx: Transaction, host_id: str, region: str, last_seen_at_ms: int) -> None:
        """Move a host from the watched to the lost. Fails with Unavailable when it was heard since."""

    def drop_watch(self, tx: Transaction, host_id: str) -> None:
        """Watch a host no more: it was retired."""

    def forget_lost(self, lost: SilentHost, region: str) -> None:
        """Take a host off the lost ones of a region, unless it was heard since or is not among them."""

    def require_lost(self, tx: Transaction, host_id: str) -> None:
        """Fails with NotLost: a failover must not take anything from a host that is back."""

    def get_pool_totals(self, gpu_type: str, region: str) -> PoolTotals: ...
    def list_region_totals(self, region: str) -> list[PoolTotals]:
        """Return the totals of every pool of a region. One query."""
        ...

    def put_pool_score(self, score: PoolScore) -> None: ...
    def get_pool_score(self, gpu_type: str, region: str) -> PoolScore | None: ...


class IncidentStore(Protocol):
    def add_incident(self, tx: Transaction, incident: Incident) -> None: ...
    def list_incidents(
        self, host_id: str | None, limit: int, start: str | None, now_ms: int
    ) -> Page[Incident]:
        """Return incidents, newest first, of all hosts or of one."""
        ...


class Failover(Protocol):
    """Implemented above: moves what runs on a lost host elsewhere."""

    def fail_over_host(self, host_id: str, reason: LossReason, now_ms: int) -> None:
        """Take a step with every rental that has GPUs of the host. Safe to repeat and to run twice at once.

        Each of its transactions that takes a lease from the host includes `WatchStore.require_lost`.
        """


class InstanceStates(Protocol):
    """What the provider of instances says. Implemented above, where instances are known."""

    def list_ended(self, host_ids: Sequence[str]) -> frozenset[str]:
        """Return those whose instance is certainly terminated or stopped; without an answer, none."""
        ...


@dataclass(frozen=True, slots=True)
class WatchPorts:
    watch: WatchStore
    fleet: FleetStore
    incidents: IncidentStore
    accounts: AccountPorts
    failover: Failover | None = None
    instances: InstanceStates | None = None


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What a tick has done. ``pending`` lost hosts still had leased GPUs; ``failed`` could not be stepped."""

    watch: RegionWatch
    suspects: int = 0
    lost: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    #: The brake went on at this tick, and this call was the one that wrote it down.
    alarm: bool = False


def watch_region(ports: WatchPorts, region: str, now_ms: int) -> WatchReport:
    """Judge a region's silence and act on it."""
    before = ports.watch.get_region_watch(region)
    view = read_view(ports, region, now_ms)
    verdict = judge(view, before, now_ms)
    alarm = False
    if verdict.watch != before:
        try:
            _remember(ports, region, before, verdict.watch, view, now_ms)
        except Unavailable:
            # Another tick has judged the same moment; what it wrote holds.
            return WatchReport(ports.watch.get_region_watch(region))
        alarm = before.brake_since_ms is None and verdict.watch.brake_since_ms is not None
    lost = _act(ports, verdict, now_ms)
    pending, failed = _fail_over(ports, region, now_ms)
    return WatchReport(verdict.watch, len(verdict.suspects), lost, pending, failed, alarm)


def read_view(ports: WatchPorts, region: str, now_ms: int) -> View:
    watermark_ms = ports.watch.find_watermark(region)
    silent, crowded = ports.watch.list_silent(region, now_ms - ASK_AFTER_MS)
    storm_since_ms = now_ms - STORM_WINDOW_MS - LOST_AFTER_MS
    recently_lost = sum(host.last_seen_at_ms >= storm_since_ms for host in ports.watch.list_lost(region))
    totals = ports.watch.list_region_totals(region)
    hosts = sum(pool.hosts.get(state, 0) for pool in totals for state in _WATCHED_STATES) + recently_lost
    ended: frozenset[str] = frozenset()
    if ports.instances is not None and silent:
        longest = sorted(silent, key=lambda host: host.last_seen_at_ms)[:MAX_ASKED]
        ended = ports.instances.list_ended([host.host_id for host in longest])
    return View(watermark_ms, hosts, tuple(silent), recently_lost, crowded, ended)


_WATCHED_STATES: tuple[HostState, ...] = ("active", "draining")


def lose_host(ports: WatchPorts, host_id: str, reason: LossReason, seen: int, now_ms: int) -> bool:
    """Give up a host that was last heard at ``seen``; return whether this call did.

    A host that was heard since, that another tick gave up, or that its region's watch holds on to is left.
    """
    host, liveness = ports.fleet.get_host(host_id), ports.fleet.get_liveness(host_id)
    if host is None or host.state == "retired":
        # A heartbeat was under way when it was retired.
        tx = ports.accounts.transactions()
        ports.watch.drop_watch(tx, host_id)
        tx.commit()
        return False
    if host.state == "lost":
        return False
    if liveness is None or liveness.last_seen_at_ms != seen:
        return False
    tx = ports.accounts.transactions()
    ports.fleet.replace_health(tx, host, give_up(host, reason, now_ms, seen), ())
    ports.watch.end_watch(tx, host_id, host.region, seen)
    if reason == "silent":
        ports.watch.require_sight(tx, host.region)
    add_system_audit(ports, tx, "host.lost", host_id, now_ms, reason=reason, last_seen_at_ms=seen)
    try:
        tx.commit()
    except (Unavailable, HoldsBack):
        return False
    return True


def _act(ports: WatchPorts, verdict: Verdict, now_ms: int) -> tuple[str, ...]:
    due: list[tuple[SilentHost, LossReason]] = [
        *((host, "instance_ended") for host in verdict.ended[:MAX_HOSTS_PER_TICK]),
        *((host, "silent") for host in verdict.lost[:MAX_HOSTS_PER_TICK]),
    ]
    lost = tuple(
        host.host_id
        for host, reason in due
        if lose_host(ports, host.host_id, reason, host.last_seen_at_ms, now_ms)
    )
    for host in _rotate([each for each in verdict.suspects if each not in verdict.lost], now_ms):
        ports.watch.mark_suspect(host.host_id, host.last_seen_at_ms)
    return lost


def _fail_over(ports: WatchPorts, region: str, now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pending, failed = [], []
    for hint in _rotate(ports.watch.list_lost(region), now_ms):
        host = ports.fleet.get_host(hint.host_id)
        if host is None or host.state != "lost" or host.lost is None:
            ports.watch.forget_lost(hint, region)
            continue
        states = {gpu.lease_state for gpu in ports.fleet.list_gpus(hint.host_id)}
        recent = host.lost.at_ms >= now_ms - STORM_WINDOW_MS
        # What was ending when the host went waits for a wipe that nobody acknowledges. What a host with
        # nothing on it has promised for later is looked at each minute, after that.
        if "leased" in states or (recent and ("wiping" in states or host.reservable)):
            if "leased" in states:
                pending.append(hint.host_id)
            try:
                if ports.failover is not None:
                    ports.failover.fail_over_host(hint.host_id, host.lost.reason, now_ms)
            except DomainError:
                # The next tick tries again; the other hosts do not wait for this one.
                failed.append(hint.host_id)
        elif not recent:
            # Until then it counts for the brake.
            ports.watch.forget_lost(hint, region)
    return tuple(pending), tuple(failed)


def _rotate(hosts: Sequence[SilentHost], now_ms: int) -> list[SilentHost]:
    """Begin with another host at each tick, so that none at the front keeps the others waiting."""
    ordered = sorted(hosts, key=lambda host: host.host_id)
    start = now_ms // 1000 % len(ordered) if ordered else 0
    return [*ordered[start:], *ordered[:start]][:MAX_HOSTS_PER_TICK]


def _remember(
    ports: WatchPorts, region: str, old: RegionWatch, new: RegionWatch, view: View, now_ms: int
) -> None:
    tx = ports.accounts.transactions()
    ports.watch.replace_region_watch(tx, region, old, new)
    facts = {"hosts": view.hosts, "silent": len(view.silent), "watermark_ms": view.watermark_ms}
    if old.brake_since_ms is None and new.brake_since_ms is not None:
        ports.incidents.add_incident(tx, build_incident("storm_brake", region, now_ms, facts))
    if old.blind_since_ms is None and new.blind_since_ms is not None:
        ports.incidents.add_incident(tx, build_incident("blind", region, now_ms, facts))
    add_system_audit(
        ports,
        tx,
        "watch.changed",
        region,
        now_ms,
        brake_since_ms=new.brake_since_ms,
        blind_since_ms=new.blind_since_ms,
    )
    tx.commit()


def add_system_audit(
    ports: WatchPorts, tx: Transaction, action: str, subject: str, now_ms: int, **details: object
) -> None:
    """Add an entry to the operator's trail in the platform's own name."""
    installation = ports.accounts.store.get_installation()
    assert installation is not None, "hosts are enrolled by an operator"
    entry_id = ports.accounts.ids.new_id("aud")
    entry = AuditEntry(entry_id, installation.account_id, WATCH_ACTOR, action, subject, now_ms, dict(details))
    ports.accounts.audit.add_entry(tx, entry)

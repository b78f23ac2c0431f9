"""Which hosts of a region are suspect, which are lost, and when nobody can tell. All pure.

Time is measured by the queue: a host's silence ends at the *watermark*, the newest SentTimestamp that was
processed anywhere in the region. A queue that stands still moves neither, so its delay is nobody's silence.

Figures: a host that dies right after a heartbeat is declared lost within 60 s of it. 53 s of silence, a tick
each 5 s, and 2 s for the delivery of a tick and the gap between two heartbeats of the region. Beats come each
10 s +- 1 s, so that five in a row must be lost before one that lives is given up.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from chalicelib.fleet.model import SUSPECT_AFTER_MS, Host, Liveness
from chalicelib.fleet.reliability import add_downtime

WATCH_SHARDS = 4
TICK_MS = 5_000
#: A tick that is older says nothing that a newer one does not.
TICK_LIFETIME_MS = 30_000
LOST_AFTER_MS = 53_000
#: Without a word from any host of the region for longer, the silence is the pipeline's.
BLIND_AFTER_MS = 20_000
#: A heartbeat's interval with its jitter.
LONGEST_GAP_MS = 11_000
#: From here on a provider is asked for a host's instance.
ASK_AFTER_MS = 15_000
#: As EKS's node repair: more than a fifth of the hosts, and five at least, is no failure of hosts.
BRAKE_HOSTS = 5
BRAKE_ABOVE_PERCENT = 20
#: Let go again where not even a tenth is left, so that it does not flap at the edge.
RELEASE_PERCENT = 10
RELEASE_HOSTS = 2
#: Losses count for the brake this long.
STORM_WINDOW_MS = 120_000

_LOST_PREFIX = "LOST#"


@dataclass(frozen=True, slots=True)
class Tick:
    """An order to look at a region at ``due_at_ms``."""

    region: str
    due_at_ms: int
    delay_seconds: int


def plan_ticks(regions: AbstractSet[str], now_ms: int) -> list[Tick]:
    """Return the ticks of the minute that begins now."""
    delays = range(0, 60_000, TICK_MS)
    return [Tick(region, now_ms + delay, delay // 1000) for region in sorted(regions) for delay in delays]


def is_stale(due_at_ms: int, now_ms: int) -> bool:
    return now_ms - due_at_ms > TICK_LIFETIME_MS


def choose_watch(region: str, host_id: str) -> str:
    """Return the key under which a host is watched."""
    return name_watch(region, choose_watch_shard(host_id))


def choose_watch_shard(host_id: str) -> int:
    return sum(host_id[-8:].encode()) % WATCH_SHARDS


def name_watch(region: str, shard: int) -> str:
    return f"{region}#{shard}"


def name_lost(watch_key: str) -> str:
    """Return the key under which a lost host stands until nothing of it is left to be failed over."""
    return f"{_LOST_PREFIX}{watch_key}"


@dataclass(frozen=True, slots=True)
class SilentHost:
    """A host and when it was last heard, by the queue's clock; read from an index, so only a hint."""

    host_id: str
    last_seen_at_ms: int


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of a region at one tick.

    ``watermark_ms`` is ``None`` when no host is watched; ``silent`` are watched hosts, at least those from
    `ASK_AFTER_MS` on; ``crowded``: there are more than were read. ``hosts`` should be beating: the watched
    and those that were lost within `STORM_WINDOW_MS`, whose number is ``recently_lost``. ``ended`` are hosts
    whose instance is gone by its provider's word. ``queue_age_ms``: the oldest heartbeat that waits, where
    that is known.
    """

    watermark_ms: int | None
    hosts: int
    silent: tuple[SilentHost, ...]
    recently_lost: int = 0
    crowded: bool = False
    ended: AbstractSet[str] = frozenset()
    queue_age_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RegionWatch:
    """What a region's watch remembers. ``clear_since_ms``: the last blindness or brake ended then."""

    blind_since_ms: int | None = None
    clear_since_ms: int | None = None
    brake_since_ms: int | None = None
    version: int = 0

    @property
    def holds(self) -> bool:
        """Say whether no host may be declared lost for its silence."""
        return self.blind_since_ms is not None or self.brake_since_ms is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """``suspects`` include the ``lost``; ``ended`` are lost by their provider's word, whatever is seen."""

    watch: RegionWatch
    suspects: tuple[SilentHost, ...]
    lost: tuple[SilentHost, ...]
    ended: tuple[SilentHost, ...]


def judge(view: View, before: RegionWatch, now_ms: int) -> Verdict:
    """Return what a tick concludes; the longest silent hosts first. The version stays as it is."""
    ended = tuple(host for host in view.silent if host.host_id in view.ended)
    watch = _look(view, before, now_ms)
    if watch.blind_since_ms is not None or view.watermark_ms is None:
        return Verdict(watch, (), (), ended)
    silences = {
        host: measure_silence_ms(view, watch, host, now_ms)
        for host in sorted(view.silent, key=lambda host: (host.last_seen_at_ms, host.host_id))
        if host not in ended
    }
    suspects = tuple(host for host, silence_ms in silences.items() if silence_ms >= SUSPECT_AFTER_MS)
    watch = _brake(view, watch, len(suspects) + len(ended), now_ms)
    if watch.clear_since_ms == now_ms:
        return Verdict(watch, (), (), ended)
    lost = tuple(host for host in suspects if silences[host] >= LOST_AFTER_MS)
    return Verdict(watch, suspects, () if watch.brake_since_ms is not None else lost, ended)


def measure_silence_ms(view: View, watch: RegionWatch, host: SilentHost, now_ms: int) -> int:
    """Return how long a host has been silent while others were, or would have been, heard.

    Few hosts leave gaps that no delay has made: up to one heartbeat's interval is counted beyond the
    watermark, less the more hosts there are. What was before the end of a blindness or brake does not count.
    """
    assert view.watermark_ms is not None
    gap_ms = LONGEST_GAP_MS * min(4, view.hosts) // max(1, view.hosts)
    seen_through_ms = min(now_ms, view.watermark_ms + gap_ms)
    since_ms = max(host.last_seen_at_ms, watch.clear_since_ms or 0)
    return max(0, seen_through_ms - since_ms)


def _look(view: View, before: RegionWatch, now_ms: int) -> RegionWatch:
    late = view.watermark_ms is not None and now_ms - view.watermark_ms > BLIND_AFTER_MS
    late = late or (view.queue_age_ms is not None and view.queue_age_ms > BLIND_AFTER_MS)
    if late:
        return before if before.blind_since_ms is not None else replace(before, blind_since_ms=now_ms)
    if before.blind_since_ms is not None:
        return replace(before, blind_since_ms=None, clear_since_ms=now_ms)
    return before


def _brake(view: View, watch: RegionWatch, suspects: int, now_ms: int) -> RegionWatch:
    failing = suspects + view.recently_lost
    if watch.brake_since_ms is None:
        many = failing >= BRAKE_HOSTS and failing * 100 > view.hosts * BRAKE_ABOVE_PERCENT
        return replace(watch, brake_since_ms=now_ms) if many or view.crowded else watch
    few = failing <= max(RELEASE_HOSTS, view.hosts * RELEASE_PERCENT // 100)
    if not few or view.crowded:
        return watch
    # The last ones to come back get their time as if they had been heard now.
    return replace(watch, brake_since_ms=None, clear_since_ms=now_ms)


def watch_as(liveness: Liveness, host: Host | None, before: Liveness | None) -> Liveness:
    """Return what is stored of a heartbeat: under which key its host is watched from now on.

    A host that is still lost stays where it stands and is looked at again with each heartbeat.
    """
    if host is None or host.state == "retired":
        return replace(liveness, watch_key="")
    if host.state == "lost":
        return replace(liveness, watch_key="" if before is None else before.watch_key, announced="")
    return replace(liveness, watch_key=choose_watch(host.region, host.host_id))


def end_silence(host: Host, before: Liveness | None, heard_at_ms: int) -> Host:
    """Return the host with the silence that ends now counted, but for what was announced maintenance."""
    if before is None or before.suspect_since_ms is None:
        return host
    days = add_downtime(host.downtime_ms, before.suspect_since_ms, heard_at_ms, host.planned_ms)
    return replace(host, downtime_ms=days)

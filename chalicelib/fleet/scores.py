"""Use cases of reliability: a host's score when it is asked for, a pool's on schedule."""

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.fleet.model import Host, Liveness
from chalicelib.fleet.reliability import (
    compute_pool_reliability_ppm,
    compute_reliability_ppm,
    count_recent,
)
from chalicelib.fleet.service import FleetStore
from chalicelib.fleet.watch import PoolScore, WatchStore


@dataclass(frozen=True, slots=True)
class HostScore:
    """``lemon_score`` counts hardware incidents of 30 days; at three the host is cordoned."""

    reliability_ppm: int
    lemon_score: int


def score_host(host: Host, liveness: Liveness | None, now_ms: int) -> HostScore:
    """Return how reliable a host was in the last 30 days; a silence that lasts counts until now."""
    ppm = compute_reliability_ppm(
        host.downtime_ms,
        created_at_ms=host.created_at_ms,
        silent_since_ms=None if liveness is None else liveness.suspect_since_ms,
        now_ms=now_ms,
        planned_ms=host.planned_ms,
    )
    return HostScore(ppm, count_recent(host.hardware_incidents_ms, now_ms))


def refresh_pool_scores(
    fleet: FleetStore, watch: WatchStore, pools: Iterable[tuple[str, str]], now_ms: int
) -> int:
    """Store the score of each (GPU type, region): the mean of its hosts weighted by GPUs. Return how many.

    The one place that reads every host; it runs once an hour, beside everything that somebody waits for.
    """
    stored = 0
    for gpu_type, region in sorted(set(pools)):
        scores = [
            (_score(fleet, host, now_ms), host.gpu_count) for host in fleet.list_hosts(gpu_type, region)
        ]
        found = compute_pool_reliability_ppm(scores)
        if found is not None:
            watch.put_pool_score(PoolScore(gpu_type, region, *found, computed_at_ms=now_ms))
            stored += 1
    return stored


def _score(fleet: FleetStore, host: Host, now_ms: int) -> int:
    # The silence of others is a minute at most: only a lost host's heartbeat is worth a read.
    liveness = fleet.get_liveness(host.host_id) if host.state == "lost" else None
    return score_host(host, liveness, now_ms).reliability_ppm

"""How reliable a host was: its score, what lowers it, and when a host has failed too often. All pure.

Source of the score: RunPod's hosting documentation, (total - downtime + 10) / total, in minutes over a
rolling 30 days. Announced maintenance is no downtime. Lemon rule: Meta's research clusters (HPCA 2025) take
out nodes that fail again and again; ours leaves at the third incident in 30 days.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WINDOW_DAYS = 30
#: The ten minutes that the formula forgives.
GRACE_MS = 10 * MINUTE_MS
PPM = 1_000_000
LEMON_INCIDENTS = 3
#: One cause that shows on several GPUs of a host is one incident.
FOLD_MS = 10 * MINUTE_MS
#: From and to, in milliseconds.
Spans = tuple[tuple[int, int], ...]
#: Spans of silence beyond the window are cut, so that a host keeps 31 numbers at most.
WINDOW_MS = WINDOW_DAYS * DAY_MS


def compute_reliability_ppm(
    downtime_ms: Mapping[str, int],
    *,
    created_at_ms: int,
    silent_since_ms: int | None,
    now_ms: int,
    planned_ms: Spans = (),
) -> int:
    """Return the score from 0 to 1,000,000; ``downtime_ms`` by UTC day, ``silent_since_ms`` if it is silent.

    The total is 30 days, or the host's age if it is younger.
    """
    total_ms = min(WINDOW_MS, max(MINUTE_MS, now_ms - created_at_ms))
    days = downtime_ms
    if silent_since_ms is not None:
        days = add_downtime(downtime_ms, silent_since_ms, now_ms, planned_ms)
    oldest = _name_day(now_ms - WINDOW_MS)
    down_ms = min(total_ms, sum(ms for day, ms in days.items() if day > oldest))
    return min(PPM, (total_ms - down_ms + GRACE_MS) * PPM // total_ms)


def add_downtime(
    downtime_ms: Mapping[str, int], start_ms: int, end_ms: int, planned_ms: Spans = ()
) -> dict[str, int]:
    """Return the days with one more span of silence; what lies in announced maintenance is left out."""
    oldest = _name_day(end_ms - WINDOW_MS)
    days = {day: ms for day, ms in downtime_ms.items() if day > oldest}
    for span_start_ms, span_end_ms in _cut(max(start_ms, end_ms - WINDOW_MS), end_ms, planned_ms):
        at_ms = span_start_ms
        while at_ms < span_end_ms:
            until_ms = min(span_end_ms, (at_ms // DAY_MS + 1) * DAY_MS)
            day = _name_day(at_ms)
            days[day] = days.get(day, 0) + until_ms - at_ms
            at_ms = until_ms
    return days


def keep_recent(planned_ms: Spans, now_ms: int) -> Spans:
    """Return the spans of announced maintenance that reach into the last 30 days."""
    return tuple(span for span in planned_ms if span[1] > now_ms - WINDOW_MS)


def compute_pool_reliability_ppm(scores: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the mean of (ppm, GPUs) weighted by GPUs, and the GPUs; ``None`` without any."""
    weighted, gpus = 0, 0
    for ppm, count in scores:
        weighted += ppm * count
        gpus += count
    return None if gpus == 0 else (weighted // gpus, gpus)


def count_incident(instants_ms: tuple[int, ...], at_ms: int) -> tuple[int, ...]:
    """Return the instants of hardware incidents of the last 30 days with one more."""
    recent = tuple(each for each in instants_ms if each > at_ms - WINDOW_MS)
    if any(abs(each - at_ms) < FOLD_MS for each in recent):
        return recent
    return tuple(sorted((*recent, at_ms)))


def count_recent(instants_ms: tuple[int, ...], now_ms: int) -> int:
    """Return the lemon score: hardware incidents in the 30 days before ``now_ms``."""
    return sum(each > now_ms - WINDOW_MS for each in instants_ms)


def _cut(start_ms: int, end_ms: int, planned_ms: Spans) -> Iterator[tuple[int, int]]:
    """Yield what of a span lies outside all planned ones."""
    for planned_start_ms, planned_end_ms in sorted(planned_ms):
        if planned_start_ms > start_ms:
            yield start_ms, min(end_ms, planned_start_ms)
        start_ms = max(start_ms, planned_end_ms)
    yield start_ms, end_ms


def _name_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")

"""Fetches grid intensity from the providers: what is due, the longest untried first, until time runs out.

What one provider says of one zone stands alone: its failure is recorded with the reason, holds that series
back for longer and longer, and nobody else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from chalicelib.carbon.grid import REGIONS, list_series
from chalicelib.carbon.intensity import (
    HOUR_MS,
    WINDOW_MS,
    Kind,
    ProviderFailed,
    Series,
    Signal,
    check_actuals,
    check_forecast,
    list_revised,
)
from chalicelib.carbon.ports import (
    FIRST_DELAY_MS,
    MAX_DELAY_MS,
    Fetched,
    FetchState,
    GridPorts,
    IntensityProvider,
)

SIGNALS: tuple[Signal, ...] = ("average", "marginal")
KINDS: tuple[Kind, ...] = ("actual", "forecast")
#: Failures in a row after which a series counts as failing: over an hour with a run each 15 minutes.
MANY_FAILURES = 4
#: More than this it would not help: 5 min doubled eight times is beyond the longest delay.
_MAX_DOUBLINGS = 8


def fetch_intensities(ports: GridPorts, regions: Iterable[str], deadline_ms: int) -> Fetched:
    """Ask for each series of the regions that is due; nothing is begun after ``deadline_ms``."""
    providers = ports.providers()
    known = {(each.series, each.kind): each for each in ports.store.list_states()}
    states = [
        known.get((series, kind), FetchState(series, kind))
        for series in _list_wanted(regions)
        if series.provider in providers
        for kind in KINDS
    ]
    now_ms = ports.clock.now_ms()
    due = sorted((s for s in states if s.next_attempt_ms <= now_ms), key=lambda each: each.attempted_at_ms)
    stored, refused, left = 0, 0, 0
    failed = []
    for state in due:
        if ports.clock.now_ms() >= deadline_ms:
            left += 1
            continue
        series = state.series
        try:
            new, bad = _fetch(ports, providers[series.provider], state)
        except ProviderFailed as error:
            failed.append((series.provider, series.zone, series.signal, state.kind, error.reason))
            ports.store.put_state(back_off(state, error.reason, ports.clock.now_ms()))
        else:
            stored, refused = stored + new, refused + bad
            ports.store.put_state(_succeed(state, ports.clock.now_ms()))
    return Fetched(stored, refused, failed, left)


def count_failing(ports: GridPorts) -> int:
    """Return how many series have given no figure for long. Forecasts are no base of any receipt."""
    return sum(each.kind == "actual" and each.failures >= MANY_FAILURES for each in ports.store.list_states())


def back_off(state: FetchState, reason: str, now_ms: int) -> FetchState:
    """Return the state after a failure: 5 min, 10 min, and so on to 6 h."""
    delay_ms = min(FIRST_DELAY_MS << min(state.failures, _MAX_DOUBLINGS), MAX_DELAY_MS)
    return replace(
        state,
        attempted_at_ms=now_ms,
        next_attempt_ms=now_ms + delay_ms,
        failures=state.failures + 1,
        reason=reason,
    )


def _succeed(state: FetchState, now_ms: int) -> FetchState:
    return FetchState(state.series, state.kind, attempted_at_ms=now_ms, succeeded_at_ms=now_ms)


def _list_wanted(regions: Iterable[str]) -> Iterator[Series]:
    """Yield every series once: regions share grids."""
    found = (
        series
        for region in sorted(set(regions) & REGIONS)
        for signal in SIGNALS
        for series in list_series(region, signal)
    )
    return iter(dict.fromkeys(found))


def _fetch(ports: GridPorts, provider: IntensityProvider, state: FetchState) -> tuple[int, int]:
    """Return how many points are new, and how many were refused. Raises ProviderFailed."""
    now_ms, series = ports.clock.now_ms(), state.series
    if state.kind == "forecast":
        forecast = check_forecast(provider.fetch_forecast(series), now_ms)
        return int(ports.store.add_forecast(forecast)), 0
    from_ms = (now_ms - WINDOW_MS) // HOUR_MS * HOUR_MS
    checked = check_actuals(provider.fetch_actuals(series, from_ms, now_ms), now_ms)
    stored = ports.store.list_actuals(series, checked.points[0].valid_from_ms, now_ms)
    new = [ports.store.add_actual(each) for each in list_revised(checked.points, stored)]
    return sum(new), len(checked.refused)

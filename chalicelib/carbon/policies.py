"""When work that may wait should run: at once, in the best window, in the lowest slots, below a bound. Pure.

The policies are those of Wiesner et al., "Let's Wait Awhile" (Middleware '21), with and without pauses.
Instants and durations are integers of one unit (ms; slots of an experiment), intensities any numbers.
Integers of mg/kWh give exact sums, so equal choices are equal and the earliest is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import sub
from typing import Generic, Literal, TypeVar

from chalicelib.core.errors import Conflict, InvalidInput

Number = TypeVar("Number", int, float)
Policy = Literal["none", "window", "interrupting", "threshold"]
Why = Literal["immediate", "no_slack", "already_lowest", "lower_later", "below_bound", "deadline"]
Interval = tuple[int, int]
MAX_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Forecast(Generic[Number]):
    """One intensity for each slot of ``slot`` from ``start`` on, without gaps."""

    start: int
    slot: int
    intensities: Sequence[Number]

    @property
    def end(self) -> int:
        return self.start + self.slot * len(self.intensities)


@dataclass(frozen=True, slots=True)
class Window:
    """``duration`` of work that runs not before ``earliest`` and is done by ``deadline``."""

    earliest: int
    deadline: int
    duration: int


@dataclass(frozen=True, slots=True)
class Plan(Generic[Number]):
    """``intervals``: when to run, in order, apart from each other, together the duration.

    ``total`` and ``immediate_total`` are intensity times time, of the plan and of a start at ``earliest``.

    ``why``: ``immediate`` (asked for), ``no_slack`` (nothing to choose), ``already_lowest`` (waiting would
    not help), ``lower_later``, ``below_bound``, ``deadline`` (some runs above the bound to be done in time).
    """

    policy: Policy
    intervals: tuple[Interval, ...]
    duration: int
    total: Number
    immediate_total: Number
    why: Why

    @property
    def start(self) -> int:
        return self.intervals[0][0]

    @property
    def mean(self) -> Number:
        """Mean intensity while it runs; integers are rounded half up."""
        return compute_mean(self.total, self.duration)

    @property
    def immediate_mean(self) -> Number:
        return compute_mean(self.immediate_total, self.duration)


def compute_mean(total: Number, duration: int) -> Number:
    if isinstance(total, int):
        return (2 * total + duration) // (2 * duration)
    return total / duration


@dataclass(frozen=True, slots=True)
class _Cut(Generic[Number]):
    """The slots that a window touches, from ``origin``. ``sums[i]``: intensity times time of the first i."""

    origin: int
    slot: int
    values: Sequence[Number]
    sums: Sequence[Number]
    window: Window

    def measure(self, start: int, end: int) -> Number:
        """Return intensity times time from ``start`` to ``end``."""
        return self._sum_until(end) - self._sum_until(start)

    def _sum_until(self, instant: int) -> Number:
        index, rest = divmod(instant - self.origin, self.slot)
        return self.sums[index] + rest * self.values[index] if rest else self.sums[index]

    def list_edges(self) -> list[int]:
        """Return where the part of each slot that lies in the window begins, and at last the deadline."""
        edges = list(range(self.origin, self.window.deadline, self.slot))
        edges[0] = self.window.earliest
        edges.append(self.window.deadline)
        return edges


def plan_immediate(forecast: Forecast[Number], window: Window) -> Plan[Number]:
    """Start at once, whatever the grid. Raises what ``plan_window`` raises."""
    return _build_plan("none", _cut(forecast, window), [_start_at(window, window.earliest)], "immediate")


def plan_window(forecast: Forecast[Number], window: Window) -> Plan[Number]:
    """Run without a pause from the best start: O(slots of the window).

    Raises:
        InvalidInput: there is nothing to run, or not in time even at once.
        Conflict: the forecast does not cover the window.
    """
    cut = _cut(forecast, window)
    _, start = min(_list_starts(cut))
    intervals = [_start_at(window, start)]
    return _build_plan("window", cut, intervals, _explain_lowest(window, intervals))


def plan_interrupting(forecast: Forecast[Number], window: Window) -> Plan[Number]:
    """Run in the lowest slots, pausing between them: O(n log n). Raises what ``plan_window`` raises.

    Where the last slot is needed in part only, that part joins what runs next to it.
    """
    cut = _cut(forecast, window)
    edges = cut.list_edges()
    # The sort is stable: of equal slots the earliest.
    ranked = sorted(range(len(cut.values)), key=cut.values.__getitem__)
    count = window.duration // cut.slot
    taken = set(ranked[:count])
    remaining = window.duration - sum(edges[index + 1] - edges[index] for index in taken)
    pieces: list[Interval] = []
    for index in ranked[count:]:
        start, end = edges[index], edges[index + 1]
        if not remaining:
            break
        if end - start >= remaining:
            at_end = index + 1 in taken and index - 1 not in taken
            pieces.append((end - remaining, end) if at_end else (start, start + remaining))
            break
        taken.add(index)
        remaining -= end - start
    starts = sorted(edges[index] for index in taken if index - 1 not in taken)
    ends = sorted(edges[index + 1] for index in taken if index + 1 not in taken)
    pieces.extend(zip(starts, ends, strict=True))
    intervals = _join(sorted(pieces))
    return _build_plan("interrupting", cut, intervals, _explain_lowest(window, intervals))


def plan_threshold(
    forecast: Forecast[Number], window: Window, bound: Number, *, interruptible: bool
) -> Plan[Number]:
    """Run while intensity is at or below ``bound``; above it as late as the deadline allows.

    What is not ``interruptible`` starts at the first such instant, or at the last that meets the deadline.
    Looks at no slot before its time, so it needs a bound rather than a good forecast. Raises what
    ``plan_window`` raises.
    """
    cut = _cut(forecast, window)
    if interruptible:
        pieces, forced = _run_below(cut, bound)
        intervals = _join(pieces)
    else:
        latest = window.deadline - window.duration
        low = (edge for edge, value in zip(cut.list_edges(), cut.values, strict=False) if value <= bound)
        start = min(next(low, latest), latest)
        intervals = [_start_at(window, start)]
        forced = start == latest and cut.values[(start - cut.origin) // cut.slot] > bound
    slack = window.deadline - window.earliest > window.duration
    why: Why = "no_slack" if not slack else "deadline" if forced else "below_bound"
    return _build_plan("threshold", cut, intervals, why)


def find_percentile(forecast: Forecast[Number], window: Window, percent: int) -> Number:
    """Return the intensity that ``percent`` of the window's slots do not exceed (nearest rank): a bound.

    Raises what ``plan_window`` raises, and InvalidInput for a percentage outside 1 to 100.
    """
    if not 1 <= percent <= MAX_PERCENT:
        raise InvalidInput("A percentile is from 1 to 100.", code="invalid_percentile")
    ranked = sorted(_cut(forecast, window).values)
    return ranked[-(-percent * len(ranked) // MAX_PERCENT) - 1]


def _cut(forecast: Forecast[Number], window: Window) -> _Cut[Number]:
    if window.duration <= 0:
        raise InvalidInput("The duration must be positive.", code="invalid_duration")
    if window.deadline - window.earliest < window.duration:
        raise InvalidInput(
            "The deadline is too early: even at once the work would not be done by then.",
            code="deadline_too_early",
        )
    if window.earliest < forecast.start or window.deadline > forecast.end:
        raise Conflict(
            "The forecast does not cover the time from the earliest start to the deadline.",
            code="forecast_too_short",
            extra={"forecast_start": forecast.start, "forecast_end": forecast.end},
        )
    slot = forecast.slot
    first = (window.earliest - forecast.start) // slot
    last = -((forecast.start - window.deadline) // slot)
    values = forecast.intensities[first:last]
    weights = values if slot == 1 else [slot * each for each in values]
    sums = list(accumulate(weights, initial=values[0] - values[0]))
    return _Cut(forecast.start + first * slot, slot, values, sums, window)


def _list_starts(cut: _Cut[Number]) -> Iterator[tuple[Number, int]]:
    """Yield intensity times time of starts of which one is the best, with the start.

    Moving a start moves the sum linearly until it or the end passes into another slot; so the best start is
    the earliest, the latest, or one where the start or the end lies between two slots.
    """
    window, slot = cut.window, cut.slot
    earliest, latest = window.earliest, window.deadline - window.duration
    yield cut.measure(earliest, earliest + window.duration), earliest
    yield cut.measure(latest, window.deadline), latest
    length, rest = divmod(window.duration, slot)
    first, last = -((cut.origin - earliest) // slot), (latest - cut.origin) // slot
    if not rest:
        costs = list(map(sub, cut.sums[first + length : last + length + 1], cut.sums[first:]))
        if costs:
            lowest = min(costs)
            yield lowest, cut.origin + (first + costs.index(lowest)) * slot
        return
    for start in range(cut.origin + first * slot, latest + 1, slot):
        yield cut.measure(start, start + window.duration), start
    first_end = -((cut.origin - earliest - window.duration) // slot)
    for end in range(cut.origin + first_end * slot, window.deadline + 1, slot):
        yield cut.measure(end - window.duration, end), end - window.duration


def _run_below(cut: _Cut[Number], bound: Number) -> tuple[list[Interval], bool]:
    """Return what runs, and whether a part of it runs above the bound for the deadline's sake."""
    remaining = cut.window.duration
    pieces: list[Interval] = []
    forced = False
    for (begin, end), value in zip(pairwise(cut.list_edges()), cut.values, strict=True):
        start = begin if value <= bound else cut.window.deadline - remaining
        if start >= end:
            continue
        forced = forced or value > bound
        pieces.append((start, min(end, start + remaining)))
        remaining -= pieces[-1][1] - start
        if not remaining:
            break
    return pieces, forced


def _start_at(window: Window, start: int) -> Interval:
    return start, start + window.duration


def _explain_lowest(window: Window, intervals: Sequence[Interval]) -> Why:
    if window.deadline - window.earliest == window.duration:
        return "no_slack"
    return "already_lowest" if intervals[0] == _start_at(window, window.earliest) else "lower_later"


def _build_plan(policy: Policy, cut: _Cut[Number], intervals: Sequence[Interval], why: Why) -> Plan[Number]:
    window = cut.window
    total, *rest = [cut.measure(start, end) for start, end in intervals]
    for each in rest:
        total += each
    immediate = cut.measure(*_start_at(window, window.earliest))
    return Plan(policy, tuple(intervals), window.duration, total, immediate, why)


def _join(pieces: Sequence[Interval]) -> list[Interval]:
    """Join pieces in order that touch."""
    joined: list[Interval] = []
    for start, end in pieces:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined

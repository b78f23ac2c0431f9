"""From a unit's datapoints to what it did in a window. Pure, and the same in whatever order they come.

``m = sum(flow_i * fraction_i * dt)``, flow by mass and fraction by mass. Within a window a meter's error does
not average out: deviations of one meter add up, those of different meters combine in quadrature. A gap is not
bridged: nothing is captured in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from chalicelib.core.methodology import Constant
from chalicelib.removals.accounting import combine
from chalicelib.removals.plausibility import PPB, Finding, Measured, Readings

HOUR_MS = 3_600_000
#: Between two readings of a sensor; the reading at a window's end may come so late too.
MAX_GAP_MS = 300_000
#: Of a unit, that are looked through for where a counter stood before a window. What is silent for longer
#: while others tell begins anew.
MAX_LOOK_BACK = 100_000
#: A unit's clock may be ahead by this, as its host lets it (`host_agent.capture.datapoint`).
MAX_AHEAD_MS = 300_000
UNITS: Mapping[str, str] = {
    "gas_mass_flow": "milligrams_per_hour",
    "co2_mass_fraction": "parts_per_billion",
    "co2_volume_fraction": "parts_per_billion",
    "cycle": "cycles",
    "temperature": "millikelvin",
    "heat": "joules",
    "electricity": "joules",
    "tank_mass": "grams",
}
#: What goes on counting while nobody reads it.
COUNTERS = ("heat", "electricity", "cycle")
_MILLI = 1000
CONSTANTS = (
    Constant("MAX_GAP_MS", "longest time between two readings of a sensor that is no gap", MAX_GAP_MS, "ms"),
    Constant(
        "MAX_LOOK_BACK",
        "most readings of a unit before a window among which a counter's last is sought",
        MAX_LOOK_BACK,
        "readings",
    ),
    Constant("MAX_AHEAD_MS", "what a unit's clock may be ahead by", MAX_AHEAD_MS, "ms"),
)


@dataclass(frozen=True, slots=True)
class Datapoint:
    """``sampled_at_ms`` by the unit's clock, ``received_at_ms`` by the platform's."""

    sensor_id: str
    quantity: str
    value: int
    standard_deviation: int
    unit: str
    sampled_at_ms: int
    received_at_ms: int


Series = Sequence[Datapoint]


def measure(datapoints: Sequence[Datapoint], from_ms: int, until_ms: int) -> Readings:
    """Return what a unit did from ``from_ms`` to before ``until_ms``.

    ``datapoints`` reach `MAX_GAP_MS` beyond the window on both sides, and hold the last reading before it of
    each counter of `list_unjoined`, so that windows join: where a counter begins in one is where it ended in
    the one before, however long it was silent between them.
    """
    series = _sort(datapoints)
    observed = [*_look_at_units(series), *_look_at_clocks(series)]
    flows = [found for (quantity, _), found in series.items() if quantity == "gas_mass_flow"]
    purities = [found for (quantity, _), found in series.items() if quantity == "co2_mass_fraction"]
    if not flows or len(flows) != len(purities):
        told = f"{len(flows)} meters of gas flow and {len(purities)} of its CO2 by mass; they go in pairs"
        observed.append(Finding("no_mass_flow", "reject", told))
    captured, missing_ms = _integrate(flows, purities, from_ms, until_ms)
    if missing_ms:
        observed.append(Finding("gap", "flag", f"for {missing_ms} ms nothing told the flow"))
    fractions = [
        each.value
        for (quantity, _), found in series.items()
        if quantity in ("co2_mass_fraction", "co2_volume_fraction")
        for each in found
        if from_ms <= each.sampled_at_ms < until_ms
    ]
    counted = {quantity: _count(series, quantity, from_ms, until_ms, observed) for quantity in COUNTERS}
    cycles = counted["cycle"]
    return Readings(
        captured=captured,
        lowest_fraction_ppb=min(fractions, default=None),
        highest_fraction_ppb=max(fractions, default=None),
        heat=_scale(counted["heat"]),
        electricity=_scale(counted["electricity"]),
        tank=_scale(_difference(series, from_ms, until_ms)),
        cycles=None if cycles is None else cycles.value,
        observed=tuple(observed),
    )


def list_unjoined(datapoints: Sequence[Datapoint], from_ms: int) -> set[tuple[str, str]]:
    """Return (quantity, sensor) of counters that none of ``datapoints`` tells at the window's beginning."""
    counters = [each for each in datapoints if each.quantity in COUNTERS]
    told = {
        (each.quantity, each.sensor_id) for each in counters if each.sampled_at_ms <= from_ms + MAX_GAP_MS
    }
    return {(each.quantity, each.sensor_id) for each in counters} - told


def _sort(datapoints: Sequence[Datapoint]) -> dict[tuple[str, str], list[Datapoint]]:
    """Return each sensor's readings in time; one that came twice is one."""
    unique = {(each.quantity, each.sensor_id, each.sampled_at_ms): each for each in datapoints}
    series: dict[tuple[str, str], list[Datapoint]] = {}
    for quantity, sensor_id, at_ms in sorted(unique):
        series.setdefault((quantity, sensor_id), []).append(unique[quantity, sensor_id, at_ms])
    return series


def _look_at_units(series: Mapping[tuple[str, str], Series]) -> Iterator[Finding]:
    for (quantity, sensor_id), found in series.items():
        wrong = {each.unit for each in found} - {UNITS.get(quantity)}
        if wrong:
            yield Finding("wrong_unit", "reject", f"{sensor_id} tells {quantity} in {min(wrong)}")


def _look_at_clocks(series: Mapping[tuple[str, str], Series]) -> Iterator[Finding]:
    for (_, sensor_id), found in series.items():
        ahead = max(each.sampled_at_ms - each.received_at_ms for each in found)
        if ahead > MAX_AHEAD_MS:
            yield Finding("clock_ahead", "flag", f"{sensor_id}: {ahead} ms before it happened")
        told = sorted(found, key=lambda each: (each.received_at_ms, each.sampled_at_ms))
        back = max(
            (before.sampled_at_ms - after.sampled_at_ms for before, after in pairwise(told)), default=0
        )
        if back > 0:
            yield Finding("clock_went_back", "flag", f"{sensor_id}: by {back} ms")


def _integrate(
    flows: Sequence[Series], purities: Sequence[Series], from_ms: int, until_ms: int
) -> tuple[Measured, int]:
    """Return what was captured, and for how long a flow was not told. The i-th flow has the i-th purity."""
    mass, missing_ms, deviations = 0, 0, []
    for flow, purity in zip(flows, purities, strict=False):
        of_flow = of_purity = covered_ms = 0
        for reading, fraction, duration_ms in _hold(flow, purity, from_ms, until_ms):
            mass += reading.value * fraction.value * duration_ms
            of_flow += reading.standard_deviation * abs(fraction.value) * duration_ms
            of_purity += abs(reading.value) * fraction.standard_deviation * duration_ms
            covered_ms += duration_ms
        deviations += [of_flow, of_purity]
        missing_ms = max(missing_ms, until_ms - from_ms - covered_ms)
    return Measured(mass // (HOUR_MS * PPB), -(-combine(deviations) // (HOUR_MS * PPB))), missing_ms


def _hold(
    flow: Series, purity: Series, from_ms: int, until_ms: int
) -> Iterator[tuple[Datapoint, Datapoint, int]]:
    """Yield each reading of the flow, the purity that held then, and for how long both held."""
    at = -1
    for reading, following in pairwise(flow):
        while at + 1 < len(purity) and purity[at + 1].sampled_at_ms <= reading.sampled_at_ms:
            at += 1
        start_ms, end_ms = max(reading.sampled_at_ms, from_ms), min(following.sampled_at_ms, until_ms)
        is_gap = following.sampled_at_ms - reading.sampled_at_ms > MAX_GAP_MS
        is_stale = at < 0 or reading.sampled_at_ms - purity[at].sampled_at_ms > MAX_GAP_MS
        if not is_gap and not is_stale and start_ms < end_ms:
            yield reading, purity[at], end_ms - start_ms


def _count(
    series: Mapping[tuple[str, str], Series],
    quantity: str,
    from_ms: int,
    until_ms: int,
    observed: list[Finding],
) -> Measured | None:
    """Return the increase of all counters of a quantity, ``None`` where there is none.

    A counter that fell began anew at nothing: what it shows then is a lower bound of what came since. What is
    gained between two readings is of their hours by time; the last may come after the end, and is before it.
    """
    hours: dict[int, int] = {}
    deviations, seen = [], False
    for (each, sensor_id), found in series.items():
        inside = _clip(found, from_ms, until_ms)
        if each != quantity or not inside:
            continue
        seen = True
        counted = [*_find_start(found, from_ms), *inside]
        observed += _look_at_edges(sensor_id, counted, from_ms, until_ms)
        for before, after in pairwise(counted):
            fell = after.value < before.value
            gained = after.value if fell else after.value - before.value
            start_ms, end_ms = max(before.sampled_at_ms, from_ms), min(after.sampled_at_ms, until_ms)
            for hour_ms, part in _spread(gained, start_ms, end_ms):
                hours[hour_ms] = hours.get(hour_ms, 0) + part
            if fell:
                told = f"{sensor_id} fell from {before.value} to {after.value}"
                observed.append(Finding("counter_reset", "flag", told))
        deviations += [counted[0].standard_deviation, counted[-1].standard_deviation]
    if not seen:
        return None
    return Measured(sum(hours.values()), combine(deviations), tuple(sorted(hours.items())))


def _find_start(found: Series, from_ms: int) -> Series:
    """Return the last reading before the window, unless the window before ended at one after it."""
    if any(from_ms <= each.sampled_at_ms <= from_ms + MAX_GAP_MS for each in found):
        return []
    return [each for each in found if each.sampled_at_ms < from_ms][-1:]


def _look_at_edges(sensor_id: str, counted: Series, from_ms: int, until_ms: int) -> Iterator[Finding]:
    first_ms, last_ms = counted[0].sampled_at_ms, counted[-1].sampled_at_ms
    if first_ms < from_ms:
        told = f"{sensor_id}: what it gained in the {from_ms - first_ms} ms before the window is in it"
        yield Finding("counter_gap", "flag", told)
    elif first_ms > from_ms + MAX_GAP_MS:
        told = f"{sensor_id} begins {first_ms - from_ms} ms after the window does"
        yield Finding("counter_gap", "flag", told)
    if last_ms < until_ms:
        told = (
            f"{sensor_id}: what it gained in the last {until_ms - last_ms} ms is told later, and counts then"
        )
        yield Finding("counter_gap", "flag", told)


def _spread(gained: int, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (start of the hour, what of it was gained then), in proportion to time; the parts sum to it."""
    at_ms, given = start_ms, 0
    while at_ms < end_ms:
        hour_ms = at_ms // HOUR_MS * HOUR_MS
        at_ms = min(hour_ms + HOUR_MS, end_ms)
        reached = gained * (at_ms - start_ms) // (end_ms - start_ms)
        yield hour_ms, reached - given
        given = reached


def _difference(series: Mapping[tuple[str, str], Series], from_ms: int, until_ms: int) -> Measured | None:
    """Return by how much all tanks are heavier than at the window's beginning."""
    found = [
        _clip(each, from_ms, until_ms) for (quantity, _), each in series.items() if quantity == "tank_mass"
    ]
    tanks = [each for each in found if each]
    if not tanks:
        return None
    ends = [(each[0], each[-1]) for each in tanks]
    return Measured(
        sum(last.value - first.value for first, last in ends),
        combine([each.standard_deviation for pair in ends for each in pair]),
    )


def _clip(found: Series, from_ms: int, until_ms: int) -> Series:
    """Return the readings from the window's beginning to the first at or after its end."""
    inside = [each for each in found if from_ms <= each.sampled_at_ms < until_ms]
    after = [each for each in found if until_ms <= each.sampled_at_ms <= until_ms + MAX_GAP_MS]
    return [*inside, *after[:1]]


def _scale(measured: Measured | None) -> Measured | None:
    """From joules to millijoules, from grams to milligrams."""
    if measured is None:
        return None
    return Measured(
        measured.value * _MILLI,
        measured.standard_deviation * _MILLI,
        tuple((hour_ms, part * _MILLI) for hour_ms, part in measured.hours),
    )

"""The two scenarios of "Let's Wait Awhile" on the platform's own policies.

Needs numpy: the published figures hang on the random streams of its ``default_rng``.
"""

import calendar
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import accumulate, chain

import numpy as np

from chalicelib.carbon.policies import Forecast, Interval, Plan, Window, plan_interrupting, plan_window
from chalicelib.carbon.reproduce.published import CELLS, Cell, Deadline
from chalicelib.carbon.reproduce.series import STEP, STEP_MINUTES, SeriesError

SEEDS = range(10)
#: Standard deviation of the forecast's error, as a part of the series' mean.
ERROR = 0.05
NIGHTLY_JOBS = 365
NIGHTLY_HALF_WINDOWS = range(17)
STEPS_PER_DAY = 48
STEPS_TO_ONE_O_CLOCK = 2
TRAINING_JOBS = 3387
#: Minutes of the day at which a job may be issued, and its minutes of work.
_ISSUED = range(540, 1020, STEP_MINUTES)
_WORK = range(240, 5400, STEP_MINUTES)
_MORNING, _EVENING = time(9), time(17)
_SATURDAY, _SUNDAY = 5, 6
#: Days until the next Monday or Thursday, by weekday; on those days by whether it is before the morning.
_DAYS_TO_NEXT = (3, 2, 1, 4, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Job:
    """In steps from January 1. ``slack``: from the end of an immediate run to each kind of deadline."""

    start: int
    duration: int
    slack: dict[Deadline, int]


@dataclass(frozen=True, slots=True)
class Training:
    """Percent avoided in each cell.

    ``published`` is against the published baseline: one step of slack and a perfect forecast of it.
    ``agnostic`` is against starting when the job is issued, which is what shifting is compared with in truth.
    """

    job_hours: float
    published: dict[Cell, float]
    agnostic: dict[Cell, float]


@dataclass(frozen=True, slots=True)
class Year:
    """g/kWh, and by how many percent weekends lie above workdays.

    ``profile_weekend_percent`` is what was published: of the medians of each weekday's half-hours, the mean.
    ``weekend_percent`` is of all half-hours, the mean.
    """

    mean_g_per_kwh: float
    profile_weekend_percent: float
    weekend_percent: float


def describe_year(values: Sequence[float], year: int) -> Year:
    """Return a year's figures, the midnight at its end included as published where the file has it."""
    steps = len(_list_days(year)) * STEPS_PER_DAY + 1
    offset = date(year, 1, 1).weekday() * STEPS_PER_DAY
    week: list[list[float]] = [[] for _ in range(7 * STEPS_PER_DAY)]
    for step, value in enumerate(values[:steps], offset):
        week[step % len(week)].append(value)
    split = _SATURDAY * STEPS_PER_DAY
    medians = [statistics.median(each) for each in week]
    workday, weekend = chain.from_iterable(week[:split]), chain.from_iterable(week[split:])
    return Year(
        statistics.fmean(values[:steps]),
        100 * (statistics.fmean(medians[split:]) / statistics.fmean(medians[:split]) - 1),
        100 * (statistics.fmean(weekend) / statistics.fmean(workday) - 1),
    )


@dataclass(frozen=True, slots=True)
class Nightly:
    """Percent avoided with windows of 0, 1, … 16 steps to each side of 01:00.

    ``published``: a job whose window would begin before the series emits nothing, and is counted in the mean.
    ``same_jobs``: it is left out on both sides, so an even grid gives 0.
    """

    published: list[float]
    same_jobs: list[float]


def run_nightly(values: Sequence[float], *, perfect: bool = False) -> Nightly:
    """Run a job of one step each night: scenario I."""
    forecasts = [Forecast(0, 1, values)] if perfect else list(_forecast_each_seed(values))
    jobs = [day * STEPS_PER_DAY + STEPS_TO_ONE_O_CLOCK for day in range(NIGHTLY_JOBS)]
    every = sum(values[job] for job in jobs)
    published, same_jobs = [], []
    for half in NIGHTLY_HALF_WINDOWS:
        kept = [job for job in jobs if job >= half]
        windows = [Window(job - half, job + half + 1, 1) for job in kept]
        chosen = (plan_window(forecast, window).start for forecast in forecasts for window in windows)
        cost = sum(values[start] for start in chosen) / len(forecasts)
        published.append(100 * (1 - cost / every))
        same_jobs.append(100 * (1 - cost / sum(values[job] for job in kept)))
    return Nightly(published, same_jobs)


def run_training(values: Sequence[float], year: int, *, perfect: bool = False) -> Training:
    """Return percent avoided of jobs of machine learning, by deadline and policy: scenario II.

    Raises:
        SeriesError: the series ends before the last deadline.
    """
    jobs = draw_jobs(year)
    last = max(job.start + job.duration + max(job.slack.values()) + 1 for job in jobs)
    if last > len(values):
        until = datetime(year, 1, 1) + last * STEP  # noqa: DTZ001
        raise SeriesError(f"too short for scenario II: its last deadline is {until}")
    sums = [0.0, *accumulate(values)]
    truth = Forecast(0, 1, values)
    agnostic = sum(sums[job.start + job.duration] - sums[job.start] for job in jobs)
    published = sum(_cost(sums, plan_window(truth, _open_window(job, 0))) for job in jobs)
    forecasts = [truth] if perfect else list(_forecast_each_seed(values))
    costs: dict[Cell, float] = {}
    for cell in CELLS:
        deadline, interrupting = cell
        plan: Callable[[Forecast[float], Window], Plan[float]]
        plan = plan_interrupting if interrupting else plan_window
        windows = [_open_window(job, job.slack[deadline]) for job in jobs]
        costs[cell] = sum(_cost(sums, plan(each, window)) for each in forecasts for window in windows)
        costs[cell] /= len(forecasts)
    return Training(
        sum(job.duration for job in jobs) * STEP_MINUTES / 60,
        {cell: 100 * (1 - cost / published) for cell, cost in costs.items()},
        {cell: 100 * (1 - cost / agnostic) for cell, cost in costs.items()},
    )


def draw_jobs(year: int) -> list[Job]:
    """Return the published jobs: as many on each workday as chance has it, 4 to 89.5 hours long."""
    rng = np.random.default_rng(0)
    workdays = [day for day in _list_days(year) if day.weekday() < _SATURDAY]
    counts = rng.multinomial(TRAINING_JOBS, [1 / len(workdays)] * len(workdays)).tolist()
    starts: list[datetime] = []
    for day, count in zip(workdays, counts, strict=True):
        minutes = sorted(rng.choice(_ISSUED, count).tolist())
        starts += [datetime.combine(day, time()) + timedelta(minutes=each) for each in minutes]
    work = rng.choice(_WORK, TRAINING_JOBS).tolist()
    return [_build_job(date(year, 1, 1), start, minutes) for start, minutes in zip(starts, work, strict=True)]


def _list_days(year: int) -> list[date]:
    first = date(year, 1, 1)
    return [first + timedelta(each) for each in range(366 if calendar.isleap(year) else 365)]


def find_next_workday(finish: datetime) -> datetime:
    """Return the morning at which somebody looks at what finished then; itself within working hours."""
    if finish.weekday() == _SATURDAY:
        return _morning_after(finish, 2)
    if finish.weekday() == _SUNDAY or finish.time() > _EVENING:
        return _morning_after(finish, 1)
    return _morning_after(finish, 0) if finish.time() < _MORNING else finish


def find_semi_weekly(finish: datetime) -> datetime:
    """Return the next Monday or Thursday morning."""
    today = _morning_after(finish, 0)
    if finish.weekday() in {0, 3} and finish <= today:
        return today
    return _morning_after(finish, _DAYS_TO_NEXT[finish.weekday()])


def _morning_after(finish: datetime, days: int) -> datetime:
    return datetime.combine(finish.date() + timedelta(days), _MORNING)


def _build_job(first: date, start: datetime, minutes: int) -> Job:
    finish = start + timedelta(minutes=minutes)
    return Job(
        (start - datetime.combine(first, time())) // STEP,
        minutes // STEP_MINUTES,
        {
            "next workday": (find_next_workday(finish) - finish) // STEP,
            "semi-weekly": (find_semi_weekly(finish) - finish) // STEP,
        },
    )


def _open_window(job: Job, slack: int) -> Window:
    """Return the published window, which is a step longer than the deadline allows."""
    return Window(job.start, job.start + job.duration + slack + 1, job.duration)


def _forecast_each_seed(values: Sequence[float]) -> Iterator[Forecast[float]]:
    truth = np.array(values)
    for seed in SEEDS:
        noise = np.random.default_rng(seed).normal(0, ERROR * truth.mean(), len(truth))
        yield Forecast(0, 1, (truth + noise).tolist())


def _cost(sums: Sequence[float], plan: Plan[float]) -> float:
    return sum(_measure(sums, interval) for interval in plan.intervals)


def _measure(sums: Sequence[float], interval: Interval) -> float:
    return sums[interval[1]] - sums[interval[0]]

"""Reads a year's carbon intensity from a file ``Time,Carbon Intensity``: g/kWh, at least half-hourly."""

import csv
import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

STEP_MINUTES = 30
STEP = timedelta(minutes=STEP_MINUTES)
COLUMNS = ("Time", "Carbon Intensity")


class SeriesError(ValueError):
    """A file that cannot be used, with the line at which that shows."""


@dataclass(frozen=True, slots=True)
class Series:
    """g/kWh of each half-hour from ``start`` on."""

    start: datetime
    values: tuple[float, ...]
    sha256: str

    @property
    def end(self) -> datetime:
        return self.start + len(self.values) * STEP


def read_series(path: Path) -> Series:
    """Read every row on the half-hour; rows between are dropped, as in the published set-up.

    Raises:
        SeriesError: the file is not there or has no such columns; or, with the line: what is no time or no
            intensity, a half-hour that is missing, that comes twice, or that is out of order.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise SeriesError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SeriesError(f"{path}: not UTF-8 text") from None
    start: datetime | None = None
    values: list[float] = []
    for line, time, value in _read_rows(path, text):
        if start is None:
            start = time
        _check_follows(f"{path}, line {line}", time, start + len(values) * STEP)
        values.append(value)
    if start is None:
        raise SeriesError(f"{path}: no row on the half-hour")
    return Series(start, tuple(values), hashlib.sha256(data).hexdigest())


def pick_year(series: Series, year: int | None) -> tuple[int, tuple[float, ...]]:
    """Return a year that the series covers and its values from January 1 to the file's end.

    Without ``year``: 2020 as published, else the first whole year.

    Raises:
        SeriesError: that year, or any, is not covered from its first half-hour to its last.
    """
    years = [each for each in range(series.start.year, series.end.year + 1) if _covers(series, each)]
    wanted = year if year is not None else 2020 if 2020 in years else next(iter(years), None)  # noqa: PLR2004
    if wanted not in years:
        raise SeriesError(
            f"too short: from {series.start} to {series.end - STEP} there is not all of "
            f"{wanted or 'any year'}, January 1 00:00 to December 31 23:30"
        )
    return wanted, series.values[(datetime(wanted, 1, 1) - series.start) // STEP :]  # noqa: DTZ001


def _covers(series: Series, year: int) -> bool:
    return series.start <= datetime(year, 1, 1) and series.end >= datetime(year + 1, 1, 1)  # noqa: DTZ001


def _read_rows(path: Path, text: str) -> Iterator[tuple[int, datetime, float]]:
    reader = csv.reader(io.StringIO(text))
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise SeriesError(f"{path}, line 1: no column {' and '.join(missing)}; wanted: {','.join(COLUMNS)}")
    time_column, value_column = (header.index(name) for name in COLUMNS)
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if len(row) <= max(time_column, value_column):
            raise SeriesError(f"{where}: {len(row)} fields, the header has {len(header)}")
        time = _parse_time(where, row[time_column])
        if time.minute % STEP_MINUTES == 0:
            yield reader.line_num, time, _parse_intensity(where, row[value_column])


def _parse_time(where: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SeriesError(f"{where}: no time: {text!r}; wanted: 2020-01-01 00:30:00") from None
    if time.tzinfo is not None or time.second or time.microsecond:
        raise SeriesError(f"{where}: wanted whole minutes of local time without an offset, not {text!r}")
    return time


def _parse_intensity(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise SeriesError(f"{where}: no intensity: {text!r}") from None
    if not math.isfinite(value) or value < 0:
        raise SeriesError(f"{where}: an intensity is a finite number, not negative: {text!r}")
    return value


def _check_follows(where: str, time: datetime, expected: datetime) -> None:
    if time == expected - STEP:
        raise SeriesError(f"{where}: {time} comes twice")
    if time < expected:
        raise SeriesError(f"{where}: {time} is out of order after {expected - STEP}")
    if time > expected:
        raise SeriesError(
            f"{where}: gap, {expected} expected and {time} found ({(time - expected) // STEP} half-hours)"
        )

"""The Carbon Intensity API of Great Britain's system operator: no key, half hours, g CO2/kWh, CC BY 4.0.

``actual`` is null until some time after a half hour is over; ``forecast`` reaches 48 h ahead. Regions of it
have forecasts only, so the figure is the national one.
"""

from typing import Any

from chalicelib.carbon.intensity import (
    AnswerRefused,
    Forecast,
    IntensityPoint,
    Series,
    convert_grams,
    read_member,
    read_number,
    read_rows,
)
from chalicelib.carbon.ports import FetchJson
from chalicelib.core.clock import format_instant, parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.core.ports import Clock

ADDRESS = "https://api.carbonintensity.org.uk"
METHOD = "location-based average, national, operational emissions with imports and losses, half-hourly"
SOURCE = "NESO Carbon Intensity API (CC BY 4.0)"
DATASET = "v2"
UNIT = "g CO2/kWh"
_HEADERS = {"Accept": "application/json"}


class UkCarbonIntensity:
    """`ports.IntensityProvider`."""

    def __init__(self, fetch: FetchJson, clock: Clock, address: str = ADDRESS) -> None:
        self._fetch, self._clock, self._address = fetch, clock, address

    def fetch_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        path = f"/intensity/{_write_minute(from_ms)}/{_write_minute(until_ms)}"
        return self._fetch_points(series, path, "actual")

    def fetch_forecast(self, series: Series) -> Forecast:
        # It does not say when a forecast was made: for us, when we saw it.
        now_ms = self._clock.now_ms()
        points = self._fetch_points(series, f"/intensity/{_write_minute(now_ms)}/fw48h", "forecast")
        return Forecast(series, now_ms, tuple(points))

    def _fetch_points(self, series: Series, path: str, figure: Any) -> list[IntensityPoint]:
        rows = read_rows(self._fetch(self._address + path, _HEADERS), "data")
        fetched_at_ms = self._clock.now_ms()
        points = []
        for row in rows:
            value = read_member(read_member(row, "intensity"), figure)
            if value is None:
                continue
            points.append(
                IntensityPoint(
                    series=series,
                    kind=figure,
                    valid_from_ms=_read_minute(read_member(row, "from")),
                    valid_until_ms=_read_minute(read_member(row, "to")),
                    mg_co2e_per_kwh=convert_grams(read_number(value)),
                    method=METHOD,
                    source=SOURCE,
                    dataset=DATASET,
                    fetched_at_ms=fetched_at_ms,
                    estimated=figure == "forecast",
                    generated_at_ms=fetched_at_ms if figure == "forecast" else None,
                )
            )
        return points


def _write_minute(epoch_ms: int) -> str:
    return format_instant(epoch_ms)[:16] + "Z"


def _read_minute(text: Any) -> int:
    """Raises AnswerRefused: it is not written as ``2026-11-23T09:00Z``."""
    try:
        return parse_instant(f"{str(text)[:-1]}:00Z")
    except InvalidInput as error:
        raise AnswerRefused("malformed", "an instant") from error

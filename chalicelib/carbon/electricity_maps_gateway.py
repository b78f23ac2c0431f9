"""Electricity Maps, API v3: flow-traced average of a zone by the hour, g CO2e/kWh; header ``auth-token``.

It says itself which figures are estimates. Forecasts need a paid plan: without one they are denied.
"""

from typing import Any
from urllib.parse import urlencode

from chalicelib.carbon.intensity import (
    HOUR_MS,
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
from chalicelib.core.clock import parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.core.ports import Clock

ADDRESS = "https://api.electricitymaps.com"
SOURCE = "Electricity Maps"
DATASET = "v3"
UNIT = "g CO2e/kWh"
FACTORS = ("lifecycle", "direct")


class ElectricityMaps:
    """`ports.IntensityProvider`. Of average figures; the provider has no marginal ones."""

    def __init__(self, fetch: FetchJson, clock: Clock, token: str, address: str = ADDRESS) -> None:
        self._fetch, self._clock, self._address = fetch, clock, address
        self._headers = {"auth-token": token, "Accept": "application/json"}

    def fetch_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        # It answers with the last 24 hours whatever is asked, revised figures among them.
        document = self._ask(series, "history")
        points = [self._read_actual(series, row) for row in read_rows(document, "history")]
        return [each for each in points if each.valid_until_ms > from_ms and each.valid_from_ms < until_ms]

    def fetch_forecast(self, series: Series) -> Forecast:
        document = self._ask(series, "forecast")
        generated_at_ms = _read_instant(read_member(document, "updatedAt"))
        points = []
        for row in read_rows(document, "forecast"):
            start_ms = _read_instant(read_member(row, "datetime"))
            points.append(
                IntensityPoint(
                    series=series,
                    kind="forecast",
                    valid_from_ms=start_ms,
                    valid_until_ms=start_ms + HOUR_MS,
                    mg_co2e_per_kwh=convert_grams(read_number(read_member(row, "carbonIntensity"))),
                    method=describe_method("lifecycle"),
                    source=SOURCE,
                    dataset=DATASET,
                    fetched_at_ms=self._clock.now_ms(),
                    estimated=True,
                    generated_at_ms=generated_at_ms,
                )
            )
        return Forecast(series, generated_at_ms, tuple(points))

    def _ask(self, series: Series, what: str) -> Any:
        """Raises AnswerRefused: it is of another zone, or not by the hour."""
        query = urlencode({"zone": series.zone})
        document = self._fetch(f"{self._address}/v3/carbon-intensity/{what}?{query}", self._headers)
        _require_zone(document, series)
        if document.get("temporalGranularity", "hourly") != "hourly":
            raise AnswerRefused("bad_interval", "not by the hour")
        return document

    def _read_actual(self, series: Series, row: Any) -> IntensityPoint:
        _require_zone(row, series)
        factors, estimated = read_member(row, "emissionFactorType"), read_member(row, "isEstimated")
        if factors not in FACTORS or not isinstance(estimated, bool):
            raise AnswerRefused("malformed", "emissionFactorType or isEstimated")
        start_ms = _read_instant(read_member(row, "datetime"))
        method = row.get("estimationMethod")
        return IntensityPoint(
            series=series,
            kind="actual",
            valid_from_ms=start_ms,
            valid_until_ms=start_ms + HOUR_MS,
            mg_co2e_per_kwh=convert_grams(read_number(read_member(row, "carbonIntensity"))),
            method=describe_method(factors),
            source=SOURCE,
            dataset=f"{DATASET}/{method}" if estimated and isinstance(method, str) else DATASET,
            fetched_at_ms=self._clock.now_ms(),
            estimated=estimated,
        )


def describe_method(factors: str) -> str:
    return f"location-based average, flow-traced consumption, {factors} emission factors, hourly"


def _require_zone(document: Any, series: Series) -> None:
    if read_member(document, "zone") != series.zone:
        raise AnswerRefused("wrong_zone", f"not {series.zone}")


def _read_instant(text: Any) -> int:
    try:
        return parse_instant(str(text))
    except InvalidInput as error:
        raise AnswerRefused("malformed", "an instant") from error

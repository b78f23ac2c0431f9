"""WattTime, API v3: marginal and average operating emission rates, lb CO2/MWh, in steps of five minutes.

A login gives a token for half an hour. The signal that was asked for is checked in the reply: a marginal
figure under the name of an average one is off by an order of magnitude on a clean grid.
"""

import base64
from typing import Any
from urllib.parse import urlencode

from chalicelib.carbon.intensity import (
    AnswerRefused,
    Forecast,
    IntensityPoint,
    ProviderDenied,
    Series,
    convert_pounds,
    read_member,
    read_number,
    read_rows,
)
from chalicelib.carbon.ports import FetchJson
from chalicelib.core.clock import format_instant, parse_instant
from chalicelib.core.errors import InvalidInput
from chalicelib.core.ports import Clock

ADDRESS = "https://api.watttime.org"
SOURCE = "WattTime"
DATASET = "v3"
UNITS = "lbs_co2_per_mwh"
SIGNALS = {"marginal": "co2_moer", "average": "co2_aoer"}
METHODS = {
    "marginal": "location-based marginal operating emission rate",
    "average": "location-based average operating emission rate",
}


class WattTime:
    """`ports.IntensityProvider`."""

    def __init__(
        self, fetch: FetchJson, clock: Clock, username: str, password: str, address: str = ADDRESS
    ) -> None:
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._fetch, self._clock, self._address = fetch, clock, address
        self._credentials = {"Authorization": f"Basic {pair}"}
        self._token: str | None = None

    def fetch_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        span = {"start": format_instant(from_ms), "end": format_instant(until_ms)}
        document = self._ask(series, "historical", span)
        return self._read_points(series, document, None)

    def fetch_forecast(self, series: Series) -> Forecast:
        document = self._ask(series, "forecast", {})
        made = read_member(read_member(document, "meta"), "generated_at")
        generated_at_ms = _read_instant(made)
        return Forecast(series, generated_at_ms, tuple(self._read_points(series, document, generated_at_ms)))

    def _ask(self, series: Series, what: str, span: dict[str, str]) -> Any:
        """Raises AnswerRefused: it is of another region, signal or unit."""
        asked = {"region": series.zone, "signal_type": SIGNALS[series.signal]}
        url = f"{self._address}/{DATASET}/{what}?{urlencode({**asked, **span})}"
        known = self._token is not None
        try:
            document = self._fetch(url, self._authorize())
        except ProviderDenied:
            if not known:
                raise
            # The token has expired meanwhile.
            self._token = None
            document = self._fetch(url, self._authorize())
        meta = read_member(document, "meta")
        if read_member(meta, "region") != series.zone:
            raise AnswerRefused("wrong_zone", f"not {series.zone}")
        if read_member(meta, "signal_type") != asked["signal_type"]:
            raise AnswerRefused("wrong_signal", f"not {asked['signal_type']}")
        if read_member(meta, "units") != UNITS:
            raise AnswerRefused("wrong_unit", f"not {UNITS}")
        return document

    def _authorize(self) -> dict[str, str]:
        if self._token is None:
            token = read_member(self._fetch(f"{self._address}/login", self._credentials), "token")
            if not isinstance(token, str):
                raise AnswerRefused("malformed", "the token")
            self._token = token
        return {"Authorization": f"Bearer {self._token}"}

    def _read_points(
        self, series: Series, document: Any, generated_at_ms: int | None
    ) -> list[IntensityPoint]:
        meta = document["meta"]
        step = read_number(read_member(meta, "data_point_period_seconds"))
        model = read_member(read_member(meta, "model"), "date")
        fetched_at_ms = self._clock.now_ms()
        points = []
        for row in read_rows(document, "data"):
            start_ms = _read_instant(read_member(row, "point_time"))
            points.append(
                IntensityPoint(
                    series=series,
                    kind="actual" if generated_at_ms is None else "forecast",
                    valid_from_ms=start_ms,
                    valid_until_ms=start_ms + int(step * 1000),
                    mg_co2e_per_kwh=convert_pounds(read_number(read_member(row, "value"))),
                    method=METHODS[series.signal],
                    source=SOURCE,
                    dataset=f"{DATASET}/{SIGNALS[series.signal]}/{model}",
                    fetched_at_ms=fetched_at_ms,
                    # A model's output either way, but of measured generation.
                    estimated=generated_at_ms is not None,
                    generated_at_ms=generated_at_ms,
                )
            )
        return points


def _read_instant(text: Any) -> int:
    try:
        return parse_instant(str(text))
    except InvalidInput as error:
        raise AnswerRefused("malformed", "an instant") from error

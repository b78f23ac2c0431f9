"""Grid intensity in DynamoDB: a partition for each series, kind and month; nothing is ever written over.

Access: intervals by range; the last forecast made by an instant; the states of all series by one query.
"""

from collections.abc import Iterator
from typing import cast

from pynamodb.exceptions import PutError

from chalicelib.carbon.intensity import (
    HOUR_MS,
    Accounting,
    Forecast,
    IntensityPoint,
    Kind,
    Series,
    Signal,
)
from chalicelib.carbon.ports import FetchState
from chalicelib.core.clock import name_month
from chalicelib.storage import carbon_keys
from chalicelib.storage.failures import is_condition_failure
from chalicelib.storage.tables.grid import FetchStateItem, ForecastItem, GridTable, IntensityItem

#: Long enough for a back-test over the seasons.
FORECAST_RETENTION_SECONDS = 400 * 86_400
_MONTH_MS = 31 * 24 * HOUR_MS
#: Forecasts that were made before the instant and fetched after it are passed over.
_FORECASTS_READ = 8


class DynamoIntensityStore:
    """`ports.IntensityStore`."""

    def list_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        if until_ms <= from_ms:
            return []
        # An instant alone sorts before every revision of it: from is included, until is excluded.
        span = IntensityItem.sk.between(
            carbon_keys.grid_interval(from_ms), carbon_keys.grid_interval(until_ms)
        )
        return [
            _read_actual(series, item)
            for month in _list_months(from_ms, until_ms)
            for item in IntensityItem.query(_name(series, "actual", month), span, consistent_read=True)
        ]

    def add_actual(self, point: IntensityPoint) -> bool:
        item = IntensityItem(
            _name(point.series, "actual", name_month(point.valid_from_ms)),
            carbon_keys.grid_interval(point.valid_from_ms, point.revision),
            valid_from_ms=point.valid_from_ms,
            valid_until_ms=point.valid_until_ms,
            mg_co2e_per_kwh=point.mg_co2e_per_kwh,
            method=point.method,
            source=point.source,
            dataset=point.dataset,
            fetched_at_ms=point.fetched_at_ms,
            estimated=point.estimated,
            revision=point.revision,
        )
        return _put_new(item)

    def add_forecast(self, forecast: Forecast) -> bool:
        first = forecast.points[0]
        item = ForecastItem(
            _name(forecast.series, "forecast", name_month(forecast.generated_at_ms)),
            carbon_keys.grid_interval(forecast.generated_at_ms),
            generated_at_ms=forecast.generated_at_ms,
            fetched_at_ms=first.fetched_at_ms,
            method=first.method,
            source=first.source,
            dataset=first.dataset,
            points=[
                [each.valid_from_ms, each.valid_until_ms, each.mg_co2e_per_kwh] for each in forecast.points
            ],
            expires_at=forecast.generated_at_ms // 1000 + FORECAST_RETENTION_SECONDS,
        )
        return _put_new(item)

    def find_forecast(self, series: Series, at_ms: int) -> Forecast | None:
        for month in reversed(list(_list_months(at_ms - _MONTH_MS, at_ms + 1))):
            found = ForecastItem.query(
                _name(series, "forecast", month),
                ForecastItem.sk <= carbon_keys.grid_interval(at_ms),
                scan_index_forward=False,
                consistent_read=True,
                limit=_FORECASTS_READ,
                page_size=_FORECASTS_READ,
            )
            # It is asked for what was known then: a forecast that came late was not.
            for item in found:
                if item.fetched_at_ms <= at_ms:
                    return _read_forecast(series, item)
        return None

    def list_states(self) -> list[FetchState]:
        return [_read_state(item) for item in FetchStateItem.query(carbon_keys.FETCHES, consistent_read=True)]

    def put_state(self, state: FetchState) -> None:
        series = state.series
        FetchStateItem(
            carbon_keys.FETCHES,
            carbon_keys.grid_fetch(
                series.provider, series.zone, series.signal, series.accounting, state.kind
            ),
            provider=series.provider,
            zone=series.zone,
            signal=series.signal,
            accounting=series.accounting,
            kind=state.kind,
            attempted_at_ms=state.attempted_at_ms,
            next_attempt_ms=state.next_attempt_ms,
            failures=state.failures,
            succeeded_at_ms=state.succeeded_at_ms,
            reason=state.reason,
        ).save()


def _put_new(item: GridTable) -> bool:
    try:
        item.save(GridTable.pk.does_not_exist())
    except PutError as error:
        if not is_condition_failure(error):
            raise
        return False
    return True


def _name(series: Series, kind: Kind, month: str) -> str:
    return carbon_keys.grid_series(
        series.provider, series.zone, series.signal, series.accounting, kind, month
    )


def _list_months(from_ms: int, until_ms: int) -> Iterator[str]:
    """Yield the months that the range touches, each once."""
    seen = None
    for day_ms in range(from_ms, until_ms + 24 * HOUR_MS, 24 * HOUR_MS):
        month = name_month(min(day_ms, until_ms - 1))
        if month != seen:
            seen = month
            yield month


def _read_actual(series: Series, item: IntensityItem) -> IntensityPoint:
    return IntensityPoint(
        series=series,
        kind="actual",
        valid_from_ms=item.valid_from_ms,
        valid_until_ms=item.valid_until_ms,
        mg_co2e_per_kwh=item.mg_co2e_per_kwh,
        method=item.method,
        source=item.source,
        dataset=item.dataset,
        fetched_at_ms=item.fetched_at_ms,
        estimated=item.estimated,
        revision=item.revision,
    )


def _read_forecast(series: Series, item: ForecastItem) -> Forecast:
    points = (
        IntensityPoint(
            series=series,
            kind="forecast",
            valid_from_ms=from_ms,
            valid_until_ms=until_ms,
            mg_co2e_per_kwh=mg,
            method=item.method,
            source=item.source,
            dataset=item.dataset,
            fetched_at_ms=item.fetched_at_ms,
            estimated=True,
            generated_at_ms=item.generated_at_ms,
        )
        for from_ms, until_ms, mg in item.points
    )
    return Forecast(series, item.generated_at_ms, tuple(points))


def _read_state(item: FetchStateItem) -> FetchState:
    signal, accounting = cast("Signal", item.signal), cast("Accounting", item.accounting)
    return FetchState(
        series=Series(item.provider, item.zone, signal, accounting),
        kind=cast("Kind", item.kind),
        attempted_at_ms=item.attempted_at_ms,
        next_attempt_ms=item.next_attempt_ms,
        failures=item.failures,
        succeeded_at_ms=item.succeeded_at_ms,
        reason=item.reason,
    )

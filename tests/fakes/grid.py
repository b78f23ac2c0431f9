"""Grid intensity in memory."""

from chalicelib.carbon.intensity import Forecast, IntensityPoint, Series
from chalicelib.carbon.ports import FetchState
from tests.fakes.database import MemoryStore


class FakeIntensityStore(MemoryStore):
    def list_actuals(self, series: Series, from_ms: int, until_ms: int) -> list[IntensityPoint]:
        rows = self.db.table("grid_actuals")
        found = [each for each in rows.values() if each.series == series]
        found = [each for each in found if from_ms <= each.valid_from_ms < until_ms]
        return sorted(found, key=lambda each: (each.valid_from_ms, each.revision))

    def add_actual(self, point: IntensityPoint) -> bool:
        key = (point.series, point.valid_from_ms, point.revision)
        return self.db.table("grid_actuals").setdefault(key, point) is point

    def add_forecast(self, forecast: Forecast) -> bool:
        key = (forecast.series, forecast.generated_at_ms)
        return self.db.table("grid_forecasts").setdefault(key, forecast) is forecast

    def find_forecast(self, series: Series, at_ms: int) -> Forecast | None:
        rows = self.db.table("grid_forecasts").values()
        known = [
            each
            for each in rows
            if each.series == series
            and each.generated_at_ms <= at_ms
            and each.points[0].fetched_at_ms <= at_ms
        ]
        return max(known, key=lambda each: each.generated_at_ms, default=None)

    def list_states(self) -> list[FetchState]:
        return list(self.db.table("grid_states").values())

    def put_state(self, state: FetchState) -> None:
        self.db.table("grid_states")[state.series, state.kind] = state

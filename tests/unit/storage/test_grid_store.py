"""The store of grid intensity and the fake that stands for it: one contract, held by both."""

from dataclasses import replace

import pytest

from chalicelib.carbon.intensity import HOUR_MS, Forecast
from chalicelib.carbon.ports import FetchState
from chalicelib.carbon.store import DynamoIntensityStore
from chalicelib.core.clock import parse_instant
from chalicelib.storage.connection import find_models
from tests.fakes.database import START_MS, MemoryDatabase
from tests.fakes.grid import FakeIntensityStore
from tests.unit.carbon.grids import CALIFORNIA, GERMANY, HOUR, SWEDEN, build_point
from tests.unit.storage.items import Items

DAY_MS = 24 * HOUR_MS


@pytest.fixture
def items():
    return Items()


@pytest.fixture(params=["dynamo", "fake"])
def store(request, bound, monkeypatch, items):
    if request.param == "fake":
        return FakeIntensityStore(MemoryDatabase())
    for model in find_models():
        monkeypatch.setattr(model._get_connection().connection, "_make_api_call", items)
    return DynamoIntensityStore()


def build_forecast(made_ms, *, fetched_ms=None, mg=300_000, series=GERMANY):
    points = tuple(
        build_point(
            series,
            made_ms + hours * HOUR_MS,
            mg + hours,
            kind="forecast",
            estimated=True,
            generated_at_ms=made_ms,
            fetched_at_ms=made_ms if fetched_ms is None else fetched_ms,
        )
        for hours in range(3)
    )
    return Forecast(series, made_ms, points)


def test_what_a_provider_said_first_stands_beside_what_it_said_later(store):
    first = build_point(mg=300_000)
    second = replace(first, mg_co2e_per_kwh=290_000, revision=1, estimated=True)
    assert store.add_actual(first)
    assert store.add_actual(second)
    assert not store.add_actual(replace(second, mg_co2e_per_kwh=1))
    assert store.list_actuals(GERMANY, HOUR, HOUR + 1) == [first, second]


def test_a_range_has_its_beginning_and_not_its_end_and_nothing_of_another_series(store):
    points = [build_point(start_ms=HOUR + hours * HOUR_MS) for hours in range(4)]
    for point in [*points, build_point(SWEDEN), build_point(CALIFORNIA)]:
        store.add_actual(point)
    assert store.list_actuals(GERMANY, HOUR + HOUR_MS, HOUR + 3 * HOUR_MS) == points[1:3]
    assert store.list_actuals(GERMANY, HOUR + 1, HOUR + HOUR_MS) == []
    assert store.list_actuals(GERMANY, HOUR, HOUR) == []


def test_a_range_over_the_end_of_months_is_read_whole_and_in_order(store):
    start = parse_instant("2027-01-31T22:00:00Z")
    points = [build_point(start_ms=start + days * DAY_MS + 3 * HOUR_MS) for days in range(40)]
    for point in points:
        store.add_actual(point)
    assert store.list_actuals(GERMANY, start, start + 41 * DAY_MS) == points


def test_what_was_forecast_at_an_instant_is_what_was_known_then(store):
    early, late = build_forecast(START_MS), build_forecast(START_MS + HOUR_MS, mg=400_000)
    overdue = build_forecast(START_MS + 2 * HOUR_MS, fetched_ms=START_MS + 5 * HOUR_MS)
    for each in (late, early, overdue, build_forecast(START_MS, series=SWEDEN)):
        assert store.add_forecast(each)
    assert not store.add_forecast(replace(early, points=late.points))
    assert store.find_forecast(GERMANY, START_MS - 1) is None
    assert store.find_forecast(GERMANY, START_MS) == early
    assert store.find_forecast(GERMANY, START_MS + HOUR_MS - 1) == early
    assert store.find_forecast(GERMANY, START_MS + 4 * HOUR_MS) == late
    assert store.find_forecast(GERMANY, START_MS + 5 * HOUR_MS) == overdue


def test_a_forecast_made_before_the_month_began_is_found_after_a_short_month_too(store):
    made = parse_instant("2027-02-28T23:50:00Z")
    store.add_forecast(build_forecast(made))
    assert store.find_forecast(GERMANY, made + HOUR_MS).generated_at_ms == made


def test_the_states_of_all_series_are_one_listing(store):
    state = FetchState(GERMANY, "actual", START_MS, START_MS + 1, 3, None, "http_500")
    store.put_state(state)
    store.put_state(replace(state, kind="forecast"))
    store.put_state(replace(state, failures=0, reason=None, succeeded_at_ms=START_MS))
    found = {each.kind: each for each in store.list_states()}
    assert (found["actual"].failures, found["actual"].succeeded_at_ms) == (0, START_MS)
    assert found["forecast"] == replace(state, kind="forecast")


def test_nothing_is_scanned_and_no_figure_expires(bound, monkeypatch, items):
    for model in find_models():
        monkeypatch.setattr(model._get_connection().connection, "_make_api_call", items)
    store = DynamoIntensityStore()
    store.add_actual(build_point())
    store.add_forecast(build_forecast(START_MS))
    store.list_actuals(GERMANY, HOUR, HOUR + HOUR_MS)
    store.find_forecast(GERMANY, START_MS)
    assert {operation for operation, _ in items.calls} == {"PutItem", "Query"}
    actual, forecast = (arguments["Item"] for operation, arguments in items.calls if operation == "PutItem")
    assert "expires_at" not in actual
    assert int(forecast["expires_at"]["N"]) > START_MS // 1000 + 300 * 86_400

"""The routes of grid intensity, called with gateway events over the fakes."""

from http import HTTPStatus

import pytest

from chalicelib.carbon import fetching, functions
from chalicelib.carbon.intensity import HOUR_MS, Forecast
from chalicelib.carbon.ports import GridPorts
from chalicelib.core.clock import format_instant
from tests.fakes.database import START_MS
from tests.fakes.events import TICK
from tests.fakes.grid import FakeIntensityStore
from tests.fakes.wiring import rewire
from tests.unit.carbon.grids import GERMANY, HOUR, SWEDEN, build_point, simulate
from tests.unit.platform import Platform

INTENSITY, FORECAST = "GET /v1/carbon/intensity", "GET /v1/carbon/forecast"


@pytest.fixture
def platform(monkeypatch):
    return Platform(monkeypatch)


def test_points_are_shown_with_all_that_is_known_of_them_and_the_last_revision_alone(platform):
    store = platform.grid.store
    store.add_actual(build_point())
    store.add_actual(build_point(mg=290_500, revision=1, estimated=True))
    store.add_actual(build_point(SWEDEN))
    status, body = platform.ask(INTENSITY, query={"region": "eu-central-1"}, role="renter")
    assert status == HTTPStatus.OK
    (point,) = body["items"]
    assert (point["value"], point["unit"], point["estimated"], point["revision"]) == (
        "290.500",
        "gCO2e/kWh",
        True,
        1,
    )
    assert (point["provider"], point["zone"], point["signal"], point["accounting"], point["kind"]) == (
        "electricity_maps",
        "DE",
        "average",
        "location",
        "actual",
    )
    assert (point["valid_from"], point["valid_until"]) == (format_instant(HOUR), format_instant(START_MS))
    assert body["annual"]["value"] == "370.930"
    assert "annual" in body["annual"]["method"]


def test_a_forecast_is_shown_as_it_was_known_at_the_instant(platform):
    for made, mg in ((START_MS - 2 * HOUR_MS, 100_000), (START_MS - HOUR_MS, 200_000)):
        point = build_point(mg=mg, kind="forecast", estimated=True, generated_at_ms=made, fetched_at_ms=made)
        platform.grid.store.add_forecast(Forecast(GERMANY, made, (point,)))
    _, now = platform.ask(FORECAST, query={"region": "eu-central-1"})
    assert [each["points"][0]["value"] for each in now["items"]] == ["200.000"]
    at = format_instant(START_MS - HOUR_MS - 1)
    _, then = platform.ask(FORECAST, query={"region": "eu-central-1", "at": at})
    assert (then["at"], then["items"][0]["points"][0]["value"]) == (at, "100.000")
    assert then["items"][0]["points"][0]["estimated"]
    _, marginal = platform.ask(FORECAST, query={"region": "eu-central-1", "signal": "marginal"})
    assert marginal["items"] == []


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"region": "mars-1"}, 404, "unknown_region"),
        ({"region": "eu-central-1", "signal": "both"}, 400, "invalid_request"),
        ({"region": "eu-central-1", "from": "yesterday"}, 400, "invalid_instant"),
        (
            {"region": "eu-central-1", "from": "2027-01-15T00:00:00Z", "to": "2027-01-14T00:00:00Z"},
            400,
            "invalid_range",
        ),
        (
            {"region": "eu-central-1", "from": "2027-01-01T00:00:00Z", "to": "2027-01-14T00:00:00Z"},
            400,
            "invalid_range",
        ),
    ],
)
def test_a_wrong_question_is_refused(platform, query, status, code):
    answered, body = platform.ask(INTENSITY, query=query)
    assert (answered, body["code"]) == (status, code)


def test_the_schedule_fetches_for_the_regions_that_have_a_price_and_tells_of_failures(monkeypatch):
    platform, told = Platform(monkeypatch), {}
    clock = platform.cloud.clock
    with simulate(clock) as (simulator, providers):
        ports = GridPorts(FakeIntensityStore(platform.cloud.db), clock, lambda: providers)
        rewire(monkeypatch, grid_ports=ports, list_pools=[("H100", "eu-north-1")])
        monkeypatch.setattr(functions.wiring, "settings", lambda: type("S", (), {"stage": "test"}))
        monkeypatch.setattr(functions, "put_metrics", lambda _stage, **values: told.update(values))
        functions.fetch_grid_intensity(TICK, None)
        assert told == {"grid_series_failing": 0}
        _, body = platform.ask(INTENSITY, query={"region": "eu-north-1"})
        assert {each["zone"] for each in body["items"]} == {"SE"}
        assert "DE" not in {each.series.zone for each in ports.store.list_states()}
        simulator.faults["electricity_maps"] = "garbage"
        for _ in range(fetching.MANY_FAILURES):
            clock.advance_seconds(7 * 3600)
            functions.fetch_grid_intensity(TICK, None)
        assert told == {"grid_series_failing": 1}

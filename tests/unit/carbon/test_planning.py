"""Best starts by stored forecasts: within the deadline, where it may run, honest about what is not known."""

from dataclasses import replace
from http import HTTPStatus

import pytest

from chalicelib.carbon.intensity import HOUR_MS, Forecast
from chalicelib.carbon.planning import build_slots
from chalicelib.core.clock import format_instant
from tests.fakes.database import START_MS
from tests.unit.carbon.grids import GERMANY, SWEDEN, build_point
from tests.unit.platform import Platform

STARTS = "GET /v1/carbon/best-starts"
#: From the present hour on, in g/kWh.
GERMAN = (300, 280, 120, 110, 290, 310)
SWEDISH = (40, 20, 20, 30, 30, 30)


@pytest.fixture
def platform(monkeypatch):
    return Platform(monkeypatch)


def put_forecast(platform, series, grams, *, hours=1):
    points = tuple(
        build_point(
            series,
            START_MS + number * hours * HOUR_MS,
            mg * 1000,
            kind="forecast",
            estimated=True,
            valid_until_ms=START_MS + (number + 1) * hours * HOUR_MS,
            generated_at_ms=START_MS - HOUR_MS,
            fetched_at_ms=START_MS - HOUR_MS,
        )
        for number, mg in enumerate(grams)
    )
    platform.grid.store.add_forecast(Forecast(series, START_MS - HOUR_MS, points))


def ask(platform, **query):
    given = {
        "region": "eu-central-1",
        "duration_seconds": "7200",
        "deadline": format_instant(START_MS + 6 * HOUR_MS),
        **query,
    }
    return platform.ask(STARTS, query=given, role="renter")


def test_work_that_may_wait_starts_in_the_lowest_hours_before_its_deadline(platform):
    put_forecast(platform, GERMANY, GERMAN)
    status, body = ask(platform)
    assert status == HTTPStatus.OK
    (best,) = body["items"]
    assert (best["starts_at"], best["ends_at"]) == (
        format_instant(START_MS + 2 * HOUR_MS),
        format_instant(START_MS + 4 * HOUR_MS),
    )
    assert (best["value"], best["immediate_value"], best["why"], best["moved"]) == (
        "115.000",
        "290.000",
        "lower_later",
        False,
    )
    assert best["saved_ppm"] == 603_448
    assert (best["provider"], best["generated_at"]) == (
        "electricity_maps",
        format_instant(START_MS - HOUR_MS),
    )
    sooner = ask(platform, deadline=format_instant(START_MS + 3 * HOUR_MS))[1]["items"][0]
    assert sooner["ends_at"] == format_instant(START_MS + 3 * HOUR_MS)


def test_another_region_is_meant_only_where_it_may_run_and_its_saving_is_against_home_at_once(platform):
    put_forecast(platform, GERMANY, GERMAN)
    put_forecast(platform, SWEDEN, SWEDISH)
    assert [each["region"] for each in ask(platform)[1]["items"]] == ["eu-central-1"]
    _, body = ask(platform, regions="eu-central-1,eu-north-1")
    first, second = body["items"]
    assert (first["region"], first["moved"], first["value"]) == ("eu-north-1", True, "20.000")
    assert first["immediate_value"] == second["immediate_value"] == "290.000"


def test_a_price_cap_and_a_missing_forecast_are_reasons(platform):
    put_forecast(platform, GERMANY, GERMAN)
    put_forecast(platform, SWEDEN, SWEDISH)
    _, body = ask(
        platform,
        regions="eu-central-1,eu-north-1,eu-west-3",
        gpu_type="H100",
        max_price_micros_per_gpu_hour="1",
    )
    assert body["items"] == []
    assert set(body["excluded"]) == {"eu-central-1", "eu-north-1", "eu-west-3"}
    _, uncapped = ask(platform, regions="eu-central-1,eu-west-3")
    assert uncapped["excluded"] == {"eu-west-3": "forecast_too_short"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"deadline": format_instant(START_MS + HOUR_MS)}, 400, "deadline_too_early"),
        ({"deadline": format_instant(START_MS + 7 * HOUR_MS)}, 409, "forecast_too_short"),
        ({"region": "eu-west-3"}, 409, "forecast_too_short"),
        ({"region": "mars-1"}, 404, "unknown_region"),
        ({"duration_seconds": "0"}, 400, "invalid_request"),
        ({"regions": ",".join(f"r{number}" for number in range(9))}, 400, "too_many_regions"),
    ],
)
def test_what_cannot_be_planned_is_said(platform, query, status, code):
    put_forecast(platform, GERMANY, GERMAN)
    answered, body = ask(platform, **query)
    assert (answered, body["code"]) == (status, code)


def test_a_forecast_with_a_gap_is_used_up_to_it_and_never_bridged(platform):
    points = [build_point(start_ms=START_MS + hour * HOUR_MS, mg=hour) for hour in (0, 1, 3, 4)]
    first = build_slots(points, START_MS)
    assert first is not None
    assert (first.start, first.end, tuple(first.intensities)) == (START_MS, START_MS + 2 * HOUR_MS, (0, 1))
    second = build_slots(points, START_MS + 3 * HOUR_MS)
    assert second is not None
    assert second.start == START_MS + 3 * HOUR_MS
    assert build_slots(points, START_MS + 2 * HOUR_MS) is None
    assert build_slots([], START_MS) is None
    longer = replace(points[1], valid_until_ms=points[1].valid_until_ms + 1)
    uneven = build_slots([points[0], longer], START_MS)
    assert uneven is not None
    assert uneven.end == START_MS + HOUR_MS

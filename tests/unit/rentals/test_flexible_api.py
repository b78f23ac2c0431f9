"""A flexible start as it is asked for and shown."""

from http import HTTPStatus

import pytest

from chalicelib.core.clock import format_instant
from chalicelib.rentals.flexibility import HOUR_MS, MAX_DURATION_SECONDS
from chalicelib.rentals.flexible_schemas import FlexibleBody, read_flexibility
from tests.factories import GPU_TYPE, REGION
from tests.fakes.database import START_MS
from tests.unit.carbon.grids import SWEDEN, build_forecast
from tests.unit.platform import Platform

RENT, SHOW = "POST /v1/rentals", "GET /v1/rentals/{rental_id}"
FLEXIBLE = {"finish_by": format_instant(START_MS + 10 * HOUR_MS), "duration_seconds": 7200}


@pytest.fixture
def platform(monkeypatch):
    return Platform(monkeypatch)


def ask(platform, flexible=None, **more):
    body = {
        "gpu_type": GPU_TYPE,
        "gpu_count": 1,
        "command": ["true"],
        "flexible": {**FLEXIBLE, **(flexible or {})},
        **more,
    }
    return platform.ask(RENT, body, role="renter")


def test_the_plan_is_shown_with_its_reason_its_forecast_and_what_it_should_save(platform):
    platform.grid.store.add_forecast(build_forecast(SWEDEN, (40, 30, 10, 10, 40, 40)))
    status, made = ask(platform, region=REGION)
    assert status == HTTPStatus.CREATED
    assert made["start_plan"] == {
        "policy": "window",
        "duration_seconds": 7200,
        "latest_start_at": format_instant(START_MS + 8 * HOUR_MS),
        "deadline": format_instant(START_MS + 10 * HOUR_MS),
        "threshold_mg_per_kwh": None,
        "planned_start_at": format_instant(START_MS + 2 * HOUR_MS),
        "region": REGION,
        "regions": [REGION],
        "forecast": {
            "provider": "electricity_maps",
            "zone": "SE",
            "generated_at": format_instant(START_MS),
            "covers_until": format_instant(START_MS + 6 * HOUR_MS),
            "mg_co2e_per_kwh": 10_000,
            "immediate_mg_co2e_per_kwh": 35_000,
        },
        "expected_saving_permille": 714,
        "why": {
            "code": "lower_later",
            "text": "The grid is forecast to be cleanest then. The forecast ends before the deadline; "
            "what comes after it is not known.",
        },
        "replanned": [],
    }
    assert made["policies"]["max_duration_seconds"] == 7200
    assert made["policies"]["start_at"] == made["start_plan"]["planned_start_at"]
    shown = platform.ask(SHOW, role="renter", rental_id=made["rental_id"])[1]
    assert shown["start_plan"] == made["start_plan"]


def test_a_start_deadline_is_the_latest_start(platform):
    asked = {"start_deadline": FLEXIBLE["finish_by"]}
    body = {"gpu_type": GPU_TYPE, "command": ["true"], "flexible": asked | {"duration_seconds": 3600}}
    _, made = platform.ask(RENT, body, role="renter")
    plan = made["start_plan"]
    assert plan["latest_start_at"] == FLEXIBLE["finish_by"]
    assert plan["deadline"] == format_instant(START_MS + 11 * HOUR_MS)
    assert (plan["why"]["code"], plan["forecast"]) == ("no_forecast", None)


def test_a_rental_that_left_nothing_open_has_no_plan(platform):
    _, made = platform.ask(RENT, {"gpu_type": GPU_TYPE, "command": ["true"]}, role="renter")
    assert made["start_plan"] is None


@pytest.mark.parametrize(
    ("flexible", "more", "told"),
    [
        ({"start_deadline": FLEXIBLE["finish_by"]}, {}, "one of start_deadline and finish_by"),
        ({"finish_by": None}, {}, "one of start_deadline and finish_by"),
        ({"duration_seconds": 0}, {}, "duration_seconds"),
        ({"duration_seconds": MAX_DURATION_SECONDS + 1}, {}, "duration_seconds"),
        ({"policy": "threshold"}, {}, "threshold_mg_per_kwh belong together"),
        ({"threshold_mg_per_kwh": 1}, {}, "threshold_mg_per_kwh belong together"),
        ({"policy": "interrupting"}, {}, "interrupting is not offered"),
        ({"policy": "later"}, {}, "policy"),
        ({"regions": []}, {}, "regions"),
        ({"regions": [REGION, REGION]}, {}, "twice"),
        ({"regions": [f"r-{number}" for number in range(9)]}, {}, "regions"),
        ({"regions": [REGION]}, {"region": "eu-west-1"}, "none of the regions"),
        ({}, {"start_at": FLEXIBLE["finish_by"]}, "leave out start_at"),
        ({}, {"stop_at": FLEXIBLE["finish_by"]}, "leave out start_at"),
        ({}, {"max_duration_seconds": 60}, "leave out start_at"),
        ({}, {"billing_class": "reserved", "reservation_id": "rsv_1"}, "reservation"),
        ({}, {"node_count": 2}, "cluster"),
        ({}, {"on_no_capacity": "fail"}, "waits in line"),
        ({}, {"deadline_at": format_instant(START_MS + 7 * HOUR_MS)}, "before the latest start"),
        ({"finish_by": format_instant(START_MS - HOUR_MS)}, {}, "has passed"),
        ({"finish_by": format_instant(START_MS + HOUR_MS)}, {}, "too early"),
        ({"finish_by": format_instant(START_MS + 15 * 24 * HOUR_MS)}, {}, "within 14 days"),
        ({"regions": ["mars-1"]}, {}, "not offered in mars-1"),
    ],
)
def test_what_contradicts_itself_is_refused_and_said(platform, flexible, more, told):
    status, body = ask(platform, flexible, **more)
    assert status == HTTPStatus.BAD_REQUEST
    assert told in str(body)
    assert platform.cloud.db.table("rentals") == {}


@pytest.mark.parametrize(
    ("region", "regions", "read"),
    [
        ("any", None, ()),
        ("any", ["b", "a"], ("b", "a")),
        ("a", None, ("a",)),
        ("a", ["b", "a", "c"], ("a", "b", "c")),
    ],
)
def test_home_is_the_region_beside_the_others_or_the_first_of_them(region, regions, read):
    body = FlexibleBody(start_deadline="2027-01-16T00:00:00Z", duration_seconds=60, regions=regions)
    assert read_flexibility(body, region).regions == read


def test_a_region_beside_the_others_is_home(platform):
    platform.grid.store.add_forecast(build_forecast(SWEDEN, [40] * 12))
    _, made = ask(platform, {"regions": [REGION]}, region=REGION)
    assert made["start_plan"]["regions"] == [REGION]
    assert made["start_plan"]["why"]["code"] == "already_lowest"
    assert made["state"] == "provisioning"

"""Removals as an account asks for them: turned on, listed, looked up, and strictly read."""

import pytest

from chalicelib.payments.functions import buy_removals
from tests.fakes.events import TICK
from tests.unit.payments.shopper import DAY_S, JANUARY, LIMIT, PRICE, QUANTITY_MG, RESIDUAL_MG
from tests.unit.platform import Platform

SETTINGS = "/v1/removal-purchases/settings"
WANTED = {"enabled": True, "max_micros_per_month": LIMIT, "beneficiary_name": "ACME Ltd"}


@pytest.fixture
def platform(monkeypatch):
    return Platform(monkeypatch)


def ask(platform, route, body=None, **parameters):
    return platform.ask(route, body, role="renter", **parameters)


def test_what_was_bought_is_shown_beside_its_residual_and_never_taken_off_it(platform):
    account_id = platform.seeded.renter.account_id
    off = {"enabled": False, "max_micros_per_month": 0, "currency": "USD"}
    off |= {"beneficiary_name": None, "next_month": None}
    assert ask(platform, f"GET {SETTINGS}") == (200, off)
    status, told = ask(platform, f"PUT {SETTINGS}", WANTED)
    assert (status, told["next_month"], told["beneficiary_name"]) == (200, JANUARY, "ACME Ltd")
    assert ask(platform, f"GET {SETTINGS}") == (200, told)
    platform.residuals.masses[account_id, JANUARY] = RESIDUAL_MG
    platform.cloud.clock.advance_seconds(31 * DAY_S)
    buy_removals(TICK, None)
    status, page = ask(platform, "GET /v1/removal-purchases")
    (listed,) = page["items"]
    assert (status, page["next_cursor"], listed["state"]) == (200, None, "open")
    assert (listed["residual_mg"], listed["quantity_mg"]) == (RESIDUAL_MG, QUANTITY_MG)
    assert (listed["price_micros"], listed["returned_micros"], listed["currency"]) == (PRICE, 0, "USD")
    assert (listed["order_id"], listed["beneficiary_name"]) == ("climorder_0", "ACME Ltd")
    assert ask(platform, "GET /v1/removal-purchases/{month}", month=JANUARY) == (200, listed)


def test_a_month_without_a_purchase_is_not_found_and_no_month_is_refused(platform):
    route = "GET /v1/removal-purchases/{month}"
    assert ask(platform, route, month=JANUARY)[0] == 404
    status, answer = ask(platform, route, month="2027-1")
    assert (status, answer["code"]) == (400, "invalid_month")


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": "yes"},
        {"max_micros_per_month": -1},
        {"max_micros_per_month": 1.5},
        {"max_micros_per_month": 10_001},
        {"max_micros_per_month": 0},
        {"beneficiary_name": ""},
        {"beneficiary_name": " "},
        {"beneficiary_name": "a\nb"},
        {"beneficiary_name": "x" * 101},
        {"month": JANUARY},
    ],
)
def test_settings_are_read_strictly_and_what_is_wrong_changes_nothing(platform, wrong):
    assert ask(platform, f"PUT {SETTINGS}", WANTED | wrong)[0] == 400
    assert ask(platform, f"GET {SETTINGS}")[1]["enabled"] is False

"""What is stored of a planned start is what is read."""

import json
from dataclasses import asdict, replace

import pytest

from chalicelib.rentals.flexibility import Flexibility, StartChoice, UsedForecast, begin_plan, replan
from chalicelib.rentals.store import read_start_plan

NOW = 1_800_000_000_000
CHOICE = StartChoice(NOW + 1, ("eu-north-1",), "lower_later", UsedForecast("p", "SE", NOW, NOW + 9, 1, None))
ASKED = Flexibility("threshold", 60, NOW + 8_000_000, ("eu-central-1", "eu-north-1"), 5)


@pytest.mark.parametrize("choice", [CHOICE, replace(CHOICE, forecast=None, why="no_forecast")])
def test_a_plan_and_its_changes_survive_json(choice):
    plan = replan(begin_plan(ASKED, choice, NOW), choice, NOW + 1)
    assert read_start_plan(json.loads(json.dumps(asdict(plan)))) == plan

"""Every scheduled function runs as it is deployed: its archive, its environment, its role."""

import json

import pytest

import app
from infra.local.cloud import EmbeddedCloud
from tests.fakes.events import TICK

SCHEDULED = sorted(each.name for each in app.app.event_sources if hasattr(each, "schedule_expression"))


@pytest.fixture(scope="module")
def deployed(cloud: EmbeddedCloud) -> list[str]:
    pages = cloud.aws.client("lambda").get_paginator("list_functions").paginate()
    return [each["FunctionName"] for page in pages for each in page["Functions"]]


@pytest.mark.parametrize("name", SCHEDULED)
def test_a_scheduled_function_may_do_what_it_does(
    cloud: EmbeddedCloud, deployed: list[str], name: str
) -> None:
    resource = "".join(part.capitalize() for part in name.split("_"))
    (function,) = (each for each in deployed if f"-{resource}-" in each)
    answer = cloud.aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(TICK).encode())
    assert "FunctionError" not in answer, answer["Payload"].read().decode()


def test_there_are_schedules() -> None:
    assert {"dispatch_charges", "roll_up_energy", "make_carbon_reports", "buy_removals"} <= set(SCHEDULED)

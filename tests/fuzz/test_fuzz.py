"""The API is asked from its document, in this process: a smaller run of what ``make fuzz-api`` does."""

import pytest
from schemathesis.config._checks import _BUILTIN_CHECK_NAMES

from tests.fuzz.expected import REFUSALS, USUAL, list_operations
from tests.fuzz.gateway import run_gateway
from tests.fuzz.in_process import InProcess
from tests.fuzz.report import render_report
from tests.fuzz.running import SHORT, fuzz
from tests.fuzz.seeding import seed

#: It measures time, and has a limit only where one is given.
UNUSED = {"max_response_time"}


@pytest.mark.slow
def test_every_operation_answers_as_it_is_written_down(monkeypatch, tmp_path):
    platform = InProcess(monkeypatch)
    with run_gateway() as url:
        installation = seed(url, platform.operator_key, platform.sign_in, platform.today)
        outcome = fuzz(SHORT, installation, url, tmp_path)
    told = render_report(SHORT, outcome)
    print(told)
    assert outcome.holds, told
    assert len(outcome.covered) == outcome.operations == len(list_operations())
    assert set(outcome.checks) == {*_BUILTIN_CHECK_NAMES, "refusals_are_explained"} - UNUSED
    assert (tmp_path / f"{SHORT.name}.xml").exists()


def test_each_refusal_that_is_expected_is_of_an_operation_and_no_usual_one():
    named = {name for each in REFUSALS for name in each.operations}
    assert named <= {each["operationId"] for each in list_operations()}
    assert not {each.status for each in REFUSALS} & USUAL
    assert all(each.reason and each.words for each in REFUSALS)

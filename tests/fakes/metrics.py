"""Reads what was put for CloudWatch, as its embedded metric format has it."""

import json

import pytest

from chalicelib.runtime.observability import METRICS_NAMESPACE


def read_metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """The last value of each metric since the last look, all of one stage."""
    found: dict[str, int] = {}
    for line in capsys.readouterr().out.splitlines():
        entry = json.loads(line)
        (directive,) = entry["_aws"]["CloudWatchMetrics"]
        assert (directive["Namespace"], directive["Dimensions"]) == (METRICS_NAMESPACE, [["stage"]])
        for metric in directive["Metrics"]:
            value = entry[metric["Name"]]
            found[metric["Name"]] = value[-1] if isinstance(value, list) else value
    return found

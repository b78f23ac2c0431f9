"""Datapoints of capture units in the real store: once each, and never another value in the same place."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chalicelib import wiring
from chalicelib.metering.model import CaptureDatapoint
from infra.local.cloud import EmbeddedCloud
from tests.integration.in_process import wire_to

SHOWN = CaptureDatapoint("unit-1", "FT-101", "gas_mass_flow", 2**53, 1, "milligrams_per_hour", 10**12)


@pytest.fixture(scope="module", autouse=True)
def _wired(cloud: EmbeddedCloud) -> Iterator[None]:
    with wire_to(cloud):
        yield


def test_a_datapoint_is_kept_once_and_a_contradiction_is_told() -> None:
    store = wiring.meter_ports().store
    assert store.keep_datapoint("hst_capture", SHOWN, 5)
    assert store.keep_datapoint("hst_capture", SHOWN, 6), "the same again"
    assert not store.keep_datapoint("hst_capture", replace(SHOWN, value=-1), 7)
    assert store.keep_datapoint("hst_capture", SHOWN, 8), "the first stands"
    assert store.keep_datapoint("hst_other", replace(SHOWN, value=-1), 9), "another host's unit"

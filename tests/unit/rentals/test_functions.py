"""The minute's sweep over all lines."""

import pytest

from chalicelib.rentals import functions
from tests.factories import rent, seed_cloud
from tests.fakes.events import TICK
from tests.fakes.metrics import read_metrics
from tests.fakes.wiring import rewire


class Settings:
    stage = "unit"


@pytest.fixture
def seeded(monkeypatch):
    seeded = seed_cloud(gpus=2)
    cloud = seeded.cloud
    rewire(
        monkeypatch,
        rental_ports=cloud.rentals,
        reservation_ports=cloud.reservations,
        clock=cloud.clock,
        settings=Settings,
        list_pools=cloud.rentals.cached_catalog.get().list_pools(),
    )
    return seeded


def test_the_sweep_says_for_how_long_the_first_in_line_has_waited(seeded, capsys):
    functions.sweep_lines(TICK, None)
    assert read_metrics(capsys) == {"oldest_wait_seconds": 0}
    rent(seeded, 2, key="runs")
    rent(seeded, 2, key="waits", body=b"waits", waits=True)
    seeded.cloud.clock.advance_seconds(300)
    rent(seeded, 1, key="later", body=b"later", waits=True)
    seeded.cloud.clock.advance_seconds(20)
    functions.sweep_lines(TICK, None)
    assert read_metrics(capsys) == {"oldest_wait_seconds": 320}

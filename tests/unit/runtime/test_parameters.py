"""A parameter is read seldom, and the last value outlives the store's silence."""

import pytest

from chalicelib.core.errors import Unavailable
from chalicelib.runtime.parameters import CACHE_MS, CachedParameter
from tests.fakes.database import FakeClock


class Store:
    def __init__(self):
        self.value, self.down, self.calls = "https://api.example", False, 0

    def get_parameter(self, **named):
        self.calls += 1
        assert named == {"Name": "/stage/public-url"}
        if self.down:
            raise OSError
        return {"Parameter": {"Value": self.value}}


def test_a_value_is_kept_for_a_while_and_longer_when_the_store_is_silent():
    store, clock = Store(), FakeClock()
    parameter = CachedParameter(store, "/stage/public-url", clock)
    store.down = True
    with pytest.raises(Unavailable):
        parameter.read()
    store.down = False
    assert [parameter.read(), parameter.read(), store.calls] == ["https://api.example"] * 2 + [2]
    clock.advance_seconds(CACHE_MS // 1000)
    store.down = True
    assert parameter.read() == "https://api.example"
    store.down, store.value = False, "https://other.example"
    assert parameter.read() == "https://api.example"
    clock.advance_seconds(CACHE_MS // 1000)
    assert parameter.read() == "https://other.example"

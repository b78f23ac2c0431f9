"""Every unit test of the API goes through limits of its own that it does not reach."""

import pytest

from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
from tests.fakes.limits import MemoryBuckets
from tests.fakes.wiring import rewire


@pytest.fixture(autouse=True)
def limiter(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    kept = Limiter(MemoryBuckets(), SystemClock(), scale_policies(POLICIES, 1_000))
    rewire(monkeypatch, rate_limiter=kept)
    return kept

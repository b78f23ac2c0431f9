"""Fixtures of all unit tests: limits of their own that none reaches, and a secret for cursors."""

import pytest

from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.cursors import SIGNER
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
from tests.fakes.limits import MemoryBuckets
from tests.fakes.wiring import rewire


@pytest.fixture(autouse=True)
def limiter(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    kept = Limiter(MemoryBuckets(), SystemClock(), scale_policies(POLICIES, 1_000))
    rewire(monkeypatch, rate_limiter=kept)
    return kept


@pytest.fixture(autouse=True)
def _cursor_secret(monkeypatch):
    """Cursors are signed with a secret of the tests: there is no Secrets Manager here."""
    monkeypatch.setattr(SIGNER, "read_secret", lambda: b"a-secret-of-the-tests")

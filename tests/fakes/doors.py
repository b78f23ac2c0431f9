"""What each request passes before its route: rate limits and the secret of cursors."""

import pytest

from chalicelib.core.throttling import POLICIES, scale_policies
from chalicelib.runtime.cursors import SIGNER
from chalicelib.runtime.system import SystemClock
from chalicelib.runtime.throttling import Limiter
from tests.fakes.limits import MemoryBuckets
from tests.fakes.wiring import rewire


def open_doors(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    """Limit by what no test reaches, in memory; sign cursors without Secrets Manager."""
    limiter = Limiter(MemoryBuckets(), SystemClock(), scale_policies(POLICIES, 1_000))
    rewire(monkeypatch, rate_limiter=limiter)
    monkeypatch.setattr(SIGNER, "read_secret", lambda: b"a-secret-of-the-tests")
    return limiter

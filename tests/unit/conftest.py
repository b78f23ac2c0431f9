"""Fixtures of all unit tests: limits of their own that none reaches, and a secret for cursors."""

import pytest

from chalicelib.runtime.throttling import Limiter
from tests.fakes.doors import open_doors


@pytest.fixture(autouse=True)
def limiter(monkeypatch: pytest.MonkeyPatch) -> Limiter:
    return open_doors(monkeypatch)

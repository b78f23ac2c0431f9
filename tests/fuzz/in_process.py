"""The whole API in this process, over fakes in memory, with keys of each role."""

from datetime import UTC, datetime
from functools import partial

import pytest

import app
from chalicelib.accounts.service import authenticate, bootstrap_installation
from chalicelib.runtime.settings import Settings, parse_settings
from tests.fakes.wiring import rewire
from tests.unit.platform import Platform

#: Names of what is nowhere: nothing of it is reached.
SETTINGS = parse_settings(
    {name: f"memory-{name}" for name, each in Settings.model_fields.items() if each.is_required()}
)


class InProcess:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = Platform(monkeypatch)
        accounts = self.platform.cloud.accounts
        rewire(monkeypatch, settings=SETTINGS)
        for routes in app.APIS:
            monkeypatch.setattr(routes, "_authenticate", partial(authenticate, accounts))
        key = bootstrap_installation(accounts, currency="USD", rotate=True).operator_key
        assert key is not None
        self.operator_key = key
        self.today = datetime.fromtimestamp(self.platform.cloud.clock.now_ms() / 1000, UTC).date()

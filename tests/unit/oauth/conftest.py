"""One authorization server in memory."""

import pytest

from tests.fakes.oauth import AuthorizationWorld
from tests.unit.oauth.site import Browser, Site


@pytest.fixture
def world():
    return AuthorizationWorld()


@pytest.fixture
def site(monkeypatch):
    served = Site(monkeypatch)
    yield served
    served.close()


@pytest.fixture
def browser(site):
    opened = Browser(site)
    yield opened
    opened.close()

"""Pages of people in memory."""

import pytest

from tests.unit.identity.people import People
from tests.unit.identity.server import rewire_pages
from tests.unit.identity.visitor import FakeProviders, Visitor


@pytest.fixture
def site(monkeypatch):
    """People with pages; ``site.visit()`` is a browser."""
    found = People()
    found.providers = FakeProviders(found, "Example")
    rewire_pages(monkeypatch, found, found.providers)
    found.visit = lambda address="192.0.2.1": Visitor(found, address)
    return found

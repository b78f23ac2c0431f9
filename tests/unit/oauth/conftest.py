"""One authorization server in memory."""

import pytest

from tests.fakes.oauth import AuthorizationWorld


@pytest.fixture
def world():
    return AuthorizationWorld()

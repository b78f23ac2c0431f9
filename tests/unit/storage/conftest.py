"""The models bound to tables that nothing calls."""

from collections.abc import Iterator

import pytest
from pynamodb.connection import Connection

from chalicelib.storage import connection


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "unused")
    connection.bind.cache_clear()
    shared = connection.bind("prefix", "us-east-1")
    yield shared
    shared.client.close()
    connection.bind.cache_clear()

"""Fixtures of all unit tests."""

import pytest

from chalicelib.runtime.cursors import SIGNER


@pytest.fixture(autouse=True)
def _cursor_secret(monkeypatch):
    """Cursors are signed with a secret of the tests: there is no Secrets Manager here."""
    monkeypatch.setattr(SIGNER, "read_secret", lambda: b"a-secret-of-the-tests")

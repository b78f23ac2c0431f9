"""The limits of the tests and their secret of cursors, as in the unit tests."""

from tests.unit.conftest import _cursor_secret, limiter

__all__ = ["_cursor_secret", "limiter"]

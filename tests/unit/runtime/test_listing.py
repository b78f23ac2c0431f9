"""Query parameters that a route needs."""

import pytest

from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.listing import require


def ask_for(query):
    """Return the refusal, empty when there is none."""
    try:
        require(query, "region", "deadline")
    except InvalidInput as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("query", [{"region": "us-east-1"}, {"region": "us-east-1", "deadline": ""}])
def test_what_is_needed_and_not_given_is_named(query):
    assert "Name the query parameter deadline" in ask_for(query)


def test_what_is_given_is_enough():
    assert ask_for({"region": "us-east-1", "deadline": "2026-12-01T00:00:00Z"}) == ""

"""Query parameters that a route needs."""

import pytest

from chalicelib.core.errors import InvalidInput
from chalicelib.runtime.listing import require


@pytest.mark.parametrize("query", [{"region": "us-east-1"}, {"region": "us-east-1", "deadline": ""}])
def test_what_is_needed_and_not_given_is_named(query):
    with pytest.raises(InvalidInput, match="Name the query parameter deadline"):
        require(query, "region", "deadline")


def test_what_is_given_is_enough():
    require({"region": "us-east-1", "deadline": "2026-12-01T00:00:00Z"}, "region", "deadline")

"""Counts the calls a process makes to DynamoDB, where botocore sends them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chalicelib import wiring
from chalicelib.storage.connection import bind


@contextmanager
def count_calls() -> Iterator[list[str]]:
    """Yield the list of operations that are made inside the ``with``, in order; they are sequential."""
    connection = bind(wiring.settings().table_prefix, wiring.settings().aws_region)
    calls: list[str] = []

    def note(model: Any, **_: Any) -> None:
        calls.append(model.name)

    events = connection.client.meta.events
    events.register("before-call.dynamodb", note)
    try:
        yield calls
    finally:
        events.unregister("before-call.dynamodb", note)

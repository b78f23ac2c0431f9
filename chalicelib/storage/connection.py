"""Binds the models to their physical tables and gives them one botocore client.

PynamoDB would build a session and a client for each model class (about 100 ms each on a cold start);
they differ in nothing, so all models share the first. `tests/unit/storage` watches the two
private attributes that this needs.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pynamodb.connection import Connection
from pynamodb.models import Model

from chalicelib.storage.tables import (
    accounts,
    base,
    catalog,
    chains,
    fleet,
    grid,
    ledger,
    limits,
    metering,
    oauth,
    organisations,
    payments,
    people,
    privacy,
    records,
    removals,
    rentals,
    reports,
    reservations,
    scaling,
    scheduling,
    templates,
    webhooks,
)

#: A model is found once its module is loaded.
MODULES = (
    accounts,
    catalog,
    chains,
    fleet,
    grid,
    ledger,
    limits,
    metering,
    organisations,
    oauth,
    payments,
    privacy,
    people,
    records,
    removals,
    rentals,
    reports,
    reservations,
    scaling,
    scheduling,
    templates,
    webhooks,
)


def find_models(root: type[Model] = base.Table) -> Iterator[type[Model]]:
    """Yield every model class that names a table, parents first."""
    for model in root.__subclasses__():
        yield model
        yield from find_models(model)


@cache
def bind(table_prefix: str, region: str) -> Connection:
    """Point every model at ``<table_prefix>-<table>`` and return the shared connection. No I/O."""
    metas: set[Any] = {model.Meta for model in find_models()}
    for meta in metas:
        # What the class said first stays known: a process may be bound to another stage later.
        meta.logical_name = meta.logical_name or meta.table_name
        meta.table_name = f"{table_prefix}-{meta.logical_name}"
        meta.region = region
    shared: Connection | None = None
    for model in find_models():
        # A class would take over its parent's connection, which does not know the class's indexes.
        model._connection = None  # noqa: SLF001
        connection = model._get_connection().connection  # noqa: SLF001
        if shared is None:
            shared = connection
        connection._client = shared.client  # noqa: SLF001
    assert shared is not None
    return shared

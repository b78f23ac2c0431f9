"""The import rules of docs/architecture.md, by example."""

import pytest

from infra.import_contract import is_allowed


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("rentals.service", "fleet.model", True),
        ("rentals.service", "fleet.service", True),
        ("rentals.service", "core.money", True),
        ("rentals.service", "rentals.model", True),
        ("rentals.service", "fleet.store", False),
        ("rentals.service", "storage.tables", False),
        ("rentals.service", "runtime.http", False),
        ("rentals.service", "billing.service", False),
        ("fleet.service", "rentals.model", False),
        ("rentals.model", "core.leases", True),
        ("rentals.model", "fleet.model", False),
        ("rentals.model", "rentals.service", False),
        ("rentals.store", "storage.tables", True),
        ("rentals.store", "rentals.service", True),
        ("rentals.store", "runtime.http", False),
        ("rentals.store", "fleet.store", False),
        ("rentals.api", "wiring", True),
        ("rentals.api", "rentals.service", True),
        ("rentals.api", "rentals.store", False),
        ("rentals.api", "storage.keys", False),
        ("rentals.api", "fleet.service", False),
        ("metering.functions", "wire.v1", True),
        ("metering.functions", "metering.store", False),
        ("rentals.schemas", "rentals.model", True),
        ("rentals.schemas", "storage.tables", False),
        ("core.money", "runtime.system", False),
        ("core.money", "core.errors", True),
        ("wire.v1", "core.errors", False),
        ("storage.tables", "core.errors", True),
        ("storage.tables", "rentals.model", False),
        ("runtime.http", "storage.keys", False),
        ("wiring", "rentals.store", True),
        ("fleet.aws_gateway", "fleet.service", True),
        ("fleet.aws_gateway", "storage.tables", False),
        ("carbon.service", "carbon.grid", True),
        ("carbon.api", "carbon.grid", False),
        ("fleet.model", "fleet.health", True),
        ("fleet.health", "fleet.service", False),
        ("metering.incidents", "metering.service", True),
        ("metering.incidents", "fleet.health", True),
        ("metering.incidents", "fleet.store", False),
        ("metering.functions", "metering.incidents", True),
        ("rentals.model", "fleet.health", False),
        ("billing.service", "metering.incidents", True),
        ("rentals.service", "metering.incidents", False),
    ],
)
def test_a_file_may_import_what_its_kind_may(importer, imported, allowed):
    assert is_allowed(f"chalicelib.{importer}", f"chalicelib.{imported}") == allowed

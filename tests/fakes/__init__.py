"""In-memory implementations of the ports, written once for all tests."""

from tests.fakes.catalog import FakeCatalogStore, FakeTemplateStore
from tests.fakes.cloud import FakeCloud
from tests.fakes.database import START_MS, Crash, FakeClock, FakeIds, MemoryDatabase, MemoryTransaction
from tests.fakes.fleet import FakeFleetStore, FakeHostIdentities
from tests.fakes.ledger import FakeLedgerStore
from tests.fakes.money import FakeChargeQueue, FakeMeterStore, FakeRentalStore
from tests.fakes.records import FakeAccountStore, FakeAuditTrail, FakeIdempotencyStore
from tests.fakes.watch import FakeMaintenanceStore, FakeWatchStore

__all__ = [
    "START_MS",
    "Crash",
    "FakeAccountStore",
    "FakeAuditTrail",
    "FakeCatalogStore",
    "FakeChargeQueue",
    "FakeClock",
    "FakeCloud",
    "FakeFleetStore",
    "FakeHostIdentities",
    "FakeIdempotencyStore",
    "FakeIds",
    "FakeLedgerStore",
    "FakeMaintenanceStore",
    "FakeMeterStore",
    "FakeRentalStore",
    "FakeTemplateStore",
    "FakeWatchStore",
    "MemoryDatabase",
    "MemoryTransaction",
]

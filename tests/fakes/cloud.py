"""All ports over one in-memory database, as `chalicelib.wiring` builds them over DynamoDB."""

from collections.abc import Sequence
from functools import partial

from chalicelib.accounts.rotating import RotationPorts
from chalicelib.accounts.service import AccountPorts
from chalicelib.billing.deposits import ReservationDeposits
from chalicelib.billing.ports import BillingPorts
from chalicelib.billing.sealing import SealPorts
from chalicelib.billing.tampering import TamperingPorts
from chalicelib.carbon.service import read_figures
from chalicelib.carbon.shifting import ForecastPlanner
from chalicelib.catalog.service import CachedCatalog, CatalogPorts
from chalicelib.catalog.templates import TemplatePorts
from chalicelib.compliance.ports import ChainPorts
from chalicelib.fleet.maintenance import MaintenancePorts
from chalicelib.fleet.operations import OperationPorts
from chalicelib.fleet.service import FleetPorts
from chalicelib.fleet.watch import WatchPorts
from chalicelib.metering.failover import RentalFailover
from chalicelib.metering.ports import MeterPorts
from chalicelib.organisations.ports import OrganisationPorts
from chalicelib.removals.ports import RemovalPorts
from chalicelib.rentals.ports import RentalPorts
from chalicelib.reporting.content_gateway import JsonContents
from chalicelib.reporting.ports import ReportPorts
from chalicelib.reservations.keeping import HostBookings
from chalicelib.reservations.ports import ReservationPorts
from chalicelib.statements.model import Party
from chalicelib.statements.pdf_gateway import print_statement
from chalicelib.statements.ports import StatementPorts
from chalicelib.webhooks.addresses import Reach
from chalicelib.webhooks.dispatch import DispatchPorts, Job
from chalicelib.webhooks.leaks import LeakPorts
from chalicelib.webhooks.service import WebhookPorts
from tests.fakes.catalog import FakeCatalogStore, FakeTemplateStore
from tests.fakes.chains import FakeChainStore
from tests.fakes.database import FakeClock, FakeIds, MemoryDatabase
from tests.fakes.fleet import FakeFleetStore, FakeHostIdentities
from tests.fakes.grid import FakeIntensityStore
from tests.fakes.ledger import (
    FakeBudgetStore,
    FakeLedgerStore,
    FakeMonthStore,
    FakeUsageStore,
    FakeWalletStore,
)
from tests.fakes.limits import MemoryBuckets
from tests.fakes.money import FakeChargeQueue, FakeMeterStore, FakeRentalStore
from tests.fakes.organisations import FakeMailer, FakeOrganisationStore, list_reasons
from tests.fakes.records import FakeAccountStore, FakeAuditTrail, FakeIdempotencyStore, FakeStandings
from tests.fakes.removals import FakeCertificateStore, FakeRemovalStore
from tests.fakes.reports import FakePurchases, FakeReportStore
from tests.fakes.reservations import FakeReservationStore
from tests.fakes.scheduling import FakeSchedulingStore
from tests.fakes.seals import FakeSealStore, FakeVault
from tests.fakes.statements import FakeDocuments, FakeStatementStore
from tests.fakes.watch import FakeMaintenanceStore, FakeWatchStore
from tests.fakes.webhooks import FakeSender, FakeWebhookStore


def run_in_turn(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job()


class FakeCloud:
    """All ports over one database, as `chalicelib.wiring` builds them over DynamoDB."""

    def __init__(self) -> None:
        self.db = MemoryDatabase()
        self.clock, self.ids = FakeClock(), FakeIds()
        self.audit = FakeAuditTrail(self.db)
        self.fleet_store = FakeFleetStore(self.db)
        self.charges = FakeChargeQueue()
        self.pepper = b"pepper of the tests"
        catalog_store = FakeCatalogStore(self.db, self.clock)
        wallets = FakeWalletStore(self.db)
        self.organisation_store, self.mailer = FakeOrganisationStore(self.db), FakeMailer()
        self.accounts = AccountPorts(
            FakeAccountStore(self.db),
            self.audit,
            self.db.begin,
            self.clock,
            self.ids,
            lambda: self.pepper,
            self.organisation_store,
        )
        self.mail_buckets = MemoryBuckets()
        #: What people proved is theirs.
        self.addresses: dict[str, str] = {}
        self.organisations = OrganisationPorts(
            self.organisation_store,
            self.accounts,
            FakeIdempotencyStore(self.db),
            self.mailer,
            self.mail_buckets,
            self.addresses.get,
            lambda account_id: list_reasons(self.db, account_id),
            FakeWalletStore(self.db).require_nothing_held,
            lambda: "https://api.example/stage",
        )
        self.rotation = RotationPorts(self.accounts, FakeIdempotencyStore(self.db))
        self.webhook_store, self.sender = FakeWebhookStore(self.db), FakeSender()
        self.leaks = LeakPorts(self.accounts, self.webhook_store)
        self.webhooks = WebhookPorts(
            self.webhook_store,
            FakeIdempotencyStore(self.db),
            self.audit,
            self.db.begin,
            self.clock,
            self.ids,
            lambda: self.pepper,
            Reach(),
        )
        self.dispatch = DispatchPorts(
            self.webhook_store, self.sender, self.clock, lambda: self.pepper, lambda: 0.5, run_in_turn
        )
        self.catalog = CatalogPorts(catalog_store, self.audit, self.db.begin, self.clock, self.ids)
        self.templates = TemplatePorts(
            FakeTemplateStore(self.db),
            catalog_store,
            FakeIdempotencyStore(self.db),
            self.audit,
            self.db.begin,
            self.clock,
            self.ids,
        )
        self.fleet = FleetPorts(self.fleet_store, self.accounts, FakeHostIdentities())
        self.watch_store = FakeWatchStore(self.db)
        self.watch = WatchPorts(self.watch_store, self.fleet_store, self.watch_store, self.accounts)
        self.maintenance = MaintenancePorts(
            FakeMaintenanceStore(self.db), self.fleet_store, FakeIdempotencyStore(self.db), self.accounts
        )
        self.rentals = RentalPorts(
            store=FakeRentalStore(self.db),
            scheduling=FakeSchedulingStore(self.db),
            reservations=FakeReservationStore(self.db),
            fleet=self.fleet_store,
            catalog=catalog_store,
            cached_catalog=CachedCatalog(catalog_store.read_catalog, self.clock, 60_000),
            wallets=wallets,
            standings=FakeStandings(self.db),
            planner=ForecastPlanner(FakeIntensityStore(self.db)),
            idempotency=FakeIdempotencyStore(self.db),
            projects=self.organisation_store,
            audit=self.audit,
            outbox=self.webhook_store,
            transactions=self.db.begin,
            clock=self.clock,
            ids=self.ids,
            currency="USD",
        )
        self.meters = MeterPorts(FakeMeterStore(self.db), self.rentals, self.charges)
        self.billing = BillingPorts(
            FakeLedgerStore(self.db),
            wallets,
            FakeBudgetStore(self.db),
            FakeUsageStore(self.db),
            FakeMonthStore(self.db),
            self.meters.store,
            self.rentals,
            self.charges,
        )
        self.vault, seal_store = FakeVault(), FakeSealStore(self.db)
        self.seals = SealPorts(seal_store, self.vault, self.db.begin, self.clock)
        self.tampering = TamperingPorts(
            seal_store, self.audit, self.db.begin, self.clock, self.ids, "acc_operator"
        )
        self.reservations = ReservationPorts(
            store=FakeReservationStore(self.db),
            fleet=self.fleet_store,
            catalog=catalog_store,
            cached_catalog=self.rentals.cached_catalog,
            idempotency=self.rentals.idempotency,
            audit=self.audit,
            incidents=self.watch_store,
            deposits=ReservationDeposits(self.billing),
            transactions=self.db.begin,
            clock=self.clock,
            ids=self.ids,
            currency="USD",
        )
        self.bookings = HostBookings(self.reservations)
        self.operations = OperationPorts(self.fleet, self.watch_store, self.watch_store, self.bookings)
        self.failover = RentalFailover(self.meters, self.watch_store, self.reservations)
        self.removals = RemovalPorts(
            store=FakeRemovalStore(self.db),
            certificates=FakeCertificateStore(self.db),
            records=self.meters.store,
            hosts=self.fleet_store,
            grid=FakeIntensityStore(self.db),
            idempotency=self.rentals.idempotency,
            audit=self.audit,
            transactions=self.db.begin,
            clock=self.clock,
            ids=self.ids,
        )
        self.documents = FakeDocuments()
        self.statements = StatementPorts(
            FakeStatementStore(self.db),
            self.documents,
            self.billing,
            Party("Provocative Cloud Ltd", ("1 Test Street",), "IE", "IE1234567X"),
            lambda: print_statement,
        )
        self.chains = ChainPorts(
            FakeChainStore(self.db), self.vault, self.documents, self.db.begin, self.clock, self.ids
        )
        self.purchases, self.grid_store = FakePurchases(), self.removals.grid
        self.reports = ReportPorts(
            store=FakeReportStore(self.db),
            energy=self.meters.store,
            rentals=self.rentals.store,
            hosts=self.fleet_store,
            shares=self.removals.store,
            purchases=self.purchases,
            files=self.documents,
            codec=JsonContents(),
            read_figures=partial(read_figures, self.grid_store),
            read_power_limits=lambda: {
                each.name: each.power_limit_watts for each in catalog_store.read_catalog().gpu_types.values()
            },
            connect_printer=lambda: lambda content, report: f"{content.period} v{report.version}".encode(),
            transactions=self.db.begin,
            clock=self.clock,
        )

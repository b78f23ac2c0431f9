"""Every route of the API over one database in memory."""

from types import SimpleNamespace

import app
from chalicelib.carbon.grid import read_intensity
from chalicelib.carbon.ports import GridPorts
from chalicelib.catalog.offers import AccountStanding, OfferPorts
from chalicelib.fleet.capacity import FleetCapacity
from chalicelib.payments.ports import ClimatePorts, PaymentPorts, StripeSecrets
from chalicelib.privacy.service import PrivacyPorts
from tests.factories import add_host
from tests.fakes.climate import FakeClimate, FakePurchaseStore, FakeResiduals
from tests.fakes.grid import FakeIntensityStore
from tests.fakes.payments import FakeEventQueue, FakePayments, FakePaymentStore
from tests.fakes.privacy import (
    FakeArchive,
    FakeConsentStore,
    FakePeople,
    FakeRecords,
    FakeRequestStore,
    FakeVault,
)
from tests.fakes.records import FakeIdempotencyStore
from tests.fakes.wiring import rewire
from tests.unit.runtime.gateway import build_event, call
from tests.unit.scaling.cloud import build_cloud


class Platform:
    """``ask`` calls a route as one of the roles; one host of four GPUs is heard."""

    def __init__(self, monkeypatch):
        self.scaling = build_cloud()
        self.seeded, cloud = self.scaling.seeded, self.scaling.seeded.cloud
        self.cloud = cloud
        self.stripe, self.climate, self.residuals = FakePayments(), FakeClimate(), FakeResiduals()
        self.till = PaymentPorts(
            FakePaymentStore(cloud.db),
            cloud.billing,
            FakeEventQueue(),
            lambda: self.stripe,
            lambda: StripeSecrets(("whsec_of_the_tests",), livemode=False),
            ClimatePorts(FakePurchaseStore(cloud.db), lambda: self.climate, self.residuals),
        )
        vault = FakeVault()
        self.privacy = PrivacyPorts(
            FakeRequestStore(cloud.db),
            FakeConsentStore(cloud.db),
            FakeRecords(),
            FakePeople(vault),
            vault,
            FakeArchive(cloud.clock),
            cloud.accounts.store,
            FakeIdempotencyStore(cloud.db),
            cloud.audit,
            cloud.db.begin,
            cloud.clock,
            cloud.ids,
        )
        self.grid = GridPorts(FakeIntensityStore(cloud.db), cloud.clock, dict)
        rewire(
            monkeypatch,
            account_ports=cloud.accounts,
            organisation_ports=cloud.organisations,
            rotation_ports=cloud.rotation,
            audit_reader=cloud.audit,
            chain_ports=cloud.chains,
            leak_ports=cloud.leaks,
            webhook_ports=cloud.webhooks,
            dispatch_ports=cloud.dispatch,
            catalog_ports=cloud.catalog,
            template_ports=cloud.templates,
            cached_catalog=cloud.rentals.cached_catalog,
            offer_ports=OfferPorts(
                FleetCapacity(cloud.fleet_store, cloud.watch_store), self.read_standing, read_intensity, 180
            ),
            fleet_ports=cloud.fleet,
            watch_ports=cloud.watch,
            operation_ports=cloud.operations,
            maintenance_ports=cloud.maintenance,
            rental_ports=cloud.rentals,
            reservation_ports=cloud.reservations,
            meter_ports=cloud.meters,
            removal_ports=cloud.removals,
            billing_ports=cloud.billing,
            payment_ports=self.till,
            seal_ports=cloud.seals,
            grid_ports=self.grid,
            privacy_ports=self.privacy,
            person_vault=vault,
            statement_ports=cloud.statements,
            report_ports=cloud.reports,
            scaling_ports=self.scaling.ports,
            clock=cloud.clock,
            settings=SimpleNamespace(currency="USD", stage="test"),
        )
        self.principals = {"operator": self.seeded.operator, "renter": self.seeded.renter}
        for routes in app.APIS:
            monkeypatch.setattr(routes, "_authenticate", self.authenticate)
        self.host_id = add_host(self.seeded, "machine", 4).host_id
        self.seeded.beat(self.host_id)

    def authenticate(self, token):
        return self.principals[token]

    def read_standing(self, account_id):
        balance = self.cloud.billing.wallets.get_balance(account_id)
        quota = self.cloud.rentals.scheduling.get_quota(account_id)
        return AccountStanding(quota.available_gpus, 0 if balance is None else balance.available_micros)

    def ask(self, route, body=None, *, query=None, role="operator", **parameters):
        method, path = route.split(" ")
        headers = {
            "Authorization": f"Bearer {role}",
            "Idempotency-Key": f"key-{len(self.cloud.audit.entries)}",
        }
        many = {name: [value] for name, value in (query or {}).items()} or None
        event = build_event(method, path, body=body, headers=headers, query=many, parameters=parameters)
        status, answer, _ = call(app.app, event)
        return status, answer
